//! What goes wrong: rules that say which fault strikes which operations, on
//! which paths, and how often.

use std::path::{Path, PathBuf};

use trunkline_aio::Op;

use crate::random::Random;

/// An operation on the disk, as a fault or a trace names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum OpKind {
    Nop,
    Read,
    Write,
    Fsync,
    Fdatasync,
    FlushRange,
    Open,
    Len,
    SetLen,
    Allocate,
    Rename,
    Unlink,
    CreateDir,
    RemoveDir,
    List,
    Metadata,
    SyncDir,
}

impl OpKind {
    /// Both kinds of file sync.
    pub const SYNCS: &'static [OpKind] = &[OpKind::Fsync, OpKind::Fdatasync];
    /// What moves bytes.
    pub const TRANSFERS: &'static [OpKind] = &[OpKind::Read, OpKind::Write];

    pub(crate) const fn of(op: Op) -> OpKind {
        match op {
            Op::Nop => OpKind::Nop,
            Op::Readv => OpKind::Read,
            Op::Writev => OpKind::Write,
            Op::Fsync => OpKind::Fsync,
            Op::Fdatasync => OpKind::Fdatasync,
            Op::FlushRange => OpKind::FlushRange,
        }
    }

    /// The name in a trace.
    pub const fn name(self) -> &'static str {
        match self {
            OpKind::Nop => "nop",
            OpKind::Read => "read",
            OpKind::Write => "write",
            OpKind::Fsync => "fsync",
            OpKind::Fdatasync => "fdatasync",
            OpKind::FlushRange => "flush_range",
            OpKind::Open => "open",
            OpKind::Len => "len",
            OpKind::SetLen => "set_len",
            OpKind::Allocate => "allocate",
            OpKind::Rename => "rename",
            OpKind::Unlink => "unlink",
            OpKind::CreateDir => "create_dir",
            OpKind::RemoveDir => "remove_dir",
            OpKind::List => "list",
            OpKind::Metadata => "metadata",
            OpKind::SyncDir => "sync_dir",
        }
    }
}

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this errno. EINTR and EAGAIN leave no trace. A write that
    /// fails with anything else but ENOSPC may have written some sectors. A
    /// sync that fails otherwise has each sector that it was to cover made
    /// durable or forgotten, like Linux: the next sync succeeds, and saves
    /// nothing of it.
    Fail(i32),
    /// A read or write moves fewer bytes than asked for, but at least one (on
    /// a direct file, one unit of its alignment); not possible if no more was
    /// asked for.
    Short,
    /// The disk acknowledges a write and drops it: reads see the old content.
    LostWrite,
    /// The disk acknowledges a sync and saves nothing: a power cut shows it.
    /// A later honest sync saves what this one was to save.
    LyingSync,
    /// A read returns what is elsewhere in the same file.
    MisdirectedRead,
    /// It takes so much longer.
    Slow {
        /// How much, in nanoseconds of simulated time.
        delay_ns: u64,
    },
}

impl Fault {
    /// Whether it has a meaning for an operation.
    pub const fn applies_to(self, op: OpKind) -> bool {
        match self {
            Fault::Fail(_) | Fault::Slow { .. } => true,
            Fault::Short => matches!(op, OpKind::Read | OpKind::Write),
            Fault::LostWrite => matches!(op, OpKind::Write),
            Fault::LyingSync => {
                matches!(op, OpKind::Fsync | OpKind::Fdatasync | OpKind::SyncDir)
            }
            Fault::MisdirectedRead => matches!(op, OpKind::Read),
        }
    }
}

/// The paths that a rule is about. Of a rename, either will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathFilter {
    /// All of them.
    Any,
    /// This one.
    Is(PathBuf),
    /// This one and what is below it.
    Under(PathBuf),
    /// Those whose text ends so.
    EndsWith(String),
    /// Those whose text has this in it.
    Contains(String),
}

impl PathFilter {
    fn matches(&self, path: &Path) -> bool {
        match self {
            PathFilter::Any => true,
            PathFilter::Is(wanted) => path == wanted,
            PathFilter::Under(directory) => path.starts_with(directory),
            PathFilter::EndsWith(end) => path.to_string_lossy().ends_with(end),
            PathFilter::Contains(part) => path.to_string_lossy().contains(part),
        }
    }
}

/// How often a rule strikes, among the operations that it matches. Every
/// attempt counts: the remainder of a short transfer is an operation too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Each time.
    Always,
    /// By chance.
    PerMillion(u32),
    /// Once: at the nth, the first being 1.
    Nth(u64),
    /// At the nth and all later ones.
    From(u64),
}

/// One kind of fault for some operations on some paths.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    ops: Vec<OpKind>,
    paths: PathFilter,
    when: When,
    matched: u64,
    struck: u64,
}

impl FaultRule {
    /// `fault` for any of `ops` on `paths`.
    ///
    /// # Panics
    /// If the fault has no meaning for one of them.
    pub fn new(fault: Fault, ops: &[OpKind], paths: PathFilter, when: When) -> Self {
        for &op in ops {
            assert!(fault.applies_to(op), "{fault:?} of {}", op.name());
        }
        FaultRule {
            fault,
            ops: ops.to_vec(),
            paths,
            when,
            matched: 0,
            struck: 0,
        }
    }

    /// How many operations it could have struck.
    pub fn matched(&self) -> u64 {
        self.matched
    }

    /// How many operations it has struck.
    pub fn struck(&self) -> u64 {
        self.struck
    }

    fn strikes(&mut self, op: OpKind, paths: [&Path; 2], random: &mut Random) -> bool {
        if !self.ops.contains(&op) || !paths.iter().any(|path| self.paths.matches(path)) {
            return false;
        }
        self.matched += 1;
        let now = match self.when {
            When::Always => true,
            When::PerMillion(rate) => random.chance(rate),
            When::Nth(number) => self.matched == number,
            When::From(number) => self.matched >= number,
        };
        self.struck += u64::from(now);
        now
    }
}

/// All rules in force; the first that strikes decides.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// In the order in which they are tried.
    pub rules: Vec<FaultRule>,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        FaultPlan::default()
    }

    /// What every disk may do and every program has to cope with, often:
    /// short transfers, interruptions, and the odd slow operation.
    pub fn mild() -> Self {
        let rule = |fault, ops: &[OpKind], rate| {
            FaultRule::new(fault, ops, PathFilter::Any, When::PerMillion(rate))
        };
        let all_io = [OpKind::TRANSFERS, OpKind::SYNCS].concat();
        FaultPlan {
            rules: vec![
                rule(Fault::Short, OpKind::TRANSFERS, 50_000),
                rule(Fault::Fail(libc::EINTR), &all_io, 20_000),
                rule(Fault::Fail(libc::EAGAIN), OpKind::TRANSFERS, 20_000),
                rule(
                    Fault::Slow {
                        delay_ns: 20_000_000,
                    },
                    &all_io,
                    5_000,
                ),
            ],
        }
    }

    /// One more rule.
    #[must_use]
    pub fn with(mut self, rule: FaultRule) -> Self {
        self.rules.push(rule);
        self
    }

    pub(crate) fn strike(
        &mut self,
        op: OpKind,
        paths: [&Path; 2],
        random: &mut Random,
    ) -> Option<Fault> {
        self.rules
            .iter_mut()
            .find_map(|rule| rule.strikes(op, paths, random).then_some(rule.fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn strikes(plan: &mut FaultPlan, op: OpKind, path: &str) -> Option<Fault> {
        let mut random = Random::new(1, Purpose::Faults);
        plan.strike(op, [Path::new(path); 2], &mut random)
    }

    #[test]
    fn a_targeted_fault_strikes_once_where_it_should() {
        let rule = FaultRule::new(
            Fault::Fail(libc::EIO),
            OpKind::SYNCS,
            PathFilter::EndsWith("/b".into()),
            When::Nth(2),
        );
        let mut plan = FaultPlan::none().with(rule);
        for (op, path, expected) in [
            (OpKind::Fsync, "/a", None),
            (OpKind::Write, "/b", None),
            (OpKind::Fsync, "/b", None),
            (OpKind::Fdatasync, "/b", Some(Fault::Fail(libc::EIO))),
            (OpKind::Fsync, "/b", None),
        ] {
            assert_eq!(strikes(&mut plan, op, path), expected, "{op:?} {path}");
        }
        assert_eq!(plan.rules[0].struck(), 1);
    }

    #[test]
    fn what_breaks_stays_broken() {
        let fault = Fault::Fail(libc::EIO);
        let rule = FaultRule::new(fault, OpKind::SYNCS, PathFilter::Any, When::From(3));
        let mut plan = FaultPlan::none().with(rule);
        let struck: Vec<bool> = (0..5)
            .map(|_| strikes(&mut plan, OpKind::Fsync, "/a").is_some())
            .collect();
        assert_eq!(struck, [false, false, true, true, true]);
        assert_eq!((plan.rules[0].matched(), plan.rules[0].struck()), (5, 3));
    }

    #[test]
    fn filters_match_paths() {
        let matches = |filter: PathFilter, path: &str| filter.matches(Path::new(path));
        assert!(matches(PathFilter::Any, "/a"));
        assert!(matches(PathFilter::Is("/a/b".into()), "/a/b"));
        assert!(!matches(PathFilter::Is("/a".into()), "/a/b"));
        assert!(matches(PathFilter::Under("/a".into()), "/a/b"));
        assert!(!matches(PathFilter::Under("/a".into()), "/ab"));
        assert!(matches(PathFilter::Contains("base/".into()), "/d/base/5"));
        assert!(!matches(PathFilter::EndsWith("base".into()), "/d/base/5"));
    }

    #[test]
    #[should_panic(expected = "Short of fsync")]
    fn a_fault_without_a_meaning_is_refused() {
        let _ = FaultRule::new(Fault::Short, OpKind::SYNCS, PathFilter::Any, When::Always);
    }
}
