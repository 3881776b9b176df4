//! Several descriptors of one file, for method `posix_aio`: glibc executes the
//! requests of one descriptor number one after another.
//!
//! The descriptors are duplicates, not opened anew. glibc looks at the number
//! alone, so a duplicate is enough; it needs no name that may be gone, has the
//! same flags (direct I/O among them), and an error of write-back is reported
//! once to all of them together, as it is with a single descriptor.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::sync::{Mutex, lock};

/// Duplicates of all files together.
static DUPLICATES: AtomicU32 = AtomicU32::new(0);

/// How many descriptors may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescriptorLimits {
    /// Of one file, its own included.
    pub(crate) per_file: usize,
    /// Duplicates in the whole process.
    pub(crate) duplicates: u32,
}

/// A file's duplicates and what is in flight on each; they close with it.
#[derive(Debug, Default)]
pub(crate) struct DescriptorPool {
    lanes: Mutex<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    /// In flight on the file's own descriptor (the first), and on each
    /// duplicate.
    in_flight: Vec<u32>,
    duplicates: Vec<OwnedFd>,
}

/// A descriptor in use; given back by [`DescriptorPool::give_back`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    index: usize,
    /// Valid until the file closes.
    pub(crate) fd: RawFd,
}

impl DescriptorPool {
    /// The descriptor with least in flight; a new one if all are busy and the
    /// limits allow.
    pub(crate) fn take(&self, own: BorrowedFd<'_>, limits: DescriptorLimits) -> Lane {
        let mut lanes = lock(&self.lanes);
        if lanes.in_flight.is_empty() {
            lanes.in_flight.push(0);
        }
        let (mut index, mut least) = (0, u32::MAX);
        for (at, &in_flight) in lanes.in_flight.iter().enumerate() {
            if in_flight < least {
                (index, least) = (at, in_flight);
            }
        }
        if least > 0
            && lanes.in_flight.len() < limits.per_file
            && let Some(duplicate) = duplicate(own, limits.duplicates)
        {
            lanes.duplicates.push(duplicate);
            lanes.in_flight.push(0);
            index = lanes.in_flight.len() - 1;
        }
        lanes.in_flight[index] += 1;
        let fd = match index.checked_sub(1) {
            None => own.as_raw_fd(),
            Some(duplicate) => lanes.duplicates[duplicate].as_raw_fd(),
        };
        Lane { index, fd }
    }

    /// What was in flight on a lane is complete.
    pub(crate) fn give_back(&self, lane: Lane) {
        lock(&self.lanes).in_flight[lane.index] -= 1;
    }
}

impl Drop for DescriptorPool {
    fn drop(&mut self) {
        let lanes = lock(&self.lanes);
        DUPLICATES.fetch_sub(lanes.duplicates.len() as u32, Relaxed);
    }
}

/// `None` when the limit is reached, here or in the system: the descriptors
/// that are there have to do.
fn duplicate(own: BorrowedFd<'_>, limit: u32) -> Option<OwnedFd> {
    let counted = DUPLICATES.fetch_update(Relaxed, Relaxed, |count| {
        (count < limit).then_some(count + 1)
    });
    counted.ok()?;
    let duplicate = rustix::io::fcntl_dupfd_cloexec(own, 0);
    if duplicate.is_err() {
        DUPLICATES.fetch_sub(1, Relaxed);
    }
    duplicate.ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    fn limits(per_file: usize, duplicates: u32) -> DescriptorLimits {
        DescriptorLimits {
            per_file,
            duplicates,
        }
    }

    #[test]
    fn descriptors_are_added_when_all_are_busy_up_to_the_limits() {
        let file = File::open("/dev/null").unwrap();
        let pool = DescriptorPool::default();
        let take = |limits| pool.take(file.as_fd(), limits);
        let first = take(limits(3, 1000));
        assert_eq!(first.fd, file.as_raw_fd());
        pool.give_back(first);
        // Nothing in flight: no other descriptor is needed.
        assert_eq!(take(limits(3, 1000)).fd, first.fd);
        let second = take(limits(3, 1000));
        assert_ne!(second.fd, first.fd);
        // The process has no more to give.
        let shared = take(limits(3, 0));
        assert!(shared == first || shared == second);
        let third = take(limits(3, 1000));
        assert!(third.fd != first.fd && third.fd != second.fd);
        // Three is the file's limit; the one with least in flight it is.
        pool.give_back(third);
        assert_eq!(take(limits(3, 1000)), third);
        for _ in 0..3 {
            assert!([first, second, third].contains(&take(limits(3, 1000))));
        }
    }

    #[test]
    fn duplicates_close_with_the_pool() {
        let (reader, writer) = std::io::pipe().unwrap();
        let pool = DescriptorPool::default();
        for _ in 0..3 {
            pool.take(writer.as_fd(), limits(3, 1000));
        }
        drop(writer);
        let mut reader = reader;
        let ended = std::thread::spawn(move || {
            std::io::Read::read(&mut reader, &mut [0]).map(|count| count == 0)
        });
        drop(pool);
        // End of file is seen only when every writing end is closed.
        assert!(ended.join().unwrap().unwrap());
    }
}
