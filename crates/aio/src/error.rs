//! What the AIO core itself can refuse. Failures of an I/O are results
//! ([`crate::IoResult`]), not errors of this type.

use std::io;

/// A request that the AIO core refuses.
#[derive(Debug, thiserror::Error)]
pub enum AioError {
    /// The handle acquired before was neither started nor released. It has
    /// been taken back; the next acquire succeeds.
    #[error("only one AIO handle can be handed out: handle {slot} was leaked")]
    HandleLeaked {
        /// Index of the handle that was taken back.
        slot: u32,
    },
    /// Every issuer of the bounded pool is in use.
    #[error("all {limit} AIO issuers are in use")]
    TooManyIssuers {
        /// Size of the pool.
        limit: u32,
    },
    /// The AIO core has been shut down.
    #[error("the AIO core has been shut down")]
    ShutDown,
    /// A direct I/O does not fit the alignment that the file demands.
    #[error(
        "direct I/O of {length_bytes} bytes at offset {offset} does not fit the alignment of \
         {alignment_bytes} bytes"
    )]
    Misaligned {
        /// Offset in the file, in bytes.
        offset: u64,
        /// Length, in bytes.
        length_bytes: usize,
        /// What offset and length must be multiples of.
        alignment_bytes: u32,
    },
    /// More bytes than the buffer has, or than one I/O may move.
    #[error("an I/O of {length_bytes} bytes does not fit a buffer of {limit_bytes} bytes")]
    TooLong {
        /// Length asked for, in bytes.
        length_bytes: usize,
        /// What fits, in bytes.
        limit_bytes: usize,
    },
    /// Every bounce buffer is held by somebody who has not started an I/O on
    /// it: waiting would be for ever.
    #[error("all {limit} pages of AIO bounce buffers are in use, none of them by an I/O in flight")]
    NoBounceBuffers {
        /// Pages of the pool.
        limit: usize,
    },
    /// `io_method` has no such value.
    #[error("unknown io_method {name:?}")]
    UnknownMethod {
        /// The value given.
        name: String,
    },
    /// A size of [`crate::AioConfig`] is outside its range.
    #[error("{name} is {value}, outside the valid range {low} .. {high}")]
    SettingOutOfRange {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: u64,
        /// The smallest valid value.
        low: u64,
        /// The largest valid value.
        high: u64,
    },
    /// No method could be started.
    #[error("could not start an I/O method: {reason}")]
    NoMethod {
        /// What each method tried said.
        reason: String,
    },
}

impl From<AioError> for io::Error {
    fn from(error: AioError) -> Self {
        let kind = match error {
            AioError::Misaligned { .. }
            | AioError::TooLong { .. }
            | AioError::UnknownMethod { .. }
            | AioError::SettingOutOfRange { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
