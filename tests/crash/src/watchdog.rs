//! A hang is a failure.

use std::sync::mpsc;
use std::time::Duration;

/// Of real time; a run takes a fraction of a second where nothing else runs.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `body` on a thread of its own, and panics if it panics or does not end.
pub fn within_limit<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let value = body();
        // Whoever waited may have given up.
        let _ = sender.send(());
        value
    });
    if receiver.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("it did not end in {} s", LIMIT.as_secs());
    }
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
