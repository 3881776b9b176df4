//! One file: what programs see, what is durable, and what lies between.
//!
//! Whatever changed since the last sync is a log of changes, in the order in
//! which they took effect. A sync moves a prefix of the log into the durable
//! content; a power cut moves an arbitrary part of it there:
//!
//! - content: any subset of the sectors of every logged write, applied in
//!   order, so that each sector ends as any of the versions it had since the
//!   last sync. A sector is never torn.
//! - length: a prefix of the logged changes of the length, as a journal would
//!   keep them. What lies beyond the length that results is gone; what lies
//!   within it and was not kept reads as it did before, or as zeros.
//! - nothing that was written to space freed by a truncation survives when the
//!   truncation does not: a file system does not reuse space before the
//!   journal has it free.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::content::Content;
use crate::random::Random;

/// Orders what happens on the disk: the number of the latest change.
pub(crate) type Sequence = u64;

#[derive(Clone, Debug)]
pub(crate) struct FileState {
    volatile: Content,
    durable: Content,
    log: VecDeque<Change>,
    log_bytes: u64,
    /// The latest writes, to find those that raced.
    recent: VecDeque<(Sequence, Range<u64>)>,
}

#[derive(Clone, Debug)]
struct Change {
    sequence: Sequence,
    effect: Effect,
}

#[derive(Clone, Debug)]
enum Effect {
    /// Whole sectors.
    Sectors { start: u64, data: Arc<[u8]> },
    /// A new length; a shorter one drops what is beyond.
    Len(u64),
    /// Space for a range, without a change of content.
    Reserved { offset: u64, length: u64 },
}

/// Writes that a later one can race with at most.
const RECENT_LIMIT: usize = 64;

/// How much of something unsynced a power cut keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    None,
    All,
    Some,
}

impl Share {
    /// The extremes are more frequent than fair coins would make them.
    fn draw(random: &mut Random, extremes_of: u64) -> Share {
        match random.below(extremes_of) {
            0 => Share::None,
            1 => Share::All,
            _ => Share::Some,
        }
    }

    fn keeps(self, random: &mut Random) -> bool {
        match self {
            Share::None => false,
            Share::All => true,
            Share::Some => random.coin(),
        }
    }
}

impl FileState {
    pub(crate) fn new() -> Self {
        FileState::durable(Content::default())
    }

    /// A file whose whole content is durable.
    pub(crate) fn durable(content: Content) -> Self {
        FileState {
            volatile: content.clone(),
            durable: content,
            log: VecDeque::new(),
            log_bytes: 0,
            recent: VecDeque::new(),
        }
    }

    /// What programs see.
    pub(crate) fn volatile(&self) -> &Content {
        &self.volatile
    }

    fn push(&mut self, sequence: Sequence, effect: Effect) {
        self.log.push_back(Change { sequence, effect });
    }

    /// Takes a write that was submitted after change `submitted`. Where it
    /// raced with another write, each sector ends as either left it.
    pub(crate) fn write(
        &mut self,
        sequence: Sequence,
        submitted: Sequence,
        offset: u64,
        bytes: &[u8],
        sector_bytes: u64,
        random: &mut Random,
    ) {
        let end = offset + bytes.len() as u64;
        let racing: Vec<Range<u64>> = self
            .recent
            .iter()
            .filter(|(other, range)| *other > submitted && overlap(range, &(offset..end)))
            .map(|(_, range)| range.clone())
            .collect();
        self.put_sectors(sequence, offset, bytes, sector_bytes, |sector| {
            let contested = racing.iter().any(|range| overlap(range, &sector));
            !(contested && random.coin())
        });
        if self.recent.len() == RECENT_LIMIT {
            self.recent.pop_front();
        }
        self.recent.push_back((sequence, offset..end));
    }

    /// Takes what a write that failed has done: each sector or not.
    pub(crate) fn write_some(
        &mut self,
        sequence: Sequence,
        offset: u64,
        bytes: &[u8],
        sector_bytes: u64,
        random: &mut Random,
    ) {
        self.put_sectors(sequence, offset, bytes, sector_bytes, |_| random.coin());
    }

    /// Writes the sectors (or parts of sectors) of `bytes` that `keep` wants.
    fn put_sectors(
        &mut self,
        sequence: Sequence,
        offset: u64,
        bytes: &[u8],
        sector_bytes: u64,
        mut keep: impl FnMut(Range<u64>) -> bool,
    ) {
        let end = offset + bytes.len() as u64;
        let mut run = offset..offset;
        let mut at = offset;
        while at < end {
            let next = ((at / sector_bytes + 1) * sector_bytes).min(end);
            if keep(at..next) {
                if run.end != at {
                    self.put_run(sequence, offset, bytes, run, sector_bytes);
                    run = at..at;
                }
                run.end = next;
            }
            at = next;
        }
        self.put_run(sequence, offset, bytes, run, sector_bytes);
    }

    fn put_run(
        &mut self,
        sequence: Sequence,
        offset: u64,
        bytes: &[u8],
        run: Range<u64>,
        sector_bytes: u64,
    ) {
        if run.is_empty() {
            return;
        }
        let before = self.volatile.len();
        let piece = (run.start - offset) as usize..(run.end - offset) as usize;
        self.volatile.write(run.start, &bytes[piece]);
        // What would be written back: whole sectors as they are now.
        let start = run.start - run.start % sector_bytes;
        let mut data = vec![0; (run.end.next_multiple_of(sector_bytes) - start) as usize];
        self.volatile.get(start, &mut data);
        self.log_bytes += data.len() as u64;
        let data = data.into();
        self.push(sequence, Effect::Sectors { start, data });
        if self.volatile.len() > before {
            self.push(sequence, Effect::Len(self.volatile.len()));
        }
    }

    pub(crate) fn set_len(&mut self, sequence: Sequence, len: u64) {
        if len != self.volatile.len() {
            self.volatile.set_len(len);
            self.push(sequence, Effect::Len(len));
        }
    }

    pub(crate) fn reserve(&mut self, sequence: Sequence, offset: u64, length: u64) {
        let before = self.volatile.len();
        self.volatile.reserve(offset, length);
        self.push(sequence, Effect::Reserved { offset, length });
        if self.volatile.len() > before {
            self.push(sequence, Effect::Len(self.volatile.len()));
        }
    }

    /// Gives back the space of a file that no program can reach any more. Not
    /// a change: the removal of its name is, and without that the file is as
    /// it was.
    pub(crate) fn release(&mut self) {
        self.volatile = Content::default();
    }

    /// Makes every change up to `covered` durable.
    pub(crate) fn sync(&mut self, covered: Sequence) {
        while let Some(change) = self.log.pop_front_if(|change| change.sequence <= covered) {
            match change.effect {
                Effect::Sectors { start, data } => {
                    self.log_bytes -= data.len() as u64;
                    self.durable.put(start, &data);
                }
                Effect::Len(len) => self.durable.set_len(len),
                Effect::Reserved { offset, length } => self.durable.reserve(offset, length),
            }
        }
    }

    /// What write-back in the background does when too much is dirty: the
    /// oldest changes become durable.
    pub(crate) fn write_back(&mut self, limit_bytes: u64) {
        if self.log_bytes > limit_bytes {
            let middle = self.log[self.log.len() / 2].sequence;
            self.sync(middle);
        }
    }

    /// A sync that fails: as on Linux, pages that could not be written are
    /// clean from now on. Each sector that was to become durable does, or is
    /// forgotten, so that no later sync writes it; of the forgotten, some are
    /// dropped from memory as well, and the old content shows again. What the
    /// journal is to keep (lengths, space) stays for a later sync.
    pub(crate) fn fail_sync(&mut self, covered: Sequence, sector_bytes: u64, random: &mut Random) {
        let mut failed = BTreeMap::new();
        let mut dirty_again = BTreeSet::new();
        for change in &self.log {
            let Effect::Sectors { start, data } = &change.effect else {
                continue;
            };
            for (at, sector) in sectors(*start, data, sector_bytes) {
                if change.sequence <= covered {
                    failed.insert(at, sector.to_vec());
                } else {
                    dirty_again.insert(at);
                }
            }
        }
        self.log.retain(|change| match &change.effect {
            Effect::Sectors { data, .. } if change.sequence <= covered => {
                self.log_bytes -= data.len() as u64;
                false
            }
            _ => true,
        });
        let len = self.volatile.len();
        for (at, sector) in failed {
            match random.below(3) {
                0 => self.durable.put(at, &sector),
                1 if !dirty_again.contains(&at) => {
                    let mut old = vec![0; sector.len()];
                    self.durable.get(at, &mut old);
                    self.volatile.put(at, &old);
                }
                _ => {}
            }
        }
        self.volatile.set_len(len);
    }

    /// What a power cut leaves.
    pub(crate) fn power_cut(mut self, sector_bytes: u64, random: &mut Random) -> Content {
        let share = Share::draw(random, 8);
        let lens = self
            .log
            .iter()
            .filter(|change| matches!(change.effect, Effect::Len(_)))
            .count() as u64;
        let mut lens_kept = match share {
            Share::None => 0,
            Share::All => lens,
            Share::Some => random.below(lens + 1),
        };
        let mut len = self.durable.len();
        // Below this, space is as it was; from here on, a truncation that did
        // not survive would have had to free it first.
        let mut usable = u64::MAX;
        for change in &self.log {
            match &change.effect {
                Effect::Len(new) if lens_kept > 0 => {
                    lens_kept -= 1;
                    // Not longer: sectors beyond the old end that were put
                    // already belong to the new length.
                    if *new < len {
                        self.durable.set_len(*new);
                    }
                    len = *new;
                }
                Effect::Len(new) => usable = usable.min(*new),
                Effect::Sectors { start, data } => {
                    let share = match share {
                        Share::Some => Share::draw(random, 4),
                        extreme => extreme,
                    };
                    for (at, sector) in sectors(*start, data, sector_bytes) {
                        if share.keeps(random) && at + sector_bytes <= usable {
                            self.durable.put(at, sector);
                        }
                    }
                }
                Effect::Reserved { .. } => {}
            }
        }
        self.durable.set_len(len);
        self.durable
    }

    /// What would be there if everything had been synced.
    pub(crate) fn into_volatile(self) -> Content {
        self.volatile
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Whole sectors, with their offsets.
fn sectors(start: u64, data: &[u8], sector_bytes: u64) -> impl Iterator<Item = (u64, &[u8])> {
    (start..)
        .step_by(sector_bytes as usize)
        .zip(data.chunks_exact(sector_bytes as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    const SECTOR: u64 = 512;

    struct Rig {
        file: FileState,
        sequence: Sequence,
        random: Random,
    }

    impl Rig {
        fn new(seed: u64) -> Rig {
            Rig {
                file: FileState::new(),
                sequence: 0,
                random: Random::new(seed, Purpose::PowerCut),
            }
        }

        fn next(&mut self) -> Sequence {
            self.sequence += 1;
            self.sequence
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) {
            let before = self.sequence;
            self.write_since(before, offset, bytes);
        }

        fn write_since(&mut self, submitted: Sequence, offset: u64, bytes: &[u8]) {
            let sequence = self.next();
            let random = &mut self.random;
            self.file
                .write(sequence, submitted, offset, bytes, SECTOR, random);
        }

        fn set_len(&mut self, len: u64) {
            let sequence = self.next();
            self.file.set_len(sequence, len);
        }

        fn cut(&mut self) -> Vec<u8> {
            bytes(&self.file.clone().power_cut(SECTOR, &mut self.random))
        }
    }

    fn bytes(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0; content.len() as usize];
        content.read(0, &mut bytes);
        bytes
    }

    /// The number that every whole sector is full of.
    fn numbers(bytes: &[u8]) -> Vec<u8> {
        bytes
            .chunks(SECTOR as usize)
            .map(|sector| {
                assert!(
                    sector.iter().all(|&byte| byte == sector[0]),
                    "a torn sector"
                );
                sector[0]
            })
            .collect()
    }

    #[test]
    fn a_synced_file_survives_whole() {
        for seed in 0..50 {
            let mut rig = Rig::new(seed);
            rig.write(0, &[1; 5000]);
            rig.set_len(4000);
            rig.file.sync(rig.sequence);
            assert_eq!(rig.cut(), [1; 4000], "seed {seed}");
        }
    }

    #[test]
    fn unsynced_sectors_end_as_any_of_their_versions() {
        let mut seen = [false; 3];
        let (mut torn, mut whole) = (false, false);
        for seed in 0..200 {
            let mut rig = Rig::new(seed);
            rig.write(0, &[1; 4096]);
            rig.file.sync(rig.sequence);
            rig.write(0, &[2; 4096]);
            rig.write(0, &[3; 4096]);
            let found = numbers(&rig.cut());
            assert_eq!(found.len(), 8);
            found.iter().for_each(|&n| seen[usize::from(n) - 1] = true);
            let same = found.iter().all(|&n| n == found[0]);
            torn |= !same;
            whole |= same;
        }
        assert!(
            seen == [true; 3] && torn && whole,
            "{seen:?} {torn} {whole}"
        );
    }

    #[test]
    fn a_sync_covers_what_came_before_it_only() {
        let mut lost = false;
        for seed in 0..50 {
            let mut rig = Rig::new(seed);
            rig.write(0, &[1; 1024]);
            let covered = rig.sequence;
            rig.write(1024, &[2; 1024]);
            rig.file.sync(covered);
            let found = rig.cut();
            assert!(found.len() >= 1024 && found[..1024] == [1; 1024]);
            lost |= found != [[1; 1024], [2; 1024]].concat();
        }
        assert!(lost);
    }

    #[test]
    fn lengths_survive_in_order_and_freed_space_is_not_reused_early() {
        let mut lengths = BTreeSet::new();
        for seed in 0..300 {
            let mut rig = Rig::new(seed);
            rig.write(0, &[1; 4096]);
            rig.file.sync(rig.sequence);
            rig.set_len(1024);
            rig.write(2048, &[2; 2048]);
            let found = numbers(&rig.cut());
            lengths.insert(found.len());
            match found.len() {
                // Neither: the old content, whole.
                8 if found[2] == 1 => assert_eq!(found, [1; 8], "seed {seed}"),
                // Both: what was freed is not there.
                8 => assert!(found[2..].iter().all(|&n| n != 1), "seed {seed}: {found:?}"),
                2 => assert_eq!(found, [1, 1]),
                other => panic!("seed {seed}: {other} sectors"),
            }
        }
        assert_eq!(lengths, BTreeSet::from([2, 8]));
    }

    #[test]
    fn racing_writes_mix_by_sector() {
        let mut mixed = false;
        for seed in 0..20 {
            let mut rig = Rig::new(seed);
            rig.write_since(0, 0, &[1; 4096]);
            rig.write_since(0, 0, &[2; 4096]);
            let found = numbers(&bytes(rig.file.volatile()));
            assert!(found.iter().all(|&n| n == 1 || n == 2));
            mixed |= found.contains(&1) && found.contains(&2);
            // One after the other they do not.
            rig.write(0, &[3; 4096]);
            assert_eq!(bytes(rig.file.volatile()), [3; 4096]);
        }
        assert!(mixed);
    }

    #[test]
    fn after_a_failed_sync_a_later_one_saves_nothing_of_it() {
        let (mut durable, mut forgotten, mut dropped) = (false, false, false);
        for seed in 0..50 {
            let mut rig = Rig::new(seed);
            rig.write(0, &[1; 512]);
            rig.file.sync(rig.sequence);
            rig.write(0, &[2; 512]);
            rig.file.fail_sync(rig.sequence, SECTOR, &mut rig.random);
            rig.file.sync(rig.sequence);
            let seen = bytes(rig.file.volatile())[0];
            match (seen, rig.cut()[0]) {
                (2, 2) => durable = true,
                (2, 1) => forgotten = true,
                (1, 1) => dropped = true,
                other => panic!("seed {seed}: {other:?}"),
            }
            assert_eq!(rig.file.log_bytes, 0);
        }
        assert!(durable && forgotten && dropped);
    }

    #[test]
    fn what_was_written_again_after_a_failed_sync_can_be_saved() {
        for seed in 0..50 {
            let mut rig = Rig::new(seed);
            rig.write(0, &[1; 512]);
            let covered = rig.sequence;
            rig.write(0, &[2; 512]);
            rig.file.fail_sync(covered, SECTOR, &mut rig.random);
            assert_eq!(bytes(rig.file.volatile()), [2; 512]);
            rig.file.sync(rig.sequence);
            assert_eq!(rig.cut(), [2; 512]);
        }
    }

    #[test]
    fn too_much_dirty_is_written_back() {
        let mut rig = Rig::new(1);
        for at in 0..10 {
            rig.write(at * 512, &[1; 512]);
        }
        rig.file.write_back(2048);
        assert_eq!(rig.file.log_bytes, 2048);
        assert!(rig.cut().len() >= 6 * 512);
    }
}
