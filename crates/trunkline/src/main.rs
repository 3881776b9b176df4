//! The `trunkline` program.

mod bench;
mod init;
mod logging;
mod program_error;
mod runtime;
mod serve;
mod setting_arguments;
mod shell;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// PostgreSQL's storage engine, rebuilt so that all of its I/O is asynchronous and direct
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves a data directory to psql and every PostgreSQL driver
    Serve(serve::Arguments),
    /// Runs SQL in a data directory, without a server
    Sql(shell::Arguments),
    /// Makes a new data directory
    Init(init::Arguments),
    /// Measures this engine on this machine, beside the raw device and a PostgreSQL
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Program::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Sql(arguments) => shell::run(arguments),
        Command::Init(arguments) => init::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    };
    result.unwrap_or_else(|error| {
        // With standard error closed, the exit code has to do.
        let _ = writeln!(std::io::stderr(), "{error}");
        ExitCode::FAILURE
    })
}
