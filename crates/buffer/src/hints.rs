//! Dirtying a page for hints alone (B11; `MarkBufferDirtyHint` and `XLogSaveBufferForHint` in
//! PostgreSQL's `buffer/bufmgr.c` and `transam/xloginsert.c`).
//!
//! Hints need no record of their own: they can be found out again. But a page that is written for
//! their sake can be torn, and with checksums a torn page is a lost one. So the first time after a
//! checkpoint's redo pointer that hints make a clean page dirty, its image is logged.
//!
//! The page is marked dirty before the redo pointer is looked at: if a checkpoint moves it in between,
//! the checkpoint's own pass over the pool, which comes after, finds the page dirty and writes it, and
//! recovery starts behind that write.

use crate::critical_section::{ChangeRecord, CriticalSection, PageOfRecord};
use crate::pinned::ExclusiveGuard;
use trunkline_aio::IoContext;
use trunkline_pgformat::Xid;
use trunkline_pgformat::wal::info::xlog::FPI_FOR_HINT;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_wal::ImagePolicy;

impl ExclusiveGuard<'_> {
    /// Makes the page one that has to be written, after nothing but hints were changed on it. `logged`
    /// says that changes of its relation are logged. Where an image is needed and cannot be logged, the
    /// page is left clean: its hints are lost when the buffer is used for something else.
    ///
    /// The page has PostgreSQL's layout.
    pub fn mark_dirty_hint(&mut self, io: &mut IoContext, logged: bool) {
        let buffer = self.buffer();
        if buffer.descriptor().mark_dirty() {
            return;
        }
        let pool = buffer.pool();
        let Some(wal) = pool.wal().filter(|_| logged) else {
            return;
        };
        if !pool.config().data_checksums || self.page().lsn() > wal.redo() {
            return;
        }
        let before = self.page().lsn();
        let record = ChangeRecord {
            rmgr: RmgrId::XLOG,
            info: FPI_FOR_HINT,
            xid: Xid::INVALID,
            main_data: &[],
        };
        let logged = CriticalSection::run("an image for hints", |section| {
            let page = PageOfRecord {
                page: self.lend(),
                image: ImagePolicy::Always,
                standard: true,
                data: &[],
                takes_lsn: true,
            };
            section.log(pool, io, record, &mut [page])
        });
        if let Err(error) = logged {
            tracing::debug!(%error, "hints are not kept");
            // As it was, hints apart: it may be used, and need not be written.
            trunkline_pgformat::PageMut::new(self).set_lsn(before);
            buffer.descriptor().unmark_dirty();
        }
    }
}
