//! What the pool asks of the write-ahead log: that it is durable up to a page's LSN before the page
//! goes to disk (B4).

use std::fmt;
use std::io;
use trunkline_aio::{IoContext, WaitRef};
use trunkline_pgformat::Lsn;
use trunkline_smgr::file_access_sqlstate;
use trunkline_wal::{FlushState, Wal, WalError};

/// What became of a flush that was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFlush {
    /// The log is durable up to the LSN.
    Done,
    /// An I/O on the way there. When it is complete, the durable LSN tells whether more are needed.
    InFlight(WaitRef),
    /// Records before the LSN are still being inserted; to be asked for again.
    Inserting,
}

/// The write-ahead log could not be made durable. Pages that need it stay dirty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct LogError {
    /// PostgreSQL's SQLSTATE.
    pub sqlstate: &'static str,
    /// One line.
    pub message: String,
}

/// The write-ahead log, as far as the pool knows it.
///
/// None of these is called with a content lock held, or a buffer claimed for an I/O that is not staged.
/// The issuer may have I/Os pending: who waits submits them first, as [`IoContext::wait`] does (A4).
pub trait WriteAheadLog: Send + Sync + fmt::Debug {
    /// Every record that ends at or before it is durable. Never goes backwards; cheap.
    fn durable_lsn(&self) -> Lsn;

    /// Returns when the log is durable up to `lsn`, driving the I/Os that this takes.
    ///
    /// # Errors
    /// The log has failed.
    fn flush(&self, io: &mut IoContext, lsn: Lsn) -> Result<(), LogError>;

    /// Starts what `flush` would wait for, and waits for none of it.
    ///
    /// # Errors
    /// The log has failed.
    fn start_flush(&self, io: &mut IoContext, lsn: Lsn) -> Result<LogFlush, LogError>;
}

/// No log: nothing to wait for. For a cluster that is being made.
#[derive(Debug)]
pub struct NoLog;

impl WriteAheadLog for NoLog {
    fn durable_lsn(&self) -> Lsn {
        Lsn(u64::MAX)
    }

    fn flush(&self, _: &mut IoContext, _: Lsn) -> Result<(), LogError> {
        Ok(())
    }

    fn start_flush(&self, _: &mut IoContext, _: Lsn) -> Result<LogFlush, LogError> {
        Ok(LogFlush::Done)
    }
}

impl WriteAheadLog for Wal {
    fn durable_lsn(&self) -> Lsn {
        Wal::durable_lsn(self)
    }

    fn flush(&self, io: &mut IoContext, lsn: Lsn) -> Result<(), LogError> {
        Ok(Wal::flush(self, io, lsn)?)
    }

    fn start_flush(&self, io: &mut IoContext, lsn: Lsn) -> Result<LogFlush, LogError> {
        Ok(match Wal::start_flush(self, io, lsn)? {
            FlushState::Durable => LogFlush::Done,
            FlushState::InFlight(wait_ref) => LogFlush::InFlight(wait_ref),
            FlushState::Inserting => LogFlush::Inserting,
        })
    }
}

impl From<WalError> for LogError {
    fn from(error: WalError) -> LogError {
        let sqlstate = match error.errno() {
            Some(errno) => file_access_sqlstate(&io::Error::from_raw_os_error(errno)),
            None => "XX000",
        };
        LogError {
            sqlstate,
            message: error.to_string(),
        }
    }
}
