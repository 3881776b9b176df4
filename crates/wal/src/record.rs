//! A record as its maker hands it over, and which of its pages go along as images
//! (`XLogRecordAssemble` in PostgreSQL's `transam/xloginsert.c`).

use arrayvec::ArrayVec;
use trunkline_pgformat::wal::info::XLR_CHECK_CONSISTENCY;
use trunkline_pgformat::wal::record::{BlockReference, MAX_BLOCK_ID, PageImage};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BlockNumber, ForkNumber, Lsn, PageBytes, PageRef, RelFileLocator, Xid};

use crate::reservation::ImageDecision;

/// Block references of one record, at most.
pub(crate) const MAX_BLOCKS: usize = MAX_BLOCK_ID as usize + 1;

/// A record to insert. Everything is lent until [`crate::Wal::insert`] returns.
#[derive(Clone, Copy, Debug)]
pub struct WalRecord<'a> {
    /// The resource manager.
    pub rmgr: RmgrId,
    /// Flags and the resource manager's code.
    pub info: u8,
    /// The transaction, or invalid.
    pub xid: Xid,
    /// The transaction that `xid` is a subtransaction of, if it is to be told.
    pub toplevel_xid: Option<Xid>,
    /// The blocks that the record changes, in ascending order of their ids, at most 33.
    pub blocks: &'a [LoggedBlock<'a>],
    /// The resource manager's own data, one piece after the other.
    pub main_data: &'a [&'a [u8]],
}

/// A block that a record changes.
#[derive(Clone, Copy, Debug)]
pub struct LoggedBlock<'a> {
    /// What redo knows it by: 0 to 32.
    pub id: u8,
    /// The relation's files.
    pub locator: RelFileLocator,
    /// The fork.
    pub fork: ForkNumber,
    /// The block.
    pub block: BlockNumber,
    /// The page after its change, with the LSN that it had before. The caller holds its content lock,
    /// so that it does not change meanwhile.
    pub page: &'a PageBytes,
    /// The page has PostgreSQL's layout: its free space need not be logged.
    pub standard: bool,
    /// Whether the page goes along as an image.
    pub image: ImagePolicy,
    /// The block's data stay in the record even if an image makes them needless to redo.
    pub keep_data: bool,
    /// The data that belong to the block, one piece after the other.
    pub data: &'a [&'a [u8]],
}

/// Whether a page goes along as an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePolicy {
    /// At the page's first change after the redo pointer, if `full_page_writes` is on.
    WhenNeeded,
    /// Always (`REGBUF_FORCE_IMAGE`).
    Always,
    /// Never (`REGBUF_NO_IMAGE`).
    Never,
    /// Never: redo makes the page anew (`REGBUF_WILL_INIT`).
    WillInit,
}

impl LoggedBlock<'_> {
    /// Whether an image is needed, with this redo pointer and this `full_page_writes`.
    fn needs_image(&self, redo: Lsn, full_page_writes: bool) -> bool {
        match self.image {
            ImagePolicy::Always => true,
            ImagePolicy::Never | ImagePolicy::WillInit => false,
            ImagePolicy::WhenNeeded => full_page_writes && PageRef::new(self.page).lsn() <= redo,
        }
    }
}

/// The block references of a record with the images that are needed now, and what that was decided
/// on.
pub(crate) fn with_images<'a>(
    record: &WalRecord<'a>,
    redo: Lsn,
    full_page_writes: bool,
) -> (ArrayVec<BlockReference<'a>, MAX_BLOCKS>, ImageDecision) {
    let mut decision = ImageDecision {
        full_page_writes,
        oldest_without_image: None,
        images: 0,
    };
    let compare = record.info & XLR_CHECK_CONSISTENCY != 0;
    // What is more than fits has ids that are not in order, which assembling refuses.
    let blocks = record.blocks.iter().take(MAX_BLOCKS).map(|block| {
        let needed = block.needs_image(redo, full_page_writes);
        if !needed && block.image == ImagePolicy::WhenNeeded {
            let lsn = PageRef::new(block.page).lsn();
            let oldest = decision.oldest_without_image.get_or_insert(lsn);
            *oldest = lsn.min(*oldest);
        }
        let image = (needed || compare).then(|| {
            decision.images += 1;
            let mut image = if block.standard {
                PageImage::standard(block.page)
            } else {
                PageImage::whole(block.page)
            };
            image.apply = needed;
            image
        });
        BlockReference {
            id: block.id,
            locator: block.locator,
            fork: block.fork,
            block: block.block,
            will_init: block.image == ImagePolicy::WillInit,
            image,
            data: if needed && !block.keep_data {
                &[]
            } else {
                block.data
            },
        }
    });
    (blocks.collect(), decision)
}
