//! A file beside a vector of bytes, under random operations and the faults
//! that the core hides.

use trunkline_aio::{OpenOptions, Storage};
use trunkline_sim::{FaultPlan, SimConfig};

use crate::rig::{Choice, Machine, for_each_seed};

const SEEDS: u64 = 60;
const OPERATIONS: usize = 150;

fn compare(seed: u64, direct: bool) {
    let mut machine = Machine::new(SimConfig::new(seed).with_faults(FaultPlan::mild()));
    let mut choice = Choice(seed);
    let unit = if direct { 512 } else { 1 };
    let range = 100_000 / unit;
    let file = machine.open("/f", OpenOptions::CREATE_NEW.with_direct(direct));
    assert_eq!(file.direct().is_some(), direct);
    let mut model: Vec<u8> = Vec::new();
    for number in 0..OPERATIONS {
        let offset = choice.below(range) * unit;
        let length = (1 + choice.below(20_000 / unit)) * unit;
        let (start, end) = (offset as usize, (offset + length) as usize);
        match choice.below(10) {
            0..4 => {
                let bytes = vec![number as u8 + 1; length as usize];
                assert_eq!(machine.write(&file, offset, &bytes).unwrap(), bytes.len());
                model.resize(model.len().max(end), 0);
                model[start..end].copy_from_slice(&bytes);
            }
            4..8 => {
                let found = machine.read(&file, offset, length as usize).unwrap();
                let there = start.min(model.len())..end.min(model.len());
                assert!(found == model[there], "operation {number}");
            }
            8 => {
                machine.disk.set_len(&file, offset).unwrap();
                model.resize(start, 0);
            }
            _ => {
                machine.disk.allocate(&file, offset, length).unwrap();
                model.resize(model.len().max(end), 0);
                machine.io.fdatasync(&file).unwrap();
            }
        }
        assert_eq!(machine.disk.len(&file).unwrap(), model.len() as u64);
    }
    assert!(machine.read_file("/f").unwrap() == model);
    let struck: u64 = machine
        .disk
        .faults()
        .rules
        .iter()
        .map(|rule| rule.struck())
        .sum();
    assert!(struck > 0, "no fault was met");
    // With the last sync, all of it is durable.
    machine.io.fsync(&file).unwrap();
    machine.disk.sync_dir("/".as_ref()).unwrap();
    machine.disk.power_cut();
    let mut after = machine.restarted();
    assert!(after.read_file("/f").unwrap() == model);
}

#[test]
fn a_buffered_file_is_like_a_vector_of_bytes() {
    for_each_seed(SEEDS, |seed| compare(seed, false));
}

#[test]
fn a_direct_file_is_like_a_vector_of_sectors() {
    for_each_seed(SEEDS, |seed| compare(seed, true));
}
