//! Checkpoints: asked for, timed, at a stop; spread over time or not (B7). One thread takes all steps,
//! and time is what the test says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trunkline_aio::{Alarm, AlarmAction, Alarms, Clock, IoContext};
use trunkline_buffer::IoAccount;
use trunkline_engine::{
    Background, CheckpointerStep, Database, Foundation, InitOptions, Session, initialise_with,
};
use trunkline_harness::logged;
use trunkline_pgformat::wal::segment::SegmentSize;

use crate::rig::{Faults, Rig, count, create, drop_table, faulty, load, options, switch};

const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct ManualClock {
    now_ms: AtomicU64,
    /// Never sounded: no test lets a statement's timeout pass.
    alarms: Alarms,
}

impl ManualClock {
    fn advance(&self, by: Duration) {
        self.now_ms
            .fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
    fn since_epoch(&self) -> Duration {
        Duration::from_secs(1_800_000_000) + self.monotonic()
    }
    fn park_until(&self, _: Duration) {
        unreachable!("one thread does everything, and waits for nobody");
    }
    fn alarm(&self, at: Duration, action: AlarmAction) -> std::io::Result<Alarm> {
        Ok(self.alarms.set(at, action))
    }
}

struct Driven {
    rig: Rig,
    clock: Arc<ManualClock>,
    io: IoContext,
}

impl Driven {
    fn new(faults: &Arc<Faults>) -> Driven {
        let clock = Arc::new(ManualClock::default());
        let foundation = Foundation {
            clock: Arc::clone(&clock) as _,
            background: Background::Driven,
            ..faulty(faults)
        };
        let settings = [
            ("checkpoint_timeout", "1min"),
            ("checkpoint_completion_target", "0.5"),
            // One write a step: what is written is to be seen block by block.
            ("io_combine_limit", "1"),
        ];
        let rig = Rig::on_with(foundation, &settings);
        let io = rig.database().aio().issuer(0).unwrap();
        let driven = Driven { rig, clock, io };
        assert_eq!(
            driven.database().checkpointer_stats(),
            trunkline_engine::CheckpointerStats::default()
        );
        driven
    }

    fn database(&self) -> &Arc<Database> {
        self.rig.database()
    }

    fn step(&mut self) -> CheckpointerStep {
        let database = Arc::clone(self.rig.database());
        database.step_checkpointer(&mut self.io)
    }

    /// Steps until one says to pause.
    fn run(&mut self) -> Duration {
        loop {
            if let CheckpointerStep::Pause(pause) = self.step() {
                return pause;
            }
        }
    }

    fn written(&self) -> u64 {
        self.database()
            .pool()
            .stats_of(IoAccount::Checkpointer)
            .written_blocks
    }

    /// A table of which many pages are dirty.
    fn dirty(&mut self, session: &mut Session, name: &str) {
        create(session, name).unwrap();
        load(session, name, 30_000, false).unwrap();
        // Hints.
        count(session, name).unwrap();
    }
}

fn reopened(path: &Path) -> Arc<Database> {
    Database::open(path, &options("sync")).unwrap()
}

#[test]
fn b7_a_timed_checkpoint_is_spread_over_its_part_of_the_time() {
    let mut driven = Driven::new(&Arc::default());
    let mut session = driven.rig.session();
    assert_eq!(driven.run(), TIMEOUT);
    driven.dirty(&mut session, "t");
    driven.clock.advance(TIMEOUT - Duration::from_secs(1));
    assert_eq!(driven.run(), Duration::from_secs(1), "not due yet");
    assert_eq!(driven.written(), 0);

    driven.clock.advance(Duration::from_secs(1));
    let mut by_second = vec![0];
    let pause = Duration::from_millis(100);
    while driven.run() == pause {
        assert_eq!(
            driven.database().aio().in_flight().len(),
            0,
            "in flight over a pause"
        );
        driven.clock.advance(pause);
        by_second.push(driven.written());
        assert!(by_second.len() < 1000, "it never ends");
    }
    let stats = driven.database().checkpointer_stats();
    assert_eq!(
        (stats.num_timed, stats.num_requested, stats.num_done),
        (1, 0, 1)
    );
    let all = driven.written();
    assert!(all > 50, "{all}");
    assert_eq!(stats.buffers_written, all);
    // Half of it in half of the time, which is half of the timeout.
    let took = by_second.len() as f64 / 10.0;
    assert!((29.0..31.0).contains(&took), "{took} s");
    let half = by_second[by_second.len() / 2] as f64 / all as f64;
    assert!((0.45..0.55).contains(&half), "{half}");
    assert!((29..31).contains(&stats.write_time.as_secs()));

    // Nothing has happened since: the next one has nothing to say.
    driven.clock.advance(TIMEOUT);
    driven.run();
    let stats = driven.database().checkpointer_stats();
    assert_eq!((stats.num_timed, stats.num_done), (2, 1));
    // But CHECKPOINT is never skipped.
    let database = Arc::clone(driven.database());
    database.checkpoint(&mut driven.io).unwrap();
    let stats = driven.database().checkpointer_stats();
    assert_eq!((stats.num_requested, stats.num_done), (1, 2));
}

#[test]
fn b7_a_request_makes_the_running_checkpoint_hurry_and_waits_for_one_of_its_own() {
    let mut driven = Driven::new(&Arc::default());
    let mut session = driven.rig.session();
    driven.dirty(&mut session, "t");
    driven.clock.advance(TIMEOUT);
    driven.run();
    assert!(driven.written() < 5, "the timed one has only begun");
    // Changed since it began.
    driven.dirty(&mut session, "u");
    let database = Arc::clone(driven.database());
    database.checkpoint(&mut driven.io).unwrap();
    let stats = database.checkpointer_stats();
    assert_eq!(
        (stats.num_timed, stats.num_requested, stats.num_done),
        (1, 1, 2)
    );
    assert_eq!(stats.write_time, Duration::ZERO, "no time was needed");
    let mut dirty = trunkline_buffer::CheckpointWrites::begin(database.pool(), 1);
    assert!(
        !dirty.step(&mut driven.io, 1) && dirty.total() == 0,
        "something is dirty"
    );
}

#[test]
fn what_is_logged_while_a_checkpoint_runs_is_for_the_next_one() {
    let mut driven = Driven::new(&Arc::default());
    let mut session = driven.rig.session();
    driven.dirty(&mut session, "t");
    driven.clock.advance(TIMEOUT);
    driven.run();
    driven.dirty(&mut session, "u");
    driven.clock.advance(TIMEOUT / 2);
    driven.run();
    assert_eq!(driven.database().checkpointer_stats().num_done, 1);
    for num_done in [2, 2] {
        driven.clock.advance(TIMEOUT);
        driven.run();
        driven.clock.advance(TIMEOUT / 2);
        driven.run();
        let done = driven.database().checkpointer_stats().num_done;
        assert_eq!(done, num_done);
    }
}

#[test]
fn a_stop_ends_the_running_checkpoint_and_adds_its_own() {
    let mut driven = Driven::new(&Arc::default());
    let mut session = driven.rig.session();
    driven.dirty(&mut session, "t");
    drop(session);
    driven.clock.advance(TIMEOUT);
    driven.run();
    let Driven { rig, io, .. } = driven;
    drop(io);
    rig.database().stop().unwrap();
    let stats = rig.database().checkpointer_stats();
    assert_eq!(
        (stats.num_timed, stats.num_requested, stats.num_done),
        (1, 0, 2)
    );
    let path = rig.path.clone();
    let _kept = rig.close();
    let database = reopened(&path);
    let mut session = database.session("postgres", &[]).unwrap();
    assert_eq!(count(&mut session, "t").unwrap(), 30_000);
    drop(session);
    database.stop().unwrap();
}

#[test]
fn a_failed_timed_checkpoint_is_tried_again_soon() {
    let faults = Arc::default();
    let mut driven = Driven::new(&faults);
    let mut session = driven.rig.session();
    driven.dirty(&mut session, "t");
    driven.clock.advance(TIMEOUT);
    driven.run();
    switch(&faults.writes_fail, true);
    // Late for its writes.
    driven.clock.advance(TIMEOUT - Duration::from_secs(10));
    assert_eq!(driven.run(), Duration::from_secs(1));
    let stats = driven.database().checkpointer_stats();
    assert_eq!((stats.num_timed, stats.num_done), (1, 0));
    switch(&faults.writes_fail, false);
    driven.clock.advance(Duration::from_secs(1));
    driven.run();
    driven.clock.advance(TIMEOUT - Duration::from_secs(10));
    assert_eq!(driven.run(), Duration::from_secs(10));
    let stats = driven.database().checkpointer_stats();
    assert_eq!((stats.num_timed, stats.num_done), (2, 1));
    assert!(driven.database().failure().is_none());
}

#[test]
fn checkpoints_for_want_of_log_space_that_come_close_together_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let small = InitOptions {
        wal_segment_size: SegmentSize::new(1 << 20).unwrap(),
    };
    initialise_with(&Foundation::default(), &path, &small).unwrap();
    let clock = Arc::new(ManualClock::default());
    let foundation = Foundation {
        clock: Arc::clone(&clock) as _,
        background: Background::Driven,
        ..Foundation::default()
    };
    let mut options = options("sync");
    for (name, value) in [
        ("max_wal_size", "4MB"),
        ("min_wal_size", "2MB"),
        ("checkpoint_timeout", "1h"),
        ("checkpoint_warning", "40s"),
    ] {
        options.overrides.push((name.into(), value.into()));
    }
    let database = Database::open_on(foundation, &path, &options).unwrap();
    let mut session = database.session("postgres", &[]).unwrap();
    let mut io = session.issuer().unwrap();
    create(&mut session, "t").unwrap();
    // From start to start, also of one that was asked for.
    for (seconds, cause) in [(39, "wal"), (10, "wal"), (40, "wal"), (1, "immediate")] {
        let until = database.wal().insert_lsn().0 + (4 << 20);
        while cause == "wal" && database.wal().insert_lsn().0 < until {
            load(&mut session, "t", 10_000, false).unwrap();
        }
        clock.advance(Duration::from_secs(seconds));
        let (lines, ()) = logged(|| {
            if cause == "wal" {
                database.step_wal_writer(&mut io).unwrap();
                database.step_checkpointer(&mut io);
            } else {
                database.checkpoint(&mut io).unwrap();
            }
        });
        let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        let starts = format!("checkpoint starting: {cause}");
        assert!(
            lines.iter().any(|line| line.starts_with(&starts)),
            "{lines:#?}"
        );
        let warning = format!("checkpoints are occurring too frequently ({seconds} seconds apart)");
        let is_told = lines.contains(&warning);
        assert_eq!(is_told, cause == "wal" && seconds < 40, "{lines:#?}");
        // To its end, at once.
        database.checkpoint(&mut io).unwrap();
    }
    drop((session, io));
    database.stop().unwrap();
}

#[test]
fn b7_the_background_writer_is_driven_like_the_checkpointer() {
    let mut driven = Driven::new(&Arc::default());
    let mut session = driven.rig.session();
    let database = Arc::clone(driven.database());
    let pause = database.step_background_writer(&mut driven.io).unwrap();
    assert_eq!(pause.delay, Duration::from_millis(200));
    let before = database.background_writer_stats();
    // More than the pool, so that buffers are needed; each table too small for a scan's ring, and its
    // pages dirty with hints.
    for nth in 0..12 {
        let name = format!("t{nth}");
        create(&mut session, &name).unwrap();
        load(&mut session, &name, 10_000, false).unwrap();
        count(&mut session, &name).unwrap();
        database.step_background_writer(&mut driven.io).unwrap();
    }
    let stats = database.background_writer_stats();
    let added = stats.buffers_alloc - before.buffers_alloc;
    assert!(added > 512, "{stats:?}");
    assert!(stats.buffers_clean > 100, "{stats:?}");
    assert!(stats.max_written_clean > 0, "{stats:?}");
}

#[test]
fn sessions_that_ask_at_once_are_all_served_by_the_thread() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut io = rig.database().aio().issuer(0).unwrap();
                for _ in 0..5 {
                    rig.database().checkpoint(&mut io).unwrap();
                }
            });
        }
    });
    let stats = rig.database().checkpointer_stats();
    assert!((5..=20).contains(&stats.num_done), "{stats:?}");
    assert_eq!(stats.num_requested, stats.num_done);
    drop_table(&mut session, "t").unwrap();
    drop(session);
    rig.database().stop().unwrap();
}
