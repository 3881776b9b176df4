//! File metadata: [`Storage`] for the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{DirEntry, File, FileMetadata, OpenOptions, Storage};

use crate::disk::{Opening, SimDisk};
use crate::faults::{Fault, OpKind};

/// Closes its opening when the last user of the file is gone.
struct CloseOnDrop {
    disk: SimDisk,
    key: u64,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.disk.lock().close(self.key);
    }
}

impl Storage for SimDisk {
    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Arc<File>> {
        let creates = options.create || options.create_new;
        if !options.write && (!options.read || creates || options.truncate) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut state = self.lock();
        let direct = state.config.direct.filter(|_| options.direct);
        let key = state.call(OpKind::Open, [path; 2], (0, 0), |state, _| {
            let inode = match state.files.look_up_file(path) {
                Ok(_) if options.create_new => return Err(libc::EEXIST),
                Err(libc::EISDIR) if options.create_new => return Err(libc::EEXIST),
                Err(libc::ENOENT) if creates => state.files.create(path)?,
                found => found?,
            };
            if options.truncate {
                state.files.set_len(inode, 0);
            }
            Ok(state.open(Opening {
                inode,
                read: options.read,
                write: options.write,
            }))
        })?;
        drop(state);
        let disk = self.clone();
        let owner = Box::new(CloseOnDrop { disk, key });
        Ok(Arc::new(File::external(
            key,
            owner,
            path.to_owned(),
            direct,
        )))
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        let path = file.path();
        self.lock()
            .call(OpKind::Len, [path; 2], (0, 0), |state, _| {
                let opening = state.opening(file)?;
                let content = state.files.content(opening.inode).ok_or(libc::EIO)?;
                Ok(content.len())
            })
    }

    fn set_len(&self, file: &File, len_bytes: u64) -> io::Result<()> {
        let (paths, range) = ([file.path(); 2], (0, len_bytes));
        self.lock().call(OpKind::SetLen, paths, range, |state, _| {
            let opening = state.opening(file)?;
            if !opening.write {
                return Err(libc::EINVAL);
            }
            if i64::try_from(len_bytes).is_err() {
                return Err(libc::EFBIG);
            }
            state.files.set_len(opening.inode, len_bytes);
            Ok(())
        })
    }

    fn allocate(&self, file: &File, offset: u64, len_bytes: u64) -> io::Result<()> {
        let (paths, range) = ([file.path(); 2], (offset, len_bytes));
        self.lock()
            .call(OpKind::Allocate, paths, range, |state, _| {
                let opening = state.opening(file)?;
                if !opening.write {
                    return Err(libc::EBADF);
                }
                if len_bytes == 0 {
                    return Err(libc::EINVAL);
                }
                let end = offset.checked_add(len_bytes);
                if end.is_none_or(|end| i64::try_from(end).is_err()) {
                    return Err(libc::EFBIG);
                }
                let capacity = state.config.capacity_bytes;
                state
                    .files
                    .allocate(opening.inode, offset, len_bytes, capacity)
            })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock()
            .call(OpKind::Rename, [from, to], (0, 0), |state, _| {
                state.files.rename(from, to)
            })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.lock()
            .call(OpKind::Unlink, [path; 2], (0, 0), |state, _| {
                state.files.unlink(path)
            })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.lock()
            .call(OpKind::CreateDir, [path; 2], (0, 0), |state, _| {
                state.files.create_dir(path).map(drop)
            })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.lock()
            .call(OpKind::RemoveDir, [path; 2], (0, 0), |state, _| {
                state.files.remove_dir(path)
            })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.lock()
            .call(OpKind::List, [path; 2], (0, 0), |state, _| {
                state.files.list(path)
            })
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileMetadata>> {
        self.lock()
            .call(OpKind::Metadata, [path; 2], (0, 0), |state, _| {
                state.files.metadata(path)
            })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.lock()
            .call(OpKind::SyncDir, [path; 2], (0, 0), |state, fault| {
                if fault == Some(Fault::LyingSync) {
                    return state.files.look_up(path).map(drop);
                }
                let order = state.config.name_order;
                state.files.sync_dir(path, order)
            })
    }
}
