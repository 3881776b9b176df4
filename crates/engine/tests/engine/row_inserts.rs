//! Single rows: how large a table they make, which rows are refused, and what goes on beside loads, failed
//! ones, full disks and crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_aio::IoContext;
use trunkline_catalog::{ColumnDefinition, NotNull, RelationPersistence};
use trunkline_engine::{EngineError, LoadColumns, RowInsert, Session, partitions};
use trunkline_txn::{CancelReason, LockMode};
use trunkline_types::OutputStyle;

use crate::rig::{
    Faults, Rig, blocks, count, create, create_unlogged, definition, drop_table, faulty, load,
    opened, statement, switch, truncate,
};

/// Rows of these that fill a page: their text has 20 bytes.
const ROWS_PER_PAGE: u32 = 136;

/// Pages that an extension adds at most.
const RESERVE: u32 = 8;

/// Rows as statements of a session, which keeps what inserts them.
struct Inserting {
    session: Session,
    io: IoContext,
    insert: Option<RowInsert>,
}

impl Inserting {
    fn new(rig: &Rig) -> Inserting {
        let session = rig.session();
        Inserting {
            io: session.issuer().unwrap(),
            session,
            insert: None,
        }
    }

    /// A statement of one row.
    fn row(&mut self, table: &str, text: &[u8]) -> Result<(), EngineError> {
        let Inserting {
            session,
            io,
            insert,
        } = self;
        statement(session, |session| {
            let relation = opened(session, table, LockMode::RowExclusive)?;
            let is_same = |insert: &RowInsert| Arc::ptr_eq(insert.relation(), &relation);
            let insert = match insert.take().filter(is_same) {
                Some(kept) => insert.insert(kept),
                None => {
                    let columns = LoadColumns::all(&relation);
                    insert.insert(RowInsert::new(relation, columns, OutputStyle::default()))
                }
            };
            insert.insert(session, io, &[Some(&1_i32.to_le_bytes()), Some(text)])
        })
    }

    fn rows(&mut self, table: &str, rows: u32) {
        for _ in 0..rows {
            self.row(table, &[b'x'; 20]).unwrap();
        }
    }
}

fn full_pages(rows: u32) -> u32 {
    rows.div_ceil(ROWS_PER_PAGE)
}

#[test]
fn transactions_of_one_row_beside_each_other_fill_pages() {
    for method in ["sync", "worker", "io_uring", "posix_aio"] {
        let mut rig = Rig::over(method);
        let mut session = rig.session();
        create(&mut session, "t").unwrap();
        let (threads, rows) = (16, 200);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let mut inserting = Inserting::new(&rig);
                scope.spawn(move || inserting.rows("t", rows));
            }
        });
        let full = full_pages(threads * rows);
        let lanes = partitions() as u32;
        let found = blocks(&mut session, "t");
        assert!(
            (full..=full + lanes + RESERVE).contains(&found),
            "{method}: {found} blocks instead of {full}"
        );
        assert_eq!(count(&mut session, "t").unwrap(), u64::from(threads * rows));
        drop(session);
        rig.restart_over(method);
        assert_eq!(
            count(&mut rig.session(), "t").unwrap(),
            u64::from(threads * rows)
        );
    }
}

#[test]
fn what_a_transaction_inserted_goes_with_it_and_its_pages_stay() {
    let rig = Rig::new();
    let mut inserting = Inserting::new(&rig);
    create(&mut inserting.session, "t").unwrap();
    inserting.session.begin_block().unwrap();
    inserting.rows("t", 1000);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 1000);
    let pages = blocks(&mut inserting.session, "t");
    // A load behind them fails with them.
    load(&mut inserting.session, "t", 10_000, false).unwrap();
    inserting.session.rollback_block();
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 0);
    assert_eq!(
        blocks(&mut inserting.session, "t"),
        pages,
        "the load's are given back, the others are everybody's"
    );
    inserting.rows("t", 80);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 80);
    assert_eq!(blocks(&mut inserting.session, "t"), pages);
}

#[test]
fn a_failed_load_cuts_off_nothing_that_single_rows_use() {
    let rig = Rig::new();
    let (mut inserting, mut session) = (Inserting::new(&rig), rig.session());
    create(&mut session, "t").unwrap();
    // So many that extensions come with a reserve.
    inserting.rows("t", 33 * ROWS_PER_PAGE);
    let mut rows = u64::from(33 * ROWS_PER_PAGE);
    for round in 0..20_u32 {
        // Rows before the load's pages, behind them, or both; and the load ends before them or after.
        session.begin_block().unwrap();
        load(&mut session, "t", 2000, false).unwrap();
        if round % 2 == 0 {
            let between = 1 + round * 60;
            inserting.rows("t", between);
            rows += u64::from(between);
        }
        session.rollback_block();
        inserting.rows("t", 50);
        rows += 50;
        assert_eq!(count(&mut session, "t").unwrap(), rows, "round {round}");
    }
    // What failed loads added is used again before more is added.
    let most = full_pages(rows as u32) + partitions() as u32 + 2 * RESERVE + 2 * 2000 / 185;
    let found = blocks(&mut session, "t");
    assert!(found <= most, "{found} blocks, {most}");
}

#[test]
fn rows_loads_and_failed_loads_beside_each_other() {
    for method in ["sync", "worker"] {
        let mut rig = Rig::over(method);
        create(&mut rig.session(), "t").unwrap();
        let expected = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..6_u32 {
                let (rig, expected) = (&rig, &expected);
                scope.spawn(move || {
                    let mut inserting = Inserting::new(rig);
                    for nth in 0..60_u32 {
                        let is_block = (nth + thread) % 3 == 0;
                        if is_block {
                            inserting.session.begin_block().unwrap();
                        }
                        let mut rows = 1 + nth % 7;
                        inserting.rows("t", rows);
                        if nth % 4 == thread % 4 {
                            let loaded = if nth % 8 == 0 { 3000 } else { 20 };
                            load(&mut inserting.session, "t", loaded, false).unwrap();
                            rows += loaded as u32;
                        }
                        let fails = nth % 5 == thread % 5;
                        if fails {
                            load(&mut inserting.session, "t", 1500, true).unwrap_err();
                        }
                        if is_block && (fails || nth % 2 == 0) {
                            inserting.session.rollback_block();
                        } else {
                            if is_block {
                                inserting.session.commit_block().unwrap();
                            }
                            expected.fetch_add(rows.into(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let expected = expected.into_inner();
        assert_eq!(
            count(&mut rig.session(), "t").unwrap(),
            expected,
            "{method}"
        );
        rig.crash();
        assert_eq!(
            count(&mut rig.session(), "t").unwrap(),
            expected,
            "{method}"
        );
        rig.restart_over(method);
        assert_eq!(
            count(&mut rig.session(), "t").unwrap(),
            expected,
            "{method}"
        );
    }
}

#[test]
fn small_loads_beside_each_other_take_a_page_each() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    let (threads, rows) = (8, 100);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let mut session = rig.session();
            scope.spawn(move || {
                for _ in 0..rows {
                    load(&mut session, "t", 1, false).unwrap();
                }
            });
        }
    });
    assert_eq!(count(&mut session, "t").unwrap(), threads * rows);
    // 185 of them fill a page; one that runs has one that is not full.
    let most = (threads * rows).div_ceil(185) + threads;
    let found = blocks(&mut session, "t");
    assert!(u64::from(found) <= most, "{found} blocks, {most}");
}

#[test]
fn a_full_disk_refuses_rows_and_loses_none() {
    let faults = Arc::new(Faults::default());
    let rig = Rig::on(faulty(&faults));
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    // With its visibility map.
    load(&mut session, "t", 1, false).unwrap();
    count(&mut session, "t").unwrap();
    let acknowledged = AtomicU64::new(1);
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                let mut inserting = Inserting::new(&rig);
                let (acknowledged, refused) = (&acknowledged, &refused);
                scope.spawn(move || {
                    let mut done = 0;
                    while done < 400 {
                        match inserting.row("t", &[b'x'; 100]) {
                            Ok(()) => {
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                                done += 1;
                            }
                            Err(error) => {
                                assert_eq!(error.sqlstate(), "53100", "{error}");
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                })
            })
            .collect();
        // Until it has shown, and again while they go on.
        while !workers.iter().all(|worker| worker.is_finished()) {
            let before = refused.load(Ordering::Relaxed);
            switch(&faults.disk_full, true);
            while refused.load(Ordering::Relaxed) < before + 20
                && !workers.iter().all(|worker| worker.is_finished())
            {
                std::thread::yield_now();
            }
            switch(&faults.disk_full, false);
            let done = acknowledged.load(Ordering::Relaxed);
            while acknowledged.load(Ordering::Relaxed) < done + 100
                && !workers.iter().all(|worker| worker.is_finished())
            {
                std::thread::yield_now();
            }
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
    assert!(refused.into_inner() > 0);
    let acknowledged = acknowledged.into_inner();
    assert_eq!(count(&mut session, "t").unwrap(), acknowledged);
    let full = (acknowledged as u32).div_ceil(58);
    let found = blocks(&mut session, "t");
    assert!(found <= full + partitions() as u32 + 2 * RESERVE, "{found}");
    drop(session);
    rig.database().stop().unwrap();
}

#[test]
fn rows_that_are_not_allowed_are_refused_as_loads_refuse_them() {
    let rig = Rig::new();
    let mut session = rig.session();
    statement(&mut session, |session| {
        let mut definition = definition("t");
        definition.columns[0].not_null = Some(NotNull::default());
        definition
            .columns
            .push(ColumnDefinition::new("c", trunkline_types::oids::INT4, -1));
        let mut io = session.issuer()?;
        session.create_table(&definition, false, &mut io)
    })
    .unwrap();
    let mut io = session.issuer().unwrap();
    let mut insert_into = |columns: LoadColumns, values: &[Option<&[u8]>]| {
        statement(&mut session, |session| {
            let relation = opened(session, "t", LockMode::RowExclusive)?;
            let mut insert = RowInsert::new(relation, columns.clone(), OutputStyle::default());
            insert.insert(session, &mut io, values)
        })
    };
    // INSERT INTO t (c, b) VALUES (5, 'abc'), with a default for a or without.
    let mut columns = LoadColumns {
        given: vec![2, 1],
        defaults: vec![None; 3],
    };
    let five: &[u8] = &5_i32.to_le_bytes();
    let error = insert_into(columns.clone(), &[Some(five), Some(b"abc")]).unwrap_err();
    assert_eq!(error.sqlstate(), "23502");
    assert_eq!(
        error.to_string(),
        "null value in column \"a\" of relation \"t\" violates not-null constraint"
    );
    assert_eq!(
        error.detail().unwrap(),
        "Failing row contains (null, abc, 5)."
    );
    columns.defaults[0] = Some(7_i32.to_le_bytes().to_vec());
    insert_into(columns.clone(), &[Some(five), Some(b"abc")]).unwrap();
    insert_into(columns.clone(), &[None, None]).unwrap();
    let error = insert_into(columns, &[None, Some(&[b'x'; 9000])]).unwrap_err();
    assert_eq!(error.sqlstate(), "54000");
    assert_eq!(
        error.to_string(),
        "row is too big: size 9032, maximum size 8160"
    );
    assert_eq!(count(&mut session, "t").unwrap(), 2);

    let error = statement(&mut session, |session| {
        let mut io = session.issuer()?;
        let namespace = Some("pg_catalog");
        let mode = LockMode::RowExclusive;
        let relation = session.open_relation(namespace, "pg_namespace", mode, &mut io)?;
        let columns = LoadColumns::all(&relation);
        let values = vec![None; columns.given.len()];
        RowInsert::new(relation, columns, OutputStyle::default()).insert(session, &mut io, &values)
    })
    .unwrap_err();
    assert_eq!(error.sqlstate(), "42501");
}

#[test]
fn a_cancel_ends_the_statement() {
    let rig = Rig::new();
    let mut inserting = Inserting::new(&rig);
    create(&mut inserting.session, "t").unwrap();
    inserting.rows("t", 1);
    let mut insert = inserting.insert.take().unwrap();
    let io = &mut inserting.io;
    let error = statement(&mut inserting.session, |session| {
        opened(session, "t", LockMode::RowExclusive)?;
        assert!(session.cancel().request(CancelReason::UserRequest));
        insert.insert(session, io, &[None, None])
    })
    .unwrap_err();
    assert_eq!(error.sqlstate(), "57014");
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 1);
}

#[test]
fn rows_go_on_after_the_table_got_other_files() {
    let rig = Rig::new();
    let mut inserting = Inserting::new(&rig);
    create(&mut inserting.session, "t").unwrap();
    inserting.rows("t", 300);
    truncate(&mut inserting.session, "t").unwrap();
    inserting.rows("t", 10);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 10);
    assert_eq!(blocks(&mut inserting.session, "t"), 1);
    // Back to the files before.
    inserting.session.begin_block().unwrap();
    truncate(&mut inserting.session, "t").unwrap();
    inserting.rows("t", 200);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 200);
    inserting.session.rollback_block();
    inserting.rows("t", 10);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 20);
    assert_eq!(blocks(&mut inserting.session, "t"), 1);
    drop_table(&mut inserting.session, "t").unwrap();
    create(&mut inserting.session, "t").unwrap();
    inserting.rows("t", 10);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 10);
}

#[test]
fn rows_are_there_after_a_crash_unless_the_table_is_unlogged() {
    let mut rig = Rig::new();
    let mut inserting = Inserting::new(&rig);
    create(&mut inserting.session, "t").unwrap();
    create_unlogged(&mut inserting.session, "u").unwrap();
    let relation = |inserting: &mut Inserting, name: &str| {
        statement(&mut inserting.session, |session| {
            Ok(opened(session, name, LockMode::AccessShare)?.persistence)
        })
    };
    assert_eq!(
        relation(&mut inserting, "u").unwrap(),
        RelationPersistence::Unlogged
    );
    let before = rig.database().wal().insert_lsn();
    inserting.session.begin_block().unwrap();
    inserting.rows("u", 500);
    assert_eq!(
        rig.database().wal().insert_lsn(),
        before,
        "nothing is logged"
    );
    inserting.session.commit_block().unwrap();
    inserting.rows("t", 500);
    drop(inserting);
    rig.crash();
    let mut inserting = Inserting::new(&rig);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 500);
    assert_eq!(count(&mut inserting.session, "u").unwrap(), 0);
    let before = blocks(&mut inserting.session, "t");
    inserting.rows("t", 10);
    inserting.rows("u", 10);
    assert_eq!(blocks(&mut inserting.session, "t"), before);
    assert_eq!(count(&mut inserting.session, "t").unwrap(), 510);
    assert_eq!(count(&mut inserting.session, "u").unwrap(), 10);
}
