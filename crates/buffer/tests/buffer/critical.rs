//! A panic in a critical section ends the process, and none outside of one does.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use trunkline_buffer::CriticalSection;

/// Set in the process that is to end.
const INSIDE: &str = "TRUNKLINE_TEST_PANIC_INSIDE";
const SIGABRT: i32 = 6;

#[test]
fn a_panic_in_a_critical_section_ends_the_process() {
    if std::env::var_os(INSIDE).is_some() {
        let caught = std::panic::catch_unwind(|| {
            CriticalSection::run("a test", |_| panic!("inside"));
        });
        // Not reached.
        assert!(caught.is_ok());
        return;
    }
    let name = "critical::a_panic_in_a_critical_section_ends_the_process";
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(INSIDE, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(SIGABRT), "{status}");
}

#[test]
fn what_a_critical_section_gives_comes_out_errors_too() {
    let outcome: Result<u8, u8> = CriticalSection::run("a test", |_| Err(7));
    assert_eq!(outcome, Err(7));
}
