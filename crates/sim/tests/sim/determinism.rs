//! One thread, one seed, one trace.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trunkline_aio::{Clock, OpenOptions, Storage, write_file_durably};
use trunkline_sim::{FaultPlan, SimConfig, TraceEvent};

use crate::rig::{Choice, Machine};

const SEEDS: u64 = 20;

/// Many I/Os in flight over two files, metadata, a power cut and what follows.
fn run(seed: u64) -> (u64, Vec<TraceEvent>) {
    let mut config = SimConfig::new(seed).with_faults(FaultPlan::mild());
    config.record_trace = true;
    let mut machine = Machine::new(config);
    // The same whatever the seed: only the disk differs.
    let mut choice = Choice(42);
    let files = ["/a", "/b"].map(|path| machine.create(path));
    for _ in 0..20 {
        let mut started = Vec::new();
        for _ in 0..8 {
            let file = Arc::clone(&files[choice.below(2) as usize]);
            started.push(machine.start_write(&file, choice.below(100) * 512, &[1; 4096]));
        }
        for io in started {
            io.wait(&mut machine.io).1.unwrap();
        }
        machine.io.fdatasync(&files[0]).unwrap();
    }
    let path = Path::new("/c");
    write_file_durably(&machine.disk, &mut machine.io, path, &[3; 5000]).unwrap();
    machine.open("/d", OpenOptions::CREATE_NEW);
    machine.start_write(&files[1], 0, &[9; 65536]).wait_ref();
    machine.disk.power_cut();
    let mut after = machine.restarted();
    let names = after.disk.list(Path::new("/")).unwrap();
    for entry in names {
        after
            .read_file(&format!("/{}", entry.name.display()))
            .unwrap();
    }
    (after.disk.trace_hash(), after.disk.trace())
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_gives_another() {
    let mut hashes = Vec::new();
    for seed in 0..SEEDS {
        let (hash, trace) = run(seed);
        let (again, same) = run(seed);
        assert_eq!(trace, same, "seed {seed}");
        assert_eq!(hash, again, "seed {seed}");
        assert!(trace.len() > 300);
        hashes.push(hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, SEEDS);
}

/// Alarms that do something, beside I/O in flight and a thread that sleeps.
fn run_with_alarms(seed: u64) -> (u64, Vec<TraceEvent>) {
    let mut config = SimConfig::new(seed).with_faults(FaultPlan::mild());
    config.record_trace = true;
    let mut machine = Machine::new(config);
    let mut choice = Choice(42);
    let file = machine.create("/f");
    let mut alarms = Vec::new();
    for _ in 0..20 {
        let began = machine.disk.monotonic();
        for number in 0..3 {
            let disk = machine.disk.clone();
            let path = format!("/alarm{number}");
            let at = began + Duration::from_micros(choice.below(2000));
            let action = move || drop(disk.metadata(Path::new(&path)));
            alarms.push(machine.disk.alarm(at, Box::new(action)).unwrap());
        }
        // One of them never goes off.
        drop(alarms.swap_remove(choice.below(alarms.len() as u64) as usize));
        let started: Vec<_> = (0..4)
            .map(|_| machine.start_write(&file, choice.below(100) * 512, &[1; 4096]))
            .collect();
        machine.io.submit();
        let until = began + Duration::from_micros(choice.below(4000));
        while machine.disk.monotonic() < until {
            machine.disk.park_until(until);
        }
        for io in started {
            io.wait(&mut machine.io).1.unwrap();
        }
    }
    (machine.disk.trace_hash(), machine.disk.trace())
}

#[test]
fn alarms_and_who_sleeps_are_part_of_the_seeds_order() {
    let mut hashes = Vec::new();
    for seed in 0..SEEDS {
        let (hash, trace) = run_with_alarms(seed);
        let (again, same) = run_with_alarms(seed);
        assert_eq!(trace, same, "seed {seed}");
        assert_eq!(hash, again, "seed {seed}");
        let rang = trace.iter().filter(|event| event.path.contains("alarm"));
        assert!(rang.count() > 20, "seed {seed}");
        hashes.push(hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, SEEDS);
}

#[test]
fn what_is_in_flight_completes_in_an_order_of_the_seed() {
    let order = |seed| {
        let config = SimConfig {
            record_trace: true,
            ..SimConfig::new(seed)
        };
        let mut machine = Machine::new(config);
        let file = machine.create("/f");
        let started: Vec<_> = (0..8)
            // No neighbours, which would be one operation.
            .map(|at| machine.start_write(&file, at * 1024, &[1; 512]))
            .collect();
        for io in started {
            io.wait(&mut machine.io).1.unwrap();
        }
        let trace = machine.disk.trace();
        let ended = trace
            .iter()
            .filter(|event| event.to_string().contains(" end "));
        ended.map(|event| event.offset / 1024).collect::<Vec<_>>()
    };
    let orders: std::collections::BTreeSet<_> = (0..20).map(order).collect();
    assert!(orders.len() > 15, "{} orders", orders.len());
}

#[test]
fn time_passes_only_on_the_disk() {
    let mut machine = Machine::new(SimConfig::new(1));
    let file = machine.create("/f");
    let epoch = machine.disk.since_epoch() - machine.disk.monotonic();
    assert_eq!(epoch, Duration::from_secs(1_767_225_600));
    let before = machine.disk.monotonic();
    let started = machine.start_write(&file, 0, b"x");
    machine.io.submit();
    assert_eq!(machine.disk.monotonic(), before);
    started.wait(&mut machine.io).1.unwrap();
    let after = machine.disk.monotonic();
    assert!(after > before);
    machine.disk.advance(Duration::from_secs(5));
    assert_eq!(machine.disk.monotonic(), after + Duration::from_secs(5));
}
