//! To and from the operating system's files, and from one state to many disks.

use std::path::Path;

use trunkline_aio::{OpenOptions, Storage};
use trunkline_sim::{SimConfig, SimDisk};

use crate::rig::Machine;

#[test]
fn a_directory_comes_in_durable_and_goes_out_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("from");
    std::fs::create_dir_all(from.join("deep/empty")).unwrap();
    std::fs::write(from.join("deep/file"), [7; 10_000]).unwrap();
    let disk = SimDisk::new(SimConfig::new(1));
    disk.make_directories(Path::new("/a/b")).unwrap();
    disk.import(&from, Path::new("/a/b/c")).unwrap();
    let exists = disk.import(&from, Path::new("/a/b/c")).unwrap_err();
    assert_eq!(exists.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(disk.steps(), 0);
    disk.power_cut();
    let mut machine = Machine::over(disk.restart());
    assert_eq!(machine.read_file("/a/b/c/deep/file").unwrap(), [7; 10_000]);
    let file = machine.open("/a/b/c/deep/file", OpenOptions::READ_WRITE);
    machine.write(&file, 0, b"new").unwrap();
    let to = directory.path().join("to");
    machine.disk.export(Path::new("/a/b"), &to).unwrap();
    let found = std::fs::read(to.join("c/deep/file")).unwrap();
    assert_eq!((&found[..3], found.len()), (&b"new"[..], 10_000));
    assert!(to.join("c/deep/empty").is_dir());
}

#[test]
fn disks_of_one_image_have_nothing_else_in_common() {
    let mut machine = Machine::new(SimConfig::new(1));
    let file = machine.create("/f");
    machine.write(&file, 0, &[1; 5000]).unwrap();
    let image = machine.disk.image();
    machine.write(&file, 0, &[2; 5000]).unwrap();
    let mut other = Machine::over(SimDisk::from_image(SimConfig::new(2), &image));
    let others = other.open("/f", OpenOptions::READ_WRITE);
    other.write(&others, 4000, &[3; 5000]).unwrap();
    assert_eq!(other.disk.used_bytes(), 12_288);
    assert_eq!(machine.read_file("/f").unwrap(), [2; 5000]);
    // What was seen when the image was made is durable on its disks.
    let found = other.restarted().read_file("/f").unwrap();
    assert_eq!(found[..4000 - 4000 % 512], [1; 3584]);
    assert!(machine.disk.exists(Path::new("/f")).unwrap());
}
