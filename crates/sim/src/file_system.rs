//! The file system: names and files, looked up by path.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

use libc::{EEXIST, EINVAL, EISDIR, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY};
use trunkline_aio::{DirEntry, FileKind, FileMetadata};

use crate::content::{Content, PAGE_BYTES};
use crate::file_state::{FileState, Sequence};
use crate::names::{Inode, NameChange, NameOrder, Names, ROOT};
use crate::random::Random;

/// An errno.
pub(crate) type Errno = i32;

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File { state: Box<FileState>, opens: u32 },
}

#[derive(Clone, Debug)]
pub(crate) struct FileSystem {
    names: Names,
    nodes: BTreeMap<Inode, Node>,
    next_inode: Inode,
    /// Pages of all files that have a name or are open.
    used_pages: u64,
    sequence: Sequence,
}

impl FileSystem {
    pub(crate) fn new() -> Self {
        FileSystem {
            names: Names::default(),
            nodes: BTreeMap::from([(ROOT, Node::Directory)]),
            next_inode: ROOT + 1,
            used_pages: 0,
            sequence: 0,
        }
    }

    /// The number of the latest change.
    pub(crate) fn sequence(&self) -> Sequence {
        self.sequence
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_pages * PAGE_BYTES
    }

    fn next_sequence(&mut self) -> Sequence {
        self.sequence += 1;
        self.sequence
    }

    /// What a path names.
    pub(crate) fn look_up(&self, path: &Path) -> Result<Inode, Errno> {
        let mut found = ROOT;
        for name in parts(path)? {
            self.check_directory(found)?;
            found = self.names.get(found, name).ok_or(ENOENT)?;
        }
        Ok(found)
    }

    /// The directory that a path's last name is in, and that name.
    fn look_up_parent<'p>(&self, path: &'p Path) -> Result<(Inode, &'p OsStr), Errno> {
        let parts = parts(path)?;
        let (name, above) = parts.split_last().ok_or(EEXIST)?;
        let mut found = ROOT;
        for name in above {
            self.check_directory(found)?;
            found = self.names.get(found, name).ok_or(ENOENT)?;
        }
        self.check_directory(found)?;
        Ok((found, name))
    }

    fn check_directory(&self, inode: Inode) -> Result<(), Errno> {
        match self.nodes.get(&inode) {
            Some(Node::Directory) => Ok(()),
            _ => Err(ENOTDIR),
        }
    }

    /// The file that a path names.
    pub(crate) fn look_up_file(&self, path: &Path) -> Result<Inode, Errno> {
        let inode = self.look_up(path)?;
        match self.nodes.get(&inode) {
            Some(Node::File { .. }) => Ok(inode),
            _ => Err(EISDIR),
        }
    }

    fn state(&self, inode: Inode) -> Option<&FileState> {
        match self.nodes.get(&inode) {
            Some(Node::File { state, .. }) => Some(state),
            _ => None,
        }
    }

    /// What programs see of an open file.
    pub(crate) fn content(&self, inode: Inode) -> Option<&Content> {
        self.state(inode).map(FileState::volatile)
    }

    /// Changes a file, and keeps account of the space that it takes.
    fn with_file<T>(
        &mut self,
        inode: Inode,
        change: impl FnOnce(&mut FileState, Sequence) -> T,
    ) -> Option<T> {
        let sequence = self.next_sequence();
        let Some(Node::File { state, .. }) = self.nodes.get_mut(&inode) else {
            return None;
        };
        let before = state.volatile().page_count();
        let result = change(state, sequence);
        let after = state.volatile().page_count();
        self.used_pages = self.used_pages + after - before;
        Some(result)
    }

    pub(crate) fn create(&mut self, path: &Path) -> Result<Inode, Errno> {
        self.link_new(
            path,
            Node::File {
                state: Box::new(FileState::new()),
                opens: 0,
            },
        )
    }

    pub(crate) fn create_dir(&mut self, path: &Path) -> Result<Inode, Errno> {
        self.link_new(path, Node::Directory)
    }

    fn link_new(&mut self, path: &Path, node: Node) -> Result<Inode, Errno> {
        let (directory, name) = self.look_up_parent(path)?;
        if self.names.get(directory, name).is_some() {
            return Err(EEXIST);
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.nodes.insert(inode, node);
        self.names.change(NameChange::Link {
            directory,
            name: name.to_owned(),
            inode,
        });
        Ok(inode)
    }

    pub(crate) fn opened(&mut self, inode: Inode) {
        if let Some(Node::File { opens, .. }) = self.nodes.get_mut(&inode) {
            *opens += 1;
        }
    }

    pub(crate) fn closed(&mut self, inode: Inode) {
        if let Some(Node::File { opens, .. }) = self.nodes.get_mut(&inode) {
            *opens -= 1;
            self.free_if_unused(inode);
        }
    }

    /// Gives back the space of a file without name that nobody has open. The
    /// file itself stays, as a power cut may bring its name back.
    fn free_if_unused(&mut self, inode: Inode) {
        let unused = matches!(self.nodes.get(&inode), Some(Node::File { opens: 0, .. }))
            && !self.names.is_named(inode);
        if unused {
            self.with_file(inode, |state, _| state.release());
        }
    }

    pub(crate) fn unlink(&mut self, path: &Path) -> Result<(), Errno> {
        let inode = self.look_up_file(path)?;
        self.remove_name(path, inode)
    }

    pub(crate) fn remove_dir(&mut self, path: &Path) -> Result<(), Errno> {
        let inode = self.look_up(path)?;
        self.check_directory(inode)?;
        if self.names.list(inode).next().is_some() {
            return Err(ENOTEMPTY);
        }
        self.remove_name(path, inode)
    }

    fn remove_name(&mut self, path: &Path, inode: Inode) -> Result<(), Errno> {
        let (directory, name) = self.look_up_parent(path)?;
        let name = name.to_owned();
        self.names.change(NameChange::Unlink {
            directory,
            name,
            inode,
        });
        self.free_if_unused(inode);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let inode = self.look_up(from)?;
        let (from_directory, from_name) = self.look_up_parent(from)?;
        let (to_directory, to_name) = self.look_up_parent(to)?;
        if parts(to)?.starts_with(&parts(from)?) && from != to {
            return Err(EINVAL);
        }
        let replaced = self.names.get(to_directory, to_name);
        if replaced == Some(inode) {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            let is_directory = |inode| self.check_directory(inode).is_ok();
            match (is_directory(inode), is_directory(replaced)) {
                (true, false) => return Err(ENOTDIR),
                (false, true) => return Err(EISDIR),
                (true, true) if self.names.list(replaced).next().is_some() => {
                    return Err(ENOTEMPTY);
                }
                _ => {}
            }
        }
        self.names.change(NameChange::Rename {
            from: (from_directory, from_name.to_owned()),
            to: (to_directory, to_name.to_owned()),
            inode,
        });
        if let Some(replaced) = replaced {
            self.free_if_unused(replaced);
        }
        Ok(())
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<DirEntry>, Errno> {
        let directory = self.look_up(path)?;
        self.check_directory(directory)?;
        let entry = |(name, inode): (&OsString, Inode)| DirEntry {
            name: name.clone(),
            kind: self.kind(inode),
        };
        Ok(self.names.list(directory).map(entry).collect())
    }

    fn kind(&self, inode: Inode) -> FileKind {
        match self.nodes.get(&inode) {
            Some(Node::File { .. }) => FileKind::File,
            Some(Node::Directory) => FileKind::Directory,
            None => FileKind::Other,
        }
    }

    pub(crate) fn metadata(&self, path: &Path) -> Result<Option<FileMetadata>, Errno> {
        match self.look_up(path) {
            Ok(inode) => Ok(Some(FileMetadata {
                kind: self.kind(inode),
                len_bytes: self.content(inode).map_or(0, Content::len),
            })),
            Err(ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn sync_dir(&mut self, path: &Path, order: NameOrder) -> Result<(), Errno> {
        let directory = self.look_up(path)?;
        self.check_directory(directory)?;
        self.names.sync(directory, order);
        let referenced = self.names.referenced();
        self.nodes.retain(|inode, node| {
            referenced.contains(inode) || matches!(node, Node::File { opens: 1.., .. })
        });
        Ok(())
    }

    /// How many of `length` bytes at `offset` a disk of that capacity takes.
    pub(crate) fn fits(
        &self,
        inode: Inode,
        offset: u64,
        length: u64,
        capacity_bytes: Option<u64>,
    ) -> u64 {
        let (Some(content), Some(capacity)) = (self.content(inode), capacity_bytes) else {
            return length;
        };
        let free = (capacity / PAGE_BYTES).saturating_sub(self.used_pages);
        content.fits(offset, length, free)
    }

    /// See [`FileState::write`].
    pub(crate) fn write(
        &mut self,
        inode: Inode,
        submitted: Sequence,
        offset: u64,
        bytes: &[u8],
        sector_bytes: u64,
        random: &mut Random,
    ) {
        self.with_file(inode, |state, sequence| {
            state.write(sequence, submitted, offset, bytes, sector_bytes, random);
        });
    }

    /// See [`FileState::write_some`].
    pub(crate) fn write_some(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
        sector_bytes: u64,
        random: &mut Random,
    ) {
        self.with_file(inode, |state, sequence| {
            state.write_some(sequence, offset, bytes, sector_bytes, random);
        });
    }

    pub(crate) fn write_back(&mut self, inode: Inode, limit_bytes: u64) {
        self.with_file(inode, |state, _| state.write_back(limit_bytes));
    }

    pub(crate) fn set_len(&mut self, inode: Inode, len: u64) {
        self.with_file(inode, |state, sequence| state.set_len(sequence, len));
    }

    /// Reserves what fits, and fails if that is not all.
    pub(crate) fn allocate(
        &mut self,
        inode: Inode,
        offset: u64,
        length: u64,
        capacity_bytes: Option<u64>,
    ) -> Result<(), Errno> {
        let fits = self.fits(inode, offset, length, capacity_bytes);
        if fits > 0 {
            self.with_file(inode, |state, sequence| {
                state.reserve(sequence, offset, fits);
            });
        }
        if fits < length { Err(ENOSPC) } else { Ok(()) }
    }

    pub(crate) fn sync(&mut self, inode: Inode, covered: Sequence) {
        self.with_file(inode, |state, _| state.sync(covered));
    }

    pub(crate) fn fail_sync(
        &mut self,
        inode: Inode,
        covered: Sequence,
        sector_bytes: u64,
        random: &mut Random,
    ) {
        self.with_file(inode, |state, _| {
            state.fail_sync(covered, sector_bytes, random);
        });
    }

    /// What a power cut leaves.
    pub(crate) fn power_cut(
        self,
        order: NameOrder,
        sector_bytes: u64,
        random: &mut Random,
    ) -> FileSystem {
        let (names, found) = self.names.power_cut(order, random);
        FileSystem::rebuilt(names, &found, self.nodes, self.next_inode, |state| {
            state.power_cut(sector_bytes, random)
        })
    }

    /// What programs see, all of it durable and nothing open.
    pub(crate) fn settled(self) -> FileSystem {
        let (names, found) = self.names.into_volatile();
        FileSystem::rebuilt(names, &found, self.nodes, self.next_inode, |state| {
            state.into_volatile()
        })
    }

    fn rebuilt(
        names: Names,
        found: &BTreeSet<Inode>,
        nodes: BTreeMap<Inode, Node>,
        next_inode: Inode,
        mut content: impl FnMut(FileState) -> Content,
    ) -> FileSystem {
        let mut used_pages = 0;
        let nodes = nodes
            .into_iter()
            .filter(|(inode, _)| found.contains(inode))
            .map(|(inode, node)| match node {
                Node::Directory => (inode, Node::Directory),
                Node::File { state, .. } => {
                    let content = content(*state);
                    used_pages += content.page_count();
                    let state = Box::new(FileState::durable(content));
                    (inode, Node::File { state, opens: 0 })
                }
            })
            .collect();
        FileSystem {
            names,
            nodes,
            next_inode,
            used_pages,
            sequence: 0,
        }
    }
}

/// The names of a path from the root on. A relative path starts there, too.
fn parts(path: &Path) -> Result<Vec<&OsStr>, Errno> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name),
            Component::Prefix(_) => return Err(EINVAL),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn path(text: &str) -> &Path {
        Path::new(text)
    }

    fn with(files: &[&str], directories: &[&str]) -> FileSystem {
        let mut system = FileSystem::new();
        for name in directories {
            system.create_dir(path(name)).unwrap();
        }
        for name in files {
            system.create(path(name)).unwrap();
        }
        system
    }

    #[test]
    fn refusals_are_linuxs() {
        let mut system = with(&["/f", "/d/g"], &["/d", "/e"]);
        assert_eq!(system.create(path("/f")), Err(EEXIST));
        assert_eq!(system.create(path("/x/y")), Err(ENOENT));
        assert_eq!(system.create(path("/f/y")), Err(ENOTDIR));
        assert_eq!(system.create_dir(path("/d")), Err(EEXIST));
        assert_eq!(system.unlink(path("/d")), Err(EISDIR));
        assert_eq!(system.unlink(path("/x")), Err(ENOENT));
        assert_eq!(system.remove_dir(path("/d")), Err(ENOTEMPTY));
        assert_eq!(system.remove_dir(path("/f")), Err(ENOTDIR));
        assert_eq!(system.rename(path("/f"), path("/d")), Err(EISDIR));
        assert_eq!(system.rename(path("/d"), path("/f")), Err(ENOTDIR));
        assert_eq!(system.rename(path("/e"), path("/d")), Err(ENOTEMPTY));
        assert_eq!(system.rename(path("/d"), path("/d/sub")), Err(EINVAL));
        assert_eq!(system.look_up_file(path("/d")), Err(EISDIR));
        assert_eq!(system.metadata(path("/x")), Ok(None));
        assert!(system.list(path("/f")).is_err());
    }

    #[test]
    fn renames_replace_and_paths_are_normalised() {
        let mut system = with(&["/f", "/d/g"], &["/d"]);
        let moved = system.look_up(path("f")).unwrap();
        system.rename(path("/d/../f"), path("/d/./g")).unwrap();
        assert_eq!(system.look_up(path("/d/g")), Ok(moved));
        assert_eq!(system.look_up(path("/f")), Err(ENOENT));
        assert_eq!(system.list(path("/")).unwrap().len(), 1);
    }

    #[test]
    fn space_is_given_back_when_name_and_last_opening_are_gone() {
        let mut random = Random::new(1, Purpose::Disk);
        let mut system = with(&["/f"], &[]);
        let inode = system.look_up(path("/f")).unwrap();
        system.opened(inode);
        system.write(inode, 0, 0, &[1; 8192], 512, &mut random);
        assert_eq!(system.used_bytes(), 8192);
        assert_eq!(system.fits(inode, 8192, 8192, Some(12288)), 4096);
        assert_eq!(system.fits(inode, 0, 8192, Some(0)), 8192);
        assert_eq!(system.allocate(inode, 8192, 8192, Some(12288)), Err(ENOSPC));
        assert_eq!(system.content(inode).unwrap().len(), 12288);
        system.unlink(path("/f")).unwrap();
        assert_eq!(system.used_bytes(), 12288);
        system.closed(inode);
        assert_eq!(system.used_bytes(), 0);
        // Forgotten once no power cut can bring it back.
        system.sync_dir(path("/"), NameOrder::Journal).unwrap();
        assert_eq!(system.nodes.len(), 1);
    }

    #[test]
    fn a_removal_that_is_lost_brings_the_synced_content_back() {
        let mut random = Random::new(1, Purpose::Disk);
        let mut system = with(&["/f"], &[]);
        let inode = system.look_up(path("/f")).unwrap();
        system.write(inode, 0, 0, &[1; 4096], 512, &mut random);
        system.sync(inode, system.sequence());
        system.sync_dir(path("/"), NameOrder::Journal).unwrap();
        system.unlink(path("/f")).unwrap();
        let mut found = [0; 2];
        for seed in 0..50 {
            let mut random = Random::new(seed, Purpose::PowerCut);
            let after = system
                .clone()
                .power_cut(NameOrder::Journal, 512, &mut random);
            let there = after.look_up(path("/f")).ok();
            found[usize::from(there.is_some())] += 1;
            if let Some(inode) = there {
                let mut bytes = [0; 4096];
                assert_eq!(after.content(inode).unwrap().read(0, &mut bytes), 4096);
                assert_eq!(bytes, [1; 4096]);
            }
        }
        assert!(found[0] > 0 && found[1] > 0, "{found:?}");
    }
}
