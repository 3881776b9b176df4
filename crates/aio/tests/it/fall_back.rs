//! A13: a method that does not work here is replaced, and the log says by what
//! and why. Every cause is a real one: what it changes holds for a whole
//! process, so the test runs itself again in a child.

#[cfg(target_os = "linux")]
use std::process::Command;

use trunkline_aio::{Aio, AioConfig, AioError, MethodKind};

use crate::support::small;

/// Runs the test `name` again in a child, which must succeed. `None` in the
/// child, where `name` is to go on; else what the child has said.
#[cfg(target_os = "linux")]
pub fn in_a_child(name: &str) -> Option<String> {
    const CHILD: &str = "TRUNKLINE_AIO_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(output.status.success() && ran, "{output:?}");
    for line in said.lines().filter(|line| line.contains("SKIPPED")) {
        eprintln!("{line}");
    }
    Some(said)
}

/// Starts with a method wanted, runs an I/O, and returns what runs and what was
/// logged.
#[cfg(target_os = "linux")]
fn start_logged(kind: MethodKind, config: AioConfig) -> (&'static str, String) {
    let log = crate::log::Log::default();
    let aio = tracing::subscriber::with_default(log.clone(), || {
        Aio::start(AioConfig {
            method: Some(kind),
            ..config
        })
        .unwrap()
    });
    let mut context = aio.issuer(1).unwrap();
    let reference = context.acquire().unwrap().start_nop();
    context.wait(reference);
    (aio.method_name(), log.text())
}

#[cfg(target_os = "linux")]
#[test]
fn without_file_descriptors_for_rings_the_workers_take_over() {
    if in_a_child("fall_back::without_file_descriptors_for_rings_the_workers_take_over").is_some() {
        return;
    }
    crate::process::limit(libc::RLIMIT_NOFILE, 64);
    // Use up every descriptor that the limit leaves.
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    let (method, log) = start_logged(MethodKind::IoUring, small());
    assert_eq!(method, "worker", "{log}");
    assert!(
        log.contains("io_method=\"io_uring\" instead=\"worker\""),
        "{log}"
    );
    assert!(log.contains("raise ulimit -n"), "{log}");
    assert!(
        log.contains("INFO I/O method io_method=\"worker\""),
        "{log}"
    );
    // And with none, posix_aio has not even a file to try itself on.
    let (method, log) = start_logged(MethodKind::PosixAio, small());
    assert_eq!(method, "worker", "{log}");
    assert!(
        log.contains("io_method=\"posix_aio\" instead=\"worker\""),
        "{log}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn where_seccomp_forbids_rings_the_workers_take_over() {
    if in_a_child("fall_back::where_seccomp_forbids_rings_the_workers_take_over").is_some() {
        return;
    }
    crate::process::forbid(libc::SYS_io_uring_setup, libc::EPERM);
    let (method, log) = start_logged(MethodKind::IoUring, small());
    assert_eq!(method, "worker", "{log}");
    assert!(log.contains("seccomp"), "{log}");
    assert!(log.contains("os error 1"), "{log}");
    // Nobody who did not ask for a ring hears of it.
    for kind in [MethodKind::Worker, MethodKind::PosixAio, MethodKind::Sync] {
        let (method, log) = start_logged(kind, small());
        assert_eq!(method, kind.name());
        assert!(!log.contains("WARN"), "{log}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn where_seccomp_forbids_entering_rings_the_workers_take_over() {
    if in_a_child("fall_back::where_seccomp_forbids_entering_rings_the_workers_take_over").is_some()
    {
        return;
    }
    crate::process::forbid(libc::SYS_io_uring_enter, libc::EPERM);
    let (method, log) = start_logged(MethodKind::IoUring, small());
    assert_eq!(method, "worker", "{log}");
    assert!(log.contains("seccomp"), "{log}");
}

#[cfg(target_os = "linux")]
#[test]
fn where_the_kernel_has_no_rings_the_workers_take_over() {
    if in_a_child("fall_back::where_the_kernel_has_no_rings_the_workers_take_over").is_some() {
        return;
    }
    crate::process::forbid(libc::SYS_io_uring_setup, libc::ENOSYS);
    let (method, log) = start_logged(MethodKind::IoUring, small());
    assert_eq!(method, "worker", "{log}");
    assert!(log.contains("the kernel has no io_uring"), "{log}");
}

#[cfg(target_os = "linux")]
#[test]
fn when_the_rings_exceed_the_limit_on_locked_memory_the_workers_take_over() {
    if in_a_child(
        "fall_back::when_the_rings_exceed_the_limit_on_locked_memory_the_workers_take_over",
    )
    .is_some()
    {
        return;
    }
    if !crate::process::become_nobody() {
        eprintln!("SKIPPED: only root can become another user, and root has no such limit");
        return;
    }
    // As root's child it worked; as an ordinary user it still does.
    crate::process::limit(libc::RLIMIT_MEMLOCK, 8 << 20);
    let (method, log) = start_logged(MethodKind::IoUring, AioConfig::default());
    if method != "io_uring" {
        eprintln!("SKIPPED: io_uring does not work here for an ordinary user: {log}");
        return;
    }
    crate::process::limit(libc::RLIMIT_MEMLOCK, 64 << 10);
    let (method, log) = start_logged(MethodKind::IoUring, AioConfig::default());
    if method == "io_uring" {
        eprintln!("SKIPPED: this kernel does not count rings as locked memory");
        return;
    }
    assert_eq!(method, "worker", "{log}");
    assert!(log.contains("raise ulimit -l"), "{log}");
    assert!(log.contains("os error 12"), "{log}");
}

#[cfg(target_os = "linux")]
#[test]
fn without_threads_the_submitter_executes() {
    if in_a_child("fall_back::without_threads_the_submitter_executes").is_some() {
        return;
    }
    if !crate::process::become_nobody() {
        eprintln!("SKIPPED: only root can become another user, and root has no such limit");
        return;
    }
    crate::process::limit(libc::RLIMIT_NPROC, 0);
    let (method, log) = start_logged(MethodKind::PosixAio, small());
    assert_eq!(method, "sync", "{log}");
    assert!(
        log.contains("io_method=\"posix_aio\" instead=\"worker\""),
        "{log}"
    );
    assert!(
        log.contains("io_method=\"worker\" instead=\"sync\""),
        "{log}"
    );
    assert_eq!(log.matches("raise ulimit -u").count(), 2, "{log}");
}

#[test]
fn the_method_asked_for_runs_where_it_works() {
    for kind in MethodKind::ALL {
        let aio = Aio::start(AioConfig {
            method: Some(kind),
            ..small()
        })
        .unwrap();
        if kind != MethodKind::IoUring {
            assert_eq!(aio.method_name(), kind.name());
        }
        let mut context = aio.issuer(1).unwrap();
        let reference = context.acquire().unwrap().start_nop();
        context.wait(reference);
    }
}

/// Each by its name, and on both sides of its range.
#[test]
fn sizes_out_of_range_are_refused() {
    let config = AioConfig::default;
    let wrong = |name, change: fn(&mut AioConfig)| {
        let mut config = config();
        change(&mut config);
        let error = Aio::start(config).err().unwrap();
        assert!(
            matches!(error, AioError::SettingOutOfRange { name: told, .. } if told == name),
            "{name}: {error}"
        );
    };
    wrong("max_issuers", |config| config.max_issuers = 0);
    wrong("max_issuers", |config| config.max_issuers = 65_537);
    wrong("io_max_concurrency", |config| config.io_max_concurrency = 0);
    wrong("io_max_concurrency", |config| {
        config.io_max_concurrency = 1025
    });
    wrong("io_max_combine_limit", |config| {
        config.io_max_combine_limit_bytes = (1 << 20) + 1;
    });
    wrong("io_combine_limit", |config| {
        config.io_combine_limit_bytes = config.io_max_combine_limit_bytes + 1;
    });
    wrong("io_bounce_buffers", |config| config.io_bounce_buffers = 0);
    wrong("io_bounce_buffers", |config| {
        config.io_bounce_buffers = (1 << 20) + 1
    });
    wrong("io_min_workers", |config| config.io_min_workers = 0);
    wrong("io_min_workers", |config| config.io_min_workers = 33);
    wrong("io_max_workers", |config| config.io_max_workers = 1);
    wrong("io_max_workers", |config| config.io_max_workers = 33);
    wrong("io_worker_queue_size", |config| {
        config.io_worker_queue_size = 0
    });
    wrong("io_worker_queue_size", |config| {
        config.io_worker_queue_size = 4097
    });
}
