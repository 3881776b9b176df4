//! What a power cut keeps: everything that was synced, and nothing that never
//! was.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{File, OpenOptions, RawIo, Storage};
use trunkline_sim::{FaultPlan, NameOrder, SimConfig};

use crate::rig::{Choice, Machine, for_each_seed};

const SEEDS: u64 = 200;
const SECTOR: u64 = 512;
const SECTORS: u64 = 64;

/// What a file may contain after a power cut, by a rule of its own: each
/// sector any of the numbers that were written there since the last sync.
struct Allowed {
    file: Arc<File>,
    path: String,
    sectors: Vec<BTreeSet<u64>>,
    now: Vec<u64>,
    lens: BTreeSet<u64>,
    len: u64,
}

impl Allowed {
    fn new(machine: &Machine, path: &str) -> Allowed {
        // Direct, since a short write to a buffered file may end within a sector.
        let options = OpenOptions::CREATE_NEW.with_direct(true);
        let file = machine.open(path, options);
        machine.disk.sync_dir(Path::new("/")).unwrap();
        Allowed {
            file,
            path: path.to_owned(),
            sectors: vec![BTreeSet::from([0]); SECTORS as usize],
            now: vec![0; SECTORS as usize],
            lens: BTreeSet::from([0]),
            len: 0,
        }
    }

    fn note_write(&mut self, first: u64, count: u64, number: u64) {
        for sector in first..first + count {
            self.sectors[sector as usize].insert(number);
            self.now[sector as usize] = number;
        }
        let before = self.len;
        self.set_len(before.max((first + count) * SECTOR), false);
        // A short write grows the file in steps.
        let steps = (before..self.len).step_by(SECTOR as usize);
        self.lens.extend(steps);
    }

    fn set_len(&mut self, len: u64, cuts: bool) {
        self.len = len;
        self.lens.insert(len);
        if cuts {
            for sector in len / SECTOR..SECTORS {
                self.sectors[sector as usize].insert(0);
                self.now[sector as usize] = 0;
            }
        }
    }

    fn note_sync(&mut self) {
        for (allowed, now) in self.sectors.iter_mut().zip(&self.now) {
            *allowed = BTreeSet::from([*now]);
        }
        self.lens = BTreeSet::from([self.len]);
    }

    /// Whether something unsynced was lost.
    fn check(&self, machine: &mut Machine) -> bool {
        let found = machine.read_file(&self.path).unwrap();
        let len = found.len() as u64;
        assert!(self.lens.contains(&len), "{len} is none of {:?}", self.lens);
        let mut lost = len != self.len;
        for (index, sector) in found.chunks(SECTOR as usize).enumerate() {
            let words: BTreeSet<u64> = sector
                .chunks(8)
                .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
                .collect();
            assert_eq!(words.len(), 1, "sector {index} is torn");
            let number = *words.first().unwrap();
            // What a length that was kept reveals may never have been written.
            let hole = number == 0 && self.lens.len() > 1;
            assert!(
                hole || self.sectors[index].contains(&number),
                "{} sector {index}: {number} is none of {:?}",
                self.path,
                self.sectors[index]
            );
            lost |= number != self.now[index];
        }
        lost
    }
}

fn sectors_of(number: u64, count: u64) -> Vec<u8> {
    number.to_le_bytes().repeat((count * SECTOR / 8) as usize)
}

#[test]
fn what_was_synced_survives_and_what_was_not_may_or_may_not() {
    let (lost, kept) = (Cell::new(0), Cell::new(0));
    for_each_seed(SEEDS, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed).with_faults(FaultPlan::mild()));
        let mut choice = Choice(seed);
        let mut files = ["/a", "/b"].map(|path| Allowed::new(&machine, path));
        let operations = 10 + choice.below(40);
        for number in 1..=operations {
            let file = &mut files[choice.below(2) as usize];
            match choice.below(8) {
                0 => {
                    machine.io.fsync(&file.file).unwrap();
                    file.note_sync();
                }
                1 => {
                    machine.io.fdatasync(&file.file).unwrap();
                    file.note_sync();
                }
                2 => {
                    let len = choice.below(SECTORS + 1) * SECTOR;
                    machine.disk.set_len(&file.file, len).unwrap();
                    file.set_len(len, true);
                }
                _ => {
                    let first = choice.below(SECTORS);
                    let count = 1 + choice.below((SECTORS - first).min(24));
                    let bytes = sectors_of(number, count);
                    machine.write(&file.file, first * SECTOR, &bytes).unwrap();
                    file.note_write(first, count, number);
                }
            }
        }
        // Some are in flight when the power fails.
        let mut in_flight: Vec<RawIo> = Vec::new();
        for number in 0..choice.below(4) {
            let file = &mut files[choice.below(2) as usize];
            let (first, number) = (choice.below(SECTORS - 4), operations + 1 + number);
            let bytes = sectors_of(number, 4);
            let started = machine.start_write(&file.file, first * SECTOR, &bytes);
            in_flight.push(started);
            file.note_write(first, 4, number);
        }
        machine.io.submit();
        // Neighbours among them are one operation.
        let operations = machine.disk.in_flight();
        assert!(operations <= in_flight.len() && (operations > 0) != in_flight.is_empty());
        machine.disk.power_cut();
        for io in in_flight {
            let error = io.wait(&mut machine.io).1.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO));
        }
        let mut after = machine.restarted();
        for file in &files {
            let count = if file.check(&mut after) { &lost } else { &kept };
            count.set(count.get() + 1);
        }
        // A second power cut finds nothing that could be lost.
        let before = files
            .each_ref()
            .map(|file| after.read_file(&file.path).unwrap());
        let mut again = after.restarted();
        let then = files
            .each_ref()
            .map(|file| again.read_file(&file.path).unwrap());
        assert!(before == then);
    });
    assert!(
        lost.get() > SEEDS / 4 && kept.get() > SEEDS / 20,
        "{lost:?} {kept:?}"
    );
}

#[test]
fn a_sync_covers_the_writes_that_were_complete_when_it_was_submitted() {
    let lost = Cell::new(0);
    for_each_seed(SEEDS, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed));
        let file = machine.create("/f");
        machine.write(&file, 0, &[1; 4096]).unwrap();
        // Both in one batch: the sync promises nothing about this write.
        let beside = machine.start_write(&file, 4096, &[2; 4096]);
        machine.io.fdatasync(&file).unwrap();
        beside.wait(&mut machine.io).1.unwrap();
        machine.disk.power_cut();
        let found = machine.restarted().read_file("/f").unwrap();
        assert!(found.len() >= 4096 && found[..4096] == [1; 4096]);
        lost.set(lost.get() + u64::from(found != [[1; 4096], [2; 4096]].concat()));
    });
    assert!(lost.get() > SEEDS / 10, "{lost:?}");
}

#[test]
fn a_write_in_flight_is_there_wholly_in_part_or_not_at_all() {
    let [whole, part, none] = [0; 3].map(Cell::new);
    for_each_seed(SEEDS, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed));
        let file = machine.create("/f");
        machine.write(&file, 0, &[1; 4096]).unwrap();
        machine.io.fsync(&file).unwrap();
        let writing = machine.start_write(&file, 0, &[2; 4096]);
        machine.io.submit();
        machine.disk.power_cut();
        assert!(writing.wait(&mut machine.io).1.is_err());
        let found = machine.restarted().read_file("/f").unwrap();
        assert!(
            found
                .chunks(512)
                .all(|sector| sector == [1; 512] || sector == [2; 512])
        );
        let count = match (found.contains(&1), found.contains(&2)) {
            (false, _) => &whole,
            (true, true) => &part,
            (true, false) => &none,
        };
        count.set(count.get() + 1);
    });
    let counts = [&whole, &part, &none].map(Cell::get);
    assert!(counts.iter().all(|&count| count > 5), "{counts:?}");
}

#[test]
fn a_renamed_file_has_one_name_and_a_synced_name_stays() {
    for order in [
        NameOrder::Journal,
        NameOrder::PerDirectory,
        NameOrder::Unordered,
    ] {
        let (old, new) = (Cell::new(0), Cell::new(0));
        for_each_seed(SEEDS, |seed| {
            let mut config = SimConfig::new(seed);
            config.name_order = order;
            let mut machine = Machine::new(config);
            machine.disk.make_directories(Path::new("/d/e")).unwrap();
            let file = machine.create("/d/from");
            machine.write(&file, 0, b"content").unwrap();
            machine.io.fsync(&file).unwrap();
            machine.create("/d/stays");
            machine
                .disk
                .rename("/d/from".as_ref(), "/d/e/to".as_ref())
                .unwrap();
            // Neither durable.
            machine.open("/d/new", OpenOptions::CREATE_NEW);
            machine.disk.power_cut();
            let mut after = machine.restarted();
            assert_eq!(after.read_file("/d/stays").unwrap(), b"");
            let names = ["/d/from", "/d/e/to"];
            let there = names.map(|name| after.read_file(name).ok());
            match &there {
                [Some(content), None] => {
                    old.set(old.get() + 1);
                    assert_eq!(content, b"content");
                }
                [None, Some(content)] => {
                    new.set(new.get() + 1);
                    assert_eq!(content, b"content");
                }
                _ => panic!("{there:?}"),
            }
        });
        assert!(old.get() > 0 && new.get() > 0, "{order:?} {old:?} {new:?}");
    }
}

#[test]
fn a_dead_disk_refuses_everything_and_old_files_do_not_reach_the_new_one() {
    let mut machine = Machine::new(SimConfig::new(1));
    let file = machine.create("/f");
    machine.write(&file, 0, b"before").unwrap();
    machine.io.fsync(&file).unwrap();
    machine.disk.power_cut();
    assert!(!machine.disk.is_powered());
    let is_eio = |error: std::io::Error| error.raw_os_error() == Some(libc::EIO);
    assert!(is_eio(machine.write(&file, 0, b"after!").unwrap_err()));
    assert!(is_eio(machine.io.fsync(&file).unwrap_err()));
    assert!(is_eio(machine.disk.len(&file).unwrap_err()));
    assert!(is_eio(machine.disk.list("/".as_ref()).unwrap_err()));
    let mut after = machine.restarted();
    assert!(is_eio(after.write(&file, 0, b"after!").unwrap_err()));
    assert!(is_eio(after.disk.set_len(&file, 0).unwrap_err()));
    assert_eq!(after.read_file("/f").unwrap(), b"before");
    // The old one is dead for good, and its end changes nothing.
    assert!(is_eio(machine.disk.unlink("/f".as_ref()).unwrap_err()));
    drop((machine, file));
    assert_eq!(after.read_file("/f").unwrap(), b"before");
}
