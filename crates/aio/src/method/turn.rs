//! The turn: how threads that wait for I/Os of one completion queue share the
//! reaping.
//!
//! Of the threads that wait for I/Os of a queue, one at a time has the *turn*:
//! it alone pops completions, and blocks for one when there are none. The
//! others park. The rules that keep a wake-up from getting lost:
//!
//! 1. A popped completion is moved to `CompletedIo` while the turn is still
//!    held. So whoever has the turn and sees its I/O `Submitted` knows that
//!    the completion is yet to appear in this queue, and may block for it.
//! 2. The turn is given up before the shared callbacks run, so that checksums
//!    of one batch do not hold up the next: others reap meanwhile.
//! 3. Every parked thread is woken when its own I/O is complete.
//! 4. Whenever a thread gives up the turn, parks, or leaves, and nobody has
//!    the turn, it wakes one parked thread whose I/O is `Submitted`. A thread
//!    so woken takes the turn or passes it on by the same rule. What is not
//!    `Submitted` is in the hands of a thread that is awake and will itself
//!    come to this rule.
//!
//! 5. An event loop that is told of a completion takes the turn too, but never
//!    waits: if a thread has the turn, it leaves a note, and that thread reaps
//!    all that there is before it goes.
//!
//! The turn's mutex is a leaf lock, held for a few instructions. The rules are
//! checked by the tests in `loom_tests`, over a queue that loom sees through.

use crate::request::{Completions, InFlight, IoRequest, ReapedIo};
use crate::sync::{Mutex, Thread, current, lock};
use crate::wait::WaitRef;

/// Completions that a thread pops before it gives up the turn: few, so that
/// their checksums are shared between the threads that wait.
pub(crate) const REAP_BATCH: usize = 8;

/// Where completions appear. One thread at a time looks: the one that has the
/// turn.
pub(crate) trait CompletionQueue {
    /// Pops completions into `reaped` and [`Completions::reap`]s them.
    fn pop(&self, completions: &Completions, reaped: &mut [Option<ReapedIo>]) -> usize;

    /// Blocks until there is a completion to pop; may return early.
    fn block_for_completion(&self);

    /// Submits what is left of an I/O.
    fn submit_again(&self, remainder: IoRequest);
}

/// Who reaps, and who waits for the chance to.
#[derive(Default)]
pub(crate) struct Turns(Mutex<Turn>);

#[derive(Default)]
struct Turn {
    taken: bool,
    /// Rule 5: somebody was told of completions while the turn was taken.
    noted: bool,
    parked: Vec<Parked>,
}

struct Parked {
    thread: Thread,
    wait_ref: WaitRef,
    /// Woken to take the turn.
    called: bool,
}

impl Turns {
    /// Returns when the I/O, which is one of `queue`'s, is complete, or `ready`
    /// says true; whoever makes it true unparks the thread.
    pub(crate) fn wait(
        &self,
        io: &InFlight<'_>,
        queue: &impl CompletionQueue,
        ready: &dyn Fn() -> bool,
    ) {
        while !io.is_complete() && !ready() {
            if self.take_turn(io) {
                self.use_turn(io, queue);
            } else {
                io.park_until(|| self.is_called() || ready());
                self.unregister();
            }
        }
        pass_turn(&mut lock(&self.0), io.completions());
    }

    /// Takes the turn if that helps `io`; else registers this thread as parked.
    fn take_turn(&self, io: &InFlight<'_>) -> bool {
        let mut turn = lock(&self.0);
        if !turn.taken && io.is_submitted() {
            turn.taken = true;
            return true;
        }
        turn.parked.push(Parked {
            thread: current(),
            wait_ref: io.wait_ref(),
            called: false,
        });
        pass_turn(&mut turn, io.completions());
        false
    }

    fn is_called(&self) -> bool {
        let id = current().id();
        lock(&self.0)
            .parked
            .iter()
            .any(|parked| parked.called && parked.thread.id() == id)
    }

    fn unregister(&self) {
        let id = current().id();
        lock(&self.0)
            .parked
            .retain(|parked| parked.thread.id() != id);
    }

    /// Reaps completions, gives up the turn, and finishes what was reaped.
    fn use_turn(&self, io: &InFlight<'_>, queue: &impl CompletionQueue) {
        let completions = io.completions();
        let mut reaped: [Option<ReapedIo>; REAP_BATCH] = [const { None }; REAP_BATCH];
        // `io` was `Submitted` when this thread took the turn, and only the
        // turn pops: its completion is here or will come (rule 1).
        while queue.pop(completions, &mut reaped) == 0 {
            queue.block_for_completion();
        }
        let is_noted = self.give_up(completions);
        finish(reaped, completions, queue);
        while is_noted && self.reap(completions, queue) {}
    }

    /// Reaps what there is, without blocking, a batch at most; whether there may be more for the caller to
    /// reap.
    pub(crate) fn reap(&self, completions: &Completions, queue: &impl CompletionQueue) -> bool {
        {
            let mut turn = lock(&self.0);
            if turn.taken {
                turn.noted = true;
                return false;
            }
            turn.taken = true;
        }
        let mut reaped: [Option<ReapedIo>; REAP_BATCH] = [const { None }; REAP_BATCH];
        let count = queue.pop(completions, &mut reaped);
        let is_noted = self.give_up(completions);
        finish(reaped, completions, queue);
        is_noted || count == REAP_BATCH
    }

    /// Gives up the turn; whether rule 5 has left a note.
    fn give_up(&self, completions: &Completions) -> bool {
        let mut turn = lock(&self.0);
        turn.taken = false;
        pass_turn(&mut turn, completions);
        std::mem::take(&mut turn.noted)
    }
}

fn finish(
    reaped: [Option<ReapedIo>; REAP_BATCH],
    completions: &Completions,
    queue: &impl CompletionQueue,
) {
    for reaped in reaped.into_iter().flatten() {
        if let Some(remainder) = reaped.finish(completions) {
            queue.submit_again(remainder);
        }
    }
}

/// Rule 4: if nobody has the turn, calls a parked thread that can use it.
fn pass_turn(turn: &mut Turn, completions: &Completions) {
    if turn.taken || turn.parked.iter().any(|parked| parked.called) {
        return;
    }
    let usable = |parked: &&mut Parked| completions.in_flight(parked.wait_ref).is_submitted();
    if let Some(parked) = turn.parked.iter_mut().find(usable) {
        parked.called = true;
        parked.thread.unpark();
    }
}
