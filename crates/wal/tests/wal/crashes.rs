//! Power cuts on the simulated disk: what was acknowledged is there (W4, W7), and nothing of before a
//! crash follows what was written after it (W9).

use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{Aio, IoContext, Storage};
use trunkline_pgformat::Lsn;
use trunkline_sim::{DiskImage, NameOrder, SimConfig, SimDisk};
use trunkline_wal::{SyncMethod, Wal, WalConfig, WalError, WalPosition, invalidate_beyond};

use crate::support::{
    Choice, Cluster, aio_config, config, insert, length_to_unit_end, read_back, within_limit,
};

const DIRECTORY: &str = "/pg_wal";
/// A record's number has the run that wrote it above these bits.
const RUN_SHIFT: u32 = 32;

fn wal_config(wal_sync_method: SyncMethod) -> WalConfig {
    WalConfig {
        wal_sync_method,
        // Whole units go out while records come in, several at a time.
        io_wal_target_blocks: 1,
        ..config(Path::new(DIRECTORY))
    }
}

fn core(disk: &SimDisk) -> Arc<Aio> {
    Aio::start_with(aio_config(), Arc::new(disk.clone())).unwrap()
}

/// A log that ends shortly before the end of its first segment, so that the workload crosses it.
fn prepared(wal_sync_method: SyncMethod) -> (DiskImage, WalPosition) {
    let disk = SimDisk::new(SimConfig::new(7));
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    storage.create_dir(Path::new(DIRECTORY)).unwrap();
    storage.sync_dir(Path::new("/")).unwrap();
    let clock = Arc::new(disk.clone());
    let config = wal_config(wal_sync_method);
    let mut cluster = Cluster::create(&core(&disk), storage, clock, config);
    let prev = cluster.insert(1, 480_000);
    let last = cluster.insert(2, 480_000);
    assert!(last.start > prev.start);
    cluster.wal.flush(&mut cluster.io, last.end).unwrap();
    let position = WalPosition {
        insert_at: last.end,
        prev: last.start,
        redo: cluster.start,
    };
    (disk.image(), position)
}

/// How long record `number` is, in every run. Most end where a write unit does: then what an earlier
/// run left behind them is not overwritten with zeros.
fn length_of(wal: &Wal, number: u64) -> usize {
    match number % 6 {
        0 => 60,
        5 => 300,
        1 | 3 => length_to_unit_end(wal, 1),
        2 => length_to_unit_end(wal, 2),
        _ => length_to_unit_end(wal, 6),
    }
}

const RECORDS: u64 = 24;

/// Inserts records from `first` on, flushing now and then: how many are acknowledged. Before some, the
/// segment is ended.
fn workload(
    wal: &Wal,
    io: &mut IoContext,
    run: u64,
    first: u64,
    switches_before: &[u64],
) -> (u64, Option<WalError>) {
    let mut acknowledged = first;
    for number in first..RECORDS {
        if switches_before.contains(&number) {
            match wal.switch_segment(io) {
                Ok(_) => acknowledged = number,
                Err(error) => return (acknowledged, Some(error)),
            }
        }
        let id = (run << RUN_SHIFT) + number + 1;
        let flushed = insert(wal, io, id, length_of(wal, number)).and_then(|inserted| {
            if number % 5 == 4 || number + 1 == RECORDS {
                wal.flush(io, inserted.end)?;
                acknowledged = number + 1;
            } else if number % 2 == 0 {
                wal.start_flush(io, inserted.end)?;
            }
            Ok(())
        });
        if let Err(error) = flushed {
            return (acknowledged, Some(error));
        }
    }
    (acknowledged, None)
}

/// The log as it is found, checked: the runs' records follow each other without a gap, and none of an
/// older run comes behind one of a newer.
fn recover(disk: &SimDisk, config: &WalConfig, start: Lsn) -> (Vec<u64>, WalPosition) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let aio = core(disk);
    let mut io = aio.issuer(1).unwrap();
    let (found, position) = read_back(&mut io, &storage, config, start);
    let ids: Vec<u64> = found.into_iter().map(|(_, id)| id).collect();
    for (number, id) in (1..).zip(&ids) {
        assert_eq!(id & ((1 << RUN_SHIFT) - 1), number, "a gap: {ids:x?}");
    }
    assert!(
        ids.is_sorted_by_key(|id| id >> RUN_SHIFT),
        "records of an older run behind newer ones: {ids:x?}"
    );
    (ids, position.unwrap())
}

/// From crash to crash: one run after the other on what the one before left.
struct Story {
    config: WalConfig,
    disk: SimDisk,
    /// Where the workload's first record is.
    start: WalPosition,
    position: WalPosition,
    present: u64,
    acknowledged: u64,
    switches_before: &'static [u64],
}

impl Story {
    fn begin(
        image: &DiskImage,
        position: WalPosition,
        wal_sync_method: SyncMethod,
        seed: u64,
    ) -> Story {
        Story {
            switches_before: &[],
            config: wal_config(wal_sync_method),
            disk: SimDisk::from_image(SimConfig::new(seed), image),
            start: position,
            position,
            present: 0,
            acknowledged: 0,
        }
    }

    /// Recovery, and as much of the workload as there is power for; how many steps there were.
    fn run(&mut self, run: u64, cut_at: Option<u64>, invalidate: bool) -> u64 {
        if let Some(cut_at) = cut_at {
            self.disk.power_cut_at(cut_at);
        }
        let storage: Arc<dyn Storage> = Arc::new(self.disk.clone());
        let aio = core(&self.disk);
        let outcome = (|| {
            let mut io = aio.issuer(1).unwrap();
            if invalidate {
                let end = self.position.insert_at;
                invalidate_beyond(&mut io, &storage, &self.config, end)?;
            }
            let clock = Arc::new(self.disk.clone());
            let (config, position) = (self.config.clone(), self.position);
            let wal = Wal::start(&mut io, Arc::clone(&storage), clock, config, position)?;
            let (acknowledged, error) =
                workload(&wal, &mut io, run, self.present, self.switches_before);
            self.acknowledged = acknowledged;
            error.map_or(Ok(()), Err)
        })();
        let steps = self.disk.steps();
        assert_eq!(outcome.is_ok(), self.disk.is_powered(), "{outcome:?}");
        steps
    }

    /// What the next start finds.
    fn crash(&mut self) {
        self.disk = self.disk.restart();
        let at = self.start.insert_at;
        let (ids, position) = recover_or(&self.disk, &self.config, at, self.start);
        let found = ids.len() as u64;
        assert!(
            found >= self.acknowledged,
            "{found} records are left of {} that were acknowledged",
            self.acknowledged
        );
        self.present = found;
        self.acknowledged = found;
        self.position = position;
    }
}

/// [`recover`]; with no record at all the log ends where it began.
fn recover_or(
    disk: &SimDisk,
    config: &WalConfig,
    start: Lsn,
    none: WalPosition,
) -> (Vec<u64>, WalPosition) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let aio = core(disk);
    let mut io = aio.issuer(1).unwrap();
    match read_back(&mut io, &storage, config, start).1 {
        None => (Vec::new(), none),
        Some(_) => recover(disk, config, start),
    }
}

/// A power cut at every step of the workload, and another one in what follows it.
fn cut_at_every_step_twice(switches_before: &'static [u64]) {
    for method in [SyncMethod::OpenDatasync, SyncMethod::Fdatasync] {
        let (image, position) = prepared(method);
        let begin = |seed| Story {
            switches_before,
            ..Story::begin(&image, position, method, seed)
        };
        let mut whole = begin(0);
        let steps = whole.run(1, None, true);
        whole.crash();
        assert_eq!(whole.present, RECORDS);
        println!("{}: {steps} steps", method.name());
        for step in 0..steps {
            println!("power cut before step {step}, which is also the seed");
            let mut story = begin(step);
            story.run(1, Some(step), true);
            story.crash();
            // In the recovery from that, or in the same workload after it, or not at all.
            let second = Choice(step).below(steps);
            story.run(2, Some(second), true);
            story.crash();
            story.run(3, None, true);
            story.crash();
            assert_eq!(story.present, RECORDS);
        }
    }
}

#[test]
fn nothing_acknowledged_is_missing_after_a_power_cut_at_every_step_twice() {
    within_limit(|| cut_at_every_step_twice(&[]));
}

/// With a short rest, and with one of nearly a segment, right behind one another.
#[test]
fn nothing_acknowledged_is_missing_where_segments_are_ended_early() {
    within_limit(|| cut_at_every_step_twice(&[3, 4]));
}

#[test]
fn what_is_written_to_a_recycled_segment_is_found_under_its_new_name() {
    within_limit(|| {
        for seed in 0..16 {
            println!("seed {seed}");
            let disk = SimDisk::new(SimConfig {
                name_order: NameOrder::Unordered,
                ..SimConfig::new(seed)
            });
            let storage: Arc<dyn Storage> = Arc::new(disk.clone());
            storage.create_dir(Path::new(DIRECTORY)).unwrap();
            storage.sync_dir(Path::new("/")).unwrap();
            let config = wal_config(SyncMethod::OpenDatasync);
            let clock = Arc::new(disk.clone());
            let mut cluster = Cluster::create(&core(&disk), storage, clock, config.clone());
            let mut redo = cluster.start;
            for id in 0..9 {
                redo = cluster.insert(id, 480_000).end;
            }
            cluster.wal.flush(&mut cluster.io, redo).unwrap();
            cluster
                .wal
                .remove_old_segments(cluster.start, redo)
                .unwrap();
            let recycled = cluster.wal.stats().segments_recycled;
            assert!(recycled > 0);
            let mut expected = Vec::new();
            for number in 1..4 {
                let inserted = cluster.insert(number, 400_000);
                cluster.wal.flush(&mut cluster.io, inserted.end).unwrap();
                expected.push(number);
            }
            assert_eq!(cluster.wal.stats().segments_recycled, recycled);
            let disk = disk.restart();
            let (found, _) = recover(&disk, &config, redo);
            assert_eq!(found, expected);
        }
    });
}

/// That the test of every step can fail: without making stale records invalid, some seed shows them.
#[test]
fn without_invalidation_stale_records_would_follow_new_ones() {
    let stale = std::panic::catch_unwind(|| {
        let method = SyncMethod::OpenDatasync;
        let (image, position) = prepared(method);
        let mut whole = Story::begin(&image, position, method, 0);
        let steps = whole.run(1, None, false);
        for seed in 0..20 * steps {
            let mut story = Story::begin(&image, position, method, seed);
            story.run(1, Some(seed % steps), false);
            story.crash();
            story.run(2, Some(Choice(seed).below(steps)), false);
            story.crash();
        }
    });
    assert!(stale.is_err(), "no stale record was seen");
}
