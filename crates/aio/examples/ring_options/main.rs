//! Measures what options of io_uring are worth on this machine:
//! `ring_options FILE [ROUNDS]`.
//!
//! FILE is read, and must be at least 64 MiB. Rounds are interleaved, since disks
//! change their mind; medians are printed. The decisions taken from this are in
//! docs/decisions/0009-io-uring-registered-memory.md.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "bare rings, without the AIO core's care")
)]
#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod rings;

fn main() {
    #[cfg(target_os = "linux")]
    rings::main();
    #[cfg(not(target_os = "linux"))]
    eprintln!("io_uring is Linux's");
}
