//! Which method to run: the one wanted if it works here, else the next best,
//! with the reason logged (A13).

use std::io;
use std::sync::Arc;

use crate::config::{AioConfig, MethodKind};
use crate::error::AioError;
use crate::method::Method;
#[cfg(target_os = "linux")]
use crate::method::io_uring::{IoUringMethod, RingConfig};
use crate::method::posix_aio::{PosixAioConfig, PosixAioMethod};
use crate::method::sync::SyncMethod;
use crate::method::worker::{WorkerConfig, WorkerMethod};
use crate::system_call::SystemCalls;

/// What is tried, in this order, for a method wanted.
fn candidates(wanted: Option<MethodKind>) -> &'static [MethodKind] {
    match wanted {
        None | Some(MethodKind::IoUring) => {
            &[MethodKind::IoUring, MethodKind::Worker, MethodKind::Sync]
        }
        Some(MethodKind::PosixAio) => &[MethodKind::PosixAio, MethodKind::Worker, MethodKind::Sync],
        Some(MethodKind::Worker) => &[MethodKind::Worker, MethodKind::Sync],
        Some(MethodKind::Sync) => &[MethodKind::Sync],
    }
}

/// Makes the wanted method, or what stands in for it.
pub(crate) fn choose(config: &AioConfig) -> Result<Arc<dyn Method>, AioError> {
    first_that_works(candidates(config.method), |kind| make(kind, config))
}

fn first_that_works(
    kinds: &[MethodKind],
    make: impl Fn(MethodKind) -> io::Result<Arc<dyn Method>>,
) -> Result<Arc<dyn Method>, AioError> {
    let mut reasons = Vec::new();
    for (index, &kind) in kinds.iter().enumerate() {
        match make(kind) {
            Ok(method) => {
                // `sync` never had a choice to tell of: short-lived cores use it.
                if kind == MethodKind::Sync {
                    tracing::debug!(io_method = kind.name(), "I/O method");
                } else {
                    tracing::info!(io_method = kind.name(), "I/O method");
                }
                return Ok(method);
            }
            Err(error) => {
                let reason = explain(kind, &error);
                if let Some(next) = kinds.get(index + 1) {
                    tracing::warn!(
                        io_method = kind.name(),
                        instead = next.name(),
                        reason,
                        "I/O method does not work here"
                    );
                }
                reasons.push(format!("{kind}: {reason}"));
            }
        }
    }
    Err(AioError::NoMethod {
        reason: reasons.join("; "),
    })
}

fn make(kind: MethodKind, config: &AioConfig) -> io::Result<Arc<dyn Method>> {
    let executor = Arc::new(SystemCalls);
    Ok(match kind {
        MethodKind::Sync => Arc::new(SyncMethod::new(executor)),
        MethodKind::Worker => Arc::new(WorkerMethod::new(
            WorkerConfig {
                min_workers: config.io_min_workers,
                max_workers: config.io_max_workers,
                queue_size: config.io_worker_queue_size,
                idle_timeout_ms: config.io_worker_idle_timeout_ms,
            },
            executor,
        )?),
        MethodKind::PosixAio => Arc::new(PosixAioMethod::new(PosixAioConfig::default(), executor)?),
        MethodKind::IoUring => return make_io_uring(config),
    })
}

#[cfg(target_os = "linux")]
fn make_io_uring(config: &AioConfig) -> io::Result<Arc<dyn Method>> {
    let (issuers, handles) = (config.max_issuers, config.io_max_concurrency);
    let method = IoUringMethod::new(RingConfig::for_load(issuers, handles))?;
    Ok(Arc::new(method))
}

#[cfg(not(target_os = "linux"))]
fn make_io_uring(_: &AioConfig) -> io::Result<Arc<dyn Method>> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Why a method does not work, and what the user can do about it.
fn explain(kind: MethodKind, error: &io::Error) -> String {
    let hint = match (kind, error.raw_os_error()) {
        (MethodKind::IoUring, Some(libc::EPERM | libc::EACCES)) => {
            "forbidden, by a seccomp profile (containers) or by kernel.io_uring_disabled"
        }
        (MethodKind::IoUring, Some(libc::ENOSYS)) => "the kernel has no io_uring",
        (MethodKind::PosixAio, Some(libc::ENOSYS)) => "the system has no POSIX asynchronous I/O",
        (MethodKind::IoUring, Some(libc::ENOMEM)) => {
            "the rings do not fit the limit on locked memory: raise ulimit -l, or lower \
             io_max_concurrency"
        }
        (_, Some(libc::EMFILE | libc::ENFILE)) => "too many open files: raise ulimit -n",
        (_, Some(libc::EAGAIN)) => "the system gives no more threads: raise ulimit -u",
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: MethodKind) -> io::Result<Arc<dyn Method>> {
        make(kind, &AioConfig::default())
    }

    #[test]
    fn a_ring_that_is_refused_is_replaced_by_workers() {
        for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EMFILE] {
            let method = first_that_works(candidates(None), |kind| match kind {
                MethodKind::IoUring => Err(io::Error::from_raw_os_error(errno)),
                other => made(other),
            });
            assert_eq!(method.unwrap().name(), "worker");
        }
    }

    #[test]
    fn without_threads_the_submitter_executes() {
        let method = first_that_works(candidates(None), |kind| match kind {
            MethodKind::Sync => made(kind),
            _ => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        });
        assert_eq!(method.unwrap().name(), "sync");
    }

    #[test]
    fn a_method_wanted_is_never_a_ring_instead() {
        assert!(!candidates(Some(MethodKind::PosixAio)).contains(&MethodKind::IoUring));
        assert!(!candidates(Some(MethodKind::Worker)).contains(&MethodKind::IoUring));
        assert_eq!(candidates(Some(MethodKind::Sync)), [MethodKind::Sync]);
    }

    #[test]
    fn the_reason_names_the_limit() {
        let reason = |errno| explain(MethodKind::IoUring, &io::Error::from_raw_os_error(errno));
        assert!(reason(libc::EPERM).contains("seccomp"));
        assert!(reason(libc::ENOSYS).contains("no io_uring"));
        assert!(reason(libc::ENOMEM).contains("ulimit -l"));
        assert!(reason(libc::EMFILE).contains("ulimit -n"));
        let all_failed = first_that_works(&[MethodKind::IoUring], |_| {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        });
        assert!(all_failed.err().unwrap().to_string().contains("io_uring: "));
    }
}
