//! `trunkline serve`: a data directory behind a port.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use trunkline_engine::settings::ServerSettings;
use trunkline_engine::{Database, OpenOptions};
use trunkline_server::{Listener, Server, ServerConfig};
use trunkline_sql::SqlDatabase;

use crate::logging::{HeldLog, Verbosity};
use crate::program_error::ProgramError;
use crate::setting_arguments::parse_settings;
use crate::{logging, runtime};

/// What `serve` is told.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// The data directory; made if it is missing or empty
    #[arg(short = 'D', value_name = "DIR", default_value = "./trunkline-data")]
    data_dir: PathBuf,
    /// The port, instead of the setting port
    #[arg(short = 'p', value_name = "PORT")]
    port: Option<String>,
    /// The address to listen on, instead of the setting listen_addresses; loopback only
    #[arg(short = 'h', value_name = "HOST")]
    host: Option<String>,
    /// A setting, over the one in postgresql.conf
    #[arg(short = 'c', value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Serves until a signal says to stop.
///
/// # Errors
/// The data directory, the port or a setting cannot be used, or the directory not be stopped
/// cleanly.
pub fn run(arguments: Arguments) -> Result<ExitCode, ProgramError> {
    let mut overrides = parse_settings("-c", &arguments.settings)?;
    overrides.extend(arguments.port.map(|port| ("port".to_owned(), port)));
    overrides.extend(
        arguments
            .host
            .map(|host| ("listen_addresses".to_owned(), host)),
    );
    let options = OpenOptions {
        overrides,
        initialise: true,
    };
    let settings = Database::look(&arguments.data_dir, &options)?;
    let log = logging::start(Verbosity::Server {
        log_min_messages: settings.text("log_min_messages"),
    })?;
    if rustix::process::geteuid().is_root() {
        tracing::warn!("running as root: a user of its own would limit what a fault can damage");
    }
    let runtime = runtime::start()?;
    // Signals count from here on, so that none can make the stop unclean.
    let signals = {
        let _guard = runtime.enter();
        StopSignals::listen()
            .map_err(|error| ProgramError::new(format!("could not listen for signals: {error}")))?
    };
    // A port in use is told before a directory is made or opened. Clients wait meanwhile.
    let listener = runtime.block_on(Listener::bind(server_config(&settings)))?;
    let database = Database::open(&arguments.data_dir, &options)?;
    let served = runtime.block_on(serve(&database, listener, signals, &log));
    let stopped = database.stop();
    // What still runs is only what told of the stop.
    runtime.shutdown_background();
    served?;
    stopped?;
    tracing::info!("database system is shut down");
    Ok(ExitCode::SUCCESS)
}

fn server_config(settings: &ServerSettings) -> ServerConfig {
    let defaults = ServerConfig::default();
    ServerConfig {
        host: settings.text("listen_addresses").trim().to_owned(),
        port: u16::try_from(settings.integer("port")).unwrap_or(defaults.port),
        max_connections: usize::try_from(settings.integer("max_connections"))
            .unwrap_or(defaults.max_connections),
        startup_timeout: defaults.startup_timeout,
    }
}

async fn serve(
    database: &Arc<Database>,
    listener: Listener,
    mut signals: StopSignals,
    log: &HeldLog,
) -> Result<(), ProgramError> {
    let sql_database =
        SqlDatabase::new(Arc::clone(database)).map_err(|error| ProgramError::new(error.message))?;
    let _io_watch = sql_database
        .watch_io()
        .map_err(|error| ProgramError::new(format!("could not watch I/O: {error}")))?;
    let server = Server::new(listener, sql_database);
    let addresses: Vec<String> = server
        .addresses()
        .iter()
        .map(|address| address.to_string())
        .collect();
    database
        .lock_file()
        .write(
            server
                .addresses()
                .first()
                .map_or(0, |address| address.port()),
        )
        .map_err(trunkline_engine::EngineError::from)?;
    log.release();
    let addresses = addresses.join(", ");
    tracing::info!("database system is ready to accept connections");
    // Whoever does not read this does not need it.
    let _ = writeln!(
        std::io::stdout(),
        "ready to accept connections on {addresses}"
    );
    let (stop, stopping) = tokio::sync::oneshot::channel();
    // Nothing can be made durable any more: the server stops then, which is not a clean stop.
    let (fail, failed) = tokio::sync::oneshot::channel();
    database.on_failure(move |_| {
        let _ = fail.send(());
    });
    let waited_for = Arc::clone(database);
    tokio::spawn(async move {
        tokio::select! {
            name = signals.next(&waited_for) => tracing::info!("received {name}: fast shutdown request"),
            () = until(failed) => {}
        }
        let _ = stop.send(());
        // The task ends with the runtime, after the stop.
        loop {
            let name = signals.next(&waited_for).await;
            let sessions = waited_for.sessions().list().len();
            let what = match sessions {
                0 => "the shutdown checkpoint".to_owned(),
                1 => "1 session to end".to_owned(),
                count => format!("{count} sessions to end"),
            };
            tracing::info!("received {name}: already shutting down, waiting for {what}");
        }
    });
    server.run(until(stopping)).await;
    tracing::info!("shutting down");
    Ok(())
}

async fn until(told: tokio::sync::oneshot::Receiver<()>) {
    if told.await.is_err() {
        // Whoever could tell is gone: the task that listens for signals, with the runtime.
        std::future::pending::<()>().await;
    }
}

/// The signals that ask for a stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<StopSignals> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self, database: &Arc<Database>) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    // A terminal that closes must not end the server uncleanly.
                    tracing::info!("received SIGHUP, reloading configuration files");
                    let database = Arc::clone(database);
                    let reload = move || database.reload_configuration();
                    if tokio::task::spawn_blocking(reload).await.is_err() {
                        tracing::error!("the configuration files were not read");
                    }
                }
            }
        }
    }
}
