//! What an I/O does and what it does it to.

/// The operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing; completes through the method like any other.
    Nop,
    /// Reads a range of a file into a list of memory.
    Readv,
    /// Writes a list of memory to a range of a file.
    Writev,
    /// Makes a file's data and metadata durable.
    Fsync,
    /// Makes a file's data durable.
    Fdatasync,
    /// Starts the write-back of a range of a file, without making it durable:
    /// a hint that spreads the work of a later sync.
    FlushRange,
}

impl Op {
    /// The name in `pg_stat_aios`.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Nop => "nop",
            Op::Readv => "readv",
            Op::Writev => "writev",
            Op::Fsync => "fsync",
            Op::Fdatasync => "fdatasync",
            Op::FlushRange => "flush_range",
        }
    }
}

/// What kind of object an I/O is for. The crate that owns the object gives
/// [`TargetTag::words`] their meaning; the AIO core only carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetId {
    /// Any file; owned by the AIO core itself.
    Raw,
    /// Shared buffers.
    SharedBuffers,
    /// A relation fork, bypassing shared buffers.
    Smgr,
    /// The write-ahead log.
    Wal,
}

impl TargetId {
    /// The name in `pg_stat_aios`.
    pub const fn name(self) -> &'static str {
        match self {
            TargetId::Raw => "raw",
            TargetId::SharedBuffers => "sb",
            TargetId::Smgr => "smgr",
            TargetId::Wal => "wal",
        }
    }
}

/// Names the object of an I/O, in the words of whoever owns the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetTag {
    /// The kind of object.
    pub kind: TargetId,
    /// Which one; opaque to the AIO core.
    pub words: [u64; 4],
}

impl TargetTag {
    /// A plain file: the file itself says which.
    pub const RAW: TargetTag = TargetTag {
        kind: TargetId::Raw,
        words: [0; 4],
    };
}
