//! A13: a method that does not work here is replaced.

use std::fs::File;
use std::process::Command;

use trunkline_aio::{Aio, AioConfig, AioError, MethodKind};

use crate::support::small;

#[test]
fn without_file_descriptors_for_rings_the_workers_take_over() {
    const CHILD: &str = "TRUNKLINE_AIO_TEST_EMFILE";
    if std::env::var_os(CHILD).is_some() {
        // Use up every descriptor that the limit leaves.
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        let aio = Aio::start(AioConfig {
            method: Some(MethodKind::IoUring),
            ..small()
        })
        .unwrap();
        assert_eq!(aio.method_name(), "worker");
        let mut context = aio.issuer(1).unwrap();
        let reference = context.acquire().unwrap().start_nop();
        context.wait(reference);
        return;
    }
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "fall_back::without_file_descriptors_for_rings_the_workers_take_over",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
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

#[test]
fn sizes_out_of_range_are_refused() {
    let error = Aio::start(AioConfig {
        io_max_concurrency: 1025,
        ..small()
    })
    .err()
    .unwrap();
    assert!(matches!(
        error,
        AioError::SettingOutOfRange {
            name: "io_max_concurrency",
            ..
        }
    ));
}
