//! How the AIO core is sized and which method it runs on.

use std::fmt;
use std::str::FromStr;

use crate::error::AioError;

/// The ways to execute an I/O, by the names of PostgreSQL's `io_method` (and
/// `posix_aio`, which its first design had).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// The thread that submits executes the I/O.
    Sync,
    /// A pool of threads executes system calls.
    Worker,
    /// The kernel executes, through a few shared rings.
    IoUring,
    /// The C library or the kernel executes, through the calls of POSIX.
    PosixAio,
}

impl MethodKind {
    /// Every method, in the order in which `io_method` lists them.
    pub const ALL: [MethodKind; 4] = [
        MethodKind::Sync,
        MethodKind::Worker,
        MethodKind::IoUring,
        MethodKind::PosixAio,
    ];

    /// The value of `io_method` that names this method.
    pub const fn name(self) -> &'static str {
        match self {
            MethodKind::Sync => "sync",
            MethodKind::Worker => "worker",
            MethodKind::IoUring => "io_uring",
            MethodKind::PosixAio => "posix_aio",
        }
    }
}

impl fmt::Display for MethodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MethodKind {
    type Err = AioError;

    fn from_str(text: &str) -> Result<Self, AioError> {
        MethodKind::ALL
            .into_iter()
            .find(|kind| text.eq_ignore_ascii_case(kind.name()))
            .ok_or_else(|| AioError::UnknownMethod {
                name: text.to_owned(),
            })
    }
}

/// Sizes of the AIO core; fixed when it starts. Names and defaults are those
/// of PostgreSQL's settings where it has one.
#[derive(Clone, Debug)]
pub struct AioConfig {
    /// The method wanted; `None` takes io_uring where it works, else worker.
    /// Either way a method that cannot run here is replaced, with the reason
    /// logged; [`crate::Aio::method_name`] tells what runs.
    pub method: Option<MethodKind>,
    /// How many [`crate::IoContext`]s exist at most at one time.
    pub max_issuers: u32,
    /// Handles of each issuer, 1 to 1024.
    pub io_max_concurrency: u32,
    /// Neighbouring I/Os are combined up to this many bytes, unless their
    /// issuer has another limit; 0: never. At most `io_max_combine_limit_bytes`.
    pub io_combine_limit_bytes: u32,
    /// The most that an issuer may set its limit to; at most 1 MiB.
    pub io_max_combine_limit_bytes: u32,
    /// Pages of [`crate::BOUNCE_PAGE_BYTES`] for bounce buffers, mapped with
    /// the first use.
    pub io_bounce_buffers: u32,
    /// Threads that method `worker` always keeps, 1 to 32.
    pub io_min_workers: u32,
    /// Threads that method `worker` grows to under load, at most 32.
    pub io_max_workers: u32,
    /// Length of the queue in front of the workers; an I/O that finds it full
    /// is executed by the thread that submits it.
    pub io_worker_queue_size: u32,
    /// A worker above the minimum ends after this long without work.
    pub io_worker_idle_timeout_ms: u64,
}

impl Default for AioConfig {
    fn default() -> Self {
        AioConfig {
            method: None,
            max_issuers: 128,
            io_max_concurrency: 64,
            io_combine_limit_bytes: 128 << 10,
            io_max_combine_limit_bytes: 1 << 20,
            io_bounce_buffers: 1024,
            io_min_workers: 2,
            io_max_workers: 8,
            io_worker_queue_size: 64,
            io_worker_idle_timeout_ms: 60_000,
        }
    }
}

impl AioConfig {
    /// Checks every field against its range.
    pub(crate) fn validate(&self) -> Result<(), AioError> {
        let range = |name, value: u64, low, high| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(AioError::SettingOutOfRange {
                    name,
                    value,
                    low,
                    high,
                })
            }
        };
        range("max_issuers", self.max_issuers.into(), 1, 65_536)?;
        range(
            "io_max_concurrency",
            self.io_max_concurrency.into(),
            1,
            1024,
        )?;
        range(
            "io_max_combine_limit",
            self.io_max_combine_limit_bytes.into(),
            0,
            1 << 20,
        )?;
        range(
            "io_combine_limit",
            self.io_combine_limit_bytes.into(),
            0,
            self.io_max_combine_limit_bytes.into(),
        )?;
        range(
            "io_bounce_buffers",
            self.io_bounce_buffers.into(),
            1,
            1 << 20,
        )?;
        range("io_min_workers", self.io_min_workers.into(), 1, 32)?;
        range(
            "io_max_workers",
            self.io_max_workers.into(),
            self.io_min_workers.into(),
            32,
        )?;
        range(
            "io_worker_queue_size",
            self.io_worker_queue_size.into(),
            1,
            4096,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_names_round_trip_and_unknown_ones_are_refused() {
        for kind in MethodKind::ALL {
            assert_eq!(kind.name().parse::<MethodKind>().unwrap(), kind);
        }
        assert_eq!(
            "IO_URING".parse::<MethodKind>().unwrap(),
            MethodKind::IoUring
        );
        let error = "iocp".parse::<MethodKind>().unwrap_err();
        assert_eq!(error.to_string(), "unknown io_method \"iocp\"");
    }

    #[test]
    fn sizes_out_of_range_are_refused_by_name() {
        let config = AioConfig {
            io_max_workers: 33,
            ..AioConfig::default()
        };
        let error = config.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "io_max_workers is 33, outside the valid range 2 .. 32"
        );
        assert!(
            AioConfig {
                io_max_concurrency: 0,
                ..AioConfig::default()
            }
            .validate()
            .is_err()
        );
        assert!(AioConfig::default().validate().is_ok());
    }
}
