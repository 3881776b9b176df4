//! A disk that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use trunkline_aio::{Executor, IoRequest, Op, SyncMethod, SystemCalls};
use trunkline_heap::SparePages;

use crate::rig::{Rig, TABLE, commit};

/// Fails reads of a fork.
#[derive(Default)]
struct FailingDisk {
    main: AtomicBool,
    map: AtomicBool,
}

impl Executor for FailingDisk {
    fn execute(&self, request: &IoRequest) -> i32 {
        const EIO: i32 = 5;
        let path = request
            .file()
            .map(|file| file.path().to_string_lossy().into_owned());
        let path = path.unwrap_or_default();
        let fails = match request.op() {
            Op::Readv if path.ends_with("_vm") => self.map.load(Ordering::Relaxed),
            Op::Readv if path.ends_with("/16384") => self.main.load(Ordering::Relaxed),
            _ => false,
        };
        if fails {
            -EIO
        } else {
            SystemCalls.execute(request)
        }
    }
}

#[test]
fn a_map_that_cannot_be_read_fails_no_scan_but_the_change_of_a_marked_page() {
    let disk = Arc::new(FailingDisk::default());
    let executor: Arc<dyn Executor> = Arc::clone(&disk) as Arc<dyn Executor>;
    let mut rig = Rig::with_method(Arc::new(SyncMethod::new(executor)), 64);
    let spare = rig.load_committed(10, 100);
    let now = rig.snapshot();
    rig.count(&now);
    assert!(rig.is_all_visible(0));
    drop(now);
    // A second page, which is not marked yet.
    rig.load_committed(10, 100);
    rig.pool.evict_relation(&mut rig.io, TABLE).unwrap();

    disk.map.store(true, Ordering::Relaxed);
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 20);
    assert!(rig.is_marked(0) && !rig.is_marked(1));
    // The map must not say what the page no longer says: the insertion fails, and changes nothing.
    let transaction = rig.begin(1);
    let mut insert = rig.bulk_insert(&transaction, false, spare);
    let mut batch = trunkline_heap::TupleBatch::new();
    batch.push(&rig.tuple(1, "x"));
    let error = insert.insert(&mut batch, &mut rig.io).unwrap_err();
    assert_eq!(error.sqlstate(), "58030");
    transaction.abandon();
    assert!(rig.is_marked(0));

    disk.map.store(false, Ordering::Relaxed);
    assert_eq!(rig.count(&now), 20);
    assert!(rig.is_all_visible(0) && rig.is_all_visible(1));
}

#[test]
fn an_unreadable_page_is_told_and_the_table_stays_usable() {
    let disk = Arc::new(FailingDisk::default());
    let executor: Arc<dyn Executor> = Arc::clone(&disk) as Arc<dyn Executor>;
    let mut rig = Rig::with_method(Arc::new(SyncMethod::new(executor)), 64);
    rig.load_committed(1000, 300);
    rig.pool.evict_relation(&mut rig.io, TABLE).unwrap();
    let now = rig.snapshot();
    disk.main.store(true, Ordering::Relaxed);
    let error = rig.try_count(&now).unwrap_err();
    assert_eq!(error.sqlstate(), "58030");
    assert!(error.to_string().contains("base/5/16384"), "{error}");
    disk.main.store(false, Ordering::Relaxed);
    assert_eq!(rig.count(&now), 1000);
    let transaction = rig.begin(1);
    rig.load(&transaction, 10, 300, false, SparePages::default());
    commit(&transaction);
    drop(now);
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 1010);
}
