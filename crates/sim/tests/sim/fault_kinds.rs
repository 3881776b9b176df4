//! Each kind of fault, seen where it meets its first reader.
#![expect(
    unsafe_code,
    reason = "starts I/O that the core's own checks would refuse"
)]

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{
    AlignedBuf, Clock, DirectAlignment, File, IoMemory, IoReturn, OpenOptions, Storage,
};
use trunkline_sim::{Fault, FaultRule, OpKind, PathFilter, SimConfig, TraceKind, When};

use crate::rig::{Machine, for_each_seed};

const SEEDS: u64 = 100;

fn rule(fault: Fault, ops: &[OpKind], when: When) -> FaultRule {
    FaultRule::new(fault, ops, PathFilter::Any, when)
}

fn struck(machine: &Machine) -> u64 {
    machine
        .disk
        .faults()
        .rules
        .iter()
        .map(FaultRule::struck)
        .sum()
}

fn traced() -> SimConfig {
    SimConfig {
        record_trace: true,
        ..SimConfig::new(8)
    }
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// How often an operation was tried.
fn attempts(machine: &Machine, op: OpKind) -> usize {
    let tried = |event: &&trunkline_sim::TraceEvent| {
        event.kind == TraceKind::Completed && event.op == op.name()
    };
    machine.disk.trace().iter().filter(tried).count()
}

#[test]
fn an_interruption_is_retried_by_the_core() {
    for interruption in [libc::EINTR, libc::EAGAIN] {
        let mut machine = Machine::new(traced());
        let file = machine.create("/f");
        let fault = Fault::Fail(interruption);
        machine
            .disk
            .add_fault(rule(fault, &[OpKind::Write], When::Nth(1)));
        machine
            .disk
            .add_fault(rule(fault, OpKind::SYNCS, When::Nth(1)));
        assert_eq!(machine.write(&file, 0, b"hello").unwrap(), 5);
        machine.io.fsync(&file).unwrap();
        assert_eq!(attempts(&machine, OpKind::Write), 2);
        assert_eq!(attempts(&machine, OpKind::Fsync), 2);
        assert_eq!(machine.read_file("/f").unwrap(), b"hello");
        // An interruption is no failed sync: the content is durable.
        assert_eq!(machine.restarted().read_file("/f").unwrap(), b"hello");
    }
}

#[test]
fn an_interruption_without_end_is_an_error() {
    let mut machine = Machine::new(traced());
    let file = machine.create("/f");
    let fault = Fault::Fail(libc::EINTR);
    machine
        .disk
        .add_fault(rule(fault, &[OpKind::Read], When::Always));
    assert_eq!(errno(machine.read(&file, 0, 10)), Some(libc::EINTR));
    assert!(attempts(&machine, OpKind::Read) > 10);
}

#[test]
fn short_transfers_are_continued_by_the_core() {
    let mut machine = Machine::new(traced());
    let file = machine.open("/f", OpenOptions::CREATE_NEW.with_direct(true));
    let content: Vec<u8> = (0..16u8).flat_map(|number| [number; 512]).collect();
    let few = [When::Nth(1), When::Nth(1)];
    for when in few {
        machine
            .disk
            .add_fault(rule(Fault::Short, &[OpKind::Write], when));
        machine
            .disk
            .add_fault(rule(Fault::Short, &[OpKind::Read], when));
    }
    assert_eq!(machine.write(&file, 0, &content).unwrap(), content.len());
    assert!(machine.read(&file, 0, content.len()).unwrap() == content);
    assert_eq!(struck(&machine), 4);
    assert_eq!(attempts(&machine, OpKind::Write), 3);
    assert_eq!(attempts(&machine, OpKind::Read), 3);
    for event in machine.disk.trace() {
        assert!(
            event.offset.is_multiple_of(512) && event.outcome % 512 == 0,
            "{event}"
        );
    }
}

#[test]
fn a_short_read_at_the_end_is_the_end() {
    let mut machine = Machine::new(traced());
    let file = machine.create("/f");
    machine.write(&file, 0, &[1; 1000]).unwrap();
    let direct = machine.open("/f", OpenOptions::READ.with_direct(true));
    assert_eq!(machine.read(&direct, 512, 4096).unwrap(), [1; 488]);
    assert_eq!(machine.read(&direct, 1024, 512).unwrap(), b"");
    assert_eq!(attempts(&machine, OpKind::Read), 2);
}

#[test]
fn an_error_is_final_and_a_failed_write_may_be_there_in_part() {
    let (some, none) = (Cell::new(0), Cell::new(0));
    for_each_seed(SEEDS, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed));
        let file = machine.create("/f");
        machine.write(&file, 0, &[1; 2048]).unwrap();
        let fault = Fault::Fail(libc::EIO);
        machine
            .disk
            .add_fault(rule(fault, OpKind::TRANSFERS, When::Nth(1)));
        assert_eq!(errno(machine.write(&file, 0, &[2; 2048])), Some(libc::EIO));
        let found = machine.read_file("/f").unwrap();
        for sector in found.chunks(512) {
            assert!(sector == [1; 512] || sector == [2; 512]);
            let count = if sector[0] == 2 { &some } else { &none };
            count.set(count.get() + 1);
        }
        machine
            .disk
            .add_fault(rule(fault, &[OpKind::Read], When::Nth(1)));
        assert_eq!(errno(machine.read(&file, 0, 512)), Some(libc::EIO));
        assert_eq!(struck(&machine), 2);
    });
    assert!(
        some.get() > SEEDS && none.get() > SEEDS,
        "{some:?} {none:?}"
    );
}

#[test]
fn a_full_disk_takes_what_fits_and_then_says_so() {
    let mut machine = Machine::new(traced());
    let file = machine.create("/f");
    machine.disk.set_capacity_bytes(Some(16 << 10));
    machine.write(&file, 0, &[1; 10_000]).unwrap();
    assert_eq!(
        errno(machine.write(&file, 10_000, &[2; 10_000])),
        Some(libc::ENOSPC)
    );
    // A short write of what fitted, and an attempt at the rest.
    assert_eq!(attempts(&machine, OpKind::Write), 3);
    assert_eq!(machine.disk.used_bytes(), 16 << 10);
    assert_eq!(machine.disk.len(&file).unwrap(), 16 << 10);
    // What has space can be written.
    machine.write(&file, 0, &[3; 16 << 10]).unwrap();
    let other = machine.create("/g");
    assert_eq!(
        errno(machine.disk.allocate(&other, 0, 4096)),
        Some(libc::ENOSPC)
    );
    machine.disk.set_len(&file, 4096).unwrap();
    machine.disk.allocate(&other, 0, 8192).unwrap();
    assert_eq!(machine.disk.used_bytes(), 12 << 10);
    machine.disk.set_capacity_bytes(None);
    machine.write(&other, 0, &[4; 100_000]).unwrap();
    let random = Fault::Fail(libc::ENOSPC);
    machine
        .disk
        .add_fault(rule(random, &[OpKind::Write], When::PerMillion(1_000_000)));
    assert_eq!(errno(machine.write(&other, 0, b"x")), Some(libc::ENOSPC));
}

#[test]
fn the_third_sync_of_one_file_fails_and_no_later_one_saves_what_it_lost() {
    let lost = Cell::new(0);
    for_each_seed(SEEDS, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed));
        let file = machine.create("/f");
        let other = machine.create("/other");
        let filter = PathFilter::EndsWith("/f".into());
        let fault = Fault::Fail(libc::EIO);
        machine
            .disk
            .add_fault(FaultRule::new(fault, OpKind::SYNCS, filter, When::Nth(3)));
        for number in 1..=4u8 {
            if number < 4 {
                machine.write(&file, 0, &[number; 4096]).unwrap();
            }
            machine.io.fsync(&other).unwrap();
            let synced = machine.io.fsync(&file);
            assert_eq!(errno(synced), (number == 3).then_some(libc::EIO));
        }
        let found = machine.restarted().read_file("/f").unwrap();
        assert!(found.iter().all(|&byte| byte == 2 || byte == 3));
        lost.set(lost.get() + u64::from(found.contains(&2)));
    });
    assert!(lost.get() > SEEDS / 2, "{lost:?}");
}

#[test]
fn a_lost_write_is_acknowledged_and_never_there() {
    let mut machine = Machine::new(traced());
    let file = machine.create("/f");
    machine.write(&file, 0, &[1; 512]).unwrap();
    machine
        .disk
        .add_fault(rule(Fault::LostWrite, &[OpKind::Write], When::Nth(1)));
    assert_eq!(machine.write(&file, 0, &[2; 512]).unwrap(), 512);
    machine.io.fsync(&file).unwrap();
    assert_eq!(machine.read_file("/f").unwrap(), [1; 512]);
}

#[test]
fn a_lying_sync_shows_at_the_power_cut() {
    let lost = Cell::new([0, 0]);
    for_each_seed(SEEDS, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed));
        let file = machine.create("/f");
        machine.write(&file, 0, &[1; 512]).unwrap();
        machine
            .disk
            .add_fault(rule(Fault::LyingSync, OpKind::SYNCS, When::Nth(1)));
        machine
            .disk
            .add_fault(rule(Fault::LyingSync, &[OpKind::SyncDir], When::Nth(1)));
        machine.io.fsync(&file).unwrap();
        machine.open("/g", OpenOptions::CREATE_NEW);
        machine.disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(machine.read_file("/f").unwrap(), [1; 512]);
        let mut after = machine.restarted();
        let [content, name] = lost.get();
        lost.set([
            content + u64::from(after.read_file("/f").unwrap() != [1; 512]),
            name + u64::from(after.read_file("/g").is_err()),
        ]);
    });
    assert!(lost.get().iter().all(|&lost| lost > SEEDS / 5), "{lost:?}");
}

#[test]
fn a_misdirected_read_returns_what_is_elsewhere() {
    let mut machine = Machine::new(traced());
    let file = machine.create("/f");
    let content: Vec<u8> = (0..16u8).flat_map(|number| [number; 512]).collect();
    machine.write(&file, 0, &content).unwrap();
    machine
        .disk
        .add_fault(rule(Fault::MisdirectedRead, &[OpKind::Read], When::Nth(1)));
    let found = machine.read(&file, 512, 512).unwrap();
    assert_eq!(found.len(), 512);
    assert_ne!(found[0], 1);
    assert!(content.chunks(512).any(|sector| sector == found));
    assert_eq!(machine.read(&file, 512, 512).unwrap(), [1; 512]);
}

#[test]
fn a_slow_operation_takes_its_time() {
    let mut machine = Machine::new(traced());
    let file = machine.create("/f");
    let delay_ns = 3_000_000_000;
    machine.disk.add_fault(rule(
        Fault::Slow { delay_ns },
        &[OpKind::Write],
        When::Nth(1),
    ));
    let before = machine.disk.monotonic();
    machine.write(&file, 0, b"x").unwrap();
    let took = machine.disk.monotonic() - before;
    assert!((3..4).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn calls_of_storage_fail_as_told_and_change_nothing() {
    let machine = Machine::new(traced());
    machine.create("/f");
    let fault = Fault::Fail(libc::EIO);
    let ops = [OpKind::Rename, OpKind::Open, OpKind::Unlink, OpKind::SetLen];
    for op in ops {
        machine.disk.add_fault(rule(fault, &[op], When::Nth(1)));
    }
    let disk = &machine.disk;
    let (f, g) = (Path::new("/f"), Path::new("/g"));
    assert_eq!(errno(disk.rename(f, g)), Some(libc::EIO));
    assert_eq!(
        errno(disk.open(g, OpenOptions::CREATE_NEW)),
        Some(libc::EIO)
    );
    assert_eq!(errno(disk.unlink(f)), Some(libc::EIO));
    assert!(disk.exists(f).unwrap() && !disk.exists(g).unwrap());
    disk.rename(f, g).unwrap();
    assert!(disk.exists(g).unwrap() && !disk.exists(f).unwrap());
}

/// Writes past the checks of the core: the errno of the disk.
fn write_unchecked(machine: &mut Machine, file: &Arc<File>, offset: u64, skip: usize) -> i32 {
    let mut buffer = AlignedBuf::zeroed(8192);
    let memory = [IoMemory::new(
        buffer.memory().ptr().wrapping_add(skip),
        4096,
    )];
    let cell = IoReturn::new();
    let mut handle = machine.io.acquire().unwrap();
    handle.report_to(&cell);
    // SAFETY: the buffer lives past the wait, and has the bytes.
    let wait_ref = unsafe { handle.start_writev(file, offset, &memory) };
    machine.io.wait(wait_ref);
    drop(buffer);
    let result = cell.get().unwrap().into_io_result();
    errno(result).unwrap_or(0)
}

#[test]
fn direct_io_demands_what_the_disk_says() {
    let mut config = traced();
    config.direct = Some(DirectAlignment {
        memory_bytes: 512,
        offset_bytes: 4096,
    });
    let mut machine = Machine::new(config);
    let direct = machine.open("/f", OpenOptions::CREATE_NEW.with_direct(true));
    assert_eq!(direct.direct().unwrap().offset_bytes, 4096);
    assert_eq!(write_unchecked(&mut machine, &direct, 512, 0), libc::EINVAL);
    assert_eq!(write_unchecked(&mut machine, &direct, 0, 8), libc::EINVAL);
    assert_eq!(write_unchecked(&mut machine, &direct, 4096, 512), 0);
    let buffered = machine.open("/f", OpenOptions::READ_WRITE);
    assert_eq!(write_unchecked(&mut machine, &buffered, 3, 1), 0);
    let read_only = machine.open("/f", OpenOptions::READ);
    assert_eq!(write_unchecked(&mut machine, &read_only, 0, 0), libc::EBADF);

    let mut config = traced();
    config.direct = None;
    let machine = Machine::new(config);
    let file = machine.open("/f", OpenOptions::CREATE_NEW.with_direct(true));
    assert_eq!(file.direct(), None);
}

#[test]
fn a_read_that_meets_a_write_in_flight_finds_any_mix() {
    let mixed = Cell::new(0);
    for_each_seed(SEEDS, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed));
        let file = machine.create("/f");
        machine.write(&file, 0, &[1; 4096]).unwrap();
        let writing = machine.start_write(&file, 0, &[2; 4096]);
        let found = machine.read(&file, 0, 4096).unwrap();
        assert!(
            found
                .chunks(512)
                .all(|sector| sector == [1; 512] || sector == [2; 512])
        );
        mixed.set(mixed.get() + u64::from(found.contains(&1) && found.contains(&2)));
        writing.wait(&mut machine.io).1.unwrap();
        assert_eq!(machine.read(&file, 0, 4096).unwrap(), [2; 4096]);
    });
    assert!(mixed.get() > 0);
}
