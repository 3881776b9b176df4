//! A write-ahead log that says what it is told to, and holds its flushes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use trunkline_aio::{IoContext, WaitRef};
use trunkline_buffer::{LogError, LogFlush, WriteAheadLog};
use trunkline_pgformat::Lsn;

/// Records what is asked of it. A flush that is started is done when somebody waits for one, or the
/// test says so.
#[derive(Debug, Default)]
pub struct FakeLog {
    durable: AtomicU64,
    pub fails: AtomicBool,
    /// Make what is started durable at once.
    pub is_quick: AtomicBool,
    pub started: Mutex<Vec<Lsn>>,
    pub flushed: Mutex<Vec<Lsn>>,
}

impl FakeLog {
    pub fn set_durable(&self, lsn: u64) {
        self.durable.fetch_max(lsn, Ordering::SeqCst);
    }

    pub fn take_started(&self) -> Vec<Lsn> {
        std::mem::take(&mut self.started.lock().unwrap())
    }

    pub fn take_flushed(&self) -> Vec<Lsn> {
        std::mem::take(&mut self.flushed.lock().unwrap())
    }

    fn check(&self) -> Result<(), LogError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(LogError {
                sqlstate: "58030",
                message: "could not write to the log".to_owned(),
            });
        }
        Ok(())
    }
}

impl WriteAheadLog for FakeLog {
    fn durable_lsn(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::SeqCst))
    }

    fn flush(&self, _: &mut IoContext, lsn: Lsn) -> Result<(), LogError> {
        self.check()?;
        self.flushed.lock().unwrap().push(lsn);
        self.set_durable(lsn.0);
        Ok(())
    }

    fn start_flush(&self, _: &mut IoContext, lsn: Lsn) -> Result<LogFlush, LogError> {
        self.check()?;
        self.started.lock().unwrap().push(lsn);
        if self.is_quick.load(Ordering::SeqCst) {
            self.set_durable(lsn.0);
        }
        if self.durable_lsn() >= lsn {
            return Ok(LogFlush::Done);
        }
        Ok(LogFlush::InFlight(WaitRef::NONE))
    }
}
