//! Everything at once: a load is there as a whole or not at all, whoever drops, truncates, fails,
//! reads and checkpoints beside it, and no file is left behind.

use std::collections::BTreeSet;

use trunkline_engine::{EngineError, Session};

use crate::random::{Random, seed};
use crate::rig::{Rig, count, create, drop_table, file, load, truncate};

const TABLES: [&str; 3] = ["a", "b", "c"];
const THREADS: u64 = 6;
const STEPS: u32 = 40;
/// Rows of each load.
const ROWS: i32 = 700;

#[test]
fn loads_are_whole_whatever_happens_beside_them() {
    let seed = seed();
    for method in ["sync", "worker", "io_uring", "posix_aio"] {
        let mut rig = Rig::over(method);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let rig = &rig;
                scope.spawn(move || work(rig, Random::new(seed, thread)));
            }
        });
        let counts = counts(&rig);
        assert!(rig.database().locks().snapshot().is_empty());
        rig.restart_over(method);
        assert_eq!(self::counts(&rig), counts, "{method}");
        let mut session = rig.session();
        let mut files = BTreeSet::new();
        for (table, rows) in TABLES.into_iter().zip(&counts) {
            if rows.is_some() {
                let file = file(&mut session, table);
                files.insert(file.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
        let left: BTreeSet<String> = rig
            .files()
            .into_iter()
            .filter(|name| !name.ends_with("_vm"))
            .collect();
        assert_eq!(left, files, "{method}");
    }
}

fn counts(rig: &Rig) -> Vec<Option<u64>> {
    let mut session = rig.session();
    TABLES
        .map(|table| whole_count(&mut session, table).ok())
        .to_vec()
}

fn whole_count(session: &mut Session, table: &str) -> Result<u64, EngineError> {
    let rows = count(session, table)?;
    assert!(
        rows.is_multiple_of(ROWS as u64),
        "{rows} rows: half of a load"
    );
    Ok(rows)
}

fn work(rig: &Rig, mut random: Random) {
    let mut session = rig.session();
    for _ in 0..STEPS {
        let in_block = random.below(3) == 0;
        if in_block {
            session.begin_block().unwrap();
        }
        for _ in 0..if in_block { 1 + random.below(3) } else { 1 } {
            if let Err(error) = step(rig, &mut session, &mut random) {
                // Not there, there already, deadlock, and the load that fails on purpose.
                let expected = ["42P01", "42P07", "40P01", "54000"];
                assert!(expected.contains(&error.sqlstate()), "{error}");
                break;
            }
        }
        if !in_block {
            continue;
        }
        match random.below(4) {
            0 => drop(session.rollback_block()),
            1 => session = rig.session(),
            _ => drop(session.commit_block().unwrap()),
        }
    }
}

fn step(rig: &Rig, session: &mut Session, random: &mut Random) -> Result<(), EngineError> {
    let table = TABLES[random.below(3) as usize];
    match random.below(20) {
        0..3 => create(session, table),
        3 => drop_table(session, table),
        4 => truncate(session, table),
        5..11 => load(session, table, ROWS, false).map(drop),
        11..14 => load(session, table, ROWS * 3, true).map(drop),
        14..19 => whole_count(session, table).map(drop),
        _ => rig.database().checkpoint(&mut session.issuer()?),
    }
}
