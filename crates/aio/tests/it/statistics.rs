//! A17: I/Os are seen while they happen, and counted.

use std::path::PathBuf;
use std::sync::Arc;

use trunkline_aio::{AlignedBuf, File, Op, State};

use crate::support::{GateMethod, for_each_method, pipe, small, start_with};

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
    gate.open();
    let (_, result) = write.wait(&mut context);
    assert_eq!(result.unwrap(), 8192);
    assert!(aio.in_flight().is_empty());
}

#[test]
fn rings_are_told_apart() {
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
        rustix::io::write(writer.descriptor().unwrap(), b"1234").unwrap();
        for (read, context) in reads.into_iter().zip(&mut contexts) {
            assert_eq!(read.wait(context).1.unwrap(), 1);
        }
    });
}

#[test]
fn counters_tell_issued_from_executed_and_own_from_foreign() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(5).unwrap();
        let mut other = aio.issuer(6).unwrap();
        let mut references = Vec::new();
        for _ in 0..3 {
            references.push(context.acquire().unwrap().start_nop());
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
        assert_eq!((own.executed, own.issued, own.submissions), (3, 3, 1));
        assert_eq!((own.retries, own.pending, own.in_flight), (0, 0, 0));
        assert_eq!(own.foreign_completed, 0);
        // Whoever completed the three: the waiter, or the method's threads.
        let foreign = of(6).map_or(0, |row| row.foreign_completed);
        assert_eq!(foreign + counters.completed_by_threads, 3);
        if aio.method_name() == "io_uring" {
            assert_eq!(foreign, 3);
        }
    });
}
