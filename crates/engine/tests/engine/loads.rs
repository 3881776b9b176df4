//! Loads: what they leave when they succeed and when they fail, and which pages they use.

use trunkline_pgformat::ForkNumber;
use trunkline_txn::LockMode;

use crate::rig::{Rig, blocks, count, create, load, load_as, lock_table, opened, truncate};

#[test]
fn rows_survive_a_clean_stop_with_every_method() {
    for method in ["sync", "worker", "io_uring", "posix_aio"] {
        let mut rig = Rig::over(method);
        let mut session = rig.session();
        create(&mut session, "t").unwrap();
        // More than the pool holds.
        assert_eq!(load(&mut session, "t", 200_000, false).unwrap(), 200_000);
        assert_eq!(count(&mut session, "t").unwrap(), 200_000, "{method}");
        drop(session);
        rig.restart_over(method);
        let mut session = rig.session();
        // The first scan sets hints, the second finds all-visible pages.
        assert_eq!(count(&mut session, "t").unwrap(), 200_000, "{method}");
        assert_eq!(count(&mut session, "t").unwrap(), 200_000, "{method}");
        drop(session);
        rig.database().stop().unwrap();
    }
}

#[test]
fn a_failed_load_leaves_nothing_and_gives_its_blocks_back() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    let before = blocks(&mut session, "t");
    let error = load(&mut session, "t", 50_000, true).unwrap_err();
    assert_eq!(error.sqlstate(), "54000");
    assert_eq!(count(&mut session, "t").unwrap(), 1000);
    assert_eq!(blocks(&mut session, "t"), before);
    drop(session);
    rig.database().stop().unwrap();
}

#[test]
fn a_failed_load_beside_a_reader_gives_its_blocks_back_later() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    let before = blocks(&mut session, "t");

    let mut reader = rig.session();
    reader.begin_block().unwrap();
    opened(&reader, "t", LockMode::AccessShare).unwrap();
    load(&mut session, "t", 50_000, true).unwrap_err();
    assert!(
        rig.database()
            .smgr()
            .nblocks(
                opened(&reader, "t", LockMode::AccessShare).unwrap().locator,
                ForkNumber::Main
            )
            .unwrap()
            > before
    );
    reader.rollback_block();
    assert_eq!(blocks(&mut session, "t"), before);
    drop((session, reader));
    rig.database().stop().unwrap();
}

#[test]
fn small_loads_fill_pages() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    // A transaction for each row; every tenth fails.
    for nth in 0..300 {
        let fails = nth % 10 == 9;
        assert_eq!(load(&mut session, "t", 1, fails).is_err(), fails);
    }
    // About 200 rows a page (PostgreSQL's size of these is 2 pages).
    assert_eq!(blocks(&mut session, "t"), 2);
    // One transaction.
    session.begin_block().unwrap();
    for _ in 0..300 {
        load(&mut session, "t", 1, false).unwrap();
    }
    session.commit_block().unwrap();
    assert!(blocks(&mut session, "t") <= 4);
    assert_eq!(count(&mut session, "t").unwrap(), 570);
    drop(session);
    rig.restart();
    // The last page is found again.
    let mut session = rig.session();
    let before = blocks(&mut session, "t");
    for _ in 0..10 {
        load(&mut session, "t", 1, false).unwrap();
    }
    assert_eq!(blocks(&mut session, "t"), before);
    assert_eq!(count(&mut session, "t").unwrap(), 580);
}

#[test]
fn loads_beside_each_other_keep_apart() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let mut session = rig.session();
            scope.spawn(move || {
                for nth in 0..40 {
                    let rows = if nth % 8 == 0 { 5000 } else { 3 };
                    let fails = (nth + thread) % 4 == 3;
                    assert_eq!(load(&mut session, "t", rows, fails).is_err(), fails);
                }
            });
        }
    });
    let mut expected = 0;
    for thread in 0..threads {
        for nth in 0..40 {
            if (nth + thread) % 4 != 3 {
                expected += if nth % 8 == 0 { 5000 } else { 3 };
            }
        }
    }
    assert_eq!(count(&mut session, "t").unwrap(), expected);
    drop(session);
    rig.database().stop().unwrap();
}

#[test]
fn tails_of_failed_loads_are_given_back_from_the_end_on() {
    let rig = Rig::new();
    let (mut first, mut second) = (rig.session(), rig.session());
    create(&mut first, "t").unwrap();
    load(&mut first, "t", 1000, false).unwrap();
    let before = blocks(&mut first, "t");
    for session in [&mut first, &mut second] {
        session.begin_block().unwrap();
        load(session, "t", 20_000, false).unwrap();
    }
    // The first one's blocks are not the end, and the second one uses the table.
    first.rollback_block();
    assert!(blocks(&mut first, "t") > before);
    second.rollback_block();
    assert_eq!(blocks(&mut first, "t"), before);

    // If the second one commits instead, the first one's blocks are used again.
    for session in [&mut first, &mut second] {
        session.begin_block().unwrap();
        load(session, "t", 20_000, false).unwrap();
    }
    first.rollback_block();
    second.commit_block().unwrap();
    assert_eq!(count(&mut first, "t").unwrap(), 21_000);
    let before = blocks(&mut first, "t");
    load(&mut first, "t", 15_000, false).unwrap();
    assert_eq!(blocks(&mut first, "t"), before);
    assert_eq!(count(&mut first, "t").unwrap(), 36_000);
}

#[test]
fn what_a_failed_load_wrote_does_not_come_back() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 100, false).unwrap();
    // Dirty pages, pages in flight, and a checkpoint beside them.
    session.begin_block().unwrap();
    load(&mut session, "t", 30_000, false).unwrap();
    let mut io = session.issuer().unwrap();
    rig.database().checkpoint(&mut io).unwrap();
    load(&mut session, "t", 30_000, false).unwrap();
    session.rollback_block();
    rig.database().checkpoint(&mut io).unwrap();
    drop(io);
    let before = blocks(&mut session, "t");
    let length = std::fs::metadata(crate::rig::file(&mut session, "t"))
        .unwrap()
        .len();
    assert_eq!(length, u64::from(before) * 8192);
    assert!(before <= 2, "{before} blocks");
    drop(session);
    rig.restart();
    let mut session = rig.session();
    assert_eq!(blocks(&mut session, "t"), before);
    assert_eq!(count(&mut session, "t").unwrap(), 100);
}

#[test]
fn a_frozen_load_needs_a_table_of_its_own_transaction() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    let refuses = |session: &mut trunkline_engine::Session| {
        let error = load_as(session, "t", 10, false, true).unwrap_err();
        assert_eq!(error.sqlstate(), "55000");
        assert_eq!(
            error.to_string(),
            "cannot perform COPY FREEZE because the table was not created or truncated in the \
             current subtransaction"
        );
    };
    refuses(&mut session);
    session.begin_block().unwrap();
    refuses(&mut session);
    session.rollback_block();

    for commit in [false, true] {
        session.begin_block().unwrap();
        truncate(&mut session, "t").unwrap();
        load_as(&mut session, "t", 10_000, false, true).unwrap();
        // Written at once, with nothing behind the last row.
        assert_eq!(count(&mut session, "t").unwrap(), 10_000);
        let filled = blocks(&mut session, "t");
        assert_eq!(filled, 10_000_u32.div_ceil(185));
        // Others of the same transaction go on where it ended.
        load_as(&mut session, "t", 10_000, false, true).unwrap();
        load(&mut session, "t", 10, false).unwrap();
        assert_eq!(count(&mut session, "t").unwrap(), 20_010);
        if commit {
            session.commit_block().unwrap();
            load(&mut session, "t", 10, false).unwrap();
        } else {
            session.rollback_block();
            assert_eq!(count(&mut session, "t").unwrap(), 0);
        }
    }
    // Of a transaction that has ended it is not its own any more.
    refuses(&mut session);
    session.begin_block().unwrap();
    create(&mut session, "u").unwrap();
    load_as(&mut session, "u", 10, false, true).unwrap();
    session.commit_block().unwrap();
    assert_eq!(count(&mut session, "u").unwrap(), 10);
    assert_eq!(count(&mut session, "t").unwrap(), 20_020);
}

#[test]
fn a_load_of_nothing_leaves_nothing() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    assert_eq!(load(&mut session, "t", 0, false).unwrap(), 0);
    assert_eq!(blocks(&mut session, "t"), 0);
    lock_table(&mut session, "t", LockMode::AccessExclusive).unwrap();
}

#[test]
fn many_loads_share_a_small_pool() {
    let mut rig = Rig::new();
    for (buffers, sessions) in [("4MB", 18), ("1MB", 8), ("256kB", 3)] {
        rig.restart_with(&[("shared_buffers", buffers)]);
        let mut session = rig.session();
        create(&mut session, buffers).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..sessions {
                let mut session = rig.session();
                scope.spawn(move || {
                    assert_eq!(load(&mut session, buffers, 12_000, false).unwrap(), 12_000);
                    count(&mut session, buffers).unwrap();
                });
            }
        });
        assert_eq!(count(&mut session, buffers).unwrap(), sessions * 12_000);
    }
}
