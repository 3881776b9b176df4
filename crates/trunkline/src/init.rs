//! `trunkline init`: makes a new data directory.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use trunkline_engine::{Foundation, InitOptions};
use trunkline_pgformat::wal::segment::SegmentSize;

use crate::logging::{self, Verbosity};
use crate::program_error::ProgramError;

/// What `init` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The new data directory: missing or empty
    #[arg(short = 'D', value_name = "DIR", default_value = "./trunkline-data")]
    data_dir: PathBuf,
    /// Size of WAL segments, in megabytes: a power of two from 1 to 1024
    #[arg(long = "wal-segsize", value_name = "SIZE", default_value_t = 16)]
    wal_segsize: u32,
}

/// Makes the directory.
///
/// # Errors
/// There is something at its place, or a file cannot be written.
pub fn run(arguments: Arguments) -> Result<ExitCode, ProgramError> {
    let log = logging::start(Verbosity::Errors)?;
    let bytes = arguments.wal_segsize.checked_mul(1 << 20);
    let Some(wal_segment_size) = bytes.and_then(SegmentSize::new) else {
        return Err(ProgramError::new(
            "argument of --wal-segsize must be a power of two between 1 and 1024",
        ));
    };
    trunkline_engine::initialise_with(
        &Foundation::default(),
        &arguments.data_dir,
        &InitOptions { wal_segment_size },
    )?;
    log.release();
    let data_dir = arguments.data_dir.display();
    // The directory is there, whether or not somebody reads of it.
    let _ = writeln!(
        std::io::stdout(),
        "data directory \"{data_dir}\" is ready; \"trunkline serve -D {data_dir}\" serves it"
    );
    Ok(ExitCode::SUCCESS)
}
