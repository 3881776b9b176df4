//! `trunkline sql`: psql's manners over a session in this process, without a server.
//!
//! | module | what |
//! |---|---|
//! | `input` | lines and COPY data from files, pipes and the terminal, without blocking |
//! | `script` | lines to statements and backslash commands, and what a failure means |
//! | `statement` | runs a query string and shows what it gives |
//! | `copy_data` | `COPY FROM STDIN` and `TO STDOUT`, `\copy` |
//! | `meta_command`, `copy_command` | what a backslash command says |
//! | `aligned_table`, `cell_text` | rows as psql prints them |
//! | `message` | errors and notices as psql prints them |
//! | `progress` | the line that a long statement shows on a terminal |
//! | `signals` | what stops a statement, and what ends the shell |
//!
//! However the shell ends, the database is stopped cleanly: only that makes it durable.

mod aligned_table;
mod cell_text;
mod copy_command;
mod copy_data;
mod input;
mod message;
mod meta_command;
mod progress;
mod script;
mod signals;
mod statement;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use trunkline_engine::{Database, OpenOptions};
use trunkline_sql::{SqlDatabase, SqlSession, StartupParameters};

use crate::logging::Verbosity;
use crate::program_error::ProgramError;
use crate::setting_arguments::parse_settings;
use crate::{logging, runtime};

use self::input::{ChunkReader, LineReader, Terminal};
use self::script::{Script, Stop};

/// The database that there is.
const DATABASE: &str = "postgres";

const AFTER_HELP: &str = "\
Without -c and -f, statements come from standard input, interactively if it is a terminal.
Otherwise the first error ends the program with exit code 1, as with psql -v ON_ERROR_STOP=1.";

/// What `sql` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The data directory; made if it is missing or empty
    #[arg(short = 'D', value_name = "DIR", default_value = "./trunkline-data")]
    data_dir: PathBuf,
    /// Runs this string of statements, in one transaction unless it says otherwise, or this
    /// backslash command. Several run in order, before the files
    #[arg(short = 'c', value_name = "STATEMENT")]
    statements: Vec<String>,
    /// Runs the statements of this file; - is standard input
    #[arg(short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A setting for the whole run, like shared_buffers=1GB
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// Runs statements until their end.
///
/// # Errors
/// The data directory cannot be opened or not be stopped cleanly.
pub fn run(arguments: Arguments) -> Result<ExitCode, ProgramError> {
    let options = OpenOptions {
        overrides: parse_settings("--set", &arguments.settings)?,
        initialise: true,
    };
    // What a server's log tells of its life is noise between results.
    let log = logging::start(Verbosity::Errors)?;
    let runtime = runtime::start()?;
    let database = Database::open(&arguments.data_dir, &options)?;
    log.release();
    let terminal_mode = tcgetattr(io::stdin()).ok();
    let ended = runtime.block_on(run_inputs(&arguments, &database));
    if let Some(mode) = &terminal_mode {
        restore_terminal(mode);
    }
    let stopped = database.stop();
    // Threads that wait for input or a key are left behind.
    runtime.shutdown_background();
    let exit_code = ended?;
    stopped?;
    Ok(exit_code)
}

/// A signal may have ended the shell in the middle of editing a line.
fn restore_terminal(mode: &Termios) {
    if let Err(error) = tcsetattr(io::stdin(), SetArg::TCSADRAIN, mode) {
        tracing::debug!("could not restore the terminal: {error}");
    }
}

async fn run_inputs(
    arguments: &Arguments,
    database: &Arc<Database>,
) -> Result<ExitCode, ProgramError> {
    let sql_error = |error: trunkline_sql::error::SqlError| ProgramError::new(error.message);
    let sql_database = SqlDatabase::new(Arc::clone(database)).map_err(sql_error)?;
    let user = std::env::var("USER").unwrap_or_default();
    let session = SqlSession::new(
        &sql_database,
        &StartupParameters {
            user: if user.is_empty() {
                DATABASE.to_owned()
            } else {
                user
            },
            database: DATABASE.to_owned(),
            options: vec![("application_name".to_owned(), "trunkline sql".to_owned())],
        },
    )
    .map_err(sql_error)?;
    let io_error = |error: io::Error| ProgramError::new(script::system_message(&error));
    let has_scripts = !arguments.statements.is_empty() || !arguments.files.is_empty();
    let is_interactive = !has_scripts && io::stdin().is_terminal();
    // The terminal first: rustyline takes SIGINT for itself, but what comes later keeps it.
    let terminal = if is_interactive {
        Some(Terminal::open().map_err(io_error)?)
    } else {
        None
    };
    let (ending, listener) =
        signals::listen(session.cancel_token(), is_interactive).map_err(io_error)?;
    tokio::spawn(listener);
    let mut shell = script::Shell::new(Arc::clone(database), session, ending);
    let result = if let Some(terminal) = terminal {
        let greeting = concat!(
            "trunkline (",
            env!("CARGO_PKG_VERSION"),
            ")\nType \"\\?\" for help.\n\n"
        );
        match script::say(greeting) {
            Ok(()) => shell.run(&mut Script::terminal(terminal)).await,
            Err(stop) => Err(stop),
        }
    } else if has_scripts {
        run_scripts(arguments, &mut shell).await
    } else {
        let stdin = LineReader::new(ChunkReader::new(io::stdin()).map_err(io_error)?);
        shell.run(&mut Script::stdin(stdin, None)).await
    };
    Ok(match result {
        Ok(()) | Err(Stop::Quit) => ExitCode::SUCCESS,
        Err(Stop::Signal(signal)) => signal.exit_code(),
        Err(Stop::Failed | Stop::SessionEnded) => ExitCode::FAILURE,
        Err(Stop::Output(error)) => {
            // Whoever read the results does not want more.
            if error.kind() != io::ErrorKind::BrokenPipe {
                return Err(ProgramError::new(format!(
                    "could not write to standard output: {}",
                    script::system_message(&error)
                )));
            }
            ExitCode::FAILURE
        }
    })
}

async fn run_scripts(arguments: &Arguments, shell: &mut script::Shell) -> Result<(), Stop> {
    for statement in &arguments.statements {
        match shell.run_command(statement).await {
            Ok(()) | Err(Stop::Quit) => {}
            Err(stop) => return Err(stop),
        }
    }
    for file in &arguments.files {
        match shell.run_file(file).await {
            Ok(()) | Err(Stop::Quit) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(())
}
