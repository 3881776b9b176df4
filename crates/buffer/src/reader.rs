//! On whose behalf an issuer reads: what is to become of damaged pages, and who is told.

use crate::damage::DamagedRead;
use std::fmt;
use std::sync::Arc;
use trunkline_aio::IoContext;

/// Takes the warnings of somebody's reads.
pub trait ReadWarnings: Send + Sync {
    /// Pages of a read were zeroed, or bad checksums ignored. May not wait.
    fn warn(&self, read: &DamagedRead);
}

/// A session as the buffer pool knows it. The flags go into each read's definition, so that they hold
/// whoever completes it; the warnings come from the read's own result, so that nobody gets those of
/// somebody else's read (A10). An issuer without a reader has no flags set, and its warnings go to
/// the server's log alone.
#[derive(Clone, Default)]
pub struct Reader {
    /// `zero_damaged_pages`: damaged pages are published as zeros, with a warning.
    pub zero_damaged_pages: bool,
    /// `ignore_checksum_failure`: pages whose checksum is wrong are published, with a warning, if
    /// their header makes sense.
    pub ignore_checksum_failure: bool,
    /// Where the warnings go, besides the server's log.
    pub warnings: Option<Arc<dyn ReadWarnings>>,
}

impl Reader {
    /// From now on `ctx` reads for this one.
    pub fn attach(self, ctx: &mut IoContext) {
        ctx.set_client(Arc::new(self));
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("zero_damaged_pages", &self.zero_damaged_pages)
            .field("ignore_checksum_failure", &self.ignore_checksum_failure)
            .finish_non_exhaustive()
    }
}

/// What one read is to do about damaged pages, on top of what its reader wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadMode {
    /// Nothing.
    Normal,
    /// PostgreSQL's `RBM_ZERO_ON_ERROR`: publish them as zeros.
    ZeroOnError,
}

/// The flags of a read's definition (PostgreSQL's `READ_BUFFERS_ZERO_ON_ERROR` and
/// `READ_BUFFERS_IGNORE_CHECKSUM_FAILURES`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReadFlags {
    pub(crate) zero_on_error: bool,
    pub(crate) ignore_checksum_failures: bool,
}

impl ReadFlags {
    pub(crate) fn of(ctx: &IoContext, mode: ReadMode) -> ReadFlags {
        let reader = ctx.client::<Reader>();
        ReadFlags {
            zero_on_error: mode == ReadMode::ZeroOnError
                || reader.is_some_and(|reader| reader.zero_damaged_pages),
            ignore_checksum_failures: reader.is_some_and(|reader| reader.ignore_checksum_failure),
        }
    }

    pub(crate) fn to_bits(self) -> u32 {
        u32::from(self.zero_on_error) | u32::from(self.ignore_checksum_failures) << 1
    }

    pub(crate) fn from_bits(bits: u32) -> ReadFlags {
        ReadFlags {
            zero_on_error: bits & 1 != 0,
            ignore_checksum_failures: bits & 2 != 0,
        }
    }
}
