//! PostgreSQL 18's programs, as `tools/judge` installs them, and clusters of our own to ask.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use crate::client::Client;

/// PostgreSQL's server programs refuse to run as root; any other user will do.
const UNPRIVILEGED: u32 = 65534;

/// What the contrib modules that judge are called.
const EXTENSIONS: [&str; 3] = ["pageinspect", "amcheck", "pg_visibility"];

/// Ends the servers below a directory and removes it once its standard input ends: when the test
/// process does, however it does.
const KEEPER: &str = r#"
read -r _
for pid_file in "$0"/*/data/postmaster.pid; do
    [ -e "$pid_file" ] || continue
    read -r pid < "$pid_file"
    kill -QUIT "$pid"
    while kill -0 "$pid" 2> /dev/null; do sleep 0.02; done
done
rm -rf "$0"
"#;

/// The programs, and a directory in which all clusters of this process live.
pub struct Judge {
    bin: PathBuf,
    home: PathBuf,
    is_root: bool,
    /// Its standard input stays open for as long as this process runs.
    _keeper: Child,
}

/// PostgreSQL 18, if `tools/judge install` put it there. Without it a test is skipped, loudly; with
/// `TRUNKLINE_JUDGE_REQUIRED=1` that is a failure.
pub fn judge() -> Option<&'static Judge> {
    static JUDGE: OnceLock<Result<Judge, String>> = OnceLock::new();
    match JUDGE.get_or_init(Judge::new) {
        Ok(judge) => Some(judge),
        Err(why) => {
            assert!(
                std::env::var_os("TRUNKLINE_JUDGE_REQUIRED").is_none_or(|required| required != "1"),
                "PostgreSQL 18 is required and not there: {why}"
            );
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            skipped(&test, "no PostgreSQL 18 to judge; run tools/judge install");
            None
        }
    }
}

/// Says that a test was skipped, past the test harness, which keeps back what its macros print.
pub fn skipped(test: &str, why: &str) {
    let message = format!("\nSKIPPED {test}: {why}\n");
    std::io::stderr().write_all(message.as_bytes()).unwrap();
}

impl Judge {
    fn new() -> Result<Judge, String> {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/judge");
        let output = Command::new(&tool)
            .arg("bin")
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let bin = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let directory = tempfile::Builder::new()
            .prefix("trunkline-judges-")
            .tempdir()
            .unwrap();
        let home = directory.keep();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
        let is_root = fs::metadata(&home).unwrap().uid() == 0;
        let judge = Judge {
            bin,
            home,
            is_root,
            _keeper: keeper,
        };
        let exchange = judge.home.join("exchange");
        fs::create_dir(&exchange).unwrap();
        fs::set_permissions(&exchange, Permissions::from_mode(0o777)).unwrap();
        judge.directory_of_its_own("template");
        let data = judge.home.join("template/data");
        let data = data.to_str().unwrap();
        judge.run(
            "initdb",
            &[
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "--locale=C",
                "--encoding=UTF8",
                "-N",
            ],
        );
        Ok(judge)
    }

    fn directory_of_its_own(&self, name: &str) -> PathBuf {
        let path = self.home.join(name);
        fs::create_dir(&path).unwrap();
        if self.is_root {
            chown(&path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        path
    }

    /// One of PostgreSQL's programs, as a user that it agrees to run as.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(&self.home);
        if self.is_root {
            // The standard library drops the supplementary groups with the uid.
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        command
    }

    /// Runs one that has to succeed.
    fn run(&self, program: &str, arguments: &[&str]) {
        // pg_ctl's server keeps what it inherits open, so nothing may wait for its output's end.
        let file = tempfile::tempfile().unwrap();
        let status = self
            .command(program)
            .args(arguments)
            .stdout(file.try_clone().unwrap())
            .stderr(file.try_clone().unwrap())
            .status()
            .unwrap();
        if !status.success() {
            let mut file = file;
            let mut output = String::new();
            std::io::Seek::rewind(&mut file).unwrap();
            std::io::Read::read_to_string(&mut file, &mut output).unwrap();
            panic!("{program} {arguments:?}: {output}");
        }
    }

    /// What one of the programs that need no server says about our files. It runs as we do.
    pub fn inspect(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(self.bin.join(program))
            .env("LC_ALL", "C")
            .args(arguments)
            .output()
            .unwrap()
    }

    /// A file name that both PostgreSQL and we can write to and read from.
    pub fn exchange(&self, name: &str) -> String {
        let path = self.home.join("exchange").join(name);
        path.to_str().unwrap().to_owned()
    }

    /// A copy of one of our files that PostgreSQL can read.
    pub fn lend(&self, file: &Path, name: &str) -> String {
        let copy = self.exchange(name);
        fs::copy(file, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o644)).unwrap();
        copy
    }
}

/// A cluster that PostgreSQL made, with its server.
pub struct Cluster {
    judge: &'static Judge,
    directory: PathBuf,
}

impl Cluster {
    /// The running server that all tests share. Each uses table names of its own.
    pub fn shared() -> Option<&'static Cluster> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        judge()?;
        SHARED.get_or_init(|| Cluster::start_new("shared")).as_ref()
    }

    /// A cluster for one test, to be stopped and started at will.
    pub fn start_new(name: &str) -> Option<Cluster> {
        let judge = judge()?;
        let directory = judge.directory_of_its_own(name);
        let status = Command::new("cp")
            .arg("-a")
            .arg(judge.home.join("template/data"))
            .arg(&directory)
            .status()
            .unwrap();
        assert!(status.success());
        let cluster = Cluster { judge, directory };
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
        let options = format!(
            "-k {} -c listen_addresses= -c fsync=off -c autovacuum=off \
             -c shared_buffers={shared_buffers} \
             -c wal_level=minimal -c max_wal_senders=0 -c timezone=UTC",
            self.directory.display()
        );
        let log = self.directory.join("log");
        self.control(&["-w", "-l", log.to_str().unwrap(), "-o", &options, "start"]);
    }

    /// Stops the server cleanly.
    pub fn stop(&self) {
        self.control(&["-w", "-m", "fast", "stop"]);
    }

    /// Ends the server as a crash does: the next start recovers.
    pub fn kill(&self) {
        self.control(&["-w", "-m", "immediate", "stop"]);
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.data();
        let mut all = vec!["-s", "-D", data.to_str().unwrap()];
        all.extend_from_slice(arguments);
        self.judge.run("pg_ctl", &all);
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// All that its server has logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The programs that it belongs to.
    pub fn judge(&self) -> &'static Judge {
        self.judge
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(&self.directory)
            .user("postgres")
            .dbname("postgres");
        Client::connect(&config)
    }

    /// Runs a client program against the server: its exit code and all that it said.
    pub fn client_program(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = self
            .judge
            .command(program)
            .arg("-h")
            .arg(&self.directory)
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
        if self.judge.is_root {
            chown(&path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
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
