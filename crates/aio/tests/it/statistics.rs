//! A17: I/Os are seen while they happen, and counted.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, File, IoResult, Op, OpenOptions, OsStorage, SUBMIT_BATCH_LIMIT,
    State, Storage, SyncMethod, SystemCalls,
};

use crate::support::{
    Attempt, GateMethod, MemoryMethod, external_file, for_each_method, pipe, shared_buf, small,
    start_read, start_with,
};

#[test]
fn a_row_tells_everything_about_an_io_in_flight() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    let file = Arc::new(File::external(
        1,
        Box::new(()),
        PathBuf::from("base/5/1"),
        None,
    ));
    let mut context = aio.issuer(77).unwrap();
    let write = context
        .write_raw(&file, AlignedBuf::zeroed(8192), 16_384, 8192)
        .unwrap();
    let row = aio.in_flight().remove(0);
    assert_eq!(
        (row.id, row.generation),
        (write.wait_ref().slot, write.wait_ref().generation)
    );
    assert_eq!(
        (row.op, row.target.kind.name(), row.state),
        (Op::Writev, "raw", State::Pending)
    );
    assert_eq!((row.owner_id, row.ring, row.merge_with), (77, None, None));
    assert_eq!(
        (row.offset, row.length_bytes, row.buffered),
        (16_384, 8192, true)
    );
    assert_eq!((row.result, row.desc.as_str()), (None, "file \"base/5/1\""));
    assert_eq!((row.raw_result, row.data_len), (None, 0));
    context.submit();
    assert_eq!(aio.in_flight().remove(0).state, State::Submitted);
    gate.open();
    // Complete, and not taken back: the issuer has not looked yet.
    let row = aio.in_flight().remove(0);
    assert_eq!(
        (row.state, row.raw_result),
        (State::CompletedShared, Some(8192))
    );
    assert_eq!(row.result, Some(IoResult::Ok { bytes: 8192 }));
    assert!(row.buffered);
    let (_, result) = write.wait(&mut context);
    assert_eq!(result.unwrap(), 8192);
    assert!(aio.in_flight().is_empty());
}

/// What the callbacks make of a result does not change what the system said.
#[test]
fn a_failed_io_shows_what_the_system_said() {
    let method = Arc::new(MemoryMethod::default());
    method.script.lock().unwrap().push(Attempt::Errno(5));
    let aio = start_with(&small(), method);
    let (file, _) = external_file(1);
    let mut context = aio.issuer(1).unwrap();
    let read = context
        .read_raw(&file, AlignedBuf::zeroed(8192), 0, 8192)
        .unwrap();
    // Not by its issuer, who would take it back at once.
    aio.wait(read.wait_ref());
    let row = aio.in_flight().remove(0);
    assert_eq!(
        (row.state, row.raw_result),
        (State::CompletedShared, Some(-5))
    );
    assert!(row.result.is_some_and(IoResult::is_error));
    assert!(read.wait(&mut context).1.is_err());
}

#[test]
fn every_handle_of_an_issuer_is_counted_where_it_is() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    let mut context = aio.issuer(7).unwrap();
    let own = |aio: &Aio| {
        let row = aio.counters().issuers.remove(0);
        assert_eq!((row.owner_id, row.ring), (7, None));
        row
    };
    let first = context.acquire().unwrap().start_nop();
    let row = own(&aio);
    assert_eq!((row.pending, row.in_flight, row.unused), (1, 0, 3));
    context.submit();
    let handle = context.acquire().unwrap();
    let row = own(&aio);
    assert_eq!((row.in_flight, row.outstanding, row.unused), (1, 1, 2));
    let second = handle.start_nop();
    context.submit();
    // By the method's own thread, not the issuer.
    gate.complete_first();
    let row = own(&aio);
    assert_eq!((row.completed_foreign, row.completed_local), (1, 0));
    assert_eq!((row.in_flight, row.unused), (1, 2));
    gate.open();
    context.wait(first);
    context.wait(second);
    let row = own(&aio);
    assert_eq!((row.completed_foreign, row.unused), (0, 4));
}

/// A full pending list is submitted by itself, and method `sync` executes it on the issuer's own
/// thread, which takes nothing back before its next look.
#[test]
fn ios_that_their_issuer_completed_are_told_apart() {
    let config = AioConfig {
        io_max_concurrency: 200,
        ..small()
    };
    let aio = start_with(&config, Arc::new(SyncMethod::new(Arc::new(SystemCalls))));
    let mut context = aio.issuer(7).unwrap();
    let nops: Vec<_> = (0..SUBMIT_BATCH_LIMIT + 2)
        .map(|_| context.acquire().unwrap().start_nop())
        .collect();
    // Acquiring looks for what is complete; the last two are pending since.
    let row = aio.counters().issuers[0];
    assert_eq!((row.pending, row.unused), (2, 198));
    for nop in &nops {
        aio.wait(*nop);
    }
    let row = aio.counters().issuers[0];
    assert_eq!((row.completed_foreign, row.completed_local), (2, 0));
    context.poll_local();
    for _ in 0..SUBMIT_BATCH_LIMIT {
        context.acquire().unwrap().start_nop();
    }
    let row = aio.counters().issuers[0];
    assert_eq!((row.completed_foreign, row.completed_local), (0, 128));
    context.poll_local();
    let row = aio.counters().issuers[0];
    assert_eq!((row.completed_local, row.unused), (0, 200));
}

#[test]
fn rings_are_told_apart() {
    let rings_seen = RefCell::new(Vec::new());
    for_each_method(&small(), |aio| {
        if aio.method_name() != "io_uring" {
            return;
        }
        let (reader, writer) = pipe();
        let mut contexts: Vec<_> = (0..4).map(|owner| aio.issuer(owner).unwrap()).collect();
        let mut reads = Vec::new();
        for context in &mut contexts {
            reads.push(
                context
                    .read_raw(&reader, AlignedBuf::zeroed(1), 0, 1)
                    .unwrap(),
            );
            context.submit();
        }
        let rows = aio.in_flight();
        assert_eq!(rows.len(), 4);
        assert!(
            rows.iter()
                .all(|row| row.ring.is_some() && row.state == State::Submitted)
        );
        let rings: BTreeSet<_> = rows.iter().map(|row| row.ring).collect();
        rings_seen.borrow_mut().push(rings.len());
        rustix::io::write(writer.descriptor().unwrap(), b"1234").unwrap();
        for (read, context) in reads.into_iter().zip(&mut contexts) {
            assert_eq!(read.wait(context).1.unwrap(), 1);
        }
    });
    // Over one ring, and over four.
    let rings_seen = rings_seen.into_inner();
    assert!(rings_seen.is_empty() || rings_seen == [1, 4]);
}

#[test]
fn counters_tell_issued_from_executed_and_own_from_foreign() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(5).unwrap();
        let mut other = aio.issuer(6).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::write(&path, [1; 2 * 4096]).unwrap();
        let file = OsStorage::new().open(&path, OpenOptions::READ).unwrap();
        let mut references = Vec::new();
        for _ in 0..2 {
            references.push(context.acquire().unwrap().start_nop());
        }
        // Two that go as one.
        let buffers = [shared_buf(4096), shared_buf(4096)];
        for (offset, buffer) in [0, 4096].into_iter().zip(&buffers) {
            let handle = context.acquire().unwrap();
            references.push(start_read(handle, &file, offset, buffer, &[4096]));
        }
        for reference in references {
            other.wait(reference);
        }
        let counters = aio.counters();
        let of = |owner| {
            counters
                .issuers
                .iter()
                .find(|row| row.owner_id == owner)
                .copied()
        };
        let own = of(5).unwrap();
        assert_eq!((own.executed, own.issued, own.submissions), (4, 3, 1));
        assert_eq!((own.retries, own.pending, own.in_flight), (0, 0, 0));
        assert_eq!(own.foreign_completed, 0);
        // Whoever completed the four: the waiter, or the method's threads.
        let foreign = of(6).map_or(0, |row| row.foreign_completed);
        assert_eq!(foreign + counters.completed_by_threads, 4);
        if aio.method_name() == "io_uring" {
            assert_eq!(foreign, 4);
        }
    });
}
