//! A15: memory known to the rings. I/O within it, across its end and after its
//! time moves the same bytes, under every method; the rings know it all, or not
//! at all if the limit on locked memory is too low.

use std::sync::Arc;

use trunkline_aio::{
    Aio, IoMemory, IoResult, IoReturn, OpenOptions, OsStorage, Storage, write_file_durably,
};

use crate::support::{
    SharedBuf, for_each_method, pattern, shared_buf, small, start_read, start_write,
};

const PAGE: usize = 8192;
const PAGES: usize = 16;

fn first_pages(buffer: &SharedBuf, pages: usize) -> IoMemory {
    let memory = buffer.lock().unwrap().memory();
    IoMemory::new(memory.ptr(), pages * PAGE)
}

/// Writes the buffer to a file and reads it back, as pieces of these lengths,
/// direct and not. What is in the file is looked at from aside.
fn round_trip(aio: &Arc<Aio>, buffer: &SharedBuf, lengths: &[usize]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let storage = OsStorage::new();
    let mut context = aio.issuer(1).unwrap();
    let len: usize = lengths.iter().sum();
    write_file_durably(&storage, &mut context, &path, &vec![0; len]).unwrap();
    for direct in [true, false] {
        let options = OpenOptions::READ_WRITE.with_direct(direct);
        let file = storage.open(&path, options).unwrap();
        let written = pattern(len, u8::from(direct));
        let cell = IoReturn::new();
        buffer.lock().unwrap()[..len].copy_from_slice(&written);
        let mut handle = context.acquire().unwrap();
        handle.report_to(&cell);
        let write = start_write(handle, &file, 0, buffer, lengths);
        context.wait(write);
        assert_eq!(cell.get(), Some(IoResult::Ok { bytes: len as u32 }));
        assert!(std::fs::read(&path).unwrap() == written);
        let read = pattern(len, 7);
        std::fs::write(&path, &read).unwrap();
        let mut handle = context.acquire().unwrap();
        handle.report_to(&cell);
        let wait_ref = start_read(handle, &file, 0, buffer, lengths);
        context.wait(wait_ref);
        assert_eq!(cell.get(), Some(IoResult::Ok { bytes: len as u32 }));
        assert!(buffer.lock().unwrap()[..len] == read);
    }
}

#[test]
fn io_on_registered_memory_moves_the_same_bytes() {
    for_each_method(&small(), |aio| {
        let buffer = shared_buf(PAGES * PAGE);
        let every_way = || {
            for pages in [1, 4, PAGES] {
                round_trip(aio, &buffer, &[pages * PAGE]);
                round_trip(aio, &buffer, &vec![PAGE; pages]);
            }
        };
        // All of it, then half of it, so that some I/Os cross its end.
        for pages in [PAGES, PAGES / 2] {
            let registered = aio.register_memory(first_pages(&buffer, pages));
            every_way();
            drop(registered);
            every_way();
        }
    });
}

#[cfg(target_os = "linux")]
mod rings {
    use trunkline_aio::{AioConfig, AlignedBuf, IoUringMethod, MethodKind, RingConfig};

    use super::*;
    use crate::fall_back::in_a_child;
    use crate::support::start_with;

    fn four_rings() -> Option<Arc<IoUringMethod>> {
        let config = RingConfig {
            rings: 4,
            in_flight_limit: 32,
        };
        match IoUringMethod::new(config) {
            Ok(method) => Some(Arc::new(method)),
            Err(error) => {
                eprintln!("SKIPPED for io_uring, which does not work here: {error}");
                None
            }
        }
    }

    #[test]
    fn every_ring_knows_memory_from_registration_to_its_end() {
        let Some(method) = four_rings() else { return };
        let aio = start_with(&small(), method.clone());
        let mut buffers = [AlignedBuf::zeroed(PAGE), AlignedBuf::zeroed(3 * PAGE)];
        let [first, second] = buffers.each_mut().map(AlignedBuf::memory);
        let known = || {
            (
                method.rings_that_know(first),
                method.rings_that_know(second),
            )
        };
        assert_eq!(known(), (0, 0));
        let of_first = aio.register_memory(first);
        assert_eq!(known(), (4, 0));
        let of_second = aio.register_memory(second);
        assert_eq!(known(), (4, 4));
        // What is known already is not registered again, nor forgotten twice.
        drop(aio.register_memory(first));
        assert_eq!(known(), (4, 4));
        drop(of_first);
        assert_eq!(known(), (0, 4));
        let again = aio.register_memory(first);
        assert_eq!(known(), (4, 4));
        drop((again, of_second));
        assert_eq!(known(), (0, 0));
    }

    #[test]
    fn memory_beyond_the_limit_on_locked_memory_is_used_as_it_is() {
        let name = "memory_beyond_the_limit_on_locked_memory_is_used_as_it_is";
        if in_a_child(&format!("registered_memory::rings::{name}")).is_some() {
            return;
        }
        // Made before: nobody may not write where root may.
        let buffer = shared_buf(PAGES * PAGE);
        let mut large = AlignedBuf::zeroed(16 << 20);
        if !crate::process::become_nobody() {
            eprintln!("SKIPPED: only root can become another user, and root has no such limit");
            return;
        }
        crate::process::limit(libc::RLIMIT_MEMLOCK, 8 << 20);
        let Some(method) = four_rings() else { return };
        let aio = start_with(&small(), method.clone());
        let log = crate::log::Log::default();
        let registered =
            tracing::subscriber::with_default(log.clone(), || aio.register_memory(large.memory()));
        assert_eq!(method.rings_that_know(large.memory()), 0);
        assert!(log.text().contains("raise ulimit -l"), "{}", log.text());
        round_trip(&aio, &buffer, &[PAGE; PAGES]);
        drop(registered);
        // What fits is registered all the same, afterwards.
        let small_enough = aio.register_memory(first_pages(&buffer, PAGES));
        assert_eq!(method.rings_that_know(first_pages(&buffer, PAGES)), 4);
        round_trip(&aio, &buffer, &[PAGE; PAGES]);
        drop(small_enough);
        drop(aio);
        // The default core is no different.
        let aio = Aio::start(AioConfig {
            method: Some(MethodKind::IoUring),
            ..small()
        })
        .unwrap();
        drop(aio.register_memory(large.memory()));
    }
}
