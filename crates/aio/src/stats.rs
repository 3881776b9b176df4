//! What can be seen of I/Os while they happen (A17): the rows of
//! `pg_stat_aios`, and counters that nobody takes a lock to count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::callback::IoView;
use crate::handle_table::HandleTable;
use crate::operation::{Op, TargetTag};
use crate::result::IoResult;
use crate::state::State;
use crate::sync::lock;
use crate::wait::WaitRef;

/// Counters of one issuer; written by whoever acts for it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) executed: AtomicU64,
    pub(crate) issued: AtomicU64,
    pub(crate) submissions: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) foreign_completed: AtomicU64,
}

/// Counters of one issuer since the AIO core started, a row of
/// `pg_stat_aio_backends`. An issuer that was used by several owners in turn
/// counts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IssuerCounters {
    /// The present (or last) owner.
    pub owner_id: i32,
    /// I/Os started.
    pub executed: u64,
    /// I/Os handed to the method, after combining.
    pub issued: u64,
    /// Batches handed to the method.
    pub submissions: u64,
    /// Remainders of short transfers, and other attempts.
    pub retries: u64,
    /// I/Os of other issuers that this one completed.
    pub foreign_completed: u64,
    /// I/Os with the method now.
    pub in_flight: u32,
    /// Handles that are free now.
    pub unused: u32,
    /// Handles that are handed out now, on the way to the pending list.
    pub outstanding: u32,
    /// I/Os on the pending list now.
    pub pending: u32,
    /// I/Os that the issuer itself completed and has not taken back yet.
    pub completed_local: u32,
    /// I/Os that somebody else completed and the issuer has not taken back
    /// yet.
    pub completed_foreign: u32,
    /// The ring that carries the issuer's I/Os, with method io_uring.
    pub ring: Option<u32>,
}

/// All counters.
#[derive(Clone, Debug, Default)]
pub struct AioCounters {
    /// The issuers that have ever started an I/O.
    pub issuers: Vec<IssuerCounters>,
    /// I/Os completed by threads that act for no issuer: workers, completer
    /// threads, and waits without an [`crate::IoContext`].
    pub completed_by_threads: u64,
}

impl AioCounters {
    /// The sum over all issuers.
    pub fn total(&self) -> IssuerCounters {
        self.issuers
            .iter()
            .fold(IssuerCounters::default(), |sum, one| IssuerCounters {
                owner_id: 0,
                executed: sum.executed + one.executed,
                issued: sum.issued + one.issued,
                submissions: sum.submissions + one.submissions,
                retries: sum.retries + one.retries,
                foreign_completed: sum.foreign_completed + one.foreign_completed,
                in_flight: sum.in_flight + one.in_flight,
                unused: sum.unused + one.unused,
                outstanding: sum.outstanding + one.outstanding,
                pending: sum.pending + one.pending,
                completed_local: sum.completed_local + one.completed_local,
                completed_foreign: sum.completed_foreign + one.completed_foreign,
                ring: None,
            })
    }
}

/// One handle in use, a row of `pg_stat_aios`.
#[derive(Clone, Debug)]
pub struct IoSnapshot {
    /// Index of the handle (`id`).
    pub id: u32,
    /// Which use of the handle.
    pub generation: u64,
    /// The operation.
    pub op: Op,
    /// The object, by its kind and its owner's words (`scb`).
    pub target: TargetTag,
    /// Where in its life it is (`flags`).
    pub state: State,
    /// Whether it goes through the page cache.
    pub buffered: bool,
    /// The ring that carries it, with method io_uring.
    pub ring: Option<u32>,
    /// Owner of the issuer (`owner_pid`).
    pub owner_id: i32,
    /// The handle that this one was combined with.
    pub merge_with: Option<u32>,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length_bytes: u32,
    /// Words that the upper layer attached, such as buffer numbers.
    pub data_len: u32,
    /// What the method's last attempt came to, once the I/O is complete:
    /// bytes moved, or a negated errno.
    pub raw_result: Option<i32>,
    /// The result after the shared callbacks, once there is one.
    pub result: Option<IoResult>,
    /// The object in words, from the owner's `describe` (or the file's path).
    pub desc: String,
}

impl IoSnapshot {
    /// Refers to it.
    pub fn wait_ref(&self) -> WaitRef {
        WaitRef {
            slot: self.id,
            generation: self.generation,
        }
    }
}

impl HandleTable {
    /// A look at every handle in use; each row is consistent in itself.
    pub(crate) fn snapshot(&self, ring_of: impl Fn(u32) -> Option<u32>) -> Vec<IoSnapshot> {
        let mut rows = Vec::new();
        for (index, slot) in self.slots().iter().enumerate() {
            if slot.word.load().1 == State::Idle {
                continue;
            }
            // Copy first: `describe` is foreign code and runs without the lock.
            let (definition, (generation, state)) = {
                let definition = lock(&slot.definition);
                let mut copy = definition.clone();
                // Nobody's memory lives longer for being looked at.
                copy.keep_alive = None;
                copy.report_to = None;
                (copy, slot.word.load())
            };
            if state == State::Idle {
                continue;
            }
            let id = index as u32;
            let issuer = self.issuer_of(id);
            let wait_ref = WaitRef {
                slot: id,
                generation,
            };
            let mut desc = String::new();
            for (callback, callback_data) in definition.callbacks().rev() {
                let view = IoView {
                    definition: &definition,
                    wait_ref,
                    callback_data,
                };
                let described = self.callbacks.get(callback).describe(&view, &mut desc);
                if described.is_ok() && !desc.is_empty() {
                    break;
                }
                desc.clear();
            }
            if desc.is_empty()
                && let Some(file) = &definition.file
            {
                desc = format!("file \"{}\"", file.path().display());
            }
            rows.push(IoSnapshot {
                id,
                generation,
                op: definition.transfer.op,
                target: definition.target,
                state,
                buffered: definition.buffered,
                ring: ring_of(issuer),
                owner_id: self.issuer(issuer).owner_id.load(Relaxed),
                merge_with: definition.merged_with,
                offset: definition.offset,
                length_bytes: definition.transfer.length_bytes,
                data_len: definition.data.len() as u32,
                raw_result: definition.raw_result,
                result: definition.result,
                desc,
            });
        }
        rows
    }

    pub(crate) fn counters(&self, ring_of: impl Fn(u32) -> Option<u32>) -> AioCounters {
        let mut issuers = Vec::new();
        for (index, issuer) in self.issuers.iter().enumerate() {
            let counters = &issuer.counters;
            let executed = counters.executed.load(Relaxed);
            let foreign_completed = counters.foreign_completed.load(Relaxed);
            if executed == 0 && foreign_completed == 0 {
                continue;
            }
            let mut row = IssuerCounters {
                owner_id: issuer.owner_id.load(Relaxed),
                executed,
                issued: counters.issued.load(Relaxed),
                submissions: counters.submissions.load(Relaxed),
                retries: counters.retries.load(Relaxed),
                foreign_completed,
                ring: ring_of(index as u32),
                ..IssuerCounters::default()
            };
            for slot in self.handles_of(index as u32) {
                let slot = self.slot(slot);
                *match slot.word.load().1 {
                    State::Idle => &mut row.unused,
                    State::HandedOut | State::Defined | State::Staged => &mut row.outstanding,
                    State::Pending => &mut row.pending,
                    State::Submitted | State::CompletedIo => &mut row.in_flight,
                    State::CompletedShared | State::CompletedLocal
                        if lock(&slot.definition).completed_by_other =>
                    {
                        &mut row.completed_foreign
                    }
                    State::CompletedShared | State::CompletedLocal => &mut row.completed_local,
                } += 1;
            }
            issuers.push(row);
        }
        AioCounters {
            issuers,
            completed_by_threads: self.anonymous_completed.load(Relaxed),
        }
    }
}
