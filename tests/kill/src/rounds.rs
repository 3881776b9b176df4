//! A run: rounds of starting, checking, working and killing.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use trunkline_harness::copy_directory;

use crate::client::{Client, Counts, Left, connect};
use crate::failure::{Failure, query_failed};
use crate::inspection::everything;
use crate::judge::Judge;
use crate::ledger::{End, Ledger, Transaction};
use crate::server::{self, Server};
use crate::settings;
use crate::table::{COLUMNS, Rows, SHARED, Statement, Tables};
use crate::work::{Abilities, Chooser};

/// Every so many rounds the server is stopped and not killed.
const STOP_INTERVAL: u64 = 5;

/// Rows of the shared table, from which on it is emptied between rounds.
const MOST_SHARED_ROWS: usize = 40_000;

/// Attempts to kill the recovery after a kill.
const MOST_RECOVERY_KILLS: usize = 3;

/// A recovery that is to be killed has less time than this, in milliseconds.
const LONGEST_RECOVERY_MS: u64 = 150;

/// Logs of the last servers.
const KEPT_LOGS: u64 = 8;

/// Connections besides those of clients: the driver's, and those of killed ones that are not gone yet.
const SPARE_CONNECTIONS: usize = 5;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's program.
    pub server: PathBuf,
    /// An empty or missing directory, in which all happens.
    pub directory: PathBuf,
    /// Chooses what is done.
    pub seed: u64,
    /// How many rounds.
    pub rounds: u64,
    /// How many clients work at a time.
    pub clients: usize,
    /// The longest time in milliseconds that clients work in a round.
    pub longest_ms: u64,
    /// Where PostgreSQL's programs are, if they are.
    pub judge: Option<PathBuf>,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Rounds that were finished.
    pub rounds: u64,
    /// Servers killed while clients worked.
    pub kills: u64,
    /// Servers killed before they were ready.
    pub recovery_kills: u64,
    /// Servers stopped cleanly while clients worked.
    pub stops: u64,
    /// What clients did.
    pub counts: Counts,
    /// In doubt, and found to be there.
    pub doubtful_kept: u64,
    /// Acknowledged with `synchronous_commit` off, and lost.
    pub lost_async: u64,
    /// Rows compared after starts.
    pub rows_checked: u64,
    /// Whether the server has UPDATE and DELETE.
    pub has_update_and_delete: [bool; 2],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        write!(
            f,
            "{} rounds: {} kills, {} during recovery, {} clean stops; {} commits waited for, {} not \
             ({} of them lost), {} rolled back, {} cut off, {} in doubt ({} of them there), {} \
             checkpoints asked for, {} segments ended early, {} tables looked at, {} rows checked",
            self.rounds,
            self.kills,
            self.recovery_kills,
            self.stops,
            counts.committed,
            counts.committed_async,
            self.lost_async,
            counts.rolled_back,
            counts.cut_off,
            counts.doubtful,
            self.doubtful_kept,
            counts.checkpoints,
            counts.switches,
            counts.looks,
            self.rows_checked,
        )
    }
}

/// Runs all rounds, and tells after each. A failure leaves the directory with `data` as it is, `killed` as
/// it was before the last recovery, the servers' logs, and `ledgers`.
pub fn run(options: &Options, mut progress: impl FnMut(&Report)) -> Result<Report, Failure> {
    fs::create_dir_all(&options.directory)?;
    let mut run = Run::new(options);
    server::init(&options.server, &run.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for _ in 0..options.rounds {
        let result = runtime.block_on(run.round());
        run.keep_ledgers(result)?;
        run.report.rounds += 1;
        progress(&run.report);
    }
    // The last kill's recovery.
    let result = runtime.block_on(run.finish());
    run.keep_ledgers(result)?;
    Ok(run.report)
}

struct Run<'o> {
    options: &'o Options,
    data_dir: PathBuf,
    judge: Option<Judge>,
    rng: Rng,
    report: Report,
    /// Found out when the shared table is made.
    abilities: Option<Abilities>,
    /// Of each client, with the stamp of its next transaction.
    clients: Vec<(Ledger, i32)>,
    last_end: End,
    starts: u64,
}

impl Run<'_> {
    fn new(options: &Options) -> Run<'_> {
        let nothing = Tables::from([(SHARED.to_owned(), Rows::new())]);
        Run {
            options,
            data_dir: options.directory.join("data"),
            judge: options.judge.as_deref().map(Judge::new),
            rng: Rng::with_seed(options.seed),
            report: Report::default(),
            abilities: None,
            clients: vec![(Ledger::new(nothing), 1); options.clients],
            last_end: End::Clean,
            starts: 0,
        }
    }

    /// From what a server has left to the next one's end.
    async fn round(&mut self) -> Result<(), Failure> {
        let mut server = self.recovered()?;
        let abilities = self.prepare(&server).await?;
        let mut tasks = JoinSet::new();
        for (number, (ledger, stamp)) in self.clients.iter().enumerate() {
            let chooser = Chooser::new(self.rng.u64(..), number, abilities);
            let client = Client::start(number, server.port, chooser, ledger.clone(), *stamp);
            tasks.spawn(client.await?.work());
        }
        let working = tokio::time::timeout(self.working_time(), tasks.join_next()).await;
        if let Ok(Some(first)) = working {
            let left = first.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let failure = self.take_back(left).err();
            return Err(failure.unwrap_or_else(|| server.why_gone()));
        }
        let stops = (self.report.rounds + 1).is_multiple_of(STOP_INTERVAL);
        let stopping = if stops {
            server.ask_to_stop()?;
            self.last_end = End::Clean;
            self.report.stops += 1;
            Some(server)
        } else {
            server.kill()?;
            self.last_end = End::Crash;
            self.report.kills += 1;
            None
        };
        // Answers that were on their way are read before the end shows.
        let ended = tokio::time::timeout(server::LIMIT, tasks.join_all()).await;
        let Ok(ended) = ended else {
            return Err(Failure::Foreign(
                "clients wait for a server that was killed, or told to stop".to_owned(),
            ));
        };
        for left in ended {
            self.take_back(left)?;
        }
        stopping.map_or(Ok(()), Server::wait_for_stop)
    }

    /// Recovers what the last kill has left, and stops cleanly.
    async fn finish(&mut self) -> Result<(), Failure> {
        let server = self.recovered()?;
        self.prepare(&server).await?;
        server.ask_to_stop()?;
        server.wait_for_stop()?;
        self.judge_files(End::Clean)
    }

    /// Long enough for checkpoints, or a moment.
    fn working_time(&mut self) -> Duration {
        let longest_ms = match self.rng.u8(..4) {
            0 => self.options.longest_ms / 10,
            _ => self.options.longest_ms,
        };
        Duration::from_millis(self.rng.u64(..=longest_ms))
    }

    fn take_back(&mut self, left: Left) -> Result<(), Failure> {
        self.report.counts += left.counts;
        self.clients[left.number] = (left.ledger, left.stamp);
        left.failure.map_or(Ok(()), Err)
    }

    /// A server that is ready, after some that were killed before they were.
    fn recovered(&mut self) -> Result<Server, Failure> {
        self.judge_files(self.last_end)?;
        if self.last_end == End::Crash {
            let killed = self.options.directory.join("killed");
            if killed.exists() {
                fs::remove_dir_all(&killed)?;
            }
            copy_directory(&self.data_dir, &killed)?;
            if self.rng.u8(..3) == 0 {
                for _ in 0..self.rng.usize(1..=MOST_RECOVERY_KILLS) {
                    let mut server = self.spawn()?;
                    let patience = Duration::from_millis(self.rng.u64(1..LONGEST_RECOVERY_MS));
                    if !server.is_ready_within(Some(patience))? {
                        self.report.recovery_kills += 1;
                    }
                    server.kill()?;
                    self.judge_files(End::Crash)?;
                }
            }
        }
        let mut server = self.spawn()?;
        server.is_ready_within(None)?;
        Ok(server)
    }

    fn spawn(&mut self) -> Result<Server, Failure> {
        let log = |start: u64| {
            let name = format!("log-{}", start % KEPT_LOGS);
            self.options.directory.join(name)
        };
        let log = log(self.starts);
        self.starts += 1;
        let connections = 2 * self.options.clients + SPARE_CONNECTIONS;
        let settings = settings::of_a_round(&mut self.rng, connections);
        Server::spawn(&self.options.server, &self.data_dir, &log, &settings)
    }

    fn judge_files(&self, end: End) -> Result<(), Failure> {
        match (&self.judge, end) {
            (None, _) => Ok(()),
            (Some(judge), End::Crash) => judge.check_killed(&self.data_dir),
            (Some(judge), End::Clean) => judge.check_stopped(&self.data_dir),
        }
    }

    /// Compares everything with the ledgers, which take it over. The first time makes the shared table.
    async fn prepare(&mut self, server: &Server) -> Result<Abilities, Failure> {
        let session = connect(server.port)
            .await
            .map_err(|error| query_failed("the first connection", &error))?;
        let abilities = match self.abilities {
            Some(abilities) => abilities,
            None => {
                run_statement(&session, &format!("CREATE TABLE {SHARED} ({COLUMNS})")).await?;
                let update = format!("UPDATE {SHARED} SET stamp = 1 WHERE id = 1");
                let abilities = Abilities {
                    update: is_supported(&session, &update).await?,
                    delete: is_supported(&session, &format!("DELETE FROM {SHARED}")).await?,
                };
                self.report.has_update_and_delete = [abilities.update, abilities.delete];
                *self.abilities.insert(abilities)
            }
        };
        let found = everything(&session, self.options.clients).await?;
        let mut shared_rows = 0;
        for (client, found) in found.into_iter().enumerate() {
            shared_rows += found[SHARED].len();
            self.report.rows_checked += found.values().map(|rows| rows.len() as u64).sum::<u64>();
            let kept = self.clients[client].0.adopt(found, self.last_end);
            let kept = kept.map_err(|what| Failure::Lost { client, what })?;
            self.report.lost_async += kept.lost as u64;
            self.report.doubtful_kept += u64::from(kept.doubtful == Some(true));
        }
        if shared_rows > MOST_SHARED_ROWS {
            self.empty_shared(&session).await?;
        }
        Ok(abilities)
    }

    async fn empty_shared(&mut self, session: &tokio_postgres::Client) -> Result<(), Failure> {
        let sql = match self.rng.bool() {
            true => format!("TRUNCATE {SHARED}"),
            false => format!("DROP TABLE {SHARED}; CREATE TABLE {SHARED} ({COLUMNS})"),
        };
        run_statement(session, &sql).await?;
        for (ledger, stamp) in &mut self.clients {
            ledger.acknowledge(Transaction {
                stamp: *stamp,
                statements: vec![Statement::Truncate(SHARED.to_owned())],
                waits: true,
            });
            *stamp += 1;
        }
        Ok(())
    }

    /// Writes the ledgers down if it is a failure.
    fn keep_ledgers(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        if result.is_err() {
            fs::write(self.options.directory.join("ledgers"), self.ledgers_text())?;
        }
        result
    }

    fn ledgers_text(&self) -> String {
        let mut text = String::new();
        for (client, (ledger, stamp)) in self.clients.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "client {client}, whose next is {stamp}, did last:");
            for line in ledger.recent() {
                let _ = writeln!(text, "    {line}");
            }
            let _ = writeln!(text, "  and now has {:?}", ledger.now());
        }
        text
    }
}

async fn run_statement(session: &tokio_postgres::Client, sql: &str) -> Result<(), Failure> {
    let result = session.batch_execute(sql).await;
    result.map_err(|error| query_failed(sql, &error))
}

/// Whether the server has a kind of statement; one that it has not it says so of.
async fn is_supported(session: &tokio_postgres::Client, sql: &str) -> Result<bool, Failure> {
    match session.batch_execute(sql).await {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => Ok(false),
        Err(error) => Err(query_failed(sql, &error)),
    }
}
