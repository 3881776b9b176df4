//! How much memory this process may use: the machine's, or a control group's smaller limit.
//!
//! Defaults that are a share of the memory (`shared_buffers`, the query memory pool) start here,
//! so that a container gets defaults for its own size, not for its host's.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that the process may use.
pub fn usable_memory_bytes() -> u64 {
    let root = Path::new("/");
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| machine_total_bytes(&text))
        .unwrap_or(1 << 30);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    control_group_limit_bytes(root, &groups).map_or(machine, |limit| limit.min(machine))
}

/// `MemTotal` of `/proc/meminfo`.
fn machine_total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// The smallest memory limit of the control groups in `groups` (`/proc/self/cgroup`) and of their
/// ancestors, with the file system of version 1 and 2 below `root`.
fn control_group_limit_bytes(root: &Path, groups: &str) -> Option<u64> {
    let mut smallest: Option<u64> = None;
    for line in groups.lines() {
        // hierarchy-id:controllers:path
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (mount, file) = if hierarchy == "0" && controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mount = root.join(mount);
        let mut group: PathBuf = mount.join(path.trim_start_matches('/'));
        loop {
            let limit = fs::read_to_string(group.join(file))
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(limit) = limit {
                smallest = Some(smallest.map_or(limit, |least| least.min(limit)));
            }
            if group == mount || !group.pop() || !group.starts_with(&mount) {
                break;
            }
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_its_ancestors_holds() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "sys/fs/cgroup/pod/memory.max", "2147483648\n");
        write(root, "sys/fs/cgroup/pod/one/memory.max", "max\n");
        assert_eq!(
            control_group_limit_bytes(root, "0::/pod/one\n"),
            Some(2 << 30)
        );

        write(
            root,
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes",
            "1073741824\n",
        );
        let version_1 = "5:memory:/box\n4:cpu,cpuacct:/box\n";
        assert_eq!(control_group_limit_bytes(root, version_1), Some(1 << 30));
        assert_eq!(control_group_limit_bytes(root, "0::/elsewhere\n"), None);
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(usable_memory_bytes() > 1 << 20);
        assert_eq!(
            machine_total_bytes("MemTotal:  2 kB\nMemFree: 1 kB\n"),
            Some(2048)
        );
    }
}
