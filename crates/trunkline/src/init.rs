//! `trunkline init`: makes a new data directory.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::logging::{self, Verbosity};
use crate::program_error::ProgramError;

/// What `init` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The new data directory: missing or empty
    #[arg(short = 'D', value_name = "DIR", default_value = "./trunkline-data")]
    data_dir: PathBuf,
}

/// Makes the directory.
///
/// # Errors
/// There is something at its place, or a file cannot be written.
pub fn run(arguments: Arguments) -> Result<ExitCode, ProgramError> {
    let log = logging::start(Verbosity::Errors)?;
    trunkline_engine::initialise(&arguments.data_dir)?;
    log.release();
    let data_dir = arguments.data_dir.display();
    // The directory is there, whether or not somebody reads of it.
    let _ = writeln!(
        std::io::stdout(),
        "data directory \"{data_dir}\" is ready; \"trunkline serve -D {data_dir}\" serves it"
    );
    Ok(ExitCode::SUCCESS)
}
