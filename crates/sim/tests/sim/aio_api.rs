//! The core's own readers and writers on the simulated disk, with the power
//! cut at each of their steps.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use trunkline_aio::{
    IoContext, OpenOptions, RawReader, RawWriter, Storage, read_file, write_file_durably,
};
use trunkline_sim::{DiskImage, FaultPlan, NameOrder, SimConfig, SimDisk};

use crate::rig::{Machine, for_each_seed};

const PATH: &str = "/d/file";
const SEEDS: u64 = 8;

fn old() -> Vec<u8> {
    vec![1; 3000]
}

/// Several of the writer's buffers.
fn new() -> &'static [u8] {
    static NEW: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..300_000u32).map(|at| (at / 512) as u8 | 0x80).collect());
    &NEW
}

fn image_with_old() -> DiskImage {
    let mut machine = Machine::new(SimConfig::new(0));
    machine.disk.make_directories(Path::new("/d")).unwrap();
    write_file_durably(&machine.disk, &mut machine.io, Path::new(PATH), &old()).unwrap();
    machine.disk.image()
}

type Replace = fn(&SimDisk, &mut IoContext, &Path, &[u8]) -> io::Result<()>;

fn durably(disk: &SimDisk, io: &mut IoContext, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_file_durably(disk, io, path, bytes)
}

/// The same with something forgotten.
fn carelessly(
    disk: &SimDisk,
    io: &mut IoContext,
    path: &Path,
    bytes: &[u8],
    (sync_file, sync_dir): (bool, bool),
) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.open(&temporary, OpenOptions::OVERWRITE)?;
    let mut writer = RawWriter::new(file.clone(), 0, 64 << 10, 2);
    writer.write_all(io, bytes)?;
    writer.finish(io)?;
    if sync_file {
        io.fsync(&file)?;
    }
    disk.rename(&temporary, path)?;
    if sync_dir {
        disk.sync_dir(Path::new("/d"))?;
    }
    Ok(())
}

/// Cuts the power before every step of `replace`, and after the last: how
/// often each kind of content was found, and what was wrong.
fn cut_everywhere(
    order: NameOrder,
    replace: Replace,
) -> (BTreeMap<&'static str, u32>, Vec<String>) {
    let image = image_with_old();
    let mut found = BTreeMap::new();
    let mut wrong = Vec::new();
    for seed in 0..SEEDS {
        let mut config = SimConfig::new(seed).with_faults(FaultPlan::mild());
        config.name_order = order;
        let mut step = 0;
        loop {
            let disk = SimDisk::from_image(config.clone(), &image);
            disk.power_cut_at(step);
            let mut machine = Machine::over(disk);
            let done = replace(&machine.disk, &mut machine.io, Path::new(PATH), new());
            let finished = machine.disk.is_powered();
            assert_eq!(done.is_ok(), finished, "seed {seed}, step {step}: {done:?}");
            let content = machine.restarted().read_file(PATH);
            let kind = match &content {
                Ok(bytes) if *bytes == old() => "old",
                Ok(bytes) if bytes == new() => "new",
                Ok(_) => "neither",
                Err(_) => "missing",
            };
            *found.entry(kind).or_default() += 1;
            if !matches!(kind, "old" | "new") || finished && kind != "new" {
                wrong.push(format!("{order:?}, seed {seed}, step {step}: {kind}"));
            }
            if finished {
                break;
            }
            step += 1;
        }
        assert!(step > 8, "{step} steps");
    }
    (found, wrong)
}

const ORDERS: [NameOrder; 3] = [
    NameOrder::Journal,
    NameOrder::PerDirectory,
    NameOrder::Unordered,
];

#[test]
fn a_file_written_durably_is_old_or_new_wherever_the_power_is_cut() {
    for order in ORDERS {
        let (found, wrong) = cut_everywhere(order, durably);
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(found["old"] > 0 && found["new"] > 0, "{found:?}");
    }
}

#[test]
fn what_a_careless_writer_forgets_is_found() {
    let (_, wrong) = cut_everywhere(NameOrder::Journal, |disk, io, path, bytes| {
        carelessly(disk, io, path, bytes, (false, true))
    });
    assert!(
        wrong.iter().any(|wrong| wrong.ends_with("neither")),
        "{wrong:?}"
    );
    let (_, wrong) = cut_everywhere(NameOrder::Journal, |disk, io, path, bytes| {
        carelessly(disk, io, path, bytes, (true, false))
    });
    assert!(
        wrong.iter().any(|wrong| wrong.ends_with("old")),
        "{wrong:?}"
    );
}

#[test]
fn readers_and_writers_pass_every_byte_under_mild_faults() {
    for_each_seed(40, |seed| {
        let mut machine = Machine::new(SimConfig::new(seed).with_faults(FaultPlan::mild()));
        let file = machine.open("/f", OpenOptions::CREATE_NEW);
        let bytes = new();
        let mut writer = RawWriter::new(file.clone(), 0, 10_000, 4);
        for chunk in bytes.chunks(3333) {
            writer.write_all(&mut machine.io, chunk).unwrap();
        }
        assert_eq!(writer.finish(&mut machine.io).unwrap(), bytes.len() as u64);
        let direct = machine.open("/f", OpenOptions::READ.with_direct(true));
        let mut found = Vec::new();
        let mut reader = RawReader::new(direct, 0, 8192, 6);
        while let Some(chunk) = reader.next(&mut machine.io).unwrap() {
            found.extend_from_slice(chunk);
        }
        assert!(found == bytes);
        assert!(read_file(&machine.disk, &mut machine.io, Path::new("/f")).unwrap() == bytes);
    });
}
