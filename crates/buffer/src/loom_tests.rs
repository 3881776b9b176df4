//! The descriptor's word in every order that a few threads can take, with the memory orders that it
//! asks for (B1, B7, B10, rules 1 to 7 of `descriptor`). Run by `.ci/run` with `--cfg trunkline_loom`. A
//! wake-up that is lost shows as loom's "deadlock".
//!
//! A page is one relaxed number here: whoever has no right to look at it, or sees it too early, finds
//! an old value.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::descriptor::{
    CHECKPOINT_NEEDED, DIRTY, Descriptor, EXCLUSIVE, IO_ERROR, IO_IN_PROGRESS, IoClaim, IoKind,
    LockMode, TAG_VALID, VALID,
};
use crate::tag::{BufferTag, RelFork};
use loom::sync::atomic::AtomicU32;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;
use std::sync::atomic::AtomicU32 as Count;
use std::sync::atomic::Ordering::Relaxed;
use trunkline_aio::WaitRef;
use trunkline_pgformat::{ForkNumber, Oid, RelFileLocator};

const IO: WaitRef = WaitRef {
    slot: 3,
    generation: 7,
};

fn tag(number: u32) -> BufferTag {
    let rel = RelFileLocator {
        spc_oid: Oid(number),
        db_oid: Oid(number),
        rel_number: number,
    };
    BufferTag::new(RelFork::new(rel, ForkNumber::Main), number)
}

struct Buffer {
    descriptor: Descriptor,
    page: AtomicU32,
    /// What is on disk.
    written: AtomicU32,
}

/// A buffer with tag 1 that is pinned once, with further flags.
fn buffer(flags: u64) -> Arc<Buffer> {
    let descriptor = Descriptor::new();
    descriptor.claim_unpinned(0).unwrap();
    descriptor.publish_tag(tag(1), TAG_VALID | flags);
    Arc::new(Buffer {
        descriptor,
        page: AtomicU32::new(0),
        written: AtomicU32::new(0),
    })
}

fn in_every_order(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    let orders = Arc::new(Count::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        body();
    });
    println!("{} orders", orders.load(Relaxed));
}

fn spawn(buffer: &Arc<Buffer>, body: impl FnOnce(&Buffer) + Send + 'static) -> JoinHandle<()> {
    let buffer = Arc::clone(buffer);
    thread::spawn(move || body(&buffer))
}

/// The wait for an I/O that another thread is about to complete.
fn drive(wait_ref: WaitRef) {
    assert_eq!(wait_ref, IO);
    thread::yield_now();
}

/// Reads the page if it is this thread's to read, else joins the read.
fn read(buffer: &Buffer, good: bool) {
    let descriptor = &buffer.descriptor;
    descriptor.pin_again();
    if descriptor.claim_io(IoKind::Read) == IoClaim::Claimed {
        let tagged = descriptor.state() & TAG_VALID;
        descriptor.stage_io(IO);
        // The completion, on whichever thread.
        let before = buffer.page.load(Relaxed);
        buffer.page.store(before + 1, Relaxed);
        assert_eq!(
            descriptor.state() & TAG_VALID,
            tagged,
            "a tag went under a read"
        );
        descriptor.finish_read(good);
    }
    let state = descriptor.wait_io(drive);
    assert_eq!(state & IO_IN_PROGRESS, 0);
    if state & VALID != 0 {
        assert_eq!(
            buffer.page.load(Relaxed),
            1,
            "a page was read twice, or seen too early"
        );
    } else {
        assert!(!good && state & IO_ERROR != 0);
    }
    descriptor.unpin();
}

#[test]
fn loom_one_of_those_who_want_a_page_reads_it_and_the_other_joins() {
    in_every_order(4, || {
        let buffer = buffer(0);
        let other = spawn(&buffer, |buffer| read(buffer, true));
        read(&buffer, true);
        other.join().unwrap();
        let state = buffer.descriptor.state();
        assert_eq!((state & VALID, Descriptor::pins(state)), (VALID, 1));
    });
}

#[test]
fn loom_after_a_failed_read_each_who_joined_sees_it_and_tries_in_turn() {
    in_every_order(3, || {
        let buffer = buffer(0);
        let other = spawn(&buffer, |buffer| read(buffer, false));
        read(&buffer, false);
        other.join().unwrap();
        let state = buffer.descriptor.state();
        assert_eq!((state & VALID, Descriptor::pins(state)), (0, 1));
    });
}

#[test]
fn loom_who_waits_for_a_claim_is_woken_when_it_is_given_back() {
    in_every_order(2, || {
        let buffer = buffer(0);
        assert_eq!(buffer.descriptor.claim_io(IoKind::Read), IoClaim::Claimed);
        let waiters = [(); 2].map(|()| {
            spawn(&buffer, |buffer| {
                let state = buffer.descriptor.wait_io(drive);
                assert_eq!(state & IO_IN_PROGRESS, 0);
            })
        });
        buffer.descriptor.abandon_io();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

fn change(buffer: &Buffer) {
    buffer.descriptor.lock(LockMode::Exclusive, drive);
    buffer.descriptor.mark_dirty();
    let before = buffer.page.load(Relaxed);
    buffer.page.store(before + 1, Relaxed);
    buffer.descriptor.unlock(LockMode::Exclusive);
}

#[test]
fn loom_exclusive_locks_exclude_each_other_and_none_sleeps_for_ever() {
    in_every_order(4, || {
        let buffer = buffer(VALID);
        let other = spawn(&buffer, change);
        change(&buffer);
        other.join().unwrap();
        assert_eq!(buffer.page.load(Relaxed), 2);
    });
}

#[test]
fn loom_a_shared_lock_keeps_the_page_as_it_is() {
    in_every_order(4, || {
        let buffer = buffer(VALID);
        let reader = spawn(&buffer, |buffer| {
            buffer.descriptor.lock(LockMode::Shared, drive);
            let first = buffer.page.load(Relaxed);
            assert_eq!(buffer.descriptor.state() & EXCLUSIVE, 0);
            assert_eq!(buffer.page.load(Relaxed), first);
            buffer.descriptor.unlock(LockMode::Shared);
        });
        change(&buffer);
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_downgrade_lets_those_in_who_may() {
    in_every_order(4, || {
        let buffer = buffer(VALID);
        buffer.descriptor.lock(LockMode::Exclusive, drive);
        let reader = spawn(&buffer, |buffer| {
            buffer.descriptor.lock(LockMode::Shared, drive);
            assert_eq!(buffer.page.load(Relaxed), 1);
            buffer.descriptor.unlock(LockMode::Shared);
        });
        buffer.page.store(1, Relaxed);
        buffer
            .descriptor
            .downgrade(LockMode::Exclusive, LockMode::Shared);
        // Held until the reader is through: it must not need the lock to be free.
        reader.join().unwrap();
        buffer.descriptor.unlock(LockMode::Shared);
    });
}

/// B10: who wants to change a page waits for its write, whoever issued and whoever completes it.
#[test]
fn loom_a_page_does_not_change_under_its_write() {
    in_every_order(4, || {
        let buffer = buffer(VALID);
        change(&buffer);
        let writer = spawn(&buffer, |buffer| {
            let descriptor = &buffer.descriptor;
            descriptor.lock(LockMode::ShareExclusive, drive);
            if descriptor.claim_io(IoKind::Write) == IoClaim::Claimed {
                descriptor.stage_io(IO);
                let first = buffer.page.load(Relaxed);
                buffer.written.store(first, Relaxed);
                assert_eq!(buffer.page.load(Relaxed), first);
                // Also gives the lock back.
                descriptor.finish_write(true);
            } else {
                descriptor.unlock(LockMode::ShareExclusive);
            }
        });
        change(&buffer);
        writer.join().unwrap();
        let state = buffer.descriptor.state();
        assert_eq!(buffer.page.load(Relaxed), 2);
        // Clean exactly if what is on disk is the latest.
        assert_eq!(state & DIRTY == 0, buffer.written.load(Relaxed) == 2);
        assert_eq!(Descriptor::pins(state), 1);
    });
}

/// B10 and A6: nobody completes the write but who wants the lock.
#[test]
fn loom_who_wants_a_lock_drives_the_write_that_holds_it() {
    in_every_order(4, || {
        let buffer = buffer(VALID);
        change(&buffer);
        let issuer = spawn(&buffer, |buffer| {
            buffer.descriptor.lock(LockMode::ShareExclusive, drive);
            assert_eq!(buffer.descriptor.claim_io(IoKind::Write), IoClaim::Claimed);
            buffer.descriptor.stage_io(IO);
        });
        let mut written = false;
        buffer.descriptor.lock(LockMode::Exclusive, |_| {
            buffer.descriptor.finish_write(true);
            written = true;
        });
        buffer.descriptor.unlock(LockMode::Exclusive);
        issuer.join().unwrap();
        if !written {
            buffer.descriptor.finish_write(true);
        }
        let state = buffer.descriptor.state();
        assert_eq!(
            (state & (DIRTY | IO_IN_PROGRESS), Descriptor::pins(state)),
            (0, 1)
        );
    });
}

/// B7 and rule 6: whoever writes a page that a checkpoint has marked takes the mark away, and a page
/// dirtied after that has none.
#[test]
fn loom_a_checkpoints_mark_goes_with_the_write_that_cleans_the_page() {
    in_every_order(4, || {
        let buffer = buffer(VALID);
        change(&buffer);
        let writer = spawn(&buffer, |buffer| {
            let descriptor = &buffer.descriptor;
            descriptor.lock(LockMode::ShareExclusive, drive);
            assert_eq!(descriptor.claim_io(IoKind::Write), IoClaim::Claimed);
            descriptor.stage_io(IO);
            buffer.written.store(buffer.page.load(Relaxed), Relaxed);
            descriptor.finish_write(true);
        });
        // Unmarked: it was written before, and the checkpoint has nothing to do.
        let marked = buffer.descriptor.mark_for_checkpoint();
        assert!(marked || buffer.written.load(Relaxed) == 1);
        change(&buffer);
        writer.join().unwrap();
        let state = buffer.descriptor.state();
        assert_eq!(state & CHECKPOINT_NEEDED, 0);
        assert_eq!(state & DIRTY != 0, buffer.written.load(Relaxed) == 1);
    });
}

/// Rule 1: a pin on a buffer with a tag keeps the tag.
#[test]
fn loom_a_pinner_reads_a_whole_tag_that_stays() {
    in_every_order(4, || {
        let buffer = buffer(VALID);
        buffer.descriptor.unpin();
        let looker = spawn(&buffer, |buffer| {
            if buffer.descriptor.pin_if(TAG_VALID) {
                let seen = buffer.descriptor.tag();
                assert!(seen == tag(1) || seen == tag(2), "half a tag");
                assert!(
                    seen == buffer.descriptor.tag(),
                    "a pinned buffer's tag changed"
                );
                buffer.descriptor.unpin();
            }
        });
        // Replacement: claimed as a victim, renamed unless somebody else has pinned it meanwhile.
        if buffer.descriptor.claim_unpinned(5).is_ok() {
            if buffer.descriptor.retract_tag() {
                buffer.descriptor.publish_tag(tag(2), TAG_VALID);
            }
            buffer.descriptor.unpin();
        }
        looker.join().unwrap();
        assert_eq!(Descriptor::pins(buffer.descriptor.state()), 0);
    });
}

/// A block that is dropped while it is read: its tag goes when the read is over, and not before.
#[test]
fn loom_a_dropped_block_loses_its_tag_after_its_read() {
    in_every_order(4, || {
        let buffer = buffer(0);
        let reader = spawn(&buffer, |buffer| read(buffer, true));
        while !buffer.descriptor.orphan() {
            buffer.descriptor.wait_io(drive);
        }
        reader.join().unwrap();
        let state = buffer.descriptor.state();
        assert_eq!((state & TAG_VALID, Descriptor::pins(state)), (0, 1));
    });
}
