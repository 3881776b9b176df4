//! The commit log: two bits for each transaction (`access/transam/clog.c`).

use std::sync::Arc;

use trunkline_aio::{Aio, Storage};
use trunkline_pgformat::slru::{XACTS_PER_PAGE, xact_page};
use trunkline_pgformat::{BLCKSZ, Xid};

pub use trunkline_pgformat::slru::XactStatus;

use crate::error::TxnError;
use crate::slru::{Slru, SlruConfig};

const XACTS_PER_BYTE: u32 = XACTS_PER_PAGE / BLCKSZ as u32;
const STATUS_MASK: u8 = 0b11;

/// `pg_xact`: how each transaction ended.
pub struct PgXact {
    slru: Slru,
}

impl PgXact {
    /// Opens the log in `config.directory`, which must exist; reads nothing yet.
    pub fn open(
        config: SlruConfig,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
    ) -> Result<PgXact, TxnError> {
        Ok(PgXact {
            slru: Slru::open(config, aio, storage)?,
        })
    }

    /// The recorded end of a normal `xid`; `InProgress` if none is recorded.
    ///
    /// # Errors
    /// If the log's page cannot be read.
    pub fn status(&self, xid: Xid) -> Result<XactStatus, TxnError> {
        let (byte, shift) = position(xid);
        let bits = self.slru.with_page(xact_page(xid), xid, |page| {
            page.byte(byte) >> shift & STATUS_MASK
        })?;
        Ok(match bits {
            0 => XactStatus::InProgress,
            1 => XactStatus::Committed,
            2 => XactStatus::Aborted,
            _ => XactStatus::SubCommitted,
        })
    }

    /// Records how `xid` ended. On disk after the next [`flush`](PgXact::flush).
    ///
    /// # Errors
    /// If the log's page cannot be read; nothing is recorded then.
    pub fn set_status(&self, xid: Xid, status: XactStatus) -> Result<(), TxnError> {
        assert!(xid.is_normal(), "special transaction ids have no entry");
        let (byte, shift) = position(xid);
        self.slru.with_page(xact_page(xid), xid, |page| {
            page.change(byte, |now| {
                let before = now >> shift & STATUS_MASK;
                assert!(
                    before == XactStatus::InProgress as u8 || before == status as u8,
                    "transaction {xid} ends twice, differently"
                );
                now & !(STATUS_MASK << shift) | (status as u8) << shift
            });
        })
    }

    /// Makes sure that there is a page for `xid`, which is about to be assigned (`ExtendCLOG`):
    /// the first id of a page brings it, and so does the first id after a wrap.
    pub(crate) fn extend(&self, xid: Xid) -> Result<(), TxnError> {
        if !opens_page(xid) {
            return Ok(());
        }
        self.slru.zero_page(xact_page(xid), xid)
    }

    /// Clears what stands at `next_xid` and after it on its page (`TrimCLOG`): ids that will be
    /// assigned must not have ended yet. If `next_xid` opens its page, [`extend`](PgXact::extend)
    /// does that.
    pub(crate) fn trim(&self, next_xid: Xid) -> Result<(), TxnError> {
        if opens_page(next_xid) {
            return Ok(());
        }
        let (first_byte, shift) = position(next_xid);
        self.slru.with_page(xact_page(next_xid), next_xid, |page| {
            for at in first_byte..BLCKSZ {
                let kept = if at == first_byte {
                    (1u8 << shift) - 1
                } else {
                    0
                };
                if page.byte(at) & !kept != 0 {
                    page.change(at, |now| now & kept);
                }
            }
        })
    }

    /// Writes and syncs what is not on disk.
    pub fn flush(&self) -> Result<u64, TxnError> {
        self.slru.flush()
    }
}

/// Whether `xid` is the first to be assigned of those on its page.
fn opens_page(xid: Xid) -> bool {
    xid.0.is_multiple_of(XACTS_PER_PAGE) || xid == Xid::FIRST_NORMAL
}

/// Byte within the page and shift within the byte (`TransactionIdToByte`, `TransactionIdToBIndex`).
fn position(xid: Xid) -> (usize, u32) {
    let entry = xid.0 % XACTS_PER_PAGE;
    (
        (entry / XACTS_PER_BYTE) as usize,
        entry % XACTS_PER_BYTE * 2,
    )
}

#[cfg(test)]
mod tests;
