//! What loom lacks: sequentially consistent accesses, and parking that goes
//! with its locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Number, Ordering::Relaxed};

use loom::sync::{Condvar, Mutex};

pub(crate) mod atomic {
    //! loom takes `SeqCst` of a load or a store for `Acquire` or `Release`,
    //! but knows it of fences. What makes a store or a change sequentially
    //! consistent with the loads behind it is a fence between them.

    use loom::sync::atomic::{self, fence};
    pub(crate) use std::sync::atomic::Ordering;

    #[derive(Debug, Default)]
    pub(crate) struct Fenced<A>(A);

    pub(crate) type AtomicBool = Fenced<atomic::AtomicBool>;
    pub(crate) type AtomicU32 = Fenced<atomic::AtomicU32>;
    pub(crate) type AtomicU64 = Fenced<atomic::AtomicU64>;

    impl<A> Fenced<A> {
        fn change<T>(&self, ordering: Ordering, change: impl FnOnce(&A) -> T) -> T {
            let value = change(&self.0);
            if ordering == Ordering::SeqCst {
                fence(Ordering::SeqCst);
            }
            value
        }
    }

    impl Fenced<atomic::AtomicBool> {
        pub(crate) fn new(value: bool) -> Self {
            Fenced(atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> bool {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: bool, ordering: Ordering) {
            self.change(ordering, |atomic| atomic.store(value, ordering));
        }
    }

    impl Fenced<atomic::AtomicU32> {
        pub(crate) fn new(value: u32) -> Self {
            Fenced(atomic::AtomicU32::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> u32 {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: u32, ordering: Ordering) {
            self.change(ordering, |atomic| atomic.store(value, ordering));
        }

        pub(crate) fn fetch_sub(&self, value: u32, ordering: Ordering) -> u32 {
            self.change(ordering, |atomic| atomic.fetch_sub(value, ordering))
        }
    }

    impl Fenced<atomic::AtomicU64> {
        pub(crate) fn new(value: u64) -> Self {
            Fenced(atomic::AtomicU64::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> u64 {
            self.0.load(ordering)
        }

        pub(crate) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.change(success, |atomic| {
                atomic.compare_exchange(current, new, success, failure)
            })
        }
    }
}

/// A thread to unpark. (loom's own `unpark` also wakes a thread that is
/// blocked on a lock.)
#[derive(Clone, Debug)]
pub(crate) struct Thread(Arc<Parker>);

#[derive(Debug)]
struct Parker {
    id: u64,
    unparked: Mutex<bool>,
    changed: Condvar,
}

loom::thread_local! {
    static CURRENT: Thread = {
        static IDS: Number = Number::new(0);
        Thread(Arc::new(Parker {
            id: IDS.fetch_add(1, Relaxed),
            unparked: Mutex::new(false),
            changed: Condvar::new(),
        }))
    };
}

pub(crate) fn current() -> Thread {
    CURRENT.with(Thread::clone)
}

pub(crate) fn park() {
    let Thread(parker) = current();
    let mut unparked = super::lock(&parker.unparked);
    while !*unparked {
        unparked = parker
            .changed
            .wait(unparked)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    *unparked = false;
}

impl Thread {
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn unpark(&self) {
        *super::lock(&self.0.unparked) = true;
        self.0.changed.notify_one();
    }
}
