//! Names in directories: what programs see, what is durable, and the changes
//! in between.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use crate::random::Random;

/// A file or a directory, whatever its name.
pub(crate) type Inode = u64;

/// The root directory.
pub(crate) const ROOT: Inode = 0;

/// In which order changes of names become durable. A sync of a directory, and
/// a power cut, keep to it. No file system offers less than
/// [`NameOrder::Unordered`], which is what POSIX promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOrder {
    /// All changes in the order in which they were made, as with a single
    /// journal (ext4, XFS): a power cut keeps the first n, and a sync of one
    /// directory makes everything before it durable as well.
    Journal,
    /// Each directory's changes in the order in which they were made,
    /// directories independent of each other.
    PerDirectory,
    /// Any subset of the changes; each is atomic, a rename across directories
    /// too. A sync of a directory covers the changes that touch it.
    Unordered,
}

type Entries = BTreeMap<Inode, BTreeMap<OsString, Inode>>;

/// One change of names. Creating, renaming and removing are atomic.
#[derive(Clone, Debug)]
pub(crate) enum NameChange {
    Link {
        directory: Inode,
        name: OsString,
        inode: Inode,
    },
    Unlink {
        directory: Inode,
        name: OsString,
        inode: Inode,
    },
    Rename {
        from: (Inode, OsString),
        to: (Inode, OsString),
        inode: Inode,
    },
}

impl NameChange {
    fn directories(&self) -> [Inode; 2] {
        match self {
            NameChange::Link { directory, .. } | NameChange::Unlink { directory, .. } => {
                [*directory; 2]
            }
            NameChange::Rename { from, to, .. } => [from.0, to.0],
        }
    }

    /// The file or directory that is named.
    fn inode(&self) -> Inode {
        match self {
            NameChange::Link { inode, .. }
            | NameChange::Unlink { inode, .. }
            | NameChange::Rename { inode, .. } => *inode,
        }
    }

    fn apply(&self, entries: &mut Entries) {
        let mut remove = |directory: Inode, name: &OsStr, inode: Inode| {
            if let Some(names) = entries.get_mut(&directory)
                && names.get(name) == Some(&inode)
            {
                names.remove(name);
            }
        };
        match self {
            NameChange::Link {
                directory,
                name,
                inode,
            } => {
                let names = entries.entry(*directory).or_default();
                names.insert(name.clone(), *inode);
            }
            NameChange::Unlink {
                directory,
                name,
                inode,
            } => remove(*directory, name, *inode),
            NameChange::Rename { from, to, inode } => {
                remove(from.0, &from.1, *inode);
                let names = entries.entry(to.0).or_default();
                names.insert(to.1.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    volatile: Entries,
    durable: Entries,
    log: Vec<NameChange>,
}

impl Names {
    /// Names that are all durable.
    fn durable(entries: Entries) -> Self {
        Names {
            volatile: entries.clone(),
            durable: entries,
            log: Vec::new(),
        }
    }

    pub(crate) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.volatile);
        self.log.push(change);
    }

    /// What programs see under a name.
    pub(crate) fn get(&self, directory: Inode, name: &OsStr) -> Option<Inode> {
        self.volatile.get(&directory)?.get(name).copied()
    }

    /// What programs see in a directory.
    pub(crate) fn list(&self, directory: Inode) -> impl Iterator<Item = (&OsString, Inode)> {
        self.volatile
            .get(&directory)
            .into_iter()
            .flatten()
            .map(|(name, inode)| (name, *inode))
    }

    /// Whether programs see a file or directory under any name.
    pub(crate) fn is_named(&self, inode: Inode) -> bool {
        self.volatile
            .values()
            .any(|names| names.values().any(|named| *named == inode))
    }

    /// Makes the changes that touch a directory durable, and those that the
    /// order wants before them.
    pub(crate) fn sync(&mut self, directory: Inode, order: NameOrder) {
        let mut wanted = BTreeSet::from([directory]);
        let mut any = false;
        let mut chosen = vec![false; self.log.len()];
        for (change, chosen) in self.log.iter().zip(&mut chosen).rev() {
            let touched = change.directories();
            any |= touched.contains(&directory);
            *chosen = match order {
                NameOrder::Journal => any,
                NameOrder::PerDirectory => touched.iter().any(|one| wanted.contains(one)),
                NameOrder::Unordered => touched.contains(&directory),
            };
            if *chosen {
                wanted.extend(touched);
            }
        }
        let mut chosen = chosen.into_iter();
        self.log.retain(|change| {
            let now = chosen.next() == Some(true);
            if now {
                change.apply(&mut self.durable);
            }
            !now
        });
    }

    /// What a power cut leaves, and the files and directories that still have
    /// a name.
    pub(crate) fn power_cut(
        mut self,
        order: NameOrder,
        random: &mut Random,
    ) -> (Names, BTreeSet<Inode>) {
        let kept = survivors(&self.log, order, random);
        for (change, kept) in self.log.iter().zip(kept) {
            if kept {
                change.apply(&mut self.durable);
            }
        }
        reachable(self.durable)
    }

    /// Everything as programs see it.
    pub(crate) fn into_volatile(self) -> (Names, BTreeSet<Inode>) {
        reachable(self.volatile)
    }

    /// Every file or directory that has a name, or could have one again after
    /// a power cut.
    pub(crate) fn referenced(&self) -> BTreeSet<Inode> {
        let mut found = BTreeSet::from([ROOT]);
        for entries in [&self.volatile, &self.durable] {
            found.extend(entries.values().flat_map(BTreeMap::values).copied());
        }
        found.extend(self.log.iter().map(NameChange::inode));
        found
    }
}

/// Which of the changes a power cut keeps.
fn survivors(log: &[NameChange], order: NameOrder, random: &mut Random) -> Vec<bool> {
    match order {
        NameOrder::Journal => {
            let kept = random.below(log.len() as u64 + 1) as usize;
            (0..log.len()).map(|index| index < kept).collect()
        }
        NameOrder::Unordered => log.iter().map(|_| random.coin()).collect(),
        NameOrder::PerDirectory => {
            let mut counts: BTreeMap<Inode, u64> = BTreeMap::new();
            for change in log {
                let [one, other] = change.directories();
                *counts.entry(one).or_default() += 1;
                if other != one {
                    *counts.entry(other).or_default() += 1;
                }
            }
            // How many changes of each directory may still survive.
            for count in counts.values_mut() {
                *count = random.below(*count + 1);
            }
            let mut keep = |change: &NameChange| {
                let [one, other] = change.directories();
                let kept = counts[&one] > 0 && counts[&other] > 0;
                for directory in BTreeSet::from([one, other]) {
                    // After a change that is lost, nothing survives.
                    let left = counts[&directory];
                    counts.insert(directory, if kept { left - 1 } else { 0 });
                }
                kept
            };
            log.iter().map(&mut keep).collect()
        }
    }
}

/// The names that can be reached from the root, one for each file: of changes
/// that survive out of order, a file could keep an old name beside its new.
fn reachable(entries: Entries) -> (Names, BTreeSet<Inode>) {
    let mut kept = Entries::new();
    let mut found = BTreeSet::from([ROOT]);
    let mut ahead = vec![ROOT];
    while let Some(directory) = ahead.pop() {
        for (name, inode) in entries.get(&directory).into_iter().flatten() {
            if found.insert(*inode) {
                let names = kept.entry(directory).or_default();
                names.insert(name.clone(), *inode);
                ahead.push(*inode);
            }
        }
    }
    (Names::durable(kept), found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn link(directory: Inode, name: &str, inode: Inode) -> NameChange {
        NameChange::Link {
            directory,
            name: name.into(),
            inode,
        }
    }

    fn rename(from: (Inode, &str), to: (Inode, &str), inode: Inode) -> NameChange {
        NameChange::Rename {
            from: (from.0, from.1.into()),
            to: (to.0, to.1.into()),
            inode,
        }
    }

    fn names(names: &Names, directory: Inode) -> Vec<(String, Inode)> {
        names
            .list(directory)
            .map(|(name, inode)| (name.to_string_lossy().into_owned(), inode))
            .collect()
    }

    /// What is in the root after a power cut, for many seeds.
    fn outcomes(before: &Names, order: NameOrder) -> BTreeSet<Vec<(String, Inode)>> {
        (0..200)
            .map(|seed| {
                let mut random = Random::new(seed, Purpose::PowerCut);
                names(&before.clone().power_cut(order, &mut random).0, ROOT)
            })
            .collect()
    }

    #[test]
    fn what_was_synced_stays_in_every_order() {
        for order in [
            NameOrder::Journal,
            NameOrder::PerDirectory,
            NameOrder::Unordered,
        ] {
            let mut before = Names::default();
            before.change(link(ROOT, "a", 1));
            before.change(link(ROOT, "b", 2));
            before.change(rename((ROOT, "a"), (ROOT, "b"), 1));
            before.sync(ROOT, order);
            let only = BTreeSet::from([vec![("b".to_owned(), 1)]]);
            assert_eq!(outcomes(&before, order), only);
        }
    }

    #[test]
    fn changes_of_one_directory_survive_in_order() {
        let mut before = Names::default();
        before.change(link(ROOT, "a", 1));
        before.change(link(ROOT, "b", 2));
        let one = |name: &str, inode| (name.to_owned(), inode);
        let ordered = BTreeSet::from([vec![], vec![one("a", 1)], vec![one("a", 1), one("b", 2)]]);
        assert_eq!(outcomes(&before, NameOrder::Journal), ordered);
        assert_eq!(outcomes(&before, NameOrder::PerDirectory), ordered);
        let mut any = ordered;
        any.insert(vec![one("b", 2)]);
        assert_eq!(outcomes(&before, NameOrder::Unordered), any);
    }

    #[test]
    fn a_rename_across_directories_is_atomic() {
        let mut before = Names::default();
        before.change(link(ROOT, "d", 1));
        before.change(link(ROOT, "f", 2));
        before.sync(ROOT, NameOrder::Unordered);
        before.change(rename((ROOT, "f"), (1, "g"), 2));
        for order in [
            NameOrder::Journal,
            NameOrder::PerDirectory,
            NameOrder::Unordered,
        ] {
            let (mut moved, mut stayed) = (false, false);
            for seed in 0..50 {
                let mut random = Random::new(seed, Purpose::PowerCut);
                let (after, found) = before.clone().power_cut(order, &mut random);
                assert!(found.contains(&2));
                match (names(&after, ROOT).len(), names(&after, 1).len()) {
                    (1, 1) => moved = true,
                    (2, 0) => stayed = true,
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
            assert!(moved && stayed);
        }
    }

    #[test]
    fn a_sync_takes_along_what_the_order_wants() {
        let mut before = Names::default();
        before.change(link(ROOT, "d", 1));
        before.sync(ROOT, NameOrder::Journal);
        before.change(link(ROOT, "first", 2));
        before.change(link(1, "second", 3));
        let synced = |order| {
            let mut names = before.clone();
            names.sync(1, order);
            names.log.len()
        };
        assert_eq!(synced(NameOrder::Journal), 0);
        assert_eq!(synced(NameOrder::PerDirectory), 1);
        assert_eq!(synced(NameOrder::Unordered), 1);
        before.change(rename((ROOT, "first"), (1, "third"), 2));
        let synced = |order| {
            let mut names = before.clone();
            names.sync(1, order);
            names.log.len()
        };
        assert_eq!(synced(NameOrder::PerDirectory), 0);
        assert_eq!(synced(NameOrder::Unordered), 1);
    }

    #[test]
    fn a_directory_that_is_lost_takes_its_files_along() {
        let mut before = Names::default();
        before.change(link(ROOT, "d", 1));
        before.change(link(1, "f", 2));
        before.sync(1, NameOrder::PerDirectory);
        let lost = (0..50).any(|seed| {
            let mut random = Random::new(seed, Purpose::PowerCut);
            let (after, found) = before
                .clone()
                .power_cut(NameOrder::PerDirectory, &mut random);
            assert_eq!(found.contains(&1), found.contains(&2));
            names(&after, ROOT).is_empty()
        });
        assert!(lost);
    }
}
