//! PostgreSQL as judge: our redo of its log makes the pages that its own makes, and its `pg_waldump`
//! prints of our log what it prints of its own for the same work.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use trunkline_harness::{Cluster, copy_directory};
use trunkline_heap::SparePages;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{BLCKSZ, ForkNumber, ItemPointer, Lsn, PageRef, RelFileLocator};
use trunkline_wal::{WalConfig, WalReader};

use crate::logged::{Disk, FORKS, Logged, Recovery, masked};
use crate::rig::{TABLE, commit, targets};

/// Every record of Heap and Heap2 that one session makes, and checkpoints in the middle. `PLACE` is a
/// file that it may use.
const WORKLOAD: &str = include_str!("workload.sql");

/// Whose checkpoints are those that the workload asks for, and whose log is kept.
const SETTINGS: [&str; 5] = [
    "checkpoint_timeout=1d",
    "max_wal_size=4GB",
    "bgwriter_lru_maxpages=0",
    "wal_level=replica",
    "wal_keep_size=1GB",
];

fn parse_lsn(text: &str) -> Lsn {
    let (high, low) = text.split_once('/').unwrap();
    let part = |hex| u64::from_str_radix(hex, 16).unwrap();
    Lsn(part(high) << 32 | part(low))
}

#[test]
fn redo_of_a_postgresql_log_makes_the_pages_that_postgresql_makes() {
    let Some(postgres) = Cluster::init("redo", &[]) else {
        return;
    };
    // With lz4 and zstd where it is built with them.
    for compression in ["off", "pglz", "lz4", "zstd"] {
        if postgres.postgres().knows("wal_compression", compression) {
            let name = format!("redo_{compression}");
            redo_of_a_log_with(&postgres.copy(&name), compression);
        } else {
            println!("not built with {compression}");
        }
    }
}

/// On a cluster that was not started yet.
fn redo_of_a_log_with(postgres: &Cluster, compression: &str) {
    println!("wal_compression = {compression}");
    let data = postgres.data();
    let setting = format!("wal_compression={compression}");
    let settings = ["wal_consistency_checking=heap,heap2", &setting];
    let settings = [&SETTINGS[..], &settings].concat();
    postgres.start(&settings);
    postgres.psql("select 1");
    postgres.stop("fast");
    let disk = Disk::real();
    let initial = disk.path("initial");
    copy_directory(&data, &initial).unwrap();
    let start = postgres.control_data("Latest checkpoint's REDO location");
    let system = postgres.control_data("Database system identifier");

    postgres.start(&settings);
    let place = data.join("t.copy");
    postgres.psql(&WORKLOAD.replace("PLACE", place.to_str().unwrap()));
    postgres.stop("immediate");
    let crashed = disk.path("crashed");
    copy_directory(&data, &crashed).unwrap();
    // What PostgreSQL makes of it.
    postgres.start(&settings);
    postgres.stop("fast");

    let config = WalConfig {
        io_direct_wal: false,
        ..WalConfig::new(
            crashed.join("pg_wal"),
            1,
            system.parse().unwrap(),
            SegmentSize::DEFAULT,
        )
    };
    let start = parse_lsn(&start);
    let tables = tables_of(&disk, &config, start);
    let mut recovery = Recovery::of(&disk, initial.clone());
    let replayed = recovery.replay(&config, start).unwrap();
    println!("{replayed:?}");
    for code in [
        "Heap INSERT",
        "Heap DELETE",
        "Heap UPDATE",
        "Heap HOT_UPDATE",
        "Heap HEAP_CONFIRM",
        "Heap LOCK",
        "Heap INPLACE",
        "Heap2 PRUNE_ON_ACCESS",
        "Heap2 PRUNE_VACUUM_SCAN",
        "Heap2 PRUNE_VACUUM_CLEANUP",
        "Heap2 VISIBLE",
        "Heap2 MULTI_INSERT",
        "Heap2 MULTI_INSERT+INIT",
        "XLOG FPI_FOR_HINT",
    ] {
        assert!(
            replayed.records.contains_key(code),
            "no {code}: {replayed:?}"
        );
    }
    assert!(replayed.compared > 1000, "{replayed:?}");
    let compressed: Vec<&str> = replayed.compressed.keys().copied().collect();
    let expected: &[&str] = if compression == "off" {
        &[]
    } else {
        &[compression]
    };
    assert_eq!(compressed, expected, "{replayed:?}");
    let pool = recovery.redo.pool();
    pool.write_all(&mut recovery.io).unwrap();
    let mut compared = 0;
    for table in tables {
        for fork in FORKS {
            compared += compare(&initial, &data, table, fork);
        }
    }
    println!("{compared} pages are the same");
    assert!(compared > 300);
    fs::remove_dir_all(postgres.directory()).unwrap();
}

/// The tables that the log changes.
fn tables_of(disk: &Disk, config: &WalConfig, start: Lsn) -> BTreeSet<RelFileLocator> {
    let mut reader = WalReader::new(std::sync::Arc::clone(&disk.storage), config, start);
    let mut io = disk.aio.issuer(5).unwrap();
    let mut tables = BTreeSet::new();
    while let Ok(()) = reader
        .next(&mut io, |_, record| {
            if [RmgrId::HEAP, RmgrId::HEAP2].contains(&record.header.rmgr) {
                tables.extend(record.blocks.iter().map(|block| block.locator));
            }
        })
        .unwrap()
    {}
    tables
}

/// Compares a fork in two directories; the pages that are there. One that PostgreSQL has removed need
/// not be compared.
fn compare(ours: &Path, theirs: &Path, table: RelFileLocator, fork: ForkNumber) -> usize {
    let path = table.path(fork);
    let Ok(theirs) = fs::read(theirs.join(&path)) else {
        return 0;
    };
    let ours = fs::read(ours.join(&path)).unwrap_or_default();
    let (theirs, _) = theirs.as_chunks::<BLCKSZ>();
    let (ours, _) = ours.as_chunks::<BLCKSZ>();
    assert!(ours.len() <= theirs.len(), "{path}: {} pages", ours.len());
    for (block, page) in (0..).zip(theirs) {
        match ours.get(block as usize) {
            Some(other) => assert!(
                masked(fork, block, page) == masked(fork, block, other),
                "{path}, block {block}"
            ),
            None => assert!(PageRef::new(page).is_new(), "{path}, block {block}"),
        }
    }
    ours.len()
}

/// Lines of `pg_waldump` about tables, with what differs between two clusters replaced: xids by their
/// order, positions and the table's number left out.
fn normalized(dump: &str, relation: &str) -> Vec<String> {
    let mut xids = vec!["0".to_owned()];
    let mut lines = Vec::new();
    for line in dump.lines() {
        if !line.contains(relation) {
            continue;
        }
        let (head, description) = line.split_once("desc: ").unwrap();
        let field = |name: &str| {
            let rest = head.split_once(name).unwrap().1;
            rest.split(", ").next().unwrap().trim().to_owned()
        };
        let xid = field("tx:");
        if !xids.contains(&xid) {
            xids.push(xid.clone());
        }
        let mut text = description.replace(relation, "TABLE");
        for (order, xid) in xids.iter().enumerate().skip(1) {
            for name in ["xmax", "old_xmax", "snapshotConflictHorizon"] {
                text = text.replace(&format!("{name}: {xid},"), &format!("{name}: #{order},"));
            }
        }
        let mut normal = head.split(", tx:").next().unwrap().to_owned() + " ";
        let order = xids.iter().position(|known| *known == xid).unwrap();
        write!(normal, "#{order} {text}").unwrap();
        lines.push(normal);
    }
    lines
}

const ROWS: usize = 500;

fn text_of_row(row: usize) -> String {
    format!("{row:04}{}", "x".repeat(row % 60))
}

fn copy_data(rows: std::ops::Range<usize>) -> String {
    let mut data = String::new();
    for row in rows {
        writeln!(data, "{row}\t{}", text_of_row(row)).unwrap();
    }
    data + "\\.\n"
}

fn dump_of(postgres: &Cluster, directory: &Path, start: &str, end: &str) -> String {
    let directory = directory.to_str().unwrap();
    let arguments = [
        "-p", directory, "-s", start, "-e", end, "-r", "Heap", "-r", "Heap2",
    ];
    let said = postgres.postgres().inspect("pg_waldump", &arguments);
    said.output
}

/// Lines of what PostgreSQL does for `script` with the table `t`, which `prepare` makes.
fn their_lines(postgres: &Cluster, prepare: &str, script: &str) -> Vec<String> {
    postgres.psql(&format!("drop table if exists t; {prepare}"));
    let start = postgres.psql("select pg_current_wal_insert_lsn()");
    postgres.psql(script);
    let end = postgres.psql("select pg_current_wal_insert_lsn()");
    postgres.psql("select pg_switch_wal()");
    let file = postgres.psql("select pg_relation_filenode('t')");
    let dump = dump_of(
        postgres,
        &postgres.data().join("pg_wal"),
        start.trim(),
        end.trim(),
    );
    normalized(&dump, &format!("1663/5/{}", file.trim()))
}

fn our_lines(postgres: &Cluster, logged: &mut Logged, from: Lsn) -> Vec<String> {
    logged.flush();
    let (start, end) = (from.to_string(), logged.wal.insert_lsn().to_string());
    let dump = dump_of(postgres, &logged.config.directory, &start, &end);
    normalized(&dump, "1663/5/16384")
}

#[test]
fn pg_waldump_prints_of_our_log_what_it_prints_of_postgresqls() {
    let Some(postgres) = Cluster::init("waldump", &[]) else {
        return;
    };
    postgres.start(&SETTINGS);

    // Rows by COPY, one by one, deleted and updated: on the page and to another one. The index keeps
    // PostgreSQL from updates that we do not do.
    let script = format!(
        "copy t from stdin;\n{}insert into t values (1000, 'one');\n\
         delete from t where a = 3;\n\
         update t set b = '0200 is another now and longer' where a = 200;\n\
         update t set b = 'one more' where a = 1000;\n",
        copy_data(0..ROWS)
    );
    let prepare = "create table t (a int, b text); create index on t (b);";
    let theirs = their_lines(&postgres, prepare, &script);
    // Before it looks for room elsewhere PostgreSQL locks the old row; we lock both pages instead. And
    // it prunes what it reads.
    let theirs: Vec<_> = theirs
        .into_iter()
        .filter(|line| !line.contains(" LOCK ") && !line.contains(" PRUNE_ON_ACCESS "))
        .collect();

    let mut logged = Logged::new(Disk::real(), 64);
    let start = logged.start;
    load(&mut logged, 0..ROWS, false);
    let last = logged.rig.blocks() - 1;
    let in_own_transaction = |logged: &mut Logged, work: Work<'_>| {
        let transaction = logged.rig.begin(1);
        let mut io = logged.rig.issuer();
        let writer = logged.rig.writer(&transaction);
        work(&writer, &mut io);
        commit(&transaction);
    };
    let mut place = ItemPointer::INVALID;
    let mut tuple = logged.rig.tuple(1000, "one");
    in_own_transaction(&mut logged, &mut |writer, io| {
        place = writer.insert(&mut tuple, io).unwrap();
    });
    assert_eq!(place.block, last);
    in_own_transaction(&mut logged, &mut |writer, io| {
        writer.delete(ItemPointer::new(0, 4), io).unwrap();
    });
    let mut tuple = logged.rig.tuple(200, "0200 is another now and longer");
    let on_first_page = logged.rig.tuples_per_page()[0];
    let old = ItemPointer::new(1, 200 - on_first_page + 1);
    in_own_transaction(&mut logged, &mut |writer, io| {
        writer.update(old, &mut tuple, io).unwrap();
    });
    let mut tuple = logged.rig.tuple(1000, "one more");
    in_own_transaction(&mut logged, &mut |writer, io| {
        writer.update(place, &mut tuple, io).unwrap();
    });
    assert_same_lines(&our_lines(&postgres, &mut logged, start), &theirs);

    // A frozen load: rows, and the bits of the visibility map.
    let script = format!(
        "begin; truncate t; copy t from stdin (freeze);\n{}commit;",
        copy_data(0..ROWS)
    );
    let theirs = their_lines(&postgres, "create table t (a int, b text);", &script);
    let mut logged = Logged::new(Disk::real(), 64);
    let start = logged.start;
    load(&mut logged, 0..ROWS, true);
    assert_same_lines(&our_lines(&postgres, &mut logged, start), &theirs);

    // The first row of a page.
    let script = "insert into t values (1, 'first');";
    let theirs = their_lines(&postgres, "create table t (a int, b text);", script);
    let mut logged = Logged::new(Disk::real(), 64);
    let start = logged.start;
    let mut tuple = logged.rig.tuple(1, "first");
    in_own_transaction(&mut logged, &mut |writer, io| {
        writer.insert(&mut tuple, io).unwrap();
    });
    assert_same_lines(&our_lines(&postgres, &mut logged, start), &theirs);

    // Rows one by one, over several pages.
    let script: String = (0..ROWS)
        .map(|row| format!("insert into t values ({row}, '{}');\n", text_of_row(row)))
        .collect();
    let theirs = their_lines(&postgres, "create table t (a int, b text);", &script);
    let mut logged = Logged::new(Disk::real(), 64);
    let start = logged.start;
    let targets = targets(&logged.rig, 2);
    for row in 0..ROWS {
        let mut tuple = logged.rig.tuple(row as i32, &text_of_row(row));
        in_own_transaction(&mut logged, &mut |writer, io| {
            writer.insert_shared(&targets, 1, &mut tuple, io).unwrap();
        });
    }
    assert!(logged.rig.blocks() > 3);
    assert_same_lines(&our_lines(&postgres, &mut logged, start), &theirs);

    // Pages that become all-visible.
    let prepare = format!(
        "create table t (a int, b text); copy t from stdin;\n{}",
        copy_data(0..ROWS)
    );
    let script = "select count(*) from t; vacuum t;";
    let theirs = their_lines(&postgres, &prepare, script);
    let mut logged = Logged::new(Disk::real(), 64);
    load(&mut logged, 0..ROWS, false);
    let start = logged.wal.insert_lsn();
    let now = logged.rig.snapshot();
    assert_eq!(logged.rig.count(&now), ROWS as u64);
    drop(now);
    let ours = our_lines(&postgres, &mut logged, start);
    // Whose snapshots are in the way are the loaders', who wrote before.
    let without_horizon = |lines: &[String]| -> Vec<String> {
        let horizon = |line: &String| {
            let (before, after) = line.split_once("snapshotConflictHorizon: ").unwrap();
            let (xid, after) = after.split_once(',').unwrap();
            assert!(xid.parse::<u32>().unwrap() >= 3, "{line}");
            format!("{before}{after}")
        };
        lines.iter().map(horizon).collect()
    };
    assert_same_lines(&without_horizon(&ours), &without_horizon(&theirs));
    postgres.stop("fast");
}

type Work<'w> = &'w mut dyn FnMut(&trunkline_heap::HeapWriter<'_>, &mut trunkline_aio::IoContext);

fn load(logged: &mut Logged, rows: std::ops::Range<usize>, frozen: bool) {
    let rig = &mut logged.rig;
    let transaction = rig.begin(1);
    let mut insert = rig.bulk_insert(&transaction, frozen, SparePages::default());
    let mut batch = trunkline_heap::TupleBatch::new();
    for row in rows {
        batch.push(&rig.tuple(row as i32, &text_of_row(row)));
    }
    insert.insert(&mut batch, &mut rig.io).unwrap();
    // What it added in vain is given back.
    if let Some(first) = insert.finish(&mut rig.io).unwrap() {
        insert.forget_from(first);
        rig.pool.drop_blocks_from(TABLE, ForkNumber::Main, first);
        let smgr = rig.pool.smgr();
        smgr.truncate(TABLE, ForkNumber::Main, first).unwrap();
    }
    commit(&transaction);
}

fn assert_same_lines(ours: &[String], theirs: &[String]) {
    assert!(!ours.is_empty());
    for (one, other) in ours.iter().zip(theirs) {
        assert_eq!(one, other, "ours and PostgreSQL's");
    }
    assert_eq!(ours.len(), theirs.len(), "{ours:#?} and {theirs:#?}");
}
