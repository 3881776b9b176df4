//! PostgreSQL 18's programs, as `tools/judge` installs them.

use std::fs::{self, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// PostgreSQL's server programs refuse to run as root; any other user will do.
const UNPRIVILEGED: u32 = 65534;

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

/// Where the programs are, or why they are not there.
///
/// # Errors
///
/// What `tools/judge` says.
pub fn programs() -> Result<PathBuf, String> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/judge");
    let output = Command::new(&tool).arg("bin").output();
    let output = output.map_err(|error| format!("{}: {error}", tool.display()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// PostgreSQL 18, if `tools/judge install` put it there. Without it a test is skipped, loudly; with
/// `TRUNKLINE_JUDGE_REQUIRED=1` that is a failure.
pub fn postgres() -> Option<&'static Postgres> {
    static POSTGRES: OnceLock<Result<Postgres, String>> = OnceLock::new();
    match POSTGRES.get_or_init(|| programs().map(Postgres::new)) {
        Ok(postgres) => Some(postgres),
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

/// The programs, and a directory that they and the test can use, which goes when the process does.
pub struct Postgres {
    bin: PathBuf,
    home: PathBuf,
    is_root: bool,
    /// Its standard input stays open for as long as this process runs.
    _keeper: Child,
}

/// What a program that succeeded has said.
#[derive(Debug)]
pub struct Said {
    /// On standard output.
    pub output: String,
    /// On standard error.
    pub complaints: String,
}

impl Said {
    /// Standard output of one that had nothing to complain about.
    #[track_caller]
    pub fn without_complaints(self) -> String {
        assert_eq!(self.complaints, "");
        self.output
    }

    /// Both.
    pub fn all(self) -> String {
        self.output + &self.complaints
    }
}

impl Postgres {
    fn new(bin: PathBuf) -> Postgres {
        let directory = tempfile::Builder::new()
            .prefix("trunkline-judge-")
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
        let exchange = home.join("exchange");
        fs::create_dir(&exchange).unwrap();
        fs::set_permissions(&exchange, Permissions::from_mode(0o777)).unwrap();
        Postgres {
            bin,
            home,
            is_root,
            _keeper: keeper,
        }
    }

    /// A new directory that PostgreSQL owns; no other has this name.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.home.join(name);
        fs::create_dir(&path).unwrap();
        self.give(&path);
        path
    }

    /// Makes PostgreSQL the owner of a file, or of a directory with all that is in it.
    pub fn give(&self, path: &Path) {
        if !self.is_root {
            return;
        }
        chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.give(&entry.unwrap().path());
            }
        }
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

    /// One of the programs, as a user that it agrees to run as.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.inspector(program);
        command.current_dir(&self.home);
        if self.is_root {
            // The standard library drops the supplementary groups with the uid.
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        command
    }

    /// One of the programs that need no server, as who we are: it can read our files.
    pub fn inspector(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// Whether a setting may have this value in this build.
    pub fn knows(&self, setting: &str, value: &str) -> bool {
        let mut command = self.command("postgres");
        // It looks at settings before it looks for the directory.
        let data = self.home.join("no-such-directory");
        command.args(["-C", setting, "-c", &format!("{setting}={value}"), "-D"]);
        let output = command.arg(data).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(!complaints.contains("unrecognized"), "{complaints}");
        !complaints.contains("invalid value for parameter")
    }

    /// Runs one that has to succeed, as a user that it agrees to run as.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Said {
        run(self.command(program).args(arguments))
    }

    /// Runs one that has to succeed, as who we are.
    #[track_caller]
    pub fn inspect(&self, program: &str, arguments: &[&str]) -> Said {
        run(self.inspector(program).args(arguments))
    }
}

#[track_caller]
fn run(command: &mut Command) -> Said {
    // A server that pg_ctl has started keeps what it inherits open: nothing may wait for a pipe's end.
    let [mut output, mut complaints] = [(), ()].map(|()| tempfile::tempfile().unwrap());
    let status = command
        .stdout(output.try_clone().unwrap())
        .stderr(complaints.try_clone().unwrap())
        .status()
        .unwrap();
    let [output, complaints] = [&mut output, &mut complaints].map(|file| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    assert!(status.success(), "{command:?}: {output}{complaints}");
    Said { output, complaints }
}
