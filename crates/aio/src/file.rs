//! An opened file. I/Os share it by `Arc`, so that it closes when the last
//! I/O in flight has completed and not before (A16).

use std::any::Any;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::descriptor_pool::DescriptorPool;

/// What direct I/O on a file demands, as `statx` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAlignment {
    /// Alignment of memory addresses, in bytes.
    pub memory_bytes: u32,
    /// Alignment of offsets and lengths, in bytes.
    pub offset_bytes: u32,
}

enum Backing {
    Descriptor {
        own: OwnedFd,
        pool: DescriptorPool,
    },
    External {
        key: u64,
        _owner: Box<dyn Any + Send + Sync>,
    },
}

/// A file opened by a [`crate::Storage`]; closes when the last `Arc` drops.
pub struct File {
    backing: Backing,
    path: PathBuf,
    direct: Option<DirectAlignment>,
    seekable: bool,
}

impl File {
    /// A file of the operating system. `direct` is set when the descriptor
    /// was opened for direct I/O; `seekable` is false for pipes and terminals,
    /// on which an I/O's offset is ignored.
    pub fn from_descriptor(
        descriptor: OwnedFd,
        path: PathBuf,
        direct: Option<DirectAlignment>,
        seekable: bool,
    ) -> Self {
        File {
            backing: Backing::Descriptor {
                own: descriptor,
                pool: DescriptorPool::default(),
            },
            path,
            direct,
            seekable,
        }
    }

    /// A file that only a particular [`crate::Method`] understands, which
    /// finds it by `key`; `owner` is dropped when the file closes.
    pub fn external(
        key: u64,
        owner: Box<dyn Any + Send + Sync>,
        path: PathBuf,
        direct: Option<DirectAlignment>,
    ) -> Self {
        File {
            backing: Backing::External { key, _owner: owner },
            path,
            direct,
            seekable: true,
        }
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The alignment that I/O on this file must have; `None` if it is buffered.
    pub fn direct(&self) -> Option<DirectAlignment> {
        self.direct
    }

    /// Whether offsets mean anything: false for pipes and terminals.
    pub fn is_seekable(&self) -> bool {
        self.seekable
    }

    /// The operating system's descriptor; `None` for an external file.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.backing {
            Backing::Descriptor { own, .. } => Some(own.as_fd()),
            Backing::External { .. } => None,
        }
    }

    /// Further descriptors of the same file; `None` for an external file.
    pub(crate) fn descriptor_pool(&self) -> Option<&DescriptorPool> {
        match &self.backing {
            Backing::Descriptor { pool, .. } => Some(pool),
            Backing::External { .. } => None,
        }
    }

    /// The key of an external file; `None` for one of the operating system.
    pub fn external_key(&self) -> Option<u64> {
        match &self.backing {
            Backing::Descriptor { .. } => None,
            Backing::External { key, .. } => Some(*key),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .field(
                "descriptor",
                &self.descriptor().map(|descriptor| descriptor.as_raw_fd()),
            )
            .field("direct", &self.direct)
            .finish()
    }
}
