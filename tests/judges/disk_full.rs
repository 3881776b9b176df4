//! A disk without space: errors, nothing lost, and work again once there is space.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use trunkline_harness::{postgres, skipped};

use crate::data_directory::check_checksums;
use crate::trunkline::Trunkline;

/// Left for the loads.
const FREE_BYTES: u64 = 3 << 20;

/// A file system of its own, unmounted when this ends or the process does.
struct SmallDisk {
    path: PathBuf,
    keeper: Option<Child>,
}

impl SmallDisk {
    /// None where we may not mount.
    fn mount(size_bytes: u64) -> Option<SmallDisk> {
        let directory = tempfile::Builder::new()
            .prefix("trunkline-disk-")
            .tempdir()
            .unwrap();
        if fs::metadata(directory.path()).unwrap().uid() != 0 {
            skipped("disk_full", "only root may mount a small file system");
            return None;
        }
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size_bytes}"), "tmpfs"])
            .arg(directory.path())
            .output()
            .unwrap();
        if !mounted.status.success() {
            skipped("disk_full", &String::from_utf8_lossy(&mounted.stderr));
            return None;
        }
        let path = directory.keep();
        let keeper = Command::new("sh")
            .args(["-c", r#"read -r _; umount -l "$0"; rmdir "$0""#])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Some(SmallDisk {
            path,
            keeper: Some(keeper),
        })
    }

    /// Fills it but for [`FREE_BYTES`].
    fn fill(&self) {
        let free = Command::new("df")
            .args(["-B1", "--output=avail"])
            .arg(&self.path)
            .output();
        let free = String::from_utf8(free.unwrap().stdout).unwrap();
        let free: u64 = free.lines().nth(1).unwrap().trim().parse().unwrap();
        let ballast = vec![0; (free - FREE_BYTES) as usize];
        fs::write(self.path.join("ballast"), ballast).unwrap();
    }

    /// Takes the last byte.
    fn fill_up(&self) {
        let mut ballast = fs::File::create(self.path.join("ballast")).unwrap();
        let chunk = vec![0; 4096];
        while ballast.write_all(&chunk).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.path.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = SmallDisk::mount(64 << 20) else {
        return;
    };
    let data_dir = disk.path.join("data");
    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    ours.run("CREATE TABLE early (a int, b text); CREATE TABLE late (a int, b text)");
    let line = |number: u32| format!("{number}\t{}\n", "some text ".repeat(20));
    let some: String = (0..2000).map(line).collect();
    let much: String = (0..40_000).map(line).collect();
    assert_eq!(ours.copy_in("COPY early FROM STDIN", some.as_bytes()), 2000);
    ours.run("CHECKPOINT");

    disk.fill();
    let count = "SELECT (SELECT count(*) FROM early), (SELECT count(*) FROM late)";
    let before = [["2000", "0"].map(|text| Some(text.to_owned()))];
    for _ in 0..3 {
        let failure = ours
            .try_copy_in("COPY late FROM STDIN", much.as_bytes())
            .unwrap_err();
        assert_eq!(failure.sqlstate, "53100", "{failure:?}");
        assert!(
            failure.message.starts_with("could not extend file \"base/"),
            "{failure:?}"
        );
        assert!(
            failure.message.ends_with("No space left on device"),
            "{failure:?}"
        );
        assert_eq!(failure.hint.as_deref(), Some("Check free disk space."));
        assert_eq!(ours.rows(count), before);
    }
    // What fits, fits: the failed loads gave their blocks back.
    assert_eq!(ours.copy_in("COPY early FROM STDIN", some.as_bytes()), 2000);
    let mut other = trunkline.client();
    assert_eq!(
        other.value("SELECT sum(a) FROM early"),
        (1999 * 2000).to_string()
    );

    disk.make_room();
    assert_eq!(
        ours.copy_in("COPY late FROM STDIN", much.as_bytes()),
        40_000
    );
    drop((ours, other));
    trunkline.stop();
    if let Some(judge) = postgres() {
        check_checksums(judge, &data_dir);
    }
    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    let after = [["4000", "40000"].map(|text| Some(text.to_owned()))];
    assert_eq!(ours.rows(count), after);

    // Nor does a stop need any space.
    assert_eq!(ours.copy_in("COPY early FROM STDIN", some.as_bytes()), 2000);
    disk.fill_up();
    drop(ours);
    trunkline.stop();
    disk.make_room();
    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    let after = [["6000", "40000"].map(|text| Some(text.to_owned()))];
    assert_eq!(ours.rows(count), after);
    drop(ours);
    trunkline.stop();
}

#[test]
fn a_log_without_space_ends_the_system_which_says_why_and_recovers_with_space() {
    let Some(disk) = SmallDisk::mount(128 << 20) else {
        return;
    };
    let data_dir = disk.path.join("data");
    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    ours.run("CREATE TABLE t (a int); INSERT INTO t VALUES (0); CHECKPOINT");
    disk.fill_up();
    let mut acknowledged = 1;
    let failure = loop {
        if let Err(failure) = ours.try_rows("INSERT INTO t VALUES (1)") {
            break failure;
        }
        acknowledged += 1;
        if let Err(failure) = ours.try_rows("SELECT pg_switch_wal()") {
            break failure;
        }
        assert!(acknowledged < 100, "the disk is not full");
    };
    assert!(
        failure.message.contains("No space left on device"),
        "{failure:?}"
    );
    drop(ours);
    assert_eq!(trunkline.stop_after_failure().sqlstate(), "57P02");

    disk.make_room();
    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    let found: i32 = ours.value("SELECT count(*) FROM t").parse().unwrap();
    // The last one may be whole without having been acknowledged.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&found),
        "{found} rows, {acknowledged} acknowledged"
    );
    drop(ours);
    trunkline.stop();
}
