//! Clusters of PostgreSQL 18's to ask.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use trunkline_harness::{Cluster as Programs, Postgres, postgres};

use crate::client::Client;

/// What the contrib modules that judge are called.
const EXTENSIONS: [&str; 3] = ["pageinspect", "amcheck", "pg_visibility"];

/// A cluster that PostgreSQL made, with its server.
pub struct Cluster(Programs);

impl Cluster {
    /// The running server that all tests share. Each uses table names of its own.
    pub fn shared() -> Option<&'static Cluster> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        // Says of each test that it is skipped.
        postgres()?;
        SHARED.get_or_init(|| Cluster::start_new("shared")).as_ref()
    }

    /// A cluster for one test, to be stopped and started at will.
    pub fn start_new(name: &str) -> Option<Cluster> {
        static TEMPLATE: OnceLock<Option<Programs>> = OnceLock::new();
        postgres()?;
        let template = TEMPLATE.get_or_init(|| Programs::init("template", &[]));
        let cluster = Cluster(template.as_ref()?.copy(name));
        cluster.start();
        let mut client = cluster.client();
        for extension in EXTENSIONS {
            client.run(&format!("CREATE EXTENSION {extension}"));
        }
        Some(cluster)
    }

    /// Starts the stopped server. Its pool is small.
    pub fn start(&self) {
        self.start_with_buffers("16MB");
    }

    /// The same with `shared_buffers`.
    pub fn start_with_buffers(&self, shared_buffers: &str) {
        self.0.start(&[
            &format!("shared_buffers={shared_buffers}"),
            "wal_level=minimal",
            "max_wal_senders=0",
        ]);
    }

    /// Stops the server cleanly.
    pub fn stop(&self) {
        self.0.stop("fast");
    }

    /// Ends the server as a crash does: the next start recovers.
    pub fn kill(&self) {
        self.0.stop("immediate");
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.0.data()
    }

    /// All that its server has logged.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// The programs that it belongs to.
    pub fn judge(&self) -> &'static Postgres {
        self.0.postgres()
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(self.0.directory())
            .user("postgres")
            .dbname("postgres");
        Client::connect(&config)
    }

    /// Runs a client program against the server: its exit code and all that it said.
    pub fn client_program(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = self
            .judge()
            .command(program)
            .arg("-h")
            .arg(self.0.directory())
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

    /// Puts one of our files in place of one of the stopped server's.
    pub fn replace_file(&self, relation_path: &str, ours: &Path) {
        let path = self.data().join(relation_path);
        fs::copy(ours, &path).unwrap();
        self.judge().give(&path);
        File::open(&path)
            .unwrap()
            .set_permissions(Permissions::from_mode(0o600))
            .unwrap();
    }

    /// Removes a file of the stopped server, if there is one.
    pub fn remove_file(&self, relation_path: &str) {
        match fs::remove_file(self.data().join(relation_path)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}
