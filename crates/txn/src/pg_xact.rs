//! The commit log: two bits for each transaction (`access/transam/clog.c`).

use std::sync::Arc;

use trunkline_aio::{Aio, IoContext, Storage};
use trunkline_pgformat::slru::{XACTS_PER_PAGE, xact_page};
use trunkline_pgformat::wal::rmgr::clog::Clog;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BLCKSZ, Lsn, Xid};
use trunkline_wal::{Wal, WalRecord};

pub use trunkline_pgformat::slru::XactStatus;

use crate::error::TxnError;
use crate::slru::{LSN_GROUPS, PinnedPage, Slru, SlruConfig, SlruFlush};

const XACTS_PER_BYTE: u32 = XACTS_PER_PAGE / BLCKSZ as u32;
const STATUS_MASK: u8 = 0b11;

/// Transactions that share the LSN that holds their page back (`CLOG_XACTS_PER_LSN_GROUP`).
const XACTS_PER_LSN_GROUP: u32 = XACTS_PER_PAGE / LSN_GROUPS as u32;

/// `pg_xact`: how each transaction ended.
pub struct PgXact {
    slru: Arc<Slru>,
}

/// The page with an id's entry, which stays in memory: recording the end can neither wait nor fail.
pub(crate) struct XactEntry {
    page: PinnedPage,
    xid: Xid,
}

impl XactEntry {
    /// Records how the transaction ended. The page is held back until the log is durable up to
    /// `lsn`; invalid if it already is, or need not be.
    pub fn set(&self, status: XactStatus, lsn: Lsn) {
        let (xid, (byte, shift)) = (self.xid, position(self.xid));
        if lsn != Lsn::INVALID {
            self.page.hold_back(lsn_group(xid), lsn);
        }
        self.page.change(byte, |now| {
            let before = now >> shift & STATUS_MASK;
            assert!(
                before == XactStatus::InProgress as u8 || before == status as u8,
                "transaction {xid} ends twice, differently"
            );
            now & !(STATUS_MASK << shift) | (status as u8) << shift
        });
    }
}

impl PgXact {
    /// Opens the log in `config.directory`, which must exist; reads nothing yet.
    ///
    /// # Errors
    /// The AIO core has no issuer left.
    pub fn open(
        config: SlruConfig,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        wal: Option<Arc<Wal>>,
    ) -> Result<PgXact, TxnError> {
        let slru = Arc::new(Slru::open(config, aio, storage, false)?);
        slru.start_logging(wal);
        Ok(PgXact { slru })
    }

    /// As [`PgXact::open`], for redo: files that a redone truncation will remove may be missing.
    pub(crate) fn open_for_redo(
        config: SlruConfig,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
    ) -> Result<PgXact, TxnError> {
        let slru = Arc::new(Slru::open(config, aio, storage, true)?);
        Ok(PgXact { slru })
    }

    /// Redo is over.
    pub(crate) fn end_redo(&self, wal: Option<Arc<Wal>>) {
        self.slru.start_logging(wal);
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

    /// How far the write-ahead log must be durable for the recorded end of `xid` to be: not before
    /// may anything on disk tell that it committed (`TransactionIdGetCommitLSN`). Invalid if that is
    /// so for certain. May be later than its own record.
    pub fn commit_lsn(&self, xid: Xid) -> Lsn {
        // A page that has been written was not held back any more.
        self.slru
            .with_cached(xact_page(xid), |page| page.group_lsn(lsn_group(xid)))
            .unwrap_or(Lsn::INVALID)
    }

    /// Keeps the entry of `xid` in memory.
    ///
    /// # Errors
    /// If the log's page cannot be read.
    pub(crate) fn entry(&self, xid: Xid) -> Result<XactEntry, TxnError> {
        assert!(xid.is_normal(), "special transaction ids have no entry");
        let page = self.slru.pin(xact_page(xid), xid)?;
        Ok(XactEntry { page, xid })
    }

    /// Records how `xid` ended. On disk after the next flush.
    ///
    /// # Errors
    /// If the log's page cannot be read; nothing is recorded then.
    pub fn set_status(&self, xid: Xid, status: XactStatus) -> Result<(), TxnError> {
        self.entry(xid)?.set(status, Lsn::INVALID);
        Ok(())
    }

    /// Records what the write-ahead log says of `xid`, whatever is recorded. An earlier server may
    /// have given out the same id, have recorded its end here and lost it in the log.
    pub(crate) fn redo_status(&self, xid: Xid, status: XactStatus) -> Result<(), TxnError> {
        let (byte, shift) = position(xid);
        self.slru.with_page(xact_page(xid), xid, |page| {
            page.change(byte, |now| {
                now & !(STATUS_MASK << shift) | (status as u8) << shift
            });
        })
    }

    /// Makes sure that there is a page for `xid`, which is about to be assigned (`ExtendCLOG`):
    /// the first id of a page brings it, and so does the first id after a wrap. It is logged before
    /// any record that bears one of its ids.
    pub(crate) fn extend(&self, xid: Xid) -> Result<(), TxnError> {
        if !opens_page(xid) {
            return Ok(());
        }
        let page = xact_page(xid);
        self.slru.zero_page(page, xid, |io, wal| match wal {
            Some(wal) => log_zero_page(wal, io, page),
            None => Ok(Lsn::INVALID),
        })
    }

    /// Makes a page of zeros, as the write-ahead log says.
    pub(crate) fn redo_zero_page(&self, page: u32) -> Result<(), TxnError> {
        let first = Xid(page.wrapping_mul(XACTS_PER_PAGE));
        self.slru.zero_page(page, first, |_, _| Ok(Lsn::INVALID))
    }

    /// Removes segments whose ids all come before those of page `cutoff` (`TruncateCLOG`).
    pub(crate) fn redo_truncate(&self, cutoff: u32) -> Result<(), TxnError> {
        self.slru.truncate(cutoff, page_precedes)
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

    /// Begins to write what is not on disk, and to sync it: what a checkpoint does once the commits
    /// have left that were inside at its redo point.
    ///
    /// # Errors
    /// An earlier sync failed.
    ///
    /// # Panics
    /// If another flush is not over.
    pub fn begin_flush(&self) -> Result<SlruFlush, TxnError> {
        self.slru.begin_flush()
    }
}

fn log_zero_page(wal: &Wal, io: &mut IoContext, page: u32) -> Result<Lsn, TxnError> {
    let contents = Clog::ZeroPage { page: page.into() };
    let inserted = wal.insert(
        io,
        &WalRecord {
            rmgr: RmgrId::CLOG,
            info: contents.code(),
            xid: Xid::INVALID,
            toplevel_xid: None,
            blocks: &[],
            main_data: &[&contents.encode()],
        },
    )?;
    Ok(inserted.end)
}

/// Whether all ids of page `a` come before all of page `b` (`CLOGPagePrecedes`).
fn page_precedes(a: u32, b: u32) -> bool {
    let first = |page: u32| {
        Xid(page
            .wrapping_mul(XACTS_PER_PAGE)
            .wrapping_add(Xid::FIRST_NORMAL.0 + 1))
    };
    let last_of_b = Xid(first(b).0.wrapping_add(XACTS_PER_PAGE - 1));
    first(a).precedes(first(b)) && first(a).precedes(last_of_b)
}

/// Whether `xid` is the first to be assigned of those on its page.
fn opens_page(xid: Xid) -> bool {
    xid.0.is_multiple_of(XACTS_PER_PAGE) || xid == Xid::FIRST_NORMAL
}

fn lsn_group(xid: Xid) -> usize {
    (xid.0 % XACTS_PER_PAGE / XACTS_PER_LSN_GROUP) as usize
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
