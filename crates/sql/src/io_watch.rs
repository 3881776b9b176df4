//! Completions of I/O, noticed by an event loop.
#![expect(
    unsafe_code,
    reason = "an event loop has to be told a descriptor by its number"
)]

use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use trunkline_aio::{Aio, CompletionSource};

/// Tasks that complete I/O; see [`SqlDatabase::watch_io`](crate::SqlDatabase::watch_io).
#[derive(Debug)]
#[must_use = "nothing is watched once it is dropped"]
pub struct IoWatch {
    _watchers: JoinSet<()>,
}

impl IoWatch {
    pub(crate) fn start(aio: &Arc<Aio>) -> io::Result<IoWatch> {
        let mut watchers = JoinSet::new();
        for source in aio.completion_sources() {
            // SAFETY: the descriptor is a ring's, which is open as long as the core lives, and the
            // source holds that; it always gives the same one. `AsyncFd` owns the source and forgets the
            // descriptor before it drops it.
            let source = unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }?;
            watchers.spawn(watch(source));
        }
        Ok(IoWatch {
            _watchers: watchers,
        })
    }
}

async fn watch(source: AsyncFd<CompletionSource>) {
    while let Ok(mut ready) = source.readable().await {
        // Before looking: what comes after the look makes it ready again.
        ready.clear_ready();
        while source.get_ref().reap() {
            tokio::task::yield_now().await;
        }
    }
}
