//! `pg_roles`, `pg_user` and `pg_shadow`: `pg_authid` without its passwords, with PostgreSQL 18's
//! columns.

use trunkline_engine::EngineError;
use trunkline_types::oids;

use super::{Sources, View};
use crate::query::SystemRow;
use crate::relations::RowsBuilder;

/// What takes the place of a password.
const HIDDEN_PASSWORD: &str = "********";

/// The columns of `pg_authid` that the views take over.
const AUTHID: &[&str] = &[
    "oid",
    "rolname",
    "rolsuper",
    "rolinherit",
    "rolcreaterole",
    "rolcreatedb",
    "rolcanlogin",
    "rolreplication",
    "rolbypassrls",
    "rolconnlimit",
    "rolvaliduntil",
];

fn authid(sources: &mut Sources<'_>) -> Result<Vec<SystemRow>, EngineError> {
    let session = sources.session;
    let snapshot = session.snapshot()?;
    let mut view = sources.shared.database().catalog().view(
        &snapshot,
        session.has_own_catalog_changes(),
        sources.io,
    );
    Ok(view.system_rows("pg_authid", AUTHID)?)
}

fn put(row: &SystemRow, column: &str, rows: &mut RowsBuilder) {
    let index = AUTHID.iter().position(|name| *name == column);
    rows.payload(index.and_then(|index| row[index].clone()));
}

pub(super) const PG_ROLES: View = View {
    name: "pg_roles",
    columns: &[
        ("rolname", oids::NAME),
        ("rolsuper", oids::BOOL),
        ("rolinherit", oids::BOOL),
        ("rolcreaterole", oids::BOOL),
        ("rolcreatedb", oids::BOOL),
        ("rolcanlogin", oids::BOOL),
        ("rolreplication", oids::BOOL),
        ("rolconnlimit", oids::INT4),
        ("rolpassword", oids::TEXT),
        ("rolvaliduntil", oids::TIMESTAMPTZ),
        ("rolbypassrls", oids::BOOL),
        ("rolconfig", oids::TEXT_ARRAY),
        ("oid", oids::OID),
    ],
    rows: roles,
};

fn roles(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    for row in authid(sources)? {
        for (column, _) in PG_ROLES.columns {
            match *column {
                "rolpassword" => {
                    rows.text(HIDDEN_PASSWORD);
                }
                // Settings of a role cannot be made.
                "rolconfig" => {
                    rows.null();
                }
                column => put(&row, column, rows),
            }
        }
        rows.end_row();
    }
    Ok(())
}

const USER_COLUMNS: &[(&str, trunkline_pgformat::Oid)] = &[
    ("usename", oids::NAME),
    ("usesysid", oids::OID),
    ("usecreatedb", oids::BOOL),
    ("usesuper", oids::BOOL),
    ("userepl", oids::BOOL),
    ("usebypassrls", oids::BOOL),
    ("passwd", oids::TEXT),
    ("valuntil", oids::TIMESTAMPTZ),
    ("useconfig", oids::TEXT_ARRAY),
];

pub(super) const PG_USER: View = View {
    name: "pg_user",
    columns: USER_COLUMNS,
    rows: |sources, rows| users(sources, rows, Some(HIDDEN_PASSWORD)),
};

pub(super) const PG_SHADOW: View = View {
    name: "pg_shadow",
    columns: USER_COLUMNS,
    // Roles have no passwords.
    rows: |sources, rows| users(sources, rows, None),
};

fn users(
    sources: &mut Sources<'_>,
    rows: &mut RowsBuilder,
    password: Option<&str>,
) -> Result<(), EngineError> {
    let can_login = AUTHID.iter().position(|name| *name == "rolcanlogin");
    for row in authid(sources)? {
        let value = can_login.and_then(|index| row[index].as_deref());
        if value != Some(&[1]) {
            continue;
        }
        for column in [
            "rolname",
            "oid",
            "rolcreatedb",
            "rolsuper",
            "rolreplication",
            "rolbypassrls",
        ] {
            put(&row, column, rows);
        }
        rows.optional_text(password);
        put(&row, "rolvaliduntil", rows);
        rows.null().end_row();
    }
    Ok(())
}
