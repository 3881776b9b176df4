//! What is found, by queries.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::failure::{Failure, query_failed};
use crate::table::{Rows, SHARED, Tables, filler, owner_of};

/// Whose rows are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Everybody's.
    All,
    /// One client's.
    Client(usize),
}

/// The rows of a table by client. They are whole, and none is there twice.
pub async fn rows_of(
    session: &Client,
    table: &str,
    wanted: Wanted,
) -> Result<BTreeMap<usize, Rows>, Failure> {
    let filter = match wanted {
        Wanted::All => String::new(),
        Wanted::Client(client) => format!(" WHERE client = {client}"),
    };
    let sql = format!("SELECT client, id, stamp, filler FROM {table}{filter}");
    let found = session.query(&sql, &[]).await;
    let found = found.map_err(|error| query_failed(&sql, &error))?;
    let mut rows = BTreeMap::<usize, Rows>::new();
    for row in found {
        let (client, id, stamp): (i32, i64, i32) = (row.get(0), row.get(1), row.get(2));
        let place = format!("row {id} of client {client}, transaction {stamp}, in {table}");
        let Ok(client) = usize::try_from(client) else {
            return Err(Failure::Foreign(place));
        };
        if row.get::<_, Option<&str>>(3) != Some(&filler(client, id, stamp)) {
            return Err(Failure::Foreign(format!("{place} has another filler")));
        }
        if rows.entry(client).or_default().insert(id, stamp).is_some() {
            return Err(Failure::Foreign(format!("{place} is there twice")));
        }
    }
    Ok(rows)
}

/// Everything that is there, by client.
pub async fn everything(session: &Client, clients: usize) -> Result<Vec<Tables>, Failure> {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200";
    let names = session.query(sql, &[]).await;
    let names = names.map_err(|error| query_failed(sql, &error))?;
    let mut found = vec![Tables::from([(SHARED.to_owned(), Rows::new())]); clients];
    let mut has_shared = false;
    for name in names {
        let name: String = name.get(0);
        let rows = rows_of(session, &name, Wanted::All).await?;
        check_count(session, &name, rows.values().map(Rows::len).sum()).await?;
        if let Some(stranger) = rows.keys().find(|client| **client >= clients) {
            return Err(Failure::Foreign(format!("{name} has rows of {stranger}")));
        }
        if name == SHARED {
            has_shared = true;
            for (client, rows) in rows {
                found[client].insert(name.clone(), rows);
            }
            continue;
        }
        let owner = owner_of(&name).filter(|owner| *owner < clients);
        let Some(owner) = owner else {
            return Err(Failure::Foreign(format!("nobody made table {name}")));
        };
        if rows.keys().any(|client| *client != owner) {
            let clients = rows.keys();
            return Err(Failure::Foreign(format!("{name} has rows of {clients:?}")));
        }
        let rows = rows.into_values().next().unwrap_or_default();
        found[owner].insert(name, rows);
    }
    match has_shared {
        true => Ok(found),
        false => Err(Failure::Foreign(format!("there is no table {SHARED}"))),
    }
}

/// A count, which the server does another way, says the same.
async fn check_count(session: &Client, table: &str, rows: usize) -> Result<(), Failure> {
    let sql = format!("SELECT count(*) FROM {table}");
    let count = session.query_one(&sql, &[]).await;
    let count: i64 = count.map_err(|error| query_failed(&sql, &error))?.get(0);
    match count == rows as i64 {
        true => Ok(()),
        false => Err(Failure::Foreign(format!(
            "{table} has {rows} rows, and counts {count}"
        ))),
    }
}
