//! What `xl_info` says: four bits for every resource manager, four of its own.

/// Bits that mean the same for every resource manager (`XLR_INFO_MASK`).
pub const XLR_INFO_MASK: u8 = 0x0f;
/// Bits that the resource manager gives a meaning (`XLR_RMGR_INFO_MASK`).
pub const XLR_RMGR_INFO_MASK: u8 = 0xf0;
/// The record changes relations' files in other ways than its block references tell.
pub const XLR_SPECIAL_REL_UPDATE: u8 = 0x01;
/// Redo compares its result with the page images, byte for byte.
pub const XLR_CHECK_CONSISTENCY: u8 = 0x02;

/// Resource manager `XLOG` (`catalog/pg_control.h`).
pub mod xlog {
    /// A checkpoint when the cluster stopped.
    pub const CHECKPOINT_SHUTDOWN: u8 = 0x00;
    /// A checkpoint of a running cluster.
    pub const CHECKPOINT_ONLINE: u8 = 0x10;
    /// Nothing; its bytes fill up space.
    pub const NOOP: u8 = 0x20;
    /// OIDs up to this one may be handed out.
    pub const NEXTOID: u8 = 0x30;
    /// The rest of the segment is not used.
    pub const SWITCH: u8 = 0x40;
    /// A base backup ended.
    pub const BACKUP_END: u8 = 0x50;
    /// Settings that a standby must follow changed.
    pub const PARAMETER_CHANGE: u8 = 0x60;
    /// A named point to recover to.
    pub const RESTORE_POINT: u8 = 0x70;
    /// `full_page_writes` changed.
    pub const FPW_CHANGE: u8 = 0x80;
    /// Recovery ended and began a timeline.
    pub const END_OF_RECOVERY: u8 = 0x90;
    /// A page image, taken because a hint bit was set.
    pub const FPI_FOR_HINT: u8 = 0xa0;
    /// Page images.
    pub const FPI: u8 = 0xb0;
    /// A record before was never completed.
    pub const OVERWRITE_CONTRECORD: u8 = 0xd0;
    /// Where recovery from an online checkpoint starts.
    pub const CHECKPOINT_REDO: u8 = 0xe0;
}

/// Resource manager `Transaction` (`access/xact.h`).
pub mod xact {
    /// Committed.
    pub const COMMIT: u8 = 0x00;
    /// Prepared for two-phase commit.
    pub const PREPARE: u8 = 0x10;
    /// Aborted.
    pub const ABORT: u8 = 0x20;
    /// A prepared transaction committed.
    pub const COMMIT_PREPARED: u8 = 0x30;
    /// A prepared transaction aborted.
    pub const ABORT_PREPARED: u8 = 0x40;
    /// Subtransactions belong to this transaction.
    pub const ASSIGNMENT: u8 = 0x50;
    /// Invalidation messages, for logical decoding.
    pub const INVALIDATIONS: u8 = 0x60;
    /// The bits that hold the code.
    pub const OPMASK: u8 = 0x70;
    /// The record has an `xl_xact_xinfo`.
    pub const HAS_INFO: u8 = 0x80;
}

/// Resource manager `Storage` (`catalog/storage_xlog.h`).
pub mod smgr {
    /// A fork's file was made.
    pub const CREATE: u8 = 0x10;
    /// A relation was cut off.
    pub const TRUNCATE: u8 = 0x20;
}

/// Resource manager `CLOG` (`access/clog.h`).
pub mod clog {
    /// A page of zeros was added.
    pub const ZEROPAGE: u8 = 0x00;
    /// Old segments were removed.
    pub const TRUNCATE: u8 = 0x10;
}

/// Resource manager `Database` (`commands/dbcommands_xlog.h`).
pub mod dbase {
    /// Made by copying files.
    pub const CREATE_FILE_COPY: u8 = 0x00;
    /// Made by logging every page.
    pub const CREATE_WAL_LOG: u8 = 0x10;
    /// Dropped.
    pub const DROP: u8 = 0x20;
}

/// Resource manager `Tablespace` (`commands/tablespace.h`).
pub mod tblspc {
    /// Made.
    pub const CREATE: u8 = 0x00;
    /// Dropped.
    pub const DROP: u8 = 0x10;
}

/// Resource manager `MultiXact` (`access/multixact.h`).
pub mod multixact {
    /// A page of zeros was added to the offsets.
    pub const ZERO_OFF_PAGE: u8 = 0x00;
    /// A page of zeros was added to the members.
    pub const ZERO_MEM_PAGE: u8 = 0x10;
    /// A multixact was made.
    pub const CREATE_ID: u8 = 0x20;
    /// Old segments were removed.
    pub const TRUNCATE_ID: u8 = 0x30;
}

/// Resource manager `RelMap` (`utils/relmapper.h`).
pub mod relmap {
    /// The whole map anew.
    pub const UPDATE: u8 = 0x00;
}

/// Resource manager `Standby` (`storage/standbydefs.h`).
pub mod standby {
    /// Access exclusive locks were taken.
    pub const LOCK: u8 = 0x00;
    /// The transactions that run.
    pub const RUNNING_XACTS: u8 = 0x10;
    /// Invalidation messages of a transaction without an xid.
    pub const INVALIDATIONS: u8 = 0x20;
}

/// Resource manager `Heap` (`access/heapam_xlog.h`).
pub mod heap {
    /// A tuple was added.
    pub const INSERT: u8 = 0x00;
    /// A tuple was deleted.
    pub const DELETE: u8 = 0x10;
    /// A tuple was replaced.
    pub const UPDATE: u8 = 0x20;
    /// The table was truncated, for logical decoding.
    pub const TRUNCATE: u8 = 0x30;
    /// A tuple was replaced on its page and no index changed.
    pub const HOT_UPDATE: u8 = 0x40;
    /// A speculative insertion became real.
    pub const CONFIRM: u8 = 0x50;
    /// A tuple was locked.
    pub const LOCK: u8 = 0x60;
    /// A tuple was overwritten.
    pub const INPLACE: u8 = 0x70;
    /// The bits that hold the code.
    pub const OPMASK: u8 = 0x70;
    /// Redo initializes the page first.
    pub const INIT_PAGE: u8 = 0x80;
}

/// Resource manager `Heap2` (`access/heapam_xlog.h`).
pub mod heap2 {
    /// Rewriting of a catalog, for logical decoding.
    pub const REWRITE: u8 = 0x00;
    /// A page was pruned by a query.
    pub const PRUNE_ON_ACCESS: u8 = 0x10;
    /// A page was pruned or frozen by vacuum's first pass.
    pub const PRUNE_VACUUM_SCAN: u8 = 0x20;
    /// Dead line pointers were freed by vacuum's second pass.
    pub const PRUNE_VACUUM_CLEANUP: u8 = 0x30;
    /// A page became all-visible.
    pub const VISIBLE: u8 = 0x40;
    /// Several tuples were added to a page.
    pub const MULTI_INSERT: u8 = 0x50;
    /// A tuple was locked that had been updated.
    pub const LOCK_UPDATED: u8 = 0x60;
    /// A command id, for logical decoding.
    pub const NEW_CID: u8 = 0x70;
}

/// Resource manager `Btree` (`access/nbtxlog.h`).
pub mod btree {
    /// A tuple was added to a leaf.
    pub const INSERT_LEAF: u8 = 0x00;
    /// A tuple was added to an inner page.
    pub const INSERT_UPPER: u8 = 0x10;
    /// The same, and the metapage changed.
    pub const INSERT_META: u8 = 0x20;
    /// A page was split, the new tuple being on the left one.
    pub const SPLIT_L: u8 = 0x30;
    /// A page was split, the new tuple being on the right one.
    pub const SPLIT_R: u8 = 0x40;
    /// A tuple was added and a posting list split.
    pub const INSERT_POST: u8 = 0x50;
    /// Tuples with equal keys became posting lists.
    pub const DEDUP: u8 = 0x60;
    /// Tuples were deleted when an insertion needed room.
    pub const DELETE: u8 = 0x70;
    /// A half-dead page was unlinked.
    pub const UNLINK_PAGE: u8 = 0x80;
    /// The same, and the metapage changed.
    pub const UNLINK_PAGE_META: u8 = 0x90;
    /// There is a new root.
    pub const NEWROOT: u8 = 0xa0;
    /// A leaf became half-dead.
    pub const MARK_PAGE_HALFDEAD: u8 = 0xb0;
    /// Tuples were deleted by vacuum.
    pub const VACUUM: u8 = 0xc0;
    /// A deleted page is used again.
    pub const REUSE_PAGE: u8 = 0xd0;
    /// What the metapage says of cleaning up changed.
    pub const META_CLEANUP: u8 = 0xe0;
}

/// Resource manager `Sequence` (`commands/sequence.h`).
pub mod sequence {
    /// The sequence's tuple.
    pub const LOG: u8 = 0x00;
}
