//! Redo of the resource managers Transaction and CLOG (`xact_redo`, `clog_redo`).
//!
//! What recovery needs of them is how transactions ended and which id comes next. Prepared
//! transactions and replicated ones have more state, which nobody here keeps: they are refused. What
//! only a standby needs (locks, caches' invalidation, which subtransactions belong to whom) is left.
//! So are `pg_subtrans`, which PostgreSQL fills with zeros at every start and asks for running
//! subtransactions only, of which there are none, and `pg_multixact`, which nothing here writes;
//! PostgreSQL expects to find their directories and first pages, and `init` makes these.

use std::sync::Arc;

use trunkline_aio::{Aio, Storage};
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::info::xact;
use trunkline_pgformat::wal::rmgr::PayloadError;
use trunkline_pgformat::wal::rmgr::clog::Clog;
use trunkline_pgformat::wal::rmgr::xact::XactEnd;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{Lsn, RelFileLocator, Xid};

use crate::error::TxnError;
use crate::full_xid::FullXid;
use crate::pg_xact::{PgXact, XactStatus};
use crate::slru::SlruConfig;

/// Transactions as far as redo has come.
pub struct TransactionRedo {
    pg_xact: PgXact,
    next_xid: FullXid,
}

impl TransactionRedo {
    /// Begins with the checkpoint's next id.
    ///
    /// # Errors
    /// The AIO core has no issuer left.
    pub fn start(
        config: SlruConfig,
        next_xid: FullXid,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
    ) -> Result<TransactionRedo, TxnError> {
        Ok(TransactionRedo {
            pg_xact: PgXact::open_for_redo(config, aio, storage)?,
            next_xid,
        })
    }

    /// The commit log as redo has left it so far.
    pub fn pg_xact(&self) -> &PgXact {
        &self.pg_xact
    }

    /// The id that nobody has used so far.
    pub fn next_xid(&self) -> FullXid {
        self.next_xid
    }

    /// Some record bears `xid`: to be called for every record, of whatever resource manager
    /// (`AdvanceNextFullTransactionIdPastXid`).
    pub fn note_xid(&mut self, xid: Xid) {
        if xid.is_normal() {
            let used = self.next_xid.nearest(xid);
            if used >= self.next_xid {
                self.next_xid = used.next();
            }
        }
    }

    /// A checkpoint's record has this as the next id.
    pub fn note_next_xid(&mut self, next_xid: FullXid) {
        self.next_xid = self.next_xid.max(next_xid);
    }

    pub(crate) fn into_parts(self) -> (PgXact, FullXid) {
        (self.pg_xact, self.next_xid)
    }

    fn end(
        &mut self,
        record: &DecodedRecord<'_>,
        status: XactStatus,
    ) -> Result<Vec<RelFileLocator>, TxnError> {
        let end = XactEnd::decode(record).map_err(invalid(record.lsn))?;
        if end.twophase.is_some() {
            return Err(unsupported(record, "the end of a prepared transaction"));
        }
        if end.origin.is_some() {
            return Err(unsupported(
                record,
                "the commit of a transaction with a replication origin",
            ));
        }
        for xid in end.subxacts.iter().copied().chain([record.header.xid]) {
            if !xid.is_normal() {
                return Err(invalid(record.lsn)(PayloadError {
                    structure: "a transaction's end",
                }));
            }
            self.note_xid(xid);
            self.pg_xact.redo_status(xid, status)?;
        }
        Ok(end.relations)
    }
}

/// Redoes a record of the resource managers Transaction and CLOG, and notes the id of any other's.
/// Returns the relations whose files are to be deleted now.
///
/// # Errors
/// The record is not what its code says, there are no means to redo it, or the commit log cannot be
/// read or written.
pub fn redo(
    context: &mut TransactionRedo,
    record: &DecodedRecord<'_>,
) -> Result<Vec<RelFileLocator>, TxnError> {
    context.note_xid(record.header.xid);
    match record.header.rmgr {
        RmgrId::XACT => redo_xact(context, record),
        RmgrId::CLOG => redo_clog(context, record).map(|()| Vec::new()),
        _ => Ok(Vec::new()),
    }
}

fn redo_xact(
    context: &mut TransactionRedo,
    record: &DecodedRecord<'_>,
) -> Result<Vec<RelFileLocator>, TxnError> {
    match record.header.info & xact::OPMASK {
        xact::COMMIT => context.end(record, XactStatus::Committed),
        xact::ABORT => context.end(record, XactStatus::Aborted),
        xact::PREPARE => Err(unsupported(record, "PREPARE TRANSACTION")),
        xact::COMMIT_PREPARED => Err(unsupported(record, "COMMIT PREPARED")),
        xact::ABORT_PREPARED => Err(unsupported(record, "ROLLBACK PREPARED")),
        // For standbys, and for logical decoding.
        xact::ASSIGNMENT | xact::INVALIDATIONS => Ok(Vec::new()),
        code => Err(unsupported(record, &format!("code {code:#04x}"))),
    }
}

fn redo_clog(context: &mut TransactionRedo, record: &DecodedRecord<'_>) -> Result<(), TxnError> {
    let page_number = |page: i64| {
        u32::try_from(page).map_err(|_| {
            invalid(record.lsn)(PayloadError {
                structure: "a page number of pg_xact",
            })
        })
    };
    match Clog::decode(record).map_err(invalid(record.lsn))? {
        Some(Clog::ZeroPage { page }) => context.pg_xact.redo_zero_page(page_number(page)?),
        Some(Clog::Truncate { page, .. }) => context.pg_xact.redo_truncate(page_number(page)?),
        None => Err(unsupported(record, &format!("code {:#04x}", record.code()))),
    }
}

fn invalid(lsn: Lsn) -> impl Fn(PayloadError) -> TxnError {
    move |source| TxnError::InvalidRecord { lsn, source }
}

fn unsupported(record: &DecodedRecord<'_>, what: &str) -> TxnError {
    TxnError::UnsupportedRecord {
        lsn: record.lsn,
        what: format!("{} ({what})", record.header.rmgr),
    }
}
