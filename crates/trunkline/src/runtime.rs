//! The program's tokio runtime.

use tokio::runtime::{Builder, Runtime};

use crate::program_error::ProgramError;

/// Query strings of several statements are parsed here, and syntax trees dropped, both by
/// recursion; this is address space, and memory only where it is touched.
const WORKER_STACK_BYTES: usize = 64 << 20;

/// A runtime for connections: a worker for each processor that the process may use. Short statements run
/// here, and what is waited for here are sockets, channels, and the log's I/O. Whatever takes longer runs on the
/// engine's own threads.
///
/// # Errors
/// The system gives no threads.
pub fn start() -> Result<Runtime, ProgramError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        // With one worker a long computation would hold up every connection.
        .worker_threads(processors.max(2))
        .thread_name("trunkline-worker")
        .thread_stack_size(WORKER_STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| ProgramError::new(format!("could not start the runtime: {error}")))
}
