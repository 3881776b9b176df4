//! Results of I/Os: small values, and the cell through which only the issuer
//! gets to see them (A10).

use std::io;
use std::sync::Arc;

use crate::callback::CallbackId;
use crate::sync::{Mutex, lock};

/// How an I/O ended. A foreign waiter never sees it: it looks at the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoResult {
    /// Everything was done.
    Ok {
        /// Bytes moved; 0 for a sync.
        bytes: u32,
    },
    /// Less than asked for was done, without an error: a read met the end of
    /// the file, or a callback accepted only a part.
    Partial {
        /// Bytes moved (or accepted), from the start.
        bytes: u32,
    },
    /// Done, with something that the issuer ought to tell.
    Warning {
        /// Bytes moved.
        bytes: u32,
        /// What there is to tell.
        failure: IoFailure,
    },
    /// Failed.
    Error(IoFailure),
}

impl IoResult {
    /// Bytes that count as moved; 0 for an error.
    pub fn bytes(self) -> u32 {
        match self {
            IoResult::Ok { bytes }
            | IoResult::Partial { bytes }
            | IoResult::Warning { bytes, .. } => bytes,
            IoResult::Error(_) => 0,
        }
    }

    /// The failure of an error or a warning.
    pub fn failure(self) -> Option<IoFailure> {
        match self {
            IoResult::Warning { failure, .. } | IoResult::Error(failure) => Some(failure),
            IoResult::Ok { .. } | IoResult::Partial { .. } => None,
        }
    }

    /// The result as a system call tells it, of one that no callback has
    /// looked at: bytes moved, or a negated errno.
    pub(crate) fn raw(self) -> i32 {
        match self {
            IoResult::Error(failure) => -failure.code,
            // No I/O has more than `MAX_IO_BYTES`.
            other => i32::try_from(other.bytes()).unwrap_or(i32::MAX),
        }
    }

    /// Whether the I/O failed.
    pub fn is_error(self) -> bool {
        matches!(self, IoResult::Error(_))
    }

    /// Bytes moved, or the system's error. A callback's own failure becomes
    /// [`io::ErrorKind::InvalidData`].
    pub fn into_io_result(self) -> io::Result<usize> {
        match self {
            IoResult::Error(failure) => Err(failure.into()),
            other => Ok(other.bytes() as usize),
        }
    }
}

/// Enough to build a message: the issuer knows object and operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoFailure {
    /// Who failed it, and so what `code` means.
    pub origin: FailureOrigin,
    /// The errno, or a code of the callback's own.
    pub code: i32,
    /// The callback's details, such as block, checksum expected and found.
    pub detail: [u32; 4],
}

/// Who failed an I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureOrigin {
    /// The operating system; the code is an errno.
    System,
    /// A shared callback; the code is its own.
    Callback(CallbackId),
}

impl IoFailure {
    /// A failure that the operating system reported.
    pub const fn system(errno: i32) -> Self {
        IoFailure {
            origin: FailureOrigin::System,
            code: errno,
            detail: [0; 4],
        }
    }

    /// The errno, if the operating system failed the I/O.
    pub fn errno(&self) -> Option<i32> {
        (self.origin == FailureOrigin::System).then_some(self.code)
    }
}

impl From<IoFailure> for io::Error {
    fn from(failure: IoFailure) -> Self {
        match failure.errno() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "I/O rejected with code {} {:?}",
                    failure.code, failure.detail
                ),
            ),
        }
    }
}

#[derive(Debug, Default)]
enum Cell {
    #[default]
    Empty,
    Armed,
    Ready(IoResult),
}

/// The cell that an I/O reports its result to. Shared between the issuer and
/// the I/O, set by whichever thread ran the shared callbacks, and reusable
/// once read. When a wait for the I/O has returned, the cell is filled.
#[derive(Debug, Default)]
pub struct IoReturn(Mutex<Cell>);

impl IoReturn {
    /// An empty cell.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The result, once the I/O is complete.
    pub fn get(&self) -> Option<IoResult> {
        match *lock(&self.0) {
            Cell::Ready(result) => Some(result),
            Cell::Empty | Cell::Armed => None,
        }
    }

    /// Whether an I/O will still report here.
    pub fn is_pending(&self) -> bool {
        matches!(*lock(&self.0), Cell::Armed)
    }

    /// # Panics
    /// If another I/O still reports here: one result would be lost.
    pub(crate) fn arm(&self) {
        let mut cell = lock(&self.0);
        assert!(
            !matches!(*cell, Cell::Armed),
            "an IoReturn serves one I/O at a time"
        );
        *cell = Cell::Armed;
    }

    pub(crate) fn disarm(&self) {
        *lock(&self.0) = Cell::Empty;
    }

    pub(crate) fn set(&self, result: IoResult) {
        *lock(&self.0) = Cell::Ready(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_reusable_after_its_result() {
        let cell = IoReturn::new();
        assert_eq!(cell.get(), None);
        cell.arm();
        assert!(cell.is_pending() && cell.get().is_none());
        cell.set(IoResult::Ok { bytes: 7 });
        assert_eq!(cell.get(), Some(IoResult::Ok { bytes: 7 }));
        cell.arm();
        assert_eq!(cell.get(), None);
    }

    #[test]
    #[should_panic(expected = "one I/O at a time")]
    fn a_cell_serves_one_io_at_a_time() {
        let cell = IoReturn::new();
        cell.arm();
        cell.arm();
    }
}
