//! What happens to a group of combined I/Os (A5) when the method has a result.
//!
//! The first handle of a group, its head, stands for all: the method sees one
//! request under the head's number. Every handle of the group is in the same
//! state until it gets its own result:
//!
//! - all bytes moved: every part is done;
//! - end of the file: parts before it are done, the one that it falls into and
//!   those behind it are short;
//! - a short transfer: the group goes on with what is left;
//! - an error: it belongs to one part, but which one the system does not say.
//!   What was moved before is done; the parts that are left are attempted one
//!   after the other, each on its own, so that each gets its own result.

use arrayvec::ArrayVec;

use crate::handle::MAX_MEMORY_PIECES;
use crate::handle_table::HandleTable;
use crate::request::{IoRequest, SUBMIT_BATCH_LIMIT};
use crate::result::IoResult;
use crate::slot::{Definition, Group};
use crate::state::State;
use crate::sync::lock;
use crate::transfer::{Transfer, Verdict};
use crate::wait::WaitRef;

/// The handles of a group from its head on, in the order of the file.
pub(crate) type Parts = ArrayVec<WaitRef, SUBMIT_BATCH_LIMIT>;

impl HandleTable {
    /// The group that a handle is the head of; alone, if it is.
    pub(crate) fn parts_of(&self, head: WaitRef) -> Parts {
        let mut parts = Parts::new();
        let mut next = Some(head.slot);
        while let Some(slot) = next {
            parts.push(self.current(slot));
            next = lock(&self.slot(slot).definition).next_part;
        }
        parts
    }

    /// The head of the group that an I/O is a part of; itself, if of none.
    pub(crate) fn carrier_of(&self, wait_ref: WaitRef) -> WaitRef {
        let head = lock(&self.slot(wait_ref.slot).definition).merged_with;
        match head {
            // Looked up under no lock that keeps the group together: a head
            // that has ended since is reused, and its carrier complete.
            Some(head) if !self.is_complete(wait_ref) => self.current(head),
            _ => wait_ref,
        }
    }

    /// A reference to the present use of a handle that cannot be reused now.
    fn current(&self, slot: u32) -> WaitRef {
        WaitRef {
            slot,
            generation: self.slot(slot).word.load().0,
        }
    }

    fn transition_all(&self, parts: &[WaitRef], from: State, to: State) {
        for part in parts {
            self.slot(part.slot)
                .word
                .transition(part.generation, from, to);
        }
    }

    /// The method returned a request for a group: all its parts are in the
    /// hands of this thread now.
    pub(crate) fn reap_parts(&self, head: WaitRef) {
        self.transition_all(&self.parts_of(head), State::Submitted, State::CompletedIo);
    }

    /// Links pending handles to a group with `parts[0]` as its head.
    pub(crate) fn link(&self, parts: &[WaitRef]) {
        let mut length_bytes = 0;
        for (index, part) in parts.iter().enumerate() {
            let mut definition = lock(&self.slot(part.slot).definition);
            definition.next_part = parts.get(index + 1).map(|next| next.slot);
            definition.merged_with = (index > 0).then(|| parts[0].slot);
            length_bytes += definition.transfer.length_bytes;
        }
        let head = self.slot(parts[0].slot);
        let op = lock(&head.definition).transfer.op;
        lock(&head.definition).group = Group::Combined(Transfer::new(op, length_bytes));
        self.cut_group(parts, 0);
    }

    /// Puts what lies beyond `transferred_bytes` of the whole group into the
    /// head's list of memory.
    fn cut_group(&self, parts: &[WaitRef], transferred_bytes: u32) {
        let mut remaining = {
            let mut head = lock(&self.slot(parts[0].slot).definition);
            std::mem::take(&mut head.remaining)
        };
        remaining.clear();
        // All at once: a handle is the head of larger and larger groups.
        remaining.reserve(MAX_MEMORY_PIECES);
        let mut skip = transferred_bytes as usize;
        for part in parts {
            for piece in &lock(&self.slot(part.slot).definition).memory {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                if skipped < piece.len() {
                    remaining.push(piece.skip(skipped));
                }
            }
        }
        lock(&self.slot(parts[0].slot).definition).remaining = remaining;
    }

    /// Works on a group in `CompletedIo` whose request the method returned.
    pub(crate) fn finish_group(
        &self,
        head: WaitRef,
        outcome: i32,
        completer: Option<u32>,
    ) -> Option<IoRequest> {
        let parts = self.parts_of(head);
        let (group, alignment_bytes) = {
            let definition = lock(&self.slot(head.slot).definition);
            (definition.group, definition.alignment_bytes())
        };
        match group {
            Group::Alone => unreachable!("a handle without a group has no parts"),
            Group::Combined(mut transfer) => match transfer.absorb(outcome, alignment_bytes) {
                Verdict::Continue => {
                    self.cut_group(&parts, transfer.transferred_bytes);
                    lock(&self.slot(head.slot).definition).group = Group::Combined(transfer);
                    Some(self.resubmit(&parts))
                }
                Verdict::Finished(result) => self.take_apart(&parts, transfer, result, completer),
            },
            Group::OneByOne => self.next_of(&parts, outcome, alignment_bytes, completer),
        }
    }

    /// Gives each part its share of the group's result.
    fn take_apart(
        &self,
        parts: &[WaitRef],
        transfer: Transfer,
        result: IoResult,
        completer: Option<u32>,
    ) -> Option<IoRequest> {
        let moved_bytes = match result {
            IoResult::Error(_) => transfer.transferred_bytes,
            other => other.bytes(),
        };
        let mut start_bytes = 0;
        for (index, part) in parts.iter().enumerate() {
            let length_bytes = {
                let definition = lock(&self.slot(part.slot).definition);
                definition.transfer.length_bytes
            };
            let own_bytes = moved_bytes.saturating_sub(start_bytes).min(length_bytes);
            start_bytes += length_bytes;
            let own = match result {
                _ if own_bytes == length_bytes => IoResult::Ok { bytes: own_bytes },
                // Only this part was left when the error came, so it is its own.
                IoResult::Error(_) if index + 1 == parts.len() => result,
                IoResult::Error(_) => {
                    return Some(self.go_on_one_by_one(&parts[index..], own_bytes));
                }
                _ => IoResult::Partial { bytes: own_bytes },
            };
            self.finish_part(*part, own, completer);
        }
        None
    }

    /// Attempts the rest of a group part by part, the first from
    /// `transferred_bytes` of its own on.
    fn go_on_one_by_one(&self, parts: &[WaitRef], transferred_bytes: u32) -> IoRequest {
        {
            let mut first = lock(&self.slot(parts[0].slot).definition);
            first.transfer.transferred_bytes = transferred_bytes;
            first.cut_remaining();
        }
        self.lead(parts);
        self.resubmit(parts)
    }

    /// Makes the first of the parts the head of a group that goes one by one.
    fn lead(&self, parts: &[WaitRef]) {
        for (index, part) in parts.iter().enumerate() {
            let mut definition = lock(&self.slot(part.slot).definition);
            definition.merged_with = (index > 0).then(|| parts[0].slot);
            if index == 0 {
                definition.group = match definition.next_part {
                    Some(_) => Group::OneByOne,
                    None => Group::Alone,
                };
            }
        }
    }

    /// The head of a group that goes one by one has a result of its own.
    fn next_of(
        &self,
        parts: &[WaitRef],
        outcome: i32,
        alignment_bytes: u32,
        completer: Option<u32>,
    ) -> Option<IoRequest> {
        let verdict = lock(&self.slot(parts[0].slot).definition).absorb(outcome, alignment_bytes);
        match verdict {
            Verdict::Continue => Some(self.resubmit(parts)),
            Verdict::Finished(result) => {
                self.finish_part(parts[0], result, completer);
                let rest = &parts[1..];
                self.lead(rest);
                Some(self.resubmit(rest))
            }
        }
    }

    /// A request for what is left, the head's number on it.
    fn resubmit(&self, parts: &[WaitRef]) -> IoRequest {
        let issuer = self.issuer(self.issuer_of(parts[0].slot));
        issuer.count_retry();
        self.transition_all(parts, State::CompletedIo, State::Submitted);
        let definition = lock(&self.slot(parts[0].slot).definition);
        IoRequest::new(self, parts[0], &definition)
    }

    fn finish_part(&self, part: WaitRef, result: IoResult, completer: Option<u32>) {
        let definition = lock(&self.slot(part.slot).definition);
        self.finish_with(part, definition, result, completer);
    }
}

impl Definition {
    /// Takes in the outcome of an attempt at this handle's own transfer.
    pub(crate) fn absorb(&mut self, outcome: i32, alignment_bytes: u32) -> Verdict {
        let verdict = self.transfer.absorb(outcome, alignment_bytes);
        if verdict == Verdict::Continue && self.transfer.transferred_bytes > 0 {
            self.cut_remaining();
        }
        verdict
    }
}
