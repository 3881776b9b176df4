//! Single inserts onto pages that several transactions share (`heap_insert` and
//! `RelationGetBufferForTuple`): [`TableTargets`] says which.

use trunkline_aio::IoContext;
use trunkline_buffer::PinnedBuffer;
use trunkline_pgformat::{ForkNumber, ItemPointer, max_align};

use crate::HeapError;
use crate::insert_targets::{Contents, LanePage, TableTargets};
use crate::modify::{HeapWriter, Placed};

impl HeapWriter<'_> {
    /// Inserts `tuple` (header and data, as `types::TupleFormer` makes it) where the table's single
    /// inserts go; its place. `inserter` is a number of the session's, so that sessions keep out of each
    /// other's way.
    ///
    /// The page is locked for the insertion alone. No lock is held while pages are read or added.
    ///
    /// # Errors
    /// [`HeapError::TooBig`], or the pool's.
    pub fn insert_shared(
        &self,
        targets: &TableTargets,
        inserter: usize,
        tuple: &mut [u8],
        io: &mut IoContext,
    ) -> Result<ItemPointer, HeapError> {
        self.stamp(tuple, 0)?;
        let wanted_bytes = max_align(tuple.len());
        loop {
            let lane = targets.lane(inserter);
            let page = targets.page(lane);
            let mut left_bytes = 0;
            if let Some(page) = page {
                let buffer = match self.pool.read(io, self.fork(), page.block, None) {
                    Ok(buffer) => buffer,
                    Err(error) => {
                        // If it is the page's fault; there may only be no buffer for it just now.
                        if error.is_of_the_page() {
                            targets.abandon(lane, page);
                        }
                        return Err(error.into());
                    }
                };
                match self.try_insert_shared(targets, lane, page, &buffer, tuple, io)? {
                    Attempt::Placed(place) => return Ok(place),
                    Attempt::NoRoom { bytes } => left_bytes = bytes,
                    Attempt::LaneMovedOn => continue,
                }
            }
            if !targets.move_on(lane, page, left_bytes, wanted_bytes) {
                self.extend_for_lane(targets, lane, page, wanted_bytes, io)?;
            }
        }
    }

    fn try_insert_shared(
        &self,
        targets: &TableTargets,
        lane: usize,
        page: LanePage,
        buffer: &PinnedBuffer,
        tuple: &mut [u8],
        io: &mut IoContext,
    ) -> Result<Attempt, HeapError> {
        let (guard, map_page) = self.map.lock_heap_page(buffer, io)?;
        if page.contents == Contents::Nothing && !targets.begin_page(lane, page) {
            return Ok(Attempt::LaneMovedOn);
        }
        let placed = self.insert_into(guard, map_page, page.contents, tuple, 0, io)?;
        Ok(match placed {
            Placed::At(place) => Attempt::Placed(place),
            Placed::NoRoom { bytes } => Attempt::NoRoom { bytes },
        })
    }

    fn extend_for_lane(
        &self,
        targets: &TableTargets,
        lane: usize,
        from: Option<LanePage>,
        wanted_bytes: usize,
        io: &mut IoContext,
    ) -> Result<(), HeapError> {
        let extension = targets.begin_extension();
        self.pool.extend_as_wanted(
            io,
            self.relation.fork(ForkNumber::Main),
            extension.pages(),
            None,
            |blocks| extension.wanted(blocks, lane, from, wanted_bytes),
            |blocks| extension.added(blocks),
        )?;
        Ok(())
    }
}

/// What became of an attempt to insert onto a lane's page.
enum Attempt {
    Placed(ItemPointer),
    /// The page has only this much.
    NoRoom {
        bytes: usize,
    },
    /// Somebody else used the page first.
    LaneMovedOn,
}
