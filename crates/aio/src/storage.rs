//! File metadata: everything that changes or asks about files without moving
//! their bytes. The simulator implements [`Storage`] from outside.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

use crate::direct::switch_to_direct;
use crate::file::File;
use crate::memory::AlignedBuf;

/// How to open a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Create it if it does not exist.
    pub create: bool,
    /// Create it; an error if it exists.
    pub create_new: bool,
    /// Cut it to length 0.
    pub truncate: bool,
    /// Bypass the page cache where the file system allows it. Whether it did
    /// is seen in [`File::direct`].
    pub direct: bool,
    /// Each write is durable when it is complete, as if a sync of the data
    /// followed it (`O_DSYNC`).
    pub dsync: bool,
    /// A file that is created can be read by every user, as far as the umask
    /// allows; otherwise by its owner only.
    pub world_readable: bool,
}

impl OpenOptions {
    /// An existing file, for reading.
    pub const READ: OpenOptions = OpenOptions {
        read: true,
        write: false,
        create: false,
        create_new: false,
        truncate: false,
        direct: false,
        dsync: false,
        world_readable: false,
    };
    /// An existing file, for reading and writing.
    pub const READ_WRITE: OpenOptions = OpenOptions {
        write: true,
        ..OpenOptions::READ
    };
    /// A file that must not exist yet, for reading and writing.
    pub const CREATE_NEW: OpenOptions = OpenOptions {
        create_new: true,
        ..OpenOptions::READ_WRITE
    };
    /// A file for writing from scratch, existing or not.
    pub const OVERWRITE: OpenOptions = OpenOptions {
        read: false,
        write: true,
        create: true,
        truncate: true,
        ..OpenOptions::READ
    };

    /// The same, with writes that are durable when they are complete, or not.
    pub const fn with_dsync(self, dsync: bool) -> Self {
        OpenOptions { dsync, ..self }
    }

    /// The same, with or without direct I/O.
    pub const fn with_direct(self, direct: bool) -> Self {
        OpenOptions { direct, ..self }
    }
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a pipe, a device.
    Other,
}

/// What is known about a path without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMetadata {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub len_bytes: u64,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: OsString,
    /// What it stands for.
    pub kind: FileKind,
}

/// All changes of file metadata. Calls block; none belongs on a commit path.
pub trait Storage: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Arc<File>>;
    /// Length of an open file, in bytes.
    fn len(&self, file: &File) -> io::Result<u64>;
    /// Cuts or extends (with zeros) an open file.
    fn set_len(&self, file: &File, len_bytes: u64) -> io::Result<()>;
    /// Makes sure that `[offset, offset + len_bytes)` exists, reads as zeros
    /// where it did not exist before, and has space reserved.
    fn allocate(&self, file: &File, offset: u64, len_bytes: u64) -> io::Result<()>;
    /// Renames, replacing what `to` named before.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no particular order.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// What a path stands for (links followed); `None` if nothing is there.
    fn metadata(&self, path: &Path) -> io::Result<Option<FileMetadata>>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether something is there.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.metadata(path)?.is_some())
    }
}

/// The operating system's file systems.
#[derive(Debug, Default)]
pub struct OsStorage {
    buffered_fall_back_logged: AtomicBool,
}

/// Files and directories are their owner's alone, as in PostgreSQL.
const FILE_MODE: u32 = 0o600;
const WORLD_READABLE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o700;

impl OsStorage {
    /// The operating system's file systems.
    pub fn new() -> Self {
        OsStorage::default()
    }

    fn descriptor_of(file: &File) -> io::Result<std::os::fd::BorrowedFd<'_>> {
        file.descriptor().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "not a file of the operating system",
            )
        })
    }

    fn open_os(path: &Path, options: OpenOptions, flags: i32) -> io::Result<fs::File> {
        let mode = if options.world_readable {
            WORLD_READABLE_MODE
        } else {
            FILE_MODE
        };
        fs::OpenOptions::new()
            .read(options.read)
            .write(options.write)
            .create(options.create)
            .create_new(options.create_new)
            .truncate(options.truncate)
            .mode(mode)
            .custom_flags(flags)
            .open(path)
    }

    fn log_fall_back(&self, path: &Path, reason: &str) {
        if !self.buffered_fall_back_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %path.display(), reason, "direct I/O is not possible, using buffered I/O");
        }
    }
}

fn kind_of(file_type: fs::FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Directory
    } else {
        FileKind::Other
    }
}

impl Storage for OsStorage {
    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Arc<File>> {
        // The alignment is known only once the file is open, so open buffered
        // first and switch the descriptor over: no second look-up of the name,
        // and create_new and truncate act once.
        let flags = if options.dsync { libc::O_DSYNC } else { 0 };
        let file = OsStorage::open_os(path, options, flags)?;
        let file_type = file.metadata()?.file_type();
        let mut direct = None;
        if options.direct {
            match switch_to_direct(&file)? {
                Ok(alignment) => direct = Some(alignment),
                Err(reason) => self.log_fall_back(path, &reason),
            }
        }
        let seekable = file_type.is_file() || file_type.is_block_device();
        Ok(Arc::new(File::from_descriptor(
            file.into(),
            path.to_owned(),
            direct,
            seekable,
        )))
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        let stat = rustix::fs::fstat(OsStorage::descriptor_of(file)?)?;
        u64::try_from(stat.st_size).map_err(io::Error::other)
    }

    fn set_len(&self, file: &File, len_bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(
            OsStorage::descriptor_of(file)?,
            len_bytes,
        )?)
    }

    fn allocate(&self, file: &File, offset: u64, len_bytes: u64) -> io::Result<()> {
        let descriptor = OsStorage::descriptor_of(file)?;
        loop {
            match rustix::fs::fallocate(descriptor, FallocateFlags::empty(), offset, len_bytes) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    return write_zeros_beyond_end(self.len(file)?, descriptor, offset, len_bytes);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok(DirEntry {
                    name: entry.file_name(),
                    kind: kind_of(entry.file_type()?),
                })
            })
            .collect()
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileMetadata>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(FileMetadata {
                kind: kind_of(metadata.file_type()),
                len_bytes: metadata.len(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }
}

/// The slow way to reserve space, for file systems without `fallocate`. Bytes
/// that exist already stay as they are.
fn write_zeros_beyond_end(
    len_bytes: u64,
    descriptor: std::os::fd::BorrowedFd<'_>,
    offset: u64,
    length_bytes: u64,
) -> io::Result<()> {
    let zeros = AlignedBuf::zeroed(128 * 1024);
    let end = offset.saturating_add(length_bytes);
    let mut position = offset.max(len_bytes);
    while position < end {
        let chunk = zeros
            .len()
            .min(usize::try_from(end - position).unwrap_or(usize::MAX));
        match rustix::io::pwrite(descriptor, &zeros[..chunk], position) {
            Ok(0) => return Err(rustix::io::Errno::NOSPC.into()),
            Ok(written) => position += written as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
