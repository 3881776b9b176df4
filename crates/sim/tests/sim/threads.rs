//! Many threads: not the same every time, but right.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use trunkline_aio::{Aio, AlignedBuf, Clock, OpenOptions, Storage, WaitRef};
use trunkline_sim::{
    Fault, FaultPlan, FaultRule, Latency, OpKind, PathFilter, SimConfig, SimDisk, When,
};

use crate::rig::{Choice, Machine, core, within_limit};

#[test]
fn threads_with_files_of_their_own_see_their_own_bytes() {
    within_limit(|| {
        let disk = SimDisk::new(SimConfig::new(1).with_faults(FaultPlan::mild()));
        let aio = core(&disk);
        std::thread::scope(|scope| {
            for number in 0..6u8 {
                let (disk, aio) = (&disk, &aio);
                scope.spawn(move || {
                    let mut machine = Machine {
                        disk: disk.clone(),
                        aio: Arc::clone(aio),
                        io: aio.issuer(i32::from(number)).unwrap(),
                    };
                    let file = machine.create(&format!("/{number}"));
                    let mut choice = Choice(u64::from(number));
                    for round in 0..100u8 {
                        let at = choice.below(50) * 512;
                        let bytes = [number ^ round; 4096];
                        machine.write(&file, at, &bytes).unwrap();
                        assert_eq!(machine.read(&file, at, 4096).unwrap(), bytes);
                        machine.io.fdatasync(&file).unwrap();
                    }
                });
            }
        });
        aio.shutdown();
        assert!(aio.in_flight().is_empty());
    });
}

#[test]
fn all_threads_can_wait_for_one_io_that_is_short_again_and_again() {
    within_limit(|| {
        for seed in 0..20 {
            let rule = FaultRule::new(
                Fault::Short,
                OpKind::TRANSFERS,
                PathFilter::Any,
                When::PerMillion(900_000),
            );
            let plan = FaultPlan::none().with(rule);
            let mut machine = Machine::new(SimConfig::new(seed).with_faults(plan));
            let file = machine.create("/f");
            let started = machine.start_write(&file, 0, &[1; 100_000]);
            let wait_ref = started.wait_ref();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| machine.aio.wait(wait_ref));
                }
            });
            assert!(machine.aio.is_complete(wait_ref));
            assert_eq!(started.wait(&mut machine.io).1.unwrap(), 100_000);
        }
    });
}

/// One thread executes another's I/O, which comes back short, and has its own
/// by then: the other must not wait for it any longer.
#[test]
fn a_waiter_takes_over_what_another_thread_leaves_unfinished() {
    meet_over_a_short_write(|aio, wait_ref| aio.wait(wait_ref));
}

/// The same with a task, which cannot take over: the thread goes on.
#[test]
fn a_thread_goes_on_with_what_a_task_awaits() {
    meet_over_a_short_write(|aio, wait_ref| {
        let waiting = pin!(aio.wait_async(wait_ref));
        let _ = waiting.poll(&mut Context::from_waker(Waker::noop()));
    });
}

/// Has one thread wait for a write, and another do `other` about one that is
/// due before it and short, which must be complete when both are through.
fn meet_over_a_short_write(other: fn(&Arc<Aio>, WaitRef)) {
    within_limit(move || {
        let config = SimConfig {
            write_latency: Latency::fixed(1000),
            ..SimConfig::new(5)
        };
        let mut machine = Machine::new(config);
        let file = machine.create("/f");
        let aio = Arc::clone(&machine.aio);
        let start = Arc::new(Barrier::new(2));
        let (sender, receiver) = mpsc::channel();
        let barrier = Arc::clone(&start);
        let thread = std::thread::spawn(move || {
            for wait_ref in receiver {
                barrier.wait();
                other(&aio, wait_ref);
                barrier.wait();
            }
        });
        for _ in 0..5000 {
            let (ops, paths) = (&[OpKind::Write], PathFilter::Any);
            let rule = FaultRule::new(Fault::Short, ops, paths, When::Nth(1));
            machine.disk.set_faults(FaultPlan::none().with(rule));
            // In this order they are due, and the remainder of the first last.
            let shorter = machine.start_write(&file, 0, &[1; 512]);
            let mine = machine.start_write(&file, 4096, &[1; 512]);
            machine.io.submit();
            sender.send(shorter.wait_ref()).unwrap();
            start.wait();
            mine.wait(&mut machine.io).1.unwrap();
            start.wait();
            assert!(machine.aio.is_complete(shorter.wait_ref()));
            shorter.wait(&mut machine.io).1.unwrap();
        }
        drop(sender);
        thread.join().unwrap();
    });
}

/// A6: the issuer holds read-ahead in flight and then blocks on a lock that
/// the waiter holds, or spins until the waiter is through.
#[test]
fn whoever_waits_completes_what_a_blocked_or_spinning_issuer_started() {
    for spins in [false, true] {
        within_limit(move || {
            let mut machine = Machine::new(SimConfig::new(2));
            let file = machine.create("/f");
            machine.write(&file, 0, &[5; 4096]).unwrap();
            let lock = Arc::new(Mutex::new(()));
            let done = Arc::new(AtomicBool::new(false));
            let (sender, receiver) = mpsc::channel();
            let held = lock.lock().unwrap();
            let issuer = {
                let (lock, done, aio) = (Arc::clone(&lock), Arc::clone(&done), machine.aio.clone());
                std::thread::spawn(move || {
                    let mut io = aio.issuer(2).unwrap();
                    let started = io
                        .read_raw(&file, AlignedBuf::zeroed(4096), 0, 4096)
                        .unwrap();
                    io.submit();
                    sender.send(started.wait_ref()).unwrap();
                    if spins {
                        while !done.load(SeqCst) {
                            std::hint::spin_loop();
                        }
                    } else {
                        drop(lock.lock().unwrap());
                    }
                    let (buffer, moved) = started.wait(&mut io);
                    assert_eq!(buffer[..moved.unwrap()], [5; 4096]);
                })
            };
            machine.io.wait(receiver.recv().unwrap());
            done.store(true, SeqCst);
            drop(held);
            issuer.join().unwrap();
        });
    }
}

#[test]
fn what_nobody_waits_for_completes_all_the_same() {
    let mut machine = Machine::new(SimConfig::new(3));
    let file = machine.create("/f");
    drop(machine.start_write(&file, 0, &[1; 4096]));
    assert_eq!(machine.disk.in_flight(), 0);
    let mut other = machine.aio.issuer(9).unwrap();
    let write = other
        .write_raw(&file, AlignedBuf::zeroed(4096), 4096, 4096)
        .unwrap();
    let wait_ref = write.wait_ref();
    std::mem::forget(write);
    drop(other);
    assert!(machine.aio.is_complete(wait_ref));
    assert_eq!(machine.read_file("/f").unwrap().len(), 8192);
}

/// Such as the engine's: one to look at the directory, then its own.
#[test]
fn who_waits_executes_another_cores_io_for_that_core() {
    let mut machine = Machine::new(SimConfig::new(6));
    let mut second = Machine::over(machine.disk.clone());
    let file = machine.create("/f");
    let first = machine.start_write(&file, 0, &[1; 512]);
    machine.io.submit();
    machine.disk.add_fault(FaultRule::new(
        Fault::Slow {
            delay_ns: 1_000_000_000,
        },
        &[OpKind::Write],
        PathFilter::Any,
        When::Always,
    ));
    second.write(&file, 512, &[2; 512]).unwrap();
    assert!(machine.aio.is_complete(first.wait_ref()));
    assert_eq!(
        machine.read_file("/f").unwrap(),
        [[1; 512], [2; 512]].concat()
    );
}

#[test]
fn tasks_await_io_without_a_thread_that_waits() {
    within_limit(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        // One thread may have another's I/O in its hands, and get it back unfinished.
        let often = When::PerMillion(500_000);
        let rule = FaultRule::new(Fault::Short, OpKind::TRANSFERS, PathFilter::Any, often);
        let faults = FaultPlan::none().with(rule);
        let disk = SimDisk::new(SimConfig::new(4).with_faults(faults));
        let aio = core(&disk);
        let file = disk.open("/f".as_ref(), OpenOptions::CREATE_NEW).unwrap();
        let tasks: Vec<_> = (0..8u8)
            .map(|number| {
                let (aio, file) = (Arc::clone(&aio), Arc::clone(&file));
                runtime.spawn(async move {
                    let mut io = aio.issuer(i32::from(number)).unwrap();
                    for round in 0..300 {
                        let mut buffer = AlignedBuf::zeroed(4096);
                        buffer.fill(number);
                        let at = u64::from(number) * 65536 + round % 64 * 512;
                        let started = io.write_raw(&file, buffer, at, 4096).unwrap();
                        assert_eq!(started.wait_async(&mut io).await.1.unwrap(), 4096);
                    }
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        aio.shutdown();
        assert_eq!(disk.in_flight(), 0);
    });
}

#[test]
fn a_power_cut_under_load_ends_everything() {
    within_limit(|| {
        for seed in 0..10 {
            let disk = SimDisk::new(SimConfig::new(seed));
            let aio = core(&disk);
            disk.power_cut_at(40 + seed * 13);
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let (disk, aio) = (&disk, &aio);
                    scope.spawn(move || {
                        let mut machine = Machine {
                            disk: disk.clone(),
                            aio: Arc::clone(aio),
                            io: aio.issuer(number).unwrap(),
                        };
                        let path = format!("/{number}");
                        let Ok(file) = disk.open(path.as_ref(), OpenOptions::CREATE_NEW) else {
                            return;
                        };
                        while machine.write(&file, 0, &[1; 4096]).is_ok() {}
                    });
                }
            });
            assert!(!disk.is_powered());
            aio.shutdown();
        }
    });
}

#[test]
fn who_sleeps_executes_what_is_due_before() {
    let mut machine = Machine::new(SimConfig::new(1));
    let file = machine.create("/f");
    let write = machine.start_write(&file, 0, &[1; 512]);
    machine.io.submit();
    let until = machine.disk.monotonic() + Duration::from_secs(1);
    machine.disk.park_until(until);
    assert!(machine.aio.is_complete(write.wait_ref()));
    assert!(
        machine.disk.monotonic() < until,
        "its wake-up was looked for"
    );
    while machine.disk.monotonic() < until {
        machine.disk.park_until(until);
    }
    assert_eq!(machine.disk.monotonic(), until);
    write.wait(&mut machine.io).1.unwrap();
}

#[test]
fn alarms_go_off_on_the_way_to_what_is_waited_for() {
    let mut machine = Machine::new(SimConfig::new(1));
    let disk = machine.disk.clone();
    let (sender, receiver) = mpsc::channel();
    let alarms = [40, 10, 30, 20].map(|seconds| {
        let (sender, clock) = (sender.clone(), disk.clone());
        let action = move || sender.send((seconds, clock.monotonic())).unwrap();
        disk.alarm(Duration::from_secs(seconds), Box::new(action))
            .unwrap()
    });
    let [never, _, dropped, _] = alarms;
    drop(dropped);
    let until = Duration::from_secs(35);
    while disk.monotonic() < until {
        disk.park_until(until);
    }
    let rang: Vec<_> = receiver.try_iter().collect();
    assert_eq!(
        rang,
        [10, 20].map(|seconds| (seconds, Duration::from_secs(seconds)))
    );
    // So do I/Os move the clock, and whoever says that time passes.
    let file = machine.create("/f");
    disk.add_fault(FaultRule::new(
        Fault::Slow {
            delay_ns: 10_000_000_000,
        },
        &[OpKind::Write],
        PathFilter::Any,
        When::Always,
    ));
    machine.write(&file, 0, &[1; 512]).unwrap();
    assert_eq!(receiver.try_recv().unwrap().0, 40);
    drop(never);
    let at_once = disk.alarm(until, Box::new(move || sender.send((0, until)).unwrap()));
    assert_eq!(receiver.try_recv().unwrap().0, 0);
    drop(at_once);
}
