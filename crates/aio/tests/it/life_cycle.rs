//! A1, A2, A4, A9: handles, pending lists, wait references, issuers.

use std::sync::Arc;
use std::thread;

use trunkline_aio::{
    AioConfig, AioError, IoContext, IoResult, IoReturn, SUBMIT_BATCH_LIMIT, State, WaitRef,
};

use crate::support::{
    GateMethod, for_each_method, pipe, shared_buf, small, start_read, start_with, within_limit,
};

#[test]
fn a_handle_goes_through_its_life_and_comes_back_with_a_new_generation() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    let mut context = aio.issuer(1).unwrap();
    let state = || {
        aio.in_flight()
            .first()
            .map(|row| (row.generation, row.state))
    };
    assert_eq!(state(), None);
    let handle = context.acquire().unwrap();
    assert_eq!(state(), Some((1, State::HandedOut)));
    let first = handle.start_nop();
    assert_eq!(state(), Some((1, State::Pending)));
    assert!(!aio.is_complete(first));
    context.submit();
    assert_eq!(state(), Some((1, State::Submitted)));
    gate.complete_first();
    assert_eq!(state(), Some((1, State::CompletedShared)));
    assert!(aio.is_complete(first));
    context.poll_local();
    assert_eq!(state(), None);
    let second = context.acquire().unwrap().start_nop();
    assert_eq!(
        second,
        WaitRef {
            slot: first.slot,
            generation: 2
        }
    );
    gate.open();
    context.wait(second);
}

#[test]
fn waiting_after_reuse_returns_at_once() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(
        &AioConfig {
            io_max_concurrency: 1,
            ..small()
        },
        gate.clone(),
    );
    let mut context = aio.issuer(1).unwrap();
    let old = context.acquire().unwrap().start_nop();
    context.submit();
    gate.complete_first();
    // The only handle is in flight again, and stays there.
    let new = context.acquire().unwrap().start_nop();
    context.submit();
    assert_eq!(new.slot, old.slot);
    let waiter = Arc::clone(&aio);
    within_limit(move || waiter.wait(old));
    assert!(aio.is_complete(old) && !aio.is_complete(new));
    aio.wait(WaitRef::NONE);
    gate.open();
    context.wait(new);
}

#[test]
fn acquiring_never_fails_for_lack_of_handles() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let cell = IoReturn::new();
        for _ in 0..50 {
            context.acquire().unwrap().start_nop();
        }
        let mut handle = context.acquire().unwrap();
        handle.report_to(&cell);
        let last = handle.start_nop();
        assert!(context.in_flight() <= 4);
        context.wait(last);
        assert_eq!(cell.get(), Some(IoResult::Ok { bytes: 0 }));
        context.wait_all();
        assert_eq!(context.in_flight(), 0);
    });
}

#[test]
fn a_handle_may_be_released_undefined() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let cell = IoReturn::new();
        let mut references = Vec::new();
        for _ in 0..10 {
            let mut handle = context.acquire().unwrap();
            handle.report_to(&cell);
            references.push(handle.wait_ref());
            handle.release();
        }
        assert!(!cell.is_pending() && cell.get().is_none());
        assert!(
            references
                .into_iter()
                .all(|reference| aio.is_complete(reference))
        );
        assert_eq!(aio.counters().total().executed, 0);
    });
}

#[test]
fn a_second_or_leaked_handle_is_an_error_that_says_so() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        std::mem::forget(context.acquire().unwrap());
        let error = context.acquire().err().unwrap();
        assert!(matches!(error, AioError::HandleLeaked { .. }));
        assert!(
            error
                .to_string()
                .contains("only one AIO handle can be handed out"),
            "{error}"
        );
        // Taken back: everything works again, with all handles.
        for _ in 0..8 {
            context.acquire().unwrap().start_nop();
        }
        context.wait_all();
    });
}

#[test]
fn a_handle_leaked_by_an_issuer_that_ends_is_taken_back() {
    for_each_method(
        &AioConfig {
            max_issuers: 1,
            ..small()
        },
        |aio| {
            let mut context = aio.issuer(1).unwrap();
            std::mem::forget(context.acquire().unwrap());
            drop(context);
            let mut context = aio.issuer(2).unwrap();
            let reference = context.acquire().unwrap().start_nop();
            context.wait(reference);
        },
    );
}

#[test]
fn starting_does_not_submit_and_a_batch_is_one_submission() {
    for_each_method(
        &AioConfig {
            io_max_concurrency: SUBMIT_BATCH_LIMIT as u32,
            ..small()
        },
        |aio| {
            let mut context = aio.issuer(1).unwrap();
            for _ in 0..5 {
                context.acquire().unwrap().start_nop();
            }
            let counters = aio.counters().total();
            assert_eq!(
                (counters.executed, counters.issued, counters.pending),
                (5, 0, 5)
            );
            context.submit();
            let counters = aio.counters().total();
            assert_eq!(
                (counters.issued, counters.submissions, counters.pending),
                (5, 1, 0)
            );
            context.wait_all();
            // A full list goes by itself.
            for _ in 0..SUBMIT_BATCH_LIMIT - 1 {
                context.acquire().unwrap().start_nop();
            }
            assert_eq!(aio.counters().total().submissions, 1);
            context.acquire().unwrap().start_nop();
            assert_eq!(aio.counters().total().submissions, 2);
            context.wait_all();
        },
    );
}

#[test]
fn waiting_for_anything_submits_what_is_pending() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let first = context.acquire().unwrap().start_nop();
        let second = context.acquire().unwrap().start_nop();
        context.wait(first);
        assert_eq!(aio.counters().total().pending, 0);
        aio.wait(second);
        // Even for what is complete already, taken back or not.
        for complete in [first, second, WaitRef::NONE] {
            context.acquire().unwrap().start_nop();
            context.wait(complete);
            assert_eq!(aio.counters().total().pending, 0);
        }
    });
}

/// Also when what it waits for is another's, and long submitted.
#[test]
fn waiting_for_another_s_io_submits_what_is_pending() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    within_limit(move || {
        let (mut context, mut other) = (aio.issuer(1).unwrap(), aio.issuer(2).unwrap());
        let theirs = other.acquire().unwrap().start_nop();
        other.submit();
        let own = context.acquire().unwrap().start_nop();
        let opener = thread::spawn(move || {
            gate.wait_until_held(2);
            gate.open();
        });
        context.wait(theirs);
        context.wait(own);
        opener.join().unwrap();
    });
}

#[test]
fn a_waiter_submits_what_another_issuer_has_pending() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let pending = context.acquire().unwrap().start_nop();
        let waiter = Arc::clone(aio);
        // The issuer does nothing whatever meanwhile.
        within_limit(move || waiter.wait(pending));
        assert!(aio.is_complete(pending));
    });
}

#[test]
fn a_waiter_may_come_before_the_handle_is_defined() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let handle = context.acquire().unwrap();
        let early = handle.wait_ref();
        let waiter = Arc::clone(aio);
        let thread = thread::spawn(move || waiter.wait(early));
        thread::yield_now();
        handle.start_nop();
        within_limit(move || thread.join().unwrap());

        // And one that waits for a handle that is released goes on as well.
        let handle = context.acquire().unwrap();
        let early = handle.wait_ref();
        let waiter = Arc::clone(aio);
        let thread = thread::spawn(move || waiter.wait(early));
        thread::yield_now();
        handle.release();
        within_limit(move || thread.join().unwrap());
    });
}

#[test]
fn issuers_come_from_a_bounded_pool() {
    for_each_method(
        &AioConfig {
            max_issuers: 2,
            ..small()
        },
        |aio| {
            let first = aio.issuer(1).unwrap();
            let second = aio.issuer(2).unwrap();
            let error = aio.issuer(3).err().unwrap();
            assert!(
                matches!(error, AioError::TooManyIssuers { limit: 2 }),
                "{error}"
            );
            drop(first);
            let third = aio.issuer(3).unwrap();
            drop((second, third));
        },
    );
}

#[test]
fn an_issuer_that_ends_leaves_its_io_to_complete_and_the_pool_gets_the_handles_back() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(
        &AioConfig {
            max_issuers: 1,
            ..small()
        },
        gate.clone(),
    );
    let mut context = aio.issuer(1).unwrap();
    let references: Vec<_> = (0..3)
        .map(|_| context.acquire().unwrap().start_nop())
        .collect();
    drop(context);
    // Pending I/Os were submitted; the issuer is not free before they end.
    assert_eq!(gate.held(), 3);
    assert!(matches!(
        aio.issuer(2),
        Err(AioError::TooManyIssuers { .. })
    ));
    gate.complete_first();
    assert!(matches!(
        aio.issuer(2),
        Err(AioError::TooManyIssuers { .. })
    ));
    gate.open();
    assert!(
        references
            .into_iter()
            .all(|reference| aio.is_complete(reference))
    );
    let mut context = aio.issuer(2).unwrap();
    for _ in 0..4 {
        context.acquire().unwrap().start_nop();
    }
    context.wait_all();
}

#[test]
fn an_issuer_may_end_with_io_in_flight_under_every_method() {
    for_each_method(
        &AioConfig {
            max_issuers: 1,
            ..small()
        },
        |aio| {
            for round in 0..50 {
                let mut context = loop {
                    // In use until the I/Os of the round before are complete.
                    match aio.issuer(round) {
                        Ok(context) => break context,
                        Err(_) => thread::yield_now(),
                    }
                    for row in aio.in_flight() {
                        aio.wait(WaitRef {
                            slot: row.id,
                            generation: row.generation,
                        });
                    }
                };
                for _ in 0..3 {
                    context.acquire().unwrap().start_nop();
                }
            }
        },
    );
}

/// Does not compile if an issuer were `Sync` (A0): the call would be ambiguous.
const _: fn() = || {
    trait NotSync<A> {
        fn check() {}
    }
    impl<T: ?Sized> NotSync<()> for T {}
    impl<T: ?Sized + Sync> NotSync<u8> for T {}
    <IoContext as NotSync<_>>::check();
};

#[test]
fn an_issuer_moves_between_threads() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let reference = context.acquire().unwrap().start_nop();
        let mut context = thread::spawn(move || {
            context.wait(reference);
            context.acquire().unwrap().start_nop();
            context
        })
        .join()
        .unwrap();
        context.wait_all();
    });
}

#[test]
fn an_issuer_tells_what_it_can_give_without_waiting() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let all = context.free_handles();
        assert_eq!(all, 4);
        for _ in 0..3 {
            context.acquire().unwrap().start_nop();
            let free = context.free_handles();
            assert_eq!(free + context.in_flight(), all);
        }
        // What is complete counts again, without a wait for it.
        context.wait_all();
        assert_eq!(context.free_handles(), all);
    });
}

#[test]
fn after_a_shutdown_nothing_is_acquired() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let reference = context.acquire().unwrap().start_nop();
        aio.shutdown();
        assert!(aio.is_complete(reference));
        assert!(matches!(context.acquire(), Err(AioError::ShutDown)));
        assert!(matches!(aio.issuer(2), Err(AioError::ShutDown)));
    });
}

#[test]
fn who_waits_for_any_goes_on_with_the_first() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        context.wait_any();
        for round in 0..200 {
            let references: Vec<_> = (0..4)
                .map(|_| context.acquire().unwrap().start_nop())
                .collect();
            while context.in_flight() > 0 {
                let before = context.in_flight();
                context.wait_any();
                assert!(context.in_flight() < before, "round {round}");
            }
            assert!(references.iter().all(|io| aio.is_complete(*io)));
        }
    });
    // The first is not the oldest.
    let (reader, writer) = pipe();
    for_each_method(&small(), |aio| {
        if aio.method_name() == "sync" || aio.method_name() == "posix_aio" {
            return;
        }
        let mut context = aio.issuer(1).unwrap();
        let handle = context.acquire().unwrap();
        let slow = start_read(handle, &reader, 0, &shared_buf(1), &[1]);
        let quick = context.acquire().unwrap().start_nop();
        context.wait_any();
        assert!(aio.is_complete(quick) && !aio.is_complete(slow));
        rustix::io::write(writer.descriptor().unwrap(), b"x").unwrap();
        context.wait_any();
        assert!(aio.is_complete(slow));
    });
}
