//! Where inserts go, table by table: what PostgreSQL's free space map and a relation's target block
//! (`RelationGetTargetBlock`, `RelationGetBufferForTuple`) are for.
//!
//! Single inserts fill *lanes*, pages that all transactions share. A lane that is full moves on to a
//! spare page, or the table is extended by a few more than are needed at once. Loads have pages to
//! themselves: spare ones, which they take as they need them, and those that they extend by.
//!
//! ```text
//! spare pages ──▶ lane ──▶ full, or with room for shorter tuples: spare again
//!      ▲  │
//!      │  └─────▶ a load ──▶ what is left at its transaction's end: spare again
//!  extension
//! ```
//!
//! # Invariants
//! 1. A page is a lane's, a load's, or spare: one of them. Who was slow may still put a tuple onto a page
//!    that its lane has left: under the page's lock, and only where there is room.
//! 2. A page that was a lane's once never becomes an *empty* spare page, which its next user makes anew.
//! 3. Pages that the table was extended by for lanes are never those that a failed load gives back: they
//!    are in no list of blocks that a load added. So nothing that is cut off a table was a lane's.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use trunkline_pgformat::{BlockNumber, RelFileLocator};

use crate::spare_pages::SparePages;

/// A table has a lane for each so many blocks, up to one for each processor: a small table stays small.
const BLOCKS_PER_LANE: u32 = 8;

/// A table of so many blocks is extended by one page at a time, one of twice as many by two, and so on.
const BLOCKS_PER_EXTENSION_PAGE: u32 = 16;

/// Pages of one extension for lanes, at most.
const EXTENSION_PAGES_MAX: u32 = 8;

/// Less room than this on a page that a lane leaves is not kept in mind.
const ROOM_BYTES_MIN: usize = 512;

/// What is on a page that somebody comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contents {
    /// Nothing that has to stay: the page is made anew.
    Nothing,
    /// Tuples, perhaps.
    Tuples,
}

/// The page that a lane fills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LanePage {
    pub(crate) block: BlockNumber,
    pub(crate) contents: Contents,
}

/// A lane's page in one word, beside no other lane's.
#[derive(Debug)]
#[repr(align(128))]
struct Lane(AtomicU64);

impl Lane {
    const NO_PAGE: u64 = u64::MAX;
    const NOTHING: u64 = 1 << 32;

    fn word(page: Option<LanePage>) -> u64 {
        match page {
            None => Lane::NO_PAGE,
            Some(page) => {
                let nothing = page.contents == Contents::Nothing;
                u64::from(page.block) | if nothing { Lane::NOTHING } else { 0 }
            }
        }
    }

    fn page(&self) -> Option<LanePage> {
        let word = self.0.load(Ordering::Acquire);
        (word != Lane::NO_PAGE).then_some(LanePage {
            block: word as u32,
            contents: if word & Lane::NOTHING != 0 {
                Contents::Nothing
            } else {
                Contents::Tuples
            },
        })
    }

    fn replace(&self, old: Option<LanePage>, new: Option<LanePage>) -> bool {
        let (old, new) = (Lane::word(old), Lane::word(new));
        self.0
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[derive(Debug, Default)]
struct Spare {
    pages: SparePages,
    /// Extensions for lanes that are under way.
    extensions: u32,
    /// What the table had when somebody looked last.
    blocks: BlockNumber,
}

/// Where inserts into one table go.
#[derive(Debug)]
pub struct TableTargets {
    lanes: Box<[Lane]>,
    /// Lanes that are used by now.
    used_lanes: AtomicUsize,
    /// A leaf lock; lanes move on under it.
    spare: Mutex<Spare>,
}

impl TableTargets {
    /// Of a table that has `blocks` blocks, of which nothing is known but that the last one may have room.
    fn new(lanes: usize, blocks: BlockNumber) -> TableTargets {
        let mut spare = Spare {
            blocks,
            ..Spare::default()
        };
        if let Some(last) = blocks.checked_sub(1) {
            spare.pages.push_partial(last);
        }
        TableTargets {
            lanes: (0..lanes)
                .map(|_| Lane(AtomicU64::new(Lane::NO_PAGE)))
                .collect(),
            used_lanes: AtomicUsize::new(used_lanes(blocks, lanes)),
            spare: Mutex::new(spare),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `count` spare pages, only empty ones if `only_empty`. They are the caller's alone until
    /// it gives them back.
    pub fn take(&self, count: usize, only_empty: bool) -> SparePages {
        self.spare().pages.split_off(count, only_empty)
    }

    /// Gives back what was taken and is left, or pages that were added and are left.
    pub fn give_back(&self, spare: SparePages) {
        if !spare.is_empty() {
            self.spare().pages.append(spare);
        }
    }

    /// The lane of the inserter of this number.
    #[inline]
    pub(crate) fn lane(&self, inserter: usize) -> usize {
        inserter % self.used_lanes.load(Ordering::Relaxed)
    }

    /// The page that the lane fills.
    #[inline]
    pub(crate) fn page(&self, lane: usize) -> Option<LanePage> {
        self.lanes[lane].page()
    }

    /// The lane's page, which is `page` with nothing on it, gets its first tuple from the caller, who has
    /// it locked. `false` if somebody else was first, or the lane has moved on.
    pub(crate) fn begin_page(&self, lane: usize, page: LanePage) -> bool {
        let contents = Contents::Tuples;
        self.lanes[lane].replace(Some(page), Some(LanePage { contents, ..page }))
    }

    /// Moves the lane on from `from`, which has room for `left_bytes` left and not for the `wanted_bytes`
    /// of a tuple; unless somebody did. `false` if there is no spare page to move on to.
    pub(crate) fn move_on(
        &self,
        lane: usize,
        from: Option<LanePage>,
        left_bytes: usize,
        wanted_bytes: usize,
    ) -> bool {
        let mut spare = self.spare();
        if self.page(lane) != from {
            return true;
        }
        // Without a successor the lane keeps its page, for shorter tuples.
        let Some(next) = spare.pop(wanted_bytes) else {
            return false;
        };
        if self.lanes[lane].replace(from, Some(next)) {
            if let Some(page) = from
                && left_bytes >= ROOM_BYTES_MIN
            {
                spare.pages.push_partial_with_room(page.block, left_bytes);
            }
        } else {
            // Its page was abandoned meanwhile.
            spare.push(next);
        }
        true
    }

    /// The lane leaves `from`, which cannot be read, and which nobody is to come to again.
    pub(crate) fn abandon(&self, lane: usize, from: LanePage) {
        self.lanes[lane].replace(Some(from), None);
    }

    /// An extension for a lane begins.
    pub(crate) fn begin_extension(&self) -> LaneExtension<'_> {
        let mut spare = self.spare();
        spare.extensions += 1;
        // Beside another one most likely nothing will be wanted.
        let pages = if spare.extensions > 1 {
            1
        } else {
            extension_pages(spare.blocks)
        };
        LaneExtension {
            targets: self,
            pages,
        }
    }
}

impl Spare {
    /// A page that may have room.
    fn pop(&mut self, room_bytes: usize) -> Option<LanePage> {
        if let Some(block) = self.pages.pop_partial_with_room(room_bytes) {
            let contents = Contents::Tuples;
            return Some(LanePage { block, contents });
        }
        let block = self.pages.pop_empty()?;
        let contents = Contents::Nothing;
        Some(LanePage { block, contents })
    }

    fn push(&mut self, page: LanePage) {
        match page.contents {
            Contents::Nothing => self.pages.push_empty(page.block),
            Contents::Tuples => self.pages.push_partial(page.block),
        }
    }
}

/// An extension of the table for a lane that found no spare page. Several at once do not add up: who comes
/// later finds what who was first added.
#[derive(Debug)]
pub(crate) struct LaneExtension<'t> {
    targets: &'t TableTargets,
    pages: u32,
}

impl LaneExtension<'_> {
    /// By how many pages, at most.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// By how many pages, now that the table has `blocks` blocks: none if the lane has moved on from
    /// `from` meanwhile, or can.
    pub(crate) fn wanted(
        &self,
        blocks: BlockNumber,
        lane: usize,
        from: Option<LanePage>,
        wanted_bytes: usize,
    ) -> u32 {
        let mut spare = self.targets.spare();
        spare.blocks = blocks;
        if self.targets.page(lane) != from || spare.pages.has_room(wanted_bytes) {
            return 0;
        }
        self.pages.min(extension_pages(blocks))
    }

    /// The pages are there.
    pub(crate) fn added(&self, blocks: Range<BlockNumber>) {
        let mut spare = self.targets.spare();
        spare.blocks = blocks.end;
        let lanes = used_lanes(blocks.end, self.targets.lanes.len());
        self.targets.used_lanes.store(lanes, Ordering::Relaxed);
        // The first one is used first.
        for block in blocks.rev() {
            spare.pages.push_empty(block);
        }
    }
}

impl Drop for LaneExtension<'_> {
    fn drop(&mut self) {
        self.targets.spare().extensions -= 1;
    }
}

fn used_lanes(blocks: BlockNumber, lanes: usize) -> usize {
    ((blocks / BLOCKS_PER_LANE) as usize).clamp(1, lanes)
}

fn extension_pages(blocks: BlockNumber) -> u32 {
    (blocks / BLOCKS_PER_EXTENSION_PAGE).clamp(1, EXTENSION_PAGES_MAX)
}

/// Where inserts go, of all tables that were inserted into since the start.
#[derive(Debug)]
pub struct InsertTargets {
    lanes: usize,
    /// A table without an entry was not inserted into yet. A leaf lock.
    tables: RwLock<HashMap<RelFileLocator, Arc<TableTargets>>>,
}

impl InsertTargets {
    /// Of no table anything is known. A table gets up to `lanes` lanes (at least one): as many as there
    /// are processors.
    pub fn new(lanes: usize) -> InsertTargets {
        InsertTargets {
            lanes: lanes.max(1),
            tables: RwLock::default(),
        }
    }

    /// Those of one table, on which the caller has a lock that keeps its files. `blocks` looks how many
    /// blocks it has, if nobody inserted into it yet: who inserts comes here before adding pages.
    ///
    /// # Errors
    /// Those of `blocks`.
    pub fn table<E>(
        &self,
        locator: RelFileLocator,
        blocks: impl FnOnce() -> Result<BlockNumber, E>,
    ) -> Result<Arc<TableTargets>, E> {
        if let Some(table) = self.known(locator) {
            return Ok(table);
        }
        // Somebody may be here at the same time, and add pages before this one: its entry counts.
        let blocks = blocks()?;
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let table = tables
            .entry(locator)
            .or_insert_with(|| Arc::new(TableTargets::new(self.lanes, blocks)));
        Ok(Arc::clone(table))
    }

    fn known(&self, locator: RelFileLocator) -> Option<Arc<TableTargets>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(&locator).cloned()
    }

    /// Gives back what was taken and is left, or pages that were added and are left; nothing if the table
    /// is gone.
    pub fn give_back(&self, locator: RelFileLocator, spare: SparePages) {
        if let Some(table) = self.known(locator) {
            table.give_back(spare);
        }
    }

    /// The table's files are gone.
    pub fn forget(&self, locator: RelFileLocator) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.remove(&locator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use trunkline_pgformat::{DEFAULTTABLESPACE_OID, Oid};

    const TABLE: RelFileLocator = RelFileLocator {
        spc_oid: DEFAULTTABLESPACE_OID,
        db_oid: Oid(5),
        rel_number: 16384,
    };

    fn of_table(
        targets: &InsertTargets,
        blocks: BlockNumber,
    ) -> Result<Arc<TableTargets>, Infallible> {
        targets.table(TABLE, || Ok(blocks))
    }

    fn page(block: BlockNumber, contents: Contents) -> Option<LanePage> {
        Some(LanePage { block, contents })
    }

    #[test]
    fn a_page_has_one_user_at_a_time() {
        let targets = InsertTargets::new(2);
        let table = of_table(&targets, 3).unwrap();
        let mut first = table.take(10, false);
        assert_eq!(first.pop_partial(), Some(2));
        assert!(first.is_empty());
        // The first user has added pages meanwhile: its last one is not the second one's to use.
        assert!(of_table(&targets, 10).unwrap().take(10, false).is_empty());
        first.push_empty(5);
        targets.give_back(TABLE, first.clone());
        assert!(table.move_on(0, None, 0, 100));
        assert_eq!(table.page(0), page(5, Contents::Nothing));
        assert!(table.take(10, false).is_empty());
        targets.forget(TABLE);
        targets.give_back(TABLE, first);
        assert!(of_table(&targets, 0).unwrap().take(10, false).is_empty());
    }

    #[test]
    fn a_page_is_made_anew_by_one() {
        let targets = InsertTargets::new(1);
        let table = of_table(&targets, 0).unwrap();
        let mut spare = SparePages::default();
        spare.push_empty(7);
        table.give_back(spare);
        assert!(table.move_on(0, None, 0, 100));
        let first = table.page(0).unwrap();
        assert!(table.begin_page(0, first));
        assert!(!table.begin_page(0, first));
        assert_eq!(table.page(0), page(7, Contents::Tuples));
    }

    #[test]
    fn who_extends_after_another_adds_nothing_if_there_is_something() {
        let targets = InsertTargets::new(4);
        let table = of_table(&targets, 1000).unwrap();
        // The table's last page.
        table.take(1, false);
        let wanted = |extension: &LaneExtension<'_>, lane| extension.wanted(1000, lane, None, 100);
        let (first, second) = (table.begin_extension(), table.begin_extension());
        assert_eq!(first.pages(), EXTENSION_PAGES_MAX);
        assert_eq!(wanted(&first, 0), EXTENSION_PAGES_MAX);
        first.added(1000..1008);
        assert_eq!(wanted(&second, 0), 0);
        assert_eq!(wanted(&second, 1), 0, "another lane finds the same pages");
        // The lane has moved on, though no page is spare any more.
        assert!(table.move_on(0, None, 0, 100));
        table.take(10, false);
        assert_eq!(wanted(&second, 0), 0);
        assert_eq!(wanted(&second, 1), 1, "as many as it has buffers for");
        // One that failed is none.
        drop((first, second));
        assert_eq!(table.begin_extension().pages(), EXTENSION_PAGES_MAX);
        assert_eq!(table.page(0), page(1000, Contents::Nothing));
    }

    #[test]
    fn a_lane_leaves_room_to_others_and_does_not_come_back_for_more_than_there_is() {
        let targets = InsertTargets::new(1);
        let table = of_table(&targets, 1).unwrap();
        assert!(table.move_on(0, None, 0, 5000));
        let full = table.page(0);
        assert_eq!(full, page(0, Contents::Tuples));
        assert!(!table.move_on(0, full, 3000, 5000));
        assert_eq!(table.page(0), full, "it stays for shorter ones");
        table.begin_extension().added(1..2);
        assert!(table.move_on(0, full, 3000, 5000));
        let next = table.page(0);
        assert_eq!(next, page(1, Contents::Nothing));
        assert!(table.move_on(0, full, 3000, 5000), "somebody was first");
        assert_eq!(table.page(0), next);
        assert!(!table.move_on(0, next, 100, 3001));
        assert!(table.move_on(0, next, 100, 3000));
        assert_eq!(table.page(0), full);
    }

    #[test]
    fn how_many_lanes_and_pages_a_table_gets_depends_on_its_size() {
        assert_eq!(
            [0, 8, 15, 16, 10_000].map(|blocks| used_lanes(blocks, 6)),
            [1, 1, 1, 2, 6]
        );
        assert_eq!(
            [0, 16, 31, 32, 128, 10_000].map(extension_pages),
            [1, 1, 1, 2, 8, 8]
        );
        let table = TableTargets::new(6, 10_000);
        let lanes: std::collections::BTreeSet<usize> = (100..120).map(|n| table.lane(n)).collect();
        assert_eq!(lanes.len(), 6);
    }
}
