//! What is read while another transaction commits does not stay in the shared cache.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use trunkline_aio::{Completions, InFlight, Method, RequestBatch, SyncMethod, SystemCalls};
use trunkline_catalog::{oids, system_table};

use crate::cluster::{Cluster, DATABASE, aio_with, new_table};

/// Holds up the first I/O that is submitted after it was armed.
struct GatedMethod {
    inner: SyncMethod,
    is_armed: Arc<AtomicBool>,
    reached: Mutex<Sender<()>>,
    open: Mutex<Receiver<()>>,
}

impl Method for GatedMethod {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        if self.is_armed.swap(false, Ordering::SeqCst) {
            self.reached.lock().unwrap().send(()).unwrap();
            self.open.lock().unwrap().recv().unwrap();
        }
        self.inner.submit(batch, completions);
    }

    fn wait(&self, io: &InFlight<'_>) {
        self.inner.wait(io);
    }
}

struct Gate {
    is_armed: Arc<AtomicBool>,
    reached: Receiver<()>,
    open: Sender<()>,
}

fn gated_cluster() -> (Cluster, Gate) {
    let is_armed = Arc::new(AtomicBool::new(false));
    let ((reached_sender, reached), (open, open_receiver)) = (channel(), channel());
    let method = GatedMethod {
        inner: SyncMethod::new(Arc::new(SystemCalls)),
        is_armed: Arc::clone(&is_armed),
        reached: Mutex::new(reached_sender),
        open: Mutex::new(open_receiver),
    };
    let cluster = Cluster::create(aio_with(Arc::new(method)));
    (
        cluster,
        Gate {
            is_armed,
            reached,
            open,
        },
    )
}

impl Cluster {
    /// The next scan of `pg_class` has to read its file.
    fn forget_pg_class(&self) {
        let pg_class = system_table(oids::PG_CLASS).unwrap();
        let locator = pg_class.initial_locator(DATABASE);
        let evicted = self.pool.evict_relation(&mut self.io(), locator).unwrap();
        assert_eq!(evicted.skipped, 0);
    }

    fn file_of(&self, name: &str) -> Option<u32> {
        let snapshot = self.transactions.snapshot();
        let mut io = self.io();
        let mut view = self.catalog.view(&snapshot, false, &mut io);
        let oid = view
            .relation_oid(oids::PG_PUBLIC_NAMESPACE, name)
            .unwrap()?;
        Some(view.relation(oid).unwrap()?.locator.rel_number)
    }
}

/// Runs `look` in another thread; while it reads, `meanwhile` runs.
fn while_reading<T: Send>(
    gate: Gate,
    look: impl FnOnce() -> T + Send,
    meanwhile: impl FnOnce(),
) -> T {
    thread::scope(|scope| {
        gate.is_armed.store(true, Ordering::SeqCst);
        let reader = scope.spawn(look);
        gate.reached.recv().unwrap();
        meanwhile();
        gate.open.send(()).unwrap();
        reader.join().unwrap()
    })
}

#[test]
fn a_relation_read_before_a_commit_is_not_cached_after_it() {
    let (cluster, gate) = gated_cluster();
    let table = new_table("src", 16384);
    cluster.create_table(&table);
    let oid = table.class.oid;
    let truncation = cluster.begin();
    cluster
        .command(&truncation, |writer| writer.set_relfilenode(oid, 30000))
        .unwrap();
    cluster.forget_pg_class();

    // By OID, for a lookup of the name would come first.
    let look = || {
        let snapshot = cluster.transactions.snapshot();
        let mut io = cluster.io();
        let mut view = cluster.catalog.view(&snapshot, false, &mut io);
        view.relation(oid).unwrap().unwrap().locator.rel_number
    };
    let old = while_reading(gate, look, || cluster.commit(truncation, &[oid]));
    assert_eq!(old, oid.0, "the reader's moment was before the commit");
    assert_eq!(look(), 30000);
    assert_eq!(cluster.file_of("src"), Some(30000));
}

#[test]
fn a_name_found_free_before_a_commit_is_not_free_after_it() {
    let (cluster, gate) = gated_cluster();
    let table = new_table("src", 16384);
    let creation = cluster.begin();
    cluster
        .command(&creation, |writer| writer.create_table(&table))
        .unwrap();
    cluster.forget_pg_class();

    let free = while_reading(
        gate,
        || cluster.file_of("src"),
        || cluster.commit(creation, &[table.class.oid]),
    );
    assert_eq!(free, None, "the reader's moment was before the commit");
    assert_eq!(cluster.file_of("src"), Some(16384));
}

/// A view looks at the catalogs as they are, not as they were when its statement's snapshot was
/// taken: who has waited for a lock must see what its holder did.
#[test]
fn a_view_sees_what_is_committed_at_each_lookup() {
    let (cluster, _gate) = gated_cluster();
    let table = new_table("src", 16384);
    let waiter = cluster.begin();
    let snapshot = waiter.snapshot();
    for own_changes in [false, true] {
        let mut io = cluster.io();
        let mut view = cluster.catalog.view(&snapshot, own_changes, &mut io);
        assert_eq!(
            view.relation_oid(oids::PG_PUBLIC_NAMESPACE, "src").unwrap(),
            None
        );
    }
    cluster.create_table(&table);
    for own_changes in [false, true] {
        let mut io = cluster.io();
        let mut view = cluster.catalog.view(&snapshot, own_changes, &mut io);
        let found = view.relation_oid(oids::PG_PUBLIC_NAMESPACE, "src").unwrap();
        assert_eq!(found, Some(table.class.oid));
    }
}

/// One's own uncommitted changes never get into what others share.
#[test]
fn own_changes_are_not_shared() {
    let (cluster, _gate) = gated_cluster();
    let table = new_table("src", 16384);
    let creation = cluster.begin();
    cluster
        .command(&creation, |writer| writer.create_table(&table))
        .unwrap();
    let snapshot = creation.snapshot();
    let mut io = cluster.io();
    let mut view = cluster.catalog.view(&snapshot, true, &mut io);
    assert!(view.relation(table.class.oid).unwrap().is_some());
    assert!(
        view.relation_oid(oids::PG_PUBLIC_NAMESPACE, "src")
            .unwrap()
            .is_some()
    );
    assert_eq!(cluster.file_of("src"), None);
    let others = cluster.transactions.snapshot();
    let mut view = cluster.catalog.view(&others, false, &mut io);
    assert!(view.relation(table.class.oid).unwrap().is_none());
}
