//! Compressors of page images (`wal_compression`), lent to insertions.

use trunkline_pgformat::wal::record::{Compression, ImageCompressor};

use crate::sync::{Mutex, lock};

/// Compressors that nobody uses, at most; they are some hundred kilobytes each.
const MAX_IDLE: usize = 16;

/// The compressors that insertions have used and will use again. The lock is a leaf.
#[derive(Debug)]
pub(crate) struct Compressors {
    method: Compression,
    idle: Mutex<Vec<ImageCompressor>>,
}

impl Compressors {
    pub(crate) fn new(method: Compression) -> Compressors {
        Compressors {
            method,
            idle: Mutex::new(Vec::with_capacity(MAX_IDLE)),
        }
    }

    /// One that is idle, or a new one. None if there is no memory for it: images go uncompressed then,
    /// rather than that a change fails which has been made already.
    pub(crate) fn take(&self) -> Option<ImageCompressor> {
        let idle = lock(&self.idle).pop();
        idle.or_else(|| ImageCompressor::new(self.method).ok())
    }

    /// It is idle again.
    pub(crate) fn give_back(&self, compressor: ImageCompressor) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(compressor);
        }
    }
}
