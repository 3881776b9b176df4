use std::fs;
use std::path::Path;

use trunkline_aio::{AioConfig, MethodKind, OsStorage};

use super::*;

/// `pg_xact/0000` as PostgreSQL 18 left it at its stop with next id 817, and how each of the
/// transactions 753 to 812 had ended by its own account; the others had all committed.
const POSTGRES_PAGE: &[u8] = include_bytes!("../../tests/fixtures/pg_xact_0000");
const POSTGRES_ENDS: &str = include_str!("../../tests/fixtures/pg_xact_0000.xids");
const POSTGRES_NEXT: u32 = 817;

fn postgres_ends() -> impl Iterator<Item = (Xid, XactStatus)> {
    POSTGRES_ENDS.lines().map(|line| {
        let (xid, end) = line.split_once(' ').unwrap();
        let status = match end {
            "commit" => XactStatus::Committed,
            "rollback" => XactStatus::Aborted,
            other => panic!("{other}"),
        };
        (Xid(xid.parse().unwrap()), status)
    })
}

/// A commit log, and the core for who flushes it.
struct OpenLog {
    log: PgXact,
    aio: Arc<Aio>,
}

impl std::ops::Deref for OpenLog {
    type Target = PgXact;

    fn deref(&self) -> &PgXact {
        &self.log
    }
}

impl OpenLog {
    fn flush(&self) {
        let mut io = self.aio.issuer(1).unwrap();
        self.begin_flush().unwrap().run(&mut io).unwrap();
    }
}

fn open(directory: &Path, buffers: usize) -> OpenLog {
    open_with(MethodKind::Sync, directory, buffers)
}

fn open_with(method: MethodKind, directory: &Path, buffers: usize) -> OpenLog {
    let config = AioConfig {
        method: Some(method),
        ..AioConfig::default()
    };
    let aio = Aio::start(config).unwrap();
    let config = SlruConfig {
        directory: directory.to_owned(),
        buffers,
        direct: true,
    };
    let log = PgXact::open(config, &aio, Arc::new(OsStorage::new()), None).unwrap();
    OpenLog { log, aio }
}

fn pg_xact_dir() -> (tempfile::TempDir, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("pg_xact");
    fs::create_dir(&directory).unwrap();
    (root, directory)
}

#[test]
fn reads_what_postgresql_recorded() {
    let (_root, directory) = pg_xact_dir();
    fs::write(directory.join("0000"), POSTGRES_PAGE).unwrap();
    let log = open(&directory, 4);
    let mut ends = 0;
    for (xid, status) in postgres_ends() {
        assert_eq!(log.status(xid).unwrap(), status, "{xid}");
        ends += 1;
    }
    assert_eq!(ends, 60);
    assert_eq!(
        log.status(Xid(POSTGRES_NEXT)).unwrap(),
        XactStatus::InProgress
    );
}

#[test]
fn records_what_postgresql_would() {
    let (_root, directory) = pg_xact_dir();
    let log = open(&directory, 4);
    for xid in (3..POSTGRES_NEXT).map(Xid) {
        log.extend(xid).unwrap();
        let end = postgres_ends().find(|(other, _)| *other == xid);
        let status = end.map_or(XactStatus::Committed, |(_, status)| status);
        log.set_status(xid, status).unwrap();
    }
    log.flush();
    assert!(fs::read(directory.join("0000")).unwrap() == POSTGRES_PAGE);
}

/// More pages than buffers, over two segments, written by eviction and flush, read by another.
#[test]
fn pages_outlive_their_buffers_and_the_process() {
    MethodKind::ALL.into_iter().for_each(write_and_read_back);
}

fn write_and_read_back(method: MethodKind) {
    let (_root, directory) = pg_xact_dir();
    let first = XACTS_PER_PAGE * 30;
    let status_of = |page: u32, n: u32| match (page + n) % 3 {
        0 => XactStatus::Committed,
        1 => XactStatus::Aborted,
        _ => XactStatus::InProgress,
    };
    let entries: Vec<(Xid, XactStatus)> = (0..6)
        .flat_map(|page| {
            (0..40).map(move |n| {
                (
                    Xid(first + page * XACTS_PER_PAGE + n * 811),
                    status_of(page, n),
                )
            })
        })
        .collect();
    let log = open_with(method, &directory, 2);
    for page in 0..6 {
        log.extend(Xid(first + page * XACTS_PER_PAGE)).unwrap();
    }
    // By entry within the page first, so that every step is on another page.
    let mut shuffled = entries.clone();
    shuffled.sort_by_key(|(xid, _)| xid.0 % XACTS_PER_PAGE);
    for (xid, status) in &shuffled {
        log.set_status(*xid, *status).unwrap();
    }
    for (xid, status) in &shuffled {
        assert_eq!(log.status(*xid).unwrap(), *status);
    }
    log.flush();
    drop(log);
    let lens = ["0000", "0001"].map(|name| fs::metadata(directory.join(name)).unwrap().len());
    assert_eq!(lens, [32 * 8192, 4 * 8192]);
    let log = open_with(method, &directory, 3);
    for (xid, status) in entries {
        assert_eq!(log.status(xid).unwrap(), status);
    }
}

/// Each change must reach the file although its page may be on its way out of the cache.
#[test]
fn no_change_is_lost_to_an_eviction() {
    const PAGES: u32 = 5;
    let (_root, directory) = pg_xact_dir();
    fs::write(directory.join("0000"), [0; PAGES as usize * BLCKSZ]).unwrap();
    let log = &open(&directory, 2);
    let xids = |thread: u32| {
        (0..400).map(move |n| Xid(n % PAGES * XACTS_PER_PAGE + 4 + n / PAGES * 4 + thread))
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for xid in xids(thread) {
                    log.set_status(xid, XactStatus::Committed).unwrap();
                }
            });
        }
    });
    for xid in (0..4).flat_map(xids) {
        assert_eq!(log.status(xid).unwrap(), XactStatus::Committed, "{xid}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_the_file() {
    let (_root, directory) = pg_xact_dir();
    fs::write(directory.join("0000"), [0; BLCKSZ]).unwrap();
    let log = open(&directory, 4);
    let missing = log.status(Xid(XACTS_PER_PAGE * 32 + 7)).unwrap_err();
    assert_eq!(missing.sqlstate(), "58P01");
    assert_eq!(
        missing.to_string(),
        "could not access status of transaction 1048583"
    );
    assert_eq!(
        missing.detail().unwrap(),
        "Could not open file \"pg_xact/0001\": No such file or directory."
    );
    let short = log.status(Xid(XACTS_PER_PAGE)).unwrap_err();
    assert_eq!(
        short.detail().unwrap(),
        "Could not read from file \"pg_xact/0000\" at offset 8192: read too few bytes."
    );
    assert!(!directory.join("0001").exists(), "a look-up makes no file");
}

#[test]
fn trim_clears_what_stands_after_the_next_id() {
    let (_root, directory) = pg_xact_dir();
    fs::write(directory.join("0000"), [0x55; BLCKSZ]).unwrap();
    let log = open(&directory, 4);
    log.trim(Xid(1001)).unwrap();
    assert_eq!(log.status(Xid(1000)).unwrap(), XactStatus::Committed);
    for xid in [1001, 1002, 1004, XACTS_PER_PAGE - 1] {
        assert_eq!(
            log.status(Xid(xid)).unwrap(),
            XactStatus::InProgress,
            "{xid}"
        );
    }
}
