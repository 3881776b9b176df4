//! The scenarios of PostgreSQL's `src/test/modules/test_aio`, each named
//! after its row in the README's table, as far as they need no buffers and no
//! other test here has them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{
    Aio, AioConfig, AioError, AlignedBuf, File, IoContext, MethodKind, Op, OpenOptions, OsStorage,
    RawIo, State, Storage,
};

use crate::support::{
    GateMethod, external_file, for_each_method, pattern, small, start_with, within_limit,
};

/// An error or a panic while a handle is out gives it back.
#[test]
fn test_handle_an_error_with_a_handle_out_recovers() {
    fn fails(context: &mut IoContext) -> Result<(), AioError> {
        let handle = context.acquire()?;
        let slot = handle.wait_ref().slot;
        Err(AioError::HandleLeaked { slot })
    }
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        for _ in 0..10 {
            assert!(fails(&mut context).is_err());
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _handle = context.acquire().unwrap();
                std::panic::resume_unwind(Box::new("with a handle out"));
            }));
            assert!(unwound.is_err());
            assert!(aio.in_flight().is_empty(), "{:?}", aio.in_flight());
            // All four are there.
            for _ in 0..4 {
                context.acquire().unwrap().start_nop();
            }
            context.wait_all();
        }
    });
}

/// Leaked, and then everything that may come next: I/O in flight before it,
/// another handle, the end of the issuer.
#[test]
fn test_handle_leaked_with_io_in_flight() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let before = context.acquire().unwrap().start_nop();
        std::mem::forget(context.acquire().unwrap());
        context.submit();
        context.wait(before);
        assert!(matches!(
            context.acquire(),
            Err(AioError::HandleLeaked { .. })
        ));
        let after = context.acquire().unwrap().start_nop();
        context.wait(after);
        std::mem::forget(context.acquire().unwrap());
    });
}

/// What was started and never submitted goes when its issuer ends.
#[test]
fn test_batchmode_a_batch_left_open_is_submitted_at_the_end() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let refs = [(); 3].map(|()| context.acquire().unwrap().start_nop());
        assert_eq!(aio.counters().total().submissions, 0);
        drop(context);
        assert_eq!(aio.counters().total().submissions, 1);
        for reference in refs {
            aio.wait(reference);
        }
    });
}

fn open_descriptors(path: &Path) -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target == path)
        .count()
}

const PIECE: usize = 4096;

fn start_pieces(context: &mut IoContext, file: &Arc<File>, write: bool) -> Vec<RawIo> {
    (0..3)
        .map(|index| {
            let offset = (index * PIECE) as u64;
            let mut buffer = AlignedBuf::zeroed(PIECE);
            if write {
                buffer.copy_from_slice(&pattern(3 * PIECE, 2)[index * PIECE..][..PIECE]);
                context.write_raw(file, buffer, offset, PIECE).unwrap()
            } else {
                context.read_raw(file, buffer, offset, PIECE).unwrap()
            }
        })
        .collect()
}

/// Everything that has the file lets go of it while I/O on it is staged
/// (pending) or in flight; the issuer waits or leaves that to others.
#[test]
fn test_close_fd_with_io_staged_and_in_flight() {
    let config = AioConfig {
        io_max_concurrency: 16,
        ..small()
    };
    for_each_method(&config, |aio: &Arc<Aio>| {
        let directory = tempfile::tempdir().unwrap();
        // As `/proc` shows it.
        let path = directory.path().canonicalize().unwrap().join("data");
        let options = OpenOptions {
            write: true,
            ..OpenOptions::READ
        };
        for write in [true, false] {
            for submitted in [false, true] {
                for waits in [true, false] {
                    let content = if write {
                        vec![0; 3 * PIECE]
                    } else {
                        pattern(3 * PIECE, 2)
                    };
                    std::fs::write(&path, content).unwrap();
                    let mut context = aio.issuer(1).unwrap();
                    let file = OsStorage::new().open(&path, options).unwrap();
                    let ios = start_pieces(&mut context, &file, write);
                    if submitted {
                        context.submit();
                    }
                    drop(file);
                    let refs: Vec<_> = ios.iter().map(RawIo::wait_ref).collect();
                    if waits {
                        for (index, io) in ios.into_iter().enumerate() {
                            let (buffer, moved) = io.wait(&mut context);
                            assert_eq!(moved.unwrap(), PIECE);
                            let expected = &pattern(3 * PIECE, 2)[index * PIECE..][..PIECE];
                            assert!(buffer[..] == *expected);
                        }
                    } else {
                        drop(ios);
                        drop(context);
                        refs.into_iter().for_each(|reference| aio.wait(reference));
                    }
                    assert_eq!(open_descriptors(&path), 0, "a descriptor was leaked");
                    if write {
                        assert!(std::fs::read(&path).unwrap() == pattern(3 * PIECE, 2));
                    }
                }
            }
        }
    });
}

/// None and one more than there may be are refused; the least and the most work.
#[test]
fn test_002_io_workers_counts() {
    let start = |workers| {
        Aio::start(AioConfig {
            method: Some(MethodKind::Worker),
            io_min_workers: workers,
            io_max_workers: workers,
            ..small()
        })
    };
    for workers in [0, 33] {
        let error = start(workers).unwrap_err();
        assert!(
            matches!(
                error,
                AioError::SettingOutOfRange { name: "io_min_workers", value, low: 1, high: 32 }
                    if value == u64::from(workers)
            ),
            "{error}"
        );
    }
    for workers in [1, 32] {
        within_limit(move || {
            let aio = start(workers).unwrap();
            assert_eq!(aio.method_name(), "worker");
            let mut context = aio.issuer(1).unwrap();
            for _ in 0..100 {
                context.acquire().unwrap().start_nop();
            }
            context.wait_all();
        });
    }
}

/// Syncs are rows like all others while they are in flight.
#[test]
fn test_005_fsync_and_fdatasync_are_seen_in_flight() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    let mut context = aio.issuer(5).unwrap();
    let (file, _) = external_file(1);
    context.acquire().unwrap().start_fsync(&file);
    context.acquire().unwrap().start_fdatasync(&file);
    context.submit();
    let rows: Vec<_> = aio
        .in_flight()
        .into_iter()
        .map(|row| (row.op, row.state, row.owner_id, row.length_bytes, row.desc))
        .collect();
    let row = |op| (op, State::Submitted, 5, 0, "file \"memory\"".to_owned());
    assert_eq!(rows, [row(Op::Fsync), row(Op::Fdatasync)]);
    gate.open();
    context.wait_all();
    assert!(aio.in_flight().is_empty());
}
