//! Tables as they should be, and their rows.
//!
//! All tables have the same columns. A row's `stamp` is the number of its client's transaction that wrote
//! it last, so that a row alone tells where it comes from, and its `filler` follows from the others.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The columns of every table.
pub const COLUMNS: &str =
    "client int NOT NULL, id bigint NOT NULL, stamp int NOT NULL, filler text";

/// The table in which all clients have rows; each has the others for itself.
pub const SHARED: &str = "shared";

/// How many tables a client may have for itself.
pub const OWN_TABLES: usize = 4;

/// A client's own table, there or not.
pub fn own_table(client: usize, number: usize) -> String {
    format!("own_{client}_{number}")
}

/// Whose table it is.
pub fn owner_of(table: &str) -> Option<usize> {
    let (client, _) = table.strip_prefix("own_")?.split_once('_')?;
    client.parse().ok()
}

/// Rows of one client in one table: stamps by id.
pub type Rows = BTreeMap<i64, i32>;

/// What a client has: its rows by table, its own tables and the shared one.
pub type Tables = BTreeMap<String, Rows>;

/// What a row has besides: mostly little, now and then most of a page.
pub fn filler(client: usize, id: i64, stamp: i32) -> String {
    let mut hash = (client as u64) << 48 ^ (id as u64) << 16 ^ u64::from(stamp.unsigned_abs());
    hash = (hash ^ hash >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    let bytes = match hash % 64 {
        0 => 2000 + hash / 64 % 4000,
        _ => hash / 64 % 200,
    };
    let mut text = String::with_capacity(bytes as usize + 20);
    while text.len() < bytes as usize {
        // Writing to a string does not fail.
        let _ = write!(text, "{hash:x} ");
        hash = hash.rotate_left(7).wrapping_add(id as u64);
    }
    text.truncate(bytes as usize);
    text
}

/// A statement that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `CREATE TABLE`.
    Create(String),
    /// `DROP TABLE`.
    Drop(String),
    /// `TRUNCATE`.
    Truncate(String),
    /// Rows with these ids, by `INSERT`.
    Insert(String, Vec<i64>),
    /// Rows with these ids, by `COPY FROM STDIN`.
    Copy {
        /// The table.
        table: String,
        /// First id and number of rows.
        ids: (i64, i64),
        /// `FREEZE`: the table is made or emptied in the same transaction.
        freeze: bool,
        /// The last row is none, so that all fails.
        damaged: bool,
    },
    /// Rows with these ids, that are there.
    Update(String, Vec<i64>),
    /// Rows from one id up to another.
    Delete(String, i64, i64),
    /// One that fails.
    Fail,
}

impl Statement {
    /// Does it to tables, as transaction `stamp`.
    pub fn apply(&self, tables: &mut Tables, stamp: i32) {
        let put = |tables: &mut Tables, table: &str, ids: &mut dyn Iterator<Item = i64>| {
            let rows = tables.entry(table.to_owned()).or_default();
            rows.extend(ids.map(|id| (id, stamp)));
        };
        match self {
            Statement::Create(table) => drop(tables.insert(table.clone(), Rows::new())),
            Statement::Drop(table) => drop(tables.remove(table)),
            Statement::Truncate(table) => drop(tables.insert(table.clone(), Rows::new())),
            Statement::Insert(table, ids) | Statement::Update(table, ids) => {
                put(tables, table, &mut ids.iter().copied());
            }
            Statement::Copy { table, ids, .. } => put(tables, table, &mut (ids.0..ids.0 + ids.1)),
            Statement::Delete(table, first, last) => {
                if let Some(rows) = tables.get_mut(table) {
                    rows.retain(|id, _| !(first..=last).contains(&id));
                }
            }
            Statement::Fail => {}
        }
    }

    /// Whether it fails, as it is meant to.
    pub fn fails(&self) -> bool {
        matches!(
            self,
            Statement::Fail | Statement::Copy { damaged: true, .. }
        )
    }

    /// Its text, but for the data of a COPY.
    pub fn sql(&self, client: usize, stamp: i32) -> String {
        match self {
            Statement::Create(table) => format!("CREATE TABLE {table} ({COLUMNS})"),
            Statement::Drop(table) => format!("DROP TABLE {table}"),
            Statement::Truncate(table) => format!("TRUNCATE {table}"),
            Statement::Insert(table, ids) => {
                let rows: Vec<String> = ids
                    .iter()
                    .map(|id| {
                        format!(
                            "({client}, {id}, {stamp}, '{}')",
                            filler(client, *id, stamp)
                        )
                    })
                    .collect();
                format!("INSERT INTO {table} VALUES {}", rows.join(", "))
            }
            Statement::Copy { table, freeze, .. } => {
                let options = if *freeze { " (FREEZE)" } else { "" };
                format!("COPY {table} FROM STDIN{options}")
            }
            Statement::Update(table, ids) => {
                let one = |id: &i64| {
                    let filler = filler(client, *id, stamp);
                    format!(
                        "UPDATE {table} SET stamp = {stamp}, filler = '{filler}' \
                         WHERE client = {client} AND id = {id}"
                    )
                };
                ids.iter().map(one).collect::<Vec<_>>().join("; ")
            }
            Statement::Delete(table, first, last) => format!(
                "DELETE FROM {table} WHERE client = {client} AND id BETWEEN {first} AND {last}"
            ),
            Statement::Fail => "SELECT 1 / 0".to_owned(),
        }
    }

    /// The data of a COPY.
    pub fn copy_data(&self, client: usize, stamp: i32) -> String {
        let Statement::Copy { ids, damaged, .. } = self else {
            return String::new();
        };
        let mut data = String::new();
        for id in ids.0..ids.0 + ids.1 {
            let filler = filler(client, id, stamp);
            // Writing to a string does not fail.
            let _ = writeln!(data, "{client}\t{id}\t{stamp}\t{filler}");
        }
        if *damaged {
            data.push_str("none\tnone\tnone\tnone\n");
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_do_to_tables_what_they_say() {
        let table = || "t".to_owned();
        let copy = Statement::Copy {
            table: table(),
            ids: (10, 3),
            freeze: false,
            damaged: false,
        };
        let mut tables = Tables::new();
        Statement::Create(table()).apply(&mut tables, 1);
        copy.apply(&mut tables, 2);
        Statement::Insert(table(), vec![20, 30]).apply(&mut tables, 3);
        Statement::Update(table(), vec![11, 30]).apply(&mut tables, 4);
        Statement::Delete(table(), 12, 20).apply(&mut tables, 5);
        assert_eq!(tables["t"], Rows::from([(10, 2), (11, 4), (30, 4)]));
        Statement::Truncate(table()).apply(&mut tables, 6);
        assert_eq!(tables["t"], Rows::new());
        Statement::Drop(table()).apply(&mut tables, 7);
        assert!(tables.is_empty());
        assert_eq!(copy.copy_data(1, 2).lines().count(), 3);
    }

    #[test]
    fn fillers_differ_and_fit_into_pages() {
        let fillers: Vec<String> = (0..1000).map(|id| filler(1, id, 2)).collect();
        assert!(fillers.iter().any(|filler| filler.len() > 2000));
        assert!(fillers.iter().all(|filler| filler.len() < 7000));
        assert_ne!(filler(1, 5, 2), filler(1, 5, 3));
        assert_ne!(filler(1, 5, 2), filler(2, 5, 2));
    }
}
