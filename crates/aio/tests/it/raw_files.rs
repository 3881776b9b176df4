//! The raw target and the storage under it, on real files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use trunkline_aio::{
    Aio, AioConfig, AioError, AlignedBuf, DirEntry, File, FileKind, IoContext, IoHandle, IoReturn,
    IoSnapshot, OpenOptions, OsStorage, RawReader, RawWriter, State, Storage, WaitRef, read_file,
    write_file_durably,
};

use crate::support::{for_each_method, pattern, pipe, small, within_limit};

const CHUNK: usize = 128 * 1024;

#[test]
fn direct_writes_come_back_through_direct_reads() {
    let storage = OsStorage::new();
    for_each_method(
        &AioConfig {
            io_max_concurrency: 16,
            ..small()
        },
        |aio| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("data");
            let file = storage
                .open(&path, OpenOptions::CREATE_NEW.with_direct(true))
                .unwrap();
            let Some(alignment) = file.direct() else {
                eprintln!("SKIPPED: no direct I/O in {}", directory.path().display());
                return;
            };
            assert!(alignment.offset_bytes.is_power_of_two());
            let mut context = aio.issuer(1).unwrap();
            let content = pattern(10 * CHUNK, 1);
            let writes: Vec<_> = content
                .chunks(CHUNK)
                .enumerate()
                .map(|(index, chunk)| {
                    let mut buffer = AlignedBuf::zeroed(CHUNK);
                    buffer.copy_from_slice(chunk);
                    context
                        .write_raw(&file, buffer, (index * CHUNK) as u64, CHUNK)
                        .unwrap()
                })
                .collect();
            let buffers: Vec<_> = writes
                .into_iter()
                .map(|write| {
                    let (buffer, result) = write.wait(&mut context);
                    assert_eq!(result.unwrap(), CHUNK);
                    buffer
                })
                .collect();
            context.fsync(&file).unwrap();
            context.fdatasync(&file).unwrap();
            assert_eq!(storage.len(&file).unwrap(), content.len() as u64);
            let reads: Vec<_> = buffers
                .into_iter()
                .enumerate()
                .map(|(index, buffer)| {
                    context
                        .read_raw(&file, buffer, (index * CHUNK) as u64, CHUNK)
                        .unwrap()
                })
                .collect();
            for (read, expected) in reads.into_iter().zip(content.chunks(CHUNK)) {
                let (buffer, result) = read.wait(&mut context);
                assert_eq!(result.unwrap(), CHUNK);
                assert!(buffer[..] == *expected);
            }
            // A read across the end, of a file whose length is no block multiple.
            storage.set_len(&file, 100_001).unwrap();
            let read = context
                .read_raw(&file, AlignedBuf::zeroed(CHUNK), 0, CHUNK)
                .unwrap();
            let (buffer, result) = read.wait(&mut context);
            assert_eq!(result.unwrap(), 100_001);
            assert!(buffer[..100_001] == content[..100_001]);
            let error = context
                .read_raw(&file, AlignedBuf::zeroed(CHUNK), 1, CHUNK)
                .unwrap_err();
            assert!(
                matches!(error, AioError::Misaligned { offset: 1, .. }),
                "{error}"
            );
        },
    );
}

#[test]
fn an_io_larger_than_its_buffer_is_refused() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let (reader, _writer) = pipe();
        let error = context
            .read_raw(&reader, AlignedBuf::zeroed(10), 0, 11)
            .unwrap_err();
        assert!(matches!(
            error,
            AioError::TooLong {
                length_bytes: 11,
                limit_bytes: 10
            }
        ));
    });
}

#[test]
fn sequential_writer_and_reader_agree_at_every_length() {
    let storage = OsStorage::new();
    for_each_method(&small(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let mut context = aio.issuer(1).unwrap();
        let (buffer_bytes, depth) = (4096, 3);
        for len in [0, 1, 4095, 4096, 4097, 3 * 4096, 50_000] {
            let path = directory.path().join(format!("f{len}"));
            let content = pattern(len, len as u8);
            let file = storage.open(&path, OpenOptions::OVERWRITE).unwrap();
            let mut writer = RawWriter::new(file, 0, buffer_bytes, depth);
            for chunk in content.chunks(1000) {
                writer.write_all(&mut context, chunk).unwrap();
            }
            assert_eq!(writer.finish(&mut context).unwrap(), len as u64);
            assert!(std::fs::read(&path).unwrap() == content);
            let file = storage.open(&path, OpenOptions::READ).unwrap();
            let mut reader = RawReader::new(file, 0, buffer_bytes, depth);
            let mut found = Vec::new();
            while let Some(chunk) = reader.next(&mut context).unwrap() {
                found.extend_from_slice(chunk);
            }
            assert!(reader.next(&mut context).unwrap().is_none());
            assert!(found == content);
        }
    });
}

/// The I/Os that somebody still has to complete.
fn underway(aio: &Aio) -> Vec<IoSnapshot> {
    let mut rows = aio.in_flight();
    rows.retain(|row| {
        matches!(
            row.state,
            State::Pending | State::Submitted | State::CompletedIo
        )
    });
    rows
}

#[test]
fn a_reader_or_writer_dropped_in_the_middle_leaves_nothing_in_flight() {
    let storage = OsStorage::new();
    for_each_method(&small(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let (buffer_bytes, depth) = (64 * 1024, 3);
        let content = pattern(20 * buffer_bytes, 5);
        let mut context = aio.issuer(1).unwrap();

        let file = storage.open(&path, OpenOptions::OVERWRITE).unwrap();
        let mut writer = RawWriter::new(file.clone(), 0, buffer_bytes, depth);
        writer.write_all(&mut context, &content).unwrap();
        drop(writer);
        assert!(underway(aio).is_empty(), "{:?}", underway(aio));
        // Full buffers all, so nothing was left to start.
        assert!(std::fs::read(&path).unwrap() == content);

        let file = storage.open(&path, OpenOptions::READ).unwrap();
        let closed = Arc::downgrade(&file);
        let mut reader = RawReader::new(file, 0, buffer_bytes, depth);
        reader.next(&mut context).unwrap().unwrap();
        drop(reader);
        assert!(underway(aio).is_empty(), "{:?}", underway(aio));
        assert!(closed.upgrade().is_none(), "a read holds on to its file");

        // When the issuer is gone too, the table is empty, whichever went first.
        let open = || storage.open(&path, OpenOptions::READ).unwrap();
        let mut reader = RawReader::new(open(), 0, buffer_bytes, depth);
        reader.next(&mut context).unwrap().unwrap();
        drop(reader);
        drop(context);
        assert!(aio.in_flight().is_empty(), "{:?}", aio.in_flight());

        let mut context = aio.issuer(1).unwrap();
        let mut reader = RawReader::new(open(), 0, buffer_bytes, depth);
        reader.next(&mut context).unwrap().unwrap();
        drop(context);
        drop(reader);
        assert!(underway(aio).is_empty(), "{:?}", underway(aio));
    });
}

#[test]
fn reads_that_nobody_waits_for_complete_by_themselves() {
    let storage = OsStorage::new();
    for_each_method(&small(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::write(&path, pattern(16 * CHUNK, 6)).unwrap();
        let file = storage.open(&path, OpenOptions::READ).unwrap();
        let start = |context: &mut IoContext, chunk: usize| {
            let buffer = AlignedBuf::zeroed(CHUNK);
            let offset = (chunk * CHUNK) as u64;
            context.read_raw(&file, buffer, offset, CHUNK).unwrap()
        };
        // The reads are dropped while still pending, their issuer lives on.
        let mut context = aio.issuer(1).unwrap();
        let (first, second) = (start(&mut context, 0), start(&mut context, 1));
        drop(first);
        drop(second);
        let waiting = Arc::clone(aio);
        within_limit(move || {
            while !underway(&waiting).is_empty() {
                std::thread::yield_now();
            }
        });
        // The issuers go, with I/Os of which nobody has so much as a reference.
        let others: Vec<_> = (0..7).map(|owner| aio.issuer(owner).unwrap()).collect();
        for mut context in others.into_iter().chain([context]) {
            for chunk in 2..4 {
                std::mem::forget(start(&mut context, chunk));
            }
        }
        let waiting = Arc::clone(aio);
        within_limit(move || {
            while !waiting.in_flight().is_empty() {
                std::thread::yield_now();
            }
            // The pool has all of them back.
            let again: Result<Vec<_>, _> = (0..8).map(|owner| waiting.issuer(owner)).collect();
            again.unwrap();
        });
        assert_eq!(Arc::strong_count(&file), 1);
    });
}

#[test]
fn a_pipe_is_read_and_written_in_order() {
    for_each_method(&small(), |aio| {
        let (reader, writer) = pipe();
        let content = pattern(100_000, 9);
        let written = content.clone();
        let (mut context, mut other) = (aio.issuer(1).unwrap(), aio.issuer(2).unwrap());
        let feeder = std::thread::spawn(move || {
            let mut writer = RawWriter::new(writer, 0, 3000, 4);
            writer.write_all(&mut other, &written).unwrap();
            writer.finish(&mut other).unwrap();
        });
        let mut reader = RawReader::new(reader, 0, 1000, 4);
        let mut found = Vec::new();
        while let Some(chunk) = reader.next(&mut context).unwrap() {
            found.extend_from_slice(chunk);
        }
        feeder.join().unwrap();
        assert!(found == content);
    });
}

#[test]
fn errors_of_the_system_reach_the_caller() {
    let storage = OsStorage::new();
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let full = storage
            .open(Path::new("/dev/full"), OpenOptions::READ_WRITE)
            .unwrap();
        let mut writer = RawWriter::new(full, 0, 1024, 2);
        let error = match writer.write_all(&mut context, &pattern(100_000, 0)) {
            Ok(()) => writer.finish(&mut context).unwrap_err(),
            Err(error) => {
                // And again: what was lost stays lost.
                assert_eq!(
                    writer.finish(&mut context).unwrap_err().raw_os_error(),
                    error.raw_os_error()
                );
                error
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error = read_file(&storage, &mut context, &missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}

/// A3: a pipe refuses each, so none is left out; a file takes them.
#[test]
fn every_operation_reaches_the_system() {
    // Which of the two depends on the way to the kernel.
    let refusals = [Errno::INVAL, Errno::SPIPE].map(|errno| Some(errno.raw_os_error()));
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let (reader, writer) = pipe();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let file = OsStorage::new()
            .open(&path, OpenOptions::CREATE_NEW)
            .unwrap();
        let starts: [fn(IoHandle<'_>, &Arc<File>) -> WaitRef; 3] = [
            |handle, file| handle.start_fsync(file),
            |handle, file| handle.start_fdatasync(file),
            |handle, file| handle.start_flush_range(file, 0, 4096),
        ];
        for start in starts {
            for (file, taken) in [(&file, true), (&writer, false), (&reader, false)] {
                let cell = IoReturn::new();
                let mut handle = context.acquire().unwrap();
                handle.report_to(&cell);
                let reference = start(handle, file);
                context.wait(reference);
                let errno = cell
                    .get()
                    .unwrap()
                    .failure()
                    .and_then(|failure| failure.errno());
                assert!(
                    if taken {
                        errno.is_none()
                    } else {
                        refusals.contains(&errno)
                    },
                    "{errno:?}"
                );
            }
        }
    });
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let storage = OsStorage::new();
    for_each_method(&small(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pg_control");
        let mut context = aio.issuer(1).unwrap();
        for content in [pattern(8192, 1), pattern(300_000, 2), Vec::new()] {
            write_file_durably(&storage, &mut context, &path, &content).unwrap();
            assert!(read_file(&storage, &mut context, &path).unwrap() == content);
        }
        let names = storage.list(directory.path()).unwrap();
        assert_eq!(
            names,
            [DirEntry {
                name: "pg_control".into(),
                kind: FileKind::File
            }]
        );
        // A failure leaves the old content and no rest.
        let target = directory.path().join("directory");
        storage.create_dir(&target).unwrap();
        storage.create_dir(&target.join("occupied")).unwrap();
        assert!(write_file_durably(&storage, &mut context, &target, b"x").is_err());
        assert!(storage.exists(&target.join("occupied")).unwrap());
    });
}

#[test]
fn metadata_changes_go_through_the_storage() {
    let storage = OsStorage::new();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    storage.create_dir(&at("base")).unwrap();
    let file = storage
        .open(&at("base/1"), OpenOptions::CREATE_NEW.with_direct(true))
        .unwrap();
    let again = storage
        .open(&at("base/1"), OpenOptions::CREATE_NEW)
        .unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    storage.allocate(&file, 0, 65_536).unwrap();
    assert_eq!(storage.len(&file).unwrap(), 65_536);
    storage.allocate(&file, 8192, 8192).unwrap();
    assert_eq!(storage.len(&file).unwrap(), 65_536);
    assert!(
        std::fs::read(at("base/1"))
            .unwrap()
            .iter()
            .all(|&byte| byte == 0)
    );
    storage.set_len(&file, 8192).unwrap();
    let metadata = storage.metadata(&at("base/1")).unwrap().unwrap();
    assert_eq!((metadata.kind, metadata.len_bytes), (FileKind::File, 8192));
    use std::os::unix::fs::PermissionsExt;
    let mode = |name| std::fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("base"), mode("base/1")), (0o700, 0o600));
    storage.rename(&at("base/1"), &at("base/2")).unwrap();
    assert!(!storage.exists(&at("base/1")).unwrap());
    storage.sync_dir(&at("base")).unwrap();
    assert!(storage.remove_dir(&at("base")).is_err());
    storage.unlink(&at("base/2")).unwrap();
    storage.remove_dir(&at("base")).unwrap();
    assert_eq!(storage.metadata(&at("base")).unwrap(), None);
    assert!(storage.list(&at("base")).is_err());
}

#[test]
fn where_direct_io_is_impossible_files_are_buffered() {
    // A pipe or a device has no alignment to report; neither has procfs.
    let storage: Arc<dyn Storage> = Arc::new(OsStorage::new());
    let options = OpenOptions::READ.with_direct(true);
    let file = storage
        .open(Path::new("/proc/self/status"), options)
        .unwrap();
    assert_eq!(file.direct(), None);
}
