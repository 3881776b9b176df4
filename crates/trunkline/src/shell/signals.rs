//! Signals while statements run: SIGINT stops the statement; SIGTERM and SIGHUP end the shell, and
//! the database stops cleanly.

use std::future::Future;
use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use trunkline_txn::{CancelReason, CancelToken};

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// The signal that ends the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndSignal(u8);

impl EndSignal {
    /// The exit code by which shells tell a signal.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + self.0)
    }
}

/// Whether a signal came that ends the shell.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<Option<EndSignal>>);

impl Ending {
    /// The signal, if one came.
    pub fn requested(&self) -> Option<EndSignal> {
        *self.0.borrow()
    }

    /// Waits for such a signal.
    pub async fn wait(&mut self) -> EndSignal {
        match self.0.wait_for(Option::is_some).await.map(|signal| *signal) {
            Ok(Some(signal)) => signal,
            // Nobody listens for signals any more: the program is at its end.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// Begins to listen for signals, to be called on the runtime. SIGINT outside a statement ends a
/// shell that is not interactive.
///
/// # Errors
/// The system does not let us.
pub fn listen(
    cancel: CancelToken,
    is_interactive: bool,
) -> io::Result<(Ending, impl Future<Output = ()> + Send)> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(None);
    let listener = async move {
        loop {
            let number = next(&mut interrupt, &mut terminate, &mut hangup).await;
            if number == SIGINT {
                let was_running = cancel.request(CancelReason::UserRequest);
                if was_running || is_interactive {
                    continue;
                }
            } else {
                cancel.request(CancelReason::Terminate);
            }
            sender.send_replace(Some(EndSignal(number)));
        }
    };
    Ok((Ending(receiver), listener))
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => SIGINT,
        _ = terminate.recv() => SIGTERM,
        _ = hangup.recv() => SIGHUP,
    }
}
