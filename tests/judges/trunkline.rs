//! A Trunkline server in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use trunkline_engine::{Database, EngineError, OpenOptions};
use trunkline_harness::Postgres;
use trunkline_server::{Listener, Server, ServerConfig};
use trunkline_sql::SqlDatabase;

use crate::client::Client;

/// A running server.
pub struct Trunkline {
    database: Arc<Database>,
    port: u16,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    runtime: Runtime,
}

impl Trunkline {
    /// Serves the data directory; makes it if it is not there. The pool is small, so that tables
    /// go through it.
    pub fn start(data_dir: &Path) -> Trunkline {
        Trunkline::start_with(data_dir, &[])
    }

    /// The same with more settings.
    pub fn start_with(data_dir: &Path, settings: &[(&str, &str)]) -> Trunkline {
        let small = [
            ("shared_buffers", "2MB"),
            ("max_connections", "8"),
            ("timezone", "UTC"),
        ];
        let overrides = small
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let options = OpenOptions {
            overrides,
            initialise: true,
        };
        let database = Database::open(data_dir, &options).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopping) = oneshot::channel::<()>();
        let (port, served) = runtime.block_on(async {
            let factory = SqlDatabase::new(Arc::clone(&database)).unwrap();
            let config = ServerConfig {
                port: 0,
                ..ServerConfig::default()
            };
            let server = Server::new(Listener::bind(config).await.unwrap(), factory);
            let port = server.addresses()[0].port();
            let served = tokio::spawn(server.run(async {
                // Dropped or sent: stop.
                let _ = stopping.await;
            }));
            (port, served)
        });
        Trunkline {
            database,
            port,
            stop,
            served,
            runtime,
        }
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("postgres")
            .dbname("postgres");
        Client::connect(&config)
    }

    /// Runs a client program of the judge's against the server: its exit code and all that it said.
    pub fn client_program(
        &self,
        judge: &Postgres,
        program: &str,
        arguments: &[&str],
    ) -> (bool, String) {
        let output = judge
            .command(program)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "postgres"])
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// The main file of a table.
    pub fn table_file(&self, table: &str) -> PathBuf {
        let relation_path = self
            .client()
            .value(&format!("SELECT pg_relation_filepath('{table}')"));
        self.database.data_dir().join(relation_path)
    }

    /// Stops cleanly.
    pub fn stop(self) {
        self.end().unwrap();
    }

    /// Stops a system that has failed: why that is not clean.
    pub fn stop_after_failure(self) -> EngineError {
        self.end().unwrap_err()
    }

    fn end(self) -> Result<(), EngineError> {
        let Trunkline {
            database,
            stop,
            served,
            runtime,
            ..
        } = self;
        stop.send(()).unwrap();
        runtime.block_on(served).unwrap();
        database.stop()
    }
}
