//! The storage manager through its public API, on the operating system's files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use trunkline_aio::{
    Aio, AioConfig, Completions, Executor, InFlight, IoRequest, IoResult, IoReturn, Method,
    MethodKind, Op, OsStorage, RequestBatch, SystemCalls, TargetId,
};
use trunkline_pgformat::{BLCKSZ, ForkNumber, Oid, RELSEG_SIZE, RelFileLocator};
use trunkline_smgr::{Smgr, SmgrConfig, segment_remaining};

fn rel(rel_number: u32) -> RelFileLocator {
    RelFileLocator {
        spc_oid: Oid(1663),
        db_oid: Oid(5),
        rel_number,
    }
}

const MAIN: ForkNumber = ForkNumber::Main;

struct Rig {
    dir: tempfile::TempDir,
    aio: Arc<Aio>,
    smgr: Arc<Smgr>,
}

impl Rig {
    fn new() -> Rig {
        let config = AioConfig {
            method: Some(MethodKind::Worker),
            ..AioConfig::default()
        };
        Rig::over(Aio::start(config).unwrap(), SmgrConfig::default())
    }

    fn over(aio: Arc<Aio>, config: SmgrConfig) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("base/5")).unwrap();
        let smgr = Smgr::new(
            Arc::new(OsStorage::new()),
            &aio,
            dir.path().to_owned(),
            config,
        );
        Rig { dir, aio, smgr }
    }

    /// Another manager of the same files, that remembers nothing.
    fn afresh(&self) -> Arc<Smgr> {
        let dir = self.dir.path().to_owned();
        Smgr::new(
            Arc::new(OsStorage::new()),
            &self.aio,
            dir,
            SmgrConfig::default(),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("base/5").join(name)
    }

    fn blocks_of(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).unwrap().len() / BLCKSZ as u64
    }
}

#[test]
fn forks_are_created_once_and_removed_whole() {
    let rig = Rig::new();
    rig.smgr.create(rel(1), MAIN, false).unwrap();
    rig.smgr.create(rel(1), ForkNumber::Vm, false).unwrap();
    rig.smgr.create(rel(1), MAIN, true).unwrap();
    let error = rig.afresh().create(rel(1), MAIN, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not create file \"base/5/1\": File exists"
    );
    assert_eq!(error.sqlstate(), "58P02");
    assert!(rig.smgr.exists(rel(1), ForkNumber::Vm).unwrap());
    assert!(!rig.smgr.exists(rel(1), ForkNumber::Fsm).unwrap());
    assert_eq!(rig.smgr.nblocks(rel(1), MAIN).unwrap(), 0);
    let error = rig.smgr.nblocks(rel(2), MAIN).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not open file \"base/5/2\": No such file or directory"
    );

    rig.smgr.unlink(rel(1)).unwrap();
    assert_eq!(
        fs::read_dir(rig.dir.path().join("base/5")).unwrap().count(),
        0
    );
    assert!(!rig.smgr.exists(rel(1), MAIN).unwrap());
    assert_eq!(rig.smgr.open_files(), 0);
    rig.smgr.unlink(rel(1)).unwrap();
}

#[test]
fn forks_cross_segments_of_one_gibibyte() {
    let rig = Rig::new();
    assert_eq!(segment_remaining(RELSEG_SIZE - 1), 1);
    rig.smgr.create(rel(1), MAIN, false).unwrap();
    rig.smgr
        .extend(rel(1), MAIN, 0, RELSEG_SIZE - 2, 0)
        .unwrap();
    rig.smgr
        .extend(rel(1), MAIN, RELSEG_SIZE - 2, 5, 0)
        .unwrap();
    assert_eq!(rig.blocks_of("1"), u64::from(RELSEG_SIZE));
    assert_eq!(rig.blocks_of("1.1"), 3);
    for smgr in [&rig.smgr, &rig.afresh()] {
        assert_eq!(smgr.nblocks(rel(1), MAIN).unwrap(), RELSEG_SIZE + 3);
    }
    // Exactly a segment: there is none after it, or an empty one.
    rig.smgr.truncate(rel(1), MAIN, RELSEG_SIZE).unwrap();
    assert!(!rig.path("1.1").exists());
    assert_eq!(rig.afresh().nblocks(rel(1), MAIN).unwrap(), RELSEG_SIZE);
    fs::write(rig.path("1.1"), []).unwrap();
    assert_eq!(rig.afresh().nblocks(rel(1), MAIN).unwrap(), RELSEG_SIZE);

    let error = rig
        .smgr
        .truncate(rel(1), MAIN, RELSEG_SIZE + 1)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not truncate file \"base/5/1\" to 131073 blocks: it's only 131072 blocks now"
    );
    rig.smgr.truncate(rel(1), MAIN, 5).unwrap();
    assert_eq!(rig.blocks_of("1"), 5);
    assert_eq!(rig.smgr.nblocks(rel(1), MAIN).unwrap(), 5);
    let error = rig
        .smgr
        .extend(rel(1), MAIN, 5, u32::MAX - 5, 0)
        .unwrap_err();
    assert_eq!(error.sqlstate(), "54000");
    rig.smgr.unlink(rel(1)).unwrap();
    assert!(!rig.path("1").exists() && !rig.path("1.1").exists());
}

#[test]
fn space_ahead_stays_within_a_segment_and_goes_with_a_cut() {
    let rig = Rig::new();
    rig.smgr.create(rel(1), MAIN, false).unwrap();
    rig.smgr.extend(rel(1), MAIN, 0, 10, 6).unwrap();
    assert_eq!(rig.smgr.nblocks(rel(1), MAIN).unwrap(), 10);
    assert_eq!(rig.blocks_of("1"), 16);
    // Whoever asks the files counts the zeros, as after a crash.
    assert_eq!(rig.afresh().nblocks(rel(1), MAIN).unwrap(), 16);
    rig.smgr.extend(rel(1), MAIN, 10, 6, 100).unwrap();
    assert_eq!(rig.blocks_of("1"), 16);
    rig.smgr.extend(rel(1), MAIN, 16, 2, 100).unwrap();
    assert_eq!(rig.blocks_of("1"), 118);
    rig.smgr.truncate(rel(1), MAIN, 12).unwrap();
    assert_eq!(rig.blocks_of("1"), 12);
    rig.smgr.extend(rel(1), MAIN, 12, 1, 0).unwrap();
    assert_eq!(rig.blocks_of("1"), 13);

    rig.smgr
        .extend(rel(1), MAIN, 13, RELSEG_SIZE - 15, 7)
        .unwrap();
    assert_eq!(rig.blocks_of("1"), u64::from(RELSEG_SIZE));
    assert!(!rig.path("1.1").exists());
    rig.smgr
        .extend(rel(1), MAIN, RELSEG_SIZE - 2, 3, 7)
        .unwrap();
    assert_eq!(rig.blocks_of("1.1"), 8);
    rig.smgr.release_space_ahead(rel(1), MAIN).unwrap();
    assert_eq!(rig.blocks_of("1.1"), 1);
    assert_eq!(rig.afresh().nblocks(rel(1), MAIN).unwrap(), RELSEG_SIZE + 1);
    rig.smgr
        .extend(rel(1), MAIN, RELSEG_SIZE + 1, 1, 9)
        .unwrap();
    rig.smgr.unlink(rel(1)).unwrap();
    assert!(!rig.path("1").exists() && !rig.path("1.1").exists());
}

#[test]
fn open_files_are_limited_and_a_partial_block_does_not_count() {
    let aio = Aio::start(AioConfig::default()).unwrap();
    let rig = Rig::over(
        aio,
        SmgrConfig {
            max_open_files: 4,
            ..SmgrConfig::default()
        },
    );
    for number in 1..=20 {
        rig.smgr.create(rel(number), MAIN, false).unwrap();
        rig.smgr.extend(rel(number), MAIN, 0, number, 0).unwrap();
        assert!(rig.smgr.open_files() <= 4);
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .open(rig.path("7"))
        .unwrap();
    file.set_len(7 * BLCKSZ as u64 + 100).unwrap();
    let afresh = rig.afresh();
    for number in 1..=20 {
        assert_eq!(rig.smgr.nblocks(rel(number), MAIN).unwrap(), number);
        assert_eq!(afresh.nblocks(rel(number), MAIN).unwrap(), number);
    }
}

#[test]
fn direct_io_can_be_turned_off() {
    let aio = Aio::start(AioConfig::default()).unwrap();
    let rig = Rig::over(
        aio,
        SmgrConfig {
            direct: false,
            ..SmgrConfig::default()
        },
    );
    rig.smgr.create(rel(1), MAIN, false).unwrap();
    assert!(!rig.smgr.is_direct());
    assert_eq!(rig.smgr.alignment(rel(1), MAIN).unwrap(), None);
    let direct = rig.afresh();
    // Either the file system offers it, or the manager knows that it does not.
    let alignment = direct.alignment(rel(1), MAIN).unwrap();
    assert_eq!(direct.is_direct(), alignment.is_some());
}

/// Executes at once, notes syncs, and fails them with an errno of choice.
#[derive(Default)]
struct Syncs {
    errno: AtomicI32,
    paths: Mutex<Vec<String>>,
}

impl Method for Syncs {
    fn name(&self) -> &'static str {
        "syncs"
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            let mut outcome = SystemCalls.execute(&request);
            if request.op() == Op::Fsync {
                let path = request.file().unwrap().path();
                self.paths
                    .lock()
                    .unwrap()
                    .push(path.file_name().unwrap().to_string_lossy().into());
                outcome = -self.errno.load(Ordering::SeqCst);
            }
            let rest: Option<IoRequest> = completions.complete(request, outcome);
            assert!(rest.is_none());
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }
}

#[test]
fn every_segment_written_is_synced_once_and_failures_are_told() {
    let method = Arc::new(Syncs::default());
    let aio = Aio::start_with(AioConfig::default(), Arc::clone(&method) as _).unwrap();
    let rig = Rig::over(Arc::clone(&aio), SmgrConfig::default());
    let mut ctx = aio.issuer(1).unwrap();
    let taken = || std::mem::take(&mut *method.paths.lock().unwrap());
    for number in 1..=3 {
        rig.smgr.create(rel(number), MAIN, false).unwrap();
    }
    rig.smgr.sync_all(&mut ctx).unwrap();
    assert_eq!(taken(), ["1", "2", "3"]);
    rig.smgr.sync_all(&mut ctx).unwrap();
    assert!(taken().is_empty());

    rig.smgr
        .extend(rel(3), MAIN, 0, RELSEG_SIZE + 1, 0)
        .unwrap();
    rig.smgr.register_sync(rel(2), MAIN, 0);
    rig.smgr.register_sync(rel(1), MAIN, 0);
    // A file that is gone has nothing to sync.
    rig.smgr.unlink(rel(1)).unwrap();
    rig.smgr.sync_all(&mut ctx).unwrap();
    assert_eq!(taken(), ["2", "3", "3.1"]);
    assert_eq!(rig.smgr.syncs(), 6);
    rig.smgr.unlink(rel(3)).unwrap();

    rig.smgr.register_sync(rel(2), MAIN, 0);
    method.errno.store(5, Ordering::SeqCst);
    let error = rig.smgr.sync_all(&mut ctx).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not fsync file \"base/5/2\": Input/output error"
    );
    assert_eq!(error.sqlstate(), "58030");
}

/// Holds syncs back until somebody waits for one.
#[derive(Default)]
struct HeldSyncs {
    held: Mutex<Vec<IoRequest>>,
    most: AtomicI32,
    /// Syncs of files with these names fail with EIO.
    broken: Vec<&'static str>,
    ended: Mutex<Vec<String>>,
}

impl Method for HeldSyncs {
    fn name(&self) -> &'static str {
        "held_syncs"
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            if request.op() == Op::Fsync {
                let mut held = self.held.lock().unwrap();
                held.push(request);
                self.most.fetch_max(held.len() as i32, Ordering::SeqCst);
            } else {
                let outcome = SystemCalls.execute(&request);
                assert!(completions.complete(request, outcome).is_none());
            }
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        let mut held = self.held.lock().unwrap();
        let at = held
            .iter()
            .position(|request| request.wait_ref() == io.carrier());
        let request = held.remove(at.unwrap());
        drop(held);
        let mut outcome = SystemCalls.execute(&request);
        let path = request.file().unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if self.broken.contains(&name.as_str()) {
            outcome = -5;
        }
        self.ended.lock().unwrap().push(name);
        assert!(io.completions().complete(request, outcome).is_none());
    }
}

#[test]
fn b7_several_syncs_are_in_flight_and_a_request_during_them_is_for_the_next_cycle() {
    let method = Arc::new(HeldSyncs::default());
    let aio = Aio::start_with(AioConfig::default(), Arc::clone(&method) as _).unwrap();
    let rig = Rig::over(aio, SmgrConfig::default());
    let mut io = rig.aio.issuer(1).unwrap();
    for number in 0..50 {
        rig.smgr.create(rel(number), MAIN, false).unwrap();
    }
    let clock = trunkline_aio::SystemClock::new();
    let mut cycle = rig.smgr.begin_sync();
    assert!(cycle.step(&rig.smgr, &mut io, &clock).unwrap());
    // One of them, again, while the first request of its kind is in flight; and one that waits yet.
    rig.smgr.register_sync(rel(1), MAIN, 0);
    rig.smgr.register_sync(rel(49), MAIN, 0);
    while cycle.step(&rig.smgr, &mut io, &clock).unwrap() {}
    let times = cycle.times();
    assert_eq!((times.files, rig.smgr.syncs()), (50, 50));
    assert!(times.longest >= times.average() && times.sum >= times.longest);
    let most = method.most.load(Ordering::SeqCst);
    assert!((8..=32).contains(&most), "{most} in flight");

    assert!(!rig.smgr.is_synced());
    let mut next = rig.smgr.begin_sync();
    while next.step(&rig.smgr, &mut io, &clock).unwrap() {}
    assert_eq!(next.times().files, 2, "kept for the next cycle");
    assert!(rig.smgr.is_synced());
}

/// What goes past shared buffers is the storage manager's own to name, for the views.
#[test]
fn reads_past_the_pool_and_syncs_say_what_they_are_on() {
    let method = Arc::new(HeldSyncs::default());
    let aio = Aio::start_with(AioConfig::default(), Arc::clone(&method) as _).unwrap();
    let rig = Rig::over(aio, SmgrConfig::default());
    let mut io = rig.aio.issuer(1).unwrap();
    rig.smgr.create(rel(1), MAIN, false).unwrap();
    rig.smgr
        .extend(rel(1), MAIN, 0, RELSEG_SIZE + 8, 0)
        .unwrap();
    let rows = || {
        let rows = rig.aio.in_flight().into_iter();
        let row = rows.map(|row| (row.op, row.target.kind, row.desc));
        row.collect::<Vec<_>>()
    };
    let row = |op, desc: &str| (op, TargetId::Smgr, desc.to_owned());

    let outcome = IoReturn::new();
    let buffer = io.bounce_buffer(3 * BLCKSZ).unwrap();
    let mut handle = io.acquire().unwrap();
    handle.report_to(&outcome);
    let read = rig
        .smgr
        .start_read_discarding(handle, rel(1), MAIN, RELSEG_SIZE + 2, buffer)
        .unwrap();
    let blocks = format!(
        "blocks {}..{} in file \"base/5/1\"",
        RELSEG_SIZE + 2,
        RELSEG_SIZE + 4
    );
    assert_eq!(rows(), [row(Op::Readv, &blocks)]);
    io.wait(read);
    let bytes = 3 * BLCKSZ as u32;
    assert_eq!(outcome.get(), Some(IoResult::Ok { bytes }));
    // Not there: the handle is given back.
    let buffer = io.bounce_buffer(BLCKSZ).unwrap();
    let handle = io.acquire().unwrap();
    rig.smgr
        .start_read_discarding(handle, rel(2), MAIN, 0, buffer)
        .unwrap_err();
    assert!(rows().is_empty());

    let clock = trunkline_aio::SystemClock::new();
    let mut cycle = rig.smgr.begin_sync();
    assert!(cycle.step(&rig.smgr, &mut io, &clock).unwrap());
    // The first one has ended.
    assert_eq!(rows(), [row(Op::Fsync, "file \"base/5/1.1\"")]);
    while cycle.step(&rig.smgr, &mut io, &clock).unwrap() {}
}

/// What was started ends before the first error is told, nothing more is started, and nothing is synced
/// a second time.
#[test]
fn b7_after_a_failed_sync_those_in_flight_end_and_no_other_starts() {
    let method = Arc::new(HeldSyncs {
        broken: vec!["3", "5"],
        ..HeldSyncs::default()
    });
    let aio = Aio::start_with(AioConfig::default(), Arc::clone(&method) as _).unwrap();
    let rig = Rig::over(aio, SmgrConfig::default());
    let mut io = rig.aio.issuer(1).unwrap();
    for number in 0..100 {
        rig.smgr.create(rel(number), MAIN, false).unwrap();
    }
    let error = rig.smgr.sync_all(&mut io).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not fsync file \"base/5/3\": Input/output error"
    );
    assert!(method.held.lock().unwrap().is_empty());
    let mut ended = method.ended.lock().unwrap().clone();
    let count = ended.len();
    assert!((6..100).contains(&count), "{ended:?}");
    assert_eq!(rig.smgr.syncs(), count as u64);
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended.len(), count);
}

#[test]
fn a_dropped_relations_number_is_taken_until_a_checkpoint_has_passed() {
    let rig = Rig::new();
    let mut io = rig.aio.issuer(1).unwrap();
    let path = rig.dir.path().join(rel(7).path(MAIN));
    let map = rig.dir.path().join(rel(7).path(ForkNumber::Vm));
    rig.smgr.create(rel(7), MAIN, false).unwrap();
    rig.smgr.create(rel(7), ForkNumber::Vm, false).unwrap();
    rig.smgr.extend(rel(7), MAIN, 0, 4, 0).unwrap();

    // Asked for during a checkpoint: the next one's.
    rig.smgr.begin_checkpoint();
    rig.smgr.unlink_after_checkpoint(rel(7)).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        0,
        "its space is given back at once"
    );
    assert!(!map.exists());
    assert!(rig.smgr.exists(rel(7), MAIN).unwrap());
    rig.smgr.sync_all(&mut io).unwrap();
    rig.smgr.end_checkpoint();
    assert!(path.exists());
    assert_eq!(rig.smgr.pending_unlinks(), 1);

    rig.smgr.begin_checkpoint();
    assert!(path.exists());
    rig.smgr.end_checkpoint();
    assert!(!path.exists());
    assert_eq!(rig.smgr.pending_unlinks(), 0);
    assert!(!rig.smgr.exists(rel(7), MAIN).unwrap());
    rig.smgr.create(rel(7), MAIN, false).unwrap();
    assert_eq!(rig.smgr.nblocks(rel(7), MAIN).unwrap(), 0);
    // One that was never made, or is gone, is none to remove.
    rig.smgr.unlink_after_checkpoint(rel(8)).unwrap();
    assert_eq!(rig.smgr.pending_unlinks(), 0);
}
