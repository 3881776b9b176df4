//! Directories of the operating system to and from the disk: a cluster made
//! once to start many simulations from, and what a power cut left for tools
//! that read real files.

use std::fs;
use std::io;
use std::path::Path;

use trunkline_aio::FileKind;

use crate::disk::SimDisk;
use crate::file_system::{Errno, FileSystem};
use crate::random::{Purpose, Random};

fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl SimDisk {
    /// Creates a directory with those above it. All durable, and no step.
    ///
    /// # Errors
    /// A name on the way is that of a file.
    pub fn make_directories(&self, path: &Path) -> io::Result<()> {
        self.prepare(|files| {
            let above: Vec<&Path> = path.ancestors().collect();
            for path in above.into_iter().rev() {
                let there = files.metadata(path).map_err(error)?;
                if there.is_none() {
                    files.create_dir(path).map_err(error)?;
                }
            }
            files.list(path).map(drop).map_err(error)
        })
    }

    /// Copies a directory of the operating system with what is below it to
    /// `to`, whose parents exist. All durable, and no step.
    ///
    /// # Errors
    /// As the system reports, or something is at `to` already.
    pub fn import(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.prepare(|files| import(files, from, to))
    }

    /// Copies a directory with what is below it, as programs see it, to a
    /// directory of the operating system that does not exist yet.
    ///
    /// # Errors
    /// As the system reports.
    pub fn export(&self, from: &Path, to: &Path) -> io::Result<()> {
        let files = self.lock().files.clone();
        export(&files, from, to)
    }

    /// Changes the files without anybody noticing; no file may be open.
    fn prepare(&self, change: impl FnOnce(&mut FileSystem) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        assert!(
            state.openings.is_empty(),
            "files are prepared before any is open"
        );
        let mut files = state.files.clone();
        change(&mut files)?;
        state.files = files.settled();
        Ok(())
    }
}

fn import(files: &mut FileSystem, from: &Path, to: &Path) -> io::Result<()> {
    files.create_dir(to).map_err(error)?;
    let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            import(files, &entry.path(), &to)?;
        } else {
            let inode = files.create(&to).map_err(error)?;
            // Nothing races, and so nothing is left to chance.
            let mut random = Random::new(0, Purpose::Disk);
            files.write(inode, 0, 0, &fs::read(entry.path())?, 512, &mut random);
        }
    }
    Ok(())
}

fn export(files: &FileSystem, from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in files.list(from).map_err(error)? {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        if entry.kind == FileKind::Directory {
            export(files, &from, &to)?;
            continue;
        }
        let inode = files.look_up_file(&from).map_err(error)?;
        let content = files.content(inode).ok_or_else(|| error(libc::EIO))?;
        let len = usize::try_from(content.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        content.read(0, &mut bytes);
        fs::write(to, bytes)?;
    }
    Ok(())
}
