//! Operations through sessions, and reading what is there.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use trunkline_catalog::{
    ColumnDefinition, RelationDesc, RelationPersistence, TableDefinition, oids,
};
use trunkline_engine::{
    CheckpointerStep, Database, EngineError, Load, LoadColumns, RowInsert, Session, TableScan,
};
use trunkline_sim::SimDisk;
use trunkline_txn::LockMode;
use trunkline_types::OutputStyle;

use crate::hole::end_unit;
use crate::ledger::Ledger;
use crate::op::Op;
use crate::tables::{NAMES, Rows, State, Table};
use crate::workload::{SESSIONS, Turn};

/// Rows of a load that are inserted one by one, at most.
const SINGLE_ROWS_MAX: u32 = 3;

/// Bytes of a row's text.
const TEXT_BYTES: usize = 300;

/// Does all of `turns`, or as much as can be done, and keeps the ledger.
pub fn run(database: &Arc<Database>, disk: &SimDisk, turns: &[Turn], ledger: &mut Ledger) {
    let opened: Result<Vec<Session>, EngineError> = (0..SESSIONS)
        .map(|_| database.session("postgres", &[]))
        .collect();
    let Ok(mut sessions) = opened else {
        return;
    };
    for &(session, op) in turns {
        if !ledger.takes(session, op) {
            continue;
        }
        match perform(database, &mut sessions[session], op) {
            Ok(()) => {
                ledger.acknowledge(session, op);
                let wal = database.wal();
                let end = wal.insert_lsn();
                // Less is in the middle of a record perhaps.
                if wal.durable_lsn() >= end {
                    ledger.durable_log = end;
                }
            }
            Err(_) if !disk.is_powered() || database.failure().is_some() => {
                ledger.cut_off(session, op);
                return;
            }
            Err(error) => {
                let in_doubt = error.sqlstate() == "08007";
                assert!(!in_doubt, "{op:?} is in doubt, and it goes on: {error}");
                ledger.refuse(session, op, &error.to_string());
            }
        }
    }
}

/// Does `op` in a session of its own; whether it was acknowledged.
pub fn commits(database: &Arc<Database>, op: Op) -> bool {
    database
        .session("postgres", &[])
        .and_then(|mut session| perform(database, &mut session, op))
        .is_ok()
}

fn perform(database: &Arc<Database>, session: &mut Session, op: Op) -> Result<(), EngineError> {
    match op {
        Op::Begin => session.begin_block().map(drop),
        Op::Commit => session.commit_block().map(drop),
        Op::Rollback => {
            session.rollback_block();
            Ok(())
        }
        Op::Create(name, persistence) => {
            statement(session, |session| create(session, name, persistence))
        }
        Op::Load(name, rows) => statement(session, |session| {
            load(session, name, rows, Ending::Finished)
        }),
        Op::LoadAsync(name, rows) => {
            set_synchronous_commit(session, "off")?;
            let loaded = statement(session, |session| {
                load(session, name, rows, Ending::Finished)
            });
            set_synchronous_commit(session, "on")?;
            loaded
        }
        Op::FailingLoad(name, rows) => {
            match statement(session, |session| load(session, name, rows, Ending::BadRow)) {
                Err(error) if error.sqlstate() == "54000" => Ok(()),
                Err(error) => Err(error),
                Ok(()) => panic!("a row that is too big went in"),
            }
        }
        Op::CreateFrozen(name, rows) => statement(session, |session| {
            create(session, name, RelationPersistence::Permanent)?;
            session.transaction()?.increment_command()?;
            load(session, name, rows, Ending::Frozen)
        }),
        Op::Truncate(name) => statement(session, |session| {
            let relation = relation(session, name, LockMode::AccessExclusive)?;
            session.truncate_table(&relation, &mut session.issuer()?)
        }),
        Op::Drop(name) => statement(session, |session| {
            let relation = relation(session, name, LockMode::AccessExclusive)?;
            session.drop_table(&relation, &mut session.issuer()?)
        }),
        Op::Checkpoint => database.checkpoint(&mut session.issuer()?),
        Op::SwitchSegment => {
            database.wal().switch_segment(&mut session.issuer()?)?;
            Ok(())
        }
        Op::Units(count) => {
            let mut io = session.issuer()?;
            for _ in 0..count {
                let last = end_unit(database, &mut io)?;
                database.wal().start_flush(&mut io, last.end)?;
                io.submit();
            }
            Ok(())
        }
        Op::Background(steps) => {
            let mut io = session.issuer()?;
            for _ in 0..steps {
                database.step_wal_writer(&mut io)?;
                database.step_background_writer(&mut io)?;
                while database.step_checkpointer(&mut io) == CheckpointerStep::Again {}
            }
            Ok(())
        }
    }
}

/// Commits what ran implicitly: in halves where that is enough, as a server's connection does. (COMMIT does
/// it in one.)
fn sync(session: &mut Session) -> Result<(), EngineError> {
    let mut io = session.issuer()?;
    let Some(wait) = session.begin_sync(&mut io)? else {
        return session.sync();
    };
    let flushed = match wait.lsn() {
        Some(lsn) => session.database().wal().flush(&mut io, lsn),
        None => Ok(()),
    };
    session.finish_sync(flushed)
}

/// A statement of the open block, or of its own transaction.
fn statement<T>(
    session: &mut Session,
    body: impl FnOnce(&mut Session) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    session.begin_statement()?;
    match body(session) {
        Ok(value) => {
            sync(session)?;
            Ok(value)
        }
        Err(error) => {
            session.fail_statement();
            Err(error)
        }
    }
}

fn set_synchronous_commit(session: &mut Session, value: &str) -> Result<(), EngineError> {
    let settings = session.settings_mut();
    settings.set("synchronous_commit", value, false, false)?;
    Ok(())
}

fn relation(
    session: &Session,
    name: &str,
    mode: LockMode,
) -> Result<Arc<RelationDesc>, EngineError> {
    session.open_relation(None, name, mode, &mut session.issuer()?)
}

fn create(
    session: &mut Session,
    name: &str,
    persistence: RelationPersistence,
) -> Result<(), EngineError> {
    let definition = TableDefinition {
        persistence,
        name: name.to_owned(),
        namespace: oids::PG_PUBLIC_NAMESPACE,
        owner: oids::BOOTSTRAP_SUPERUSER,
        columns: vec![
            ColumnDefinition::new("a", trunkline_types::oids::INT4, -1),
            ColumnDefinition::new("b", trunkline_types::oids::TEXT, -1),
        ],
    };
    let mut io = session.issuer()?;
    session.create_table(&definition, false, &mut io).map(drop)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Finished,
    Frozen,
    BadRow,
}

fn letter(number: u32) -> u8 {
    b'a' + (number % 26) as u8
}

fn load(session: &mut Session, name: &str, rows: u32, ending: Ending) -> Result<(), EngineError> {
    let relation = relation(session, name, LockMode::RowExclusive)?;
    let columns = LoadColumns::all(&relation);
    if rows <= SINGLE_ROWS_MAX && ending == Ending::Finished {
        return insert(session, relation, columns, rows);
    }
    let frozen = ending == Ending::Frozen;
    let mut load = Load::begin(session, relation, columns, frozen, OutputStyle::default())?;
    for row in 0..rows {
        let text = [letter(row); TEXT_BYTES];
        load.row(&[Some(&row.to_le_bytes()), Some(&text)])?;
    }
    if ending == Ending::BadRow {
        return load.row(&[Some(&[0; 4]), Some(&[b'x'; 9000])]);
    }
    load.finish().map(drop)
}

/// The same rows one by one.
fn insert(
    session: &mut Session,
    relation: Arc<RelationDesc>,
    columns: LoadColumns,
    rows: u32,
) -> Result<(), EngineError> {
    let mut io = session.issuer()?;
    let mut insert = RowInsert::new(relation, columns, OutputStyle::default());
    for row in 0..rows {
        let text = [letter(row); TEXT_BYTES];
        let values: [Option<&[u8]>; 2] = [Some(&row.to_le_bytes()), Some(&text)];
        insert.insert(session, &mut io, &values)?;
    }
    Ok(())
}

fn found_rows(session: &mut Session, name: &str) -> Result<Rows, EngineError> {
    let relation = relation(session, name, LockMode::AccessShare)?;
    let snapshot = Arc::new(session.snapshot()?);
    let mut rows = Rows::default();
    TableScan::new(session, relation, snapshot)?
        .partition()?
        .rows(
            &mut rows,
            |rows, _, tuple| {
                let data = tuple.data();
                let number = u32::from_le_bytes(data[..4].try_into().unwrap());
                let text = &data[data.len() - TEXT_BYTES..];
                assert!(text.iter().all(|byte| *byte == letter(number)), "{name}");
                rows.count += 1;
                rows.sum += u64::from(number);
                Ok(())
            },
            |_| ControlFlow::Continue(()),
        )?;
    Ok(rows)
}

/// The numbers of all tables' files.
pub fn files(database: &Arc<Database>) -> BTreeSet<u32> {
    let mut session = database.session("postgres", &[]).unwrap();
    let numbers = NAMES.into_iter().filter_map(|name| {
        let relation = statement(&mut session, |session| {
            let mut io = session.issuer()?;
            session.open_relation_if_exists(None, name, LockMode::AccessShare, &mut io)
        });
        Some(relation.unwrap()?.locator.rel_number)
    });
    numbers.collect()
}

/// All tables as they are now.
pub fn state(database: &Arc<Database>) -> State {
    let mut session = database.session("postgres", &[]).unwrap();
    let mut state = State::new();
    for name in NAMES {
        let table = statement(&mut session, |session| {
            let mut io = session.issuer()?;
            let mode = LockMode::AccessShare;
            let found = session.open_relation_if_exists(None, name, mode, &mut io)?;
            let Some(relation) = found else {
                return Ok(None);
            };
            Ok(Some(Table {
                persistence: relation.persistence,
                rows: found_rows(session, name)?,
            }))
        });
        if let Some(table) = table.unwrap() {
            state.insert(name, table);
        }
    }
    state
}
