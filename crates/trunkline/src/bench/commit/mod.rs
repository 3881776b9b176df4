//! `bench commit`: single-row inserts, each its own durable transaction, beside the raw device and a
//! PostgreSQL.
//!
//! | module | what |
//! |---|---|
//! | [`pgbench`] | the client: PostgreSQL's, the same for both servers |
//! | [`driver`] | the engine alone, without SQL and sockets |

mod driver;
mod pgbench;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::driver::Driver;
use self::pgbench::{Pgbench, Target};
use super::durable_write::{self, DurableWrites, Way};
use super::peer::Connection;
use super::processor_time;
use super::sample::median_of;
use super::served::Served;
use super::work_directory::WorkDirectory;
use crate::program_error::ProgramError;

/// The table that rows go to, in either server.
const TABLE: &str = "trunkline_bench_commit";
const COLUMNS: &str = "(a int, b bigint, c text)";

/// Settings that explain the server's figures.
const SETTINGS: &[&str] = &[
    "io_method",
    "io_direct",
    "wal_sync_method",
    "io_wal_concurrency",
    "io_wal_pad_partial",
    "synchronous_commit",
    "full_page_writes",
];

/// Arguments of `bench commit`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory to work in; a data directory and a file are made in it, and removed
    #[arg(short = 'D', long, default_value = "trunkline-bench")]
    directory: PathBuf,
    /// Clients at a time
    #[arg(long, value_delimiter = ',', default_value = "1,8,32", value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: Vec<u32>,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Repetitions, of which the median counts; all take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
    /// PostgreSQL's pgbench, which plays the clients of both servers
    #[arg(long, default_value = "pgbench", value_name = "PROGRAM")]
    pgbench: PathBuf,
    /// A PostgreSQL to measure beside, as a connection string: "host=127.0.0.1 user=postgres"
    #[arg(long, value_name = "CONNINFO")]
    peer: Option<String>,
    /// A setting of the engine
    #[arg(short = 'c', value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// What one server did in one measurement.
#[derive(Clone, Copy, Debug)]
struct Run {
    commits_per_second: f64,
    latency_us: f64,
    /// Of the server's processes.
    cpu_us_per_commit: f64,
}

/// All measurements with one number of clients.
struct Contest {
    clients: u32,
    raw: Vec<durable_write::Rate>,
    /// fio's O_DSYNC writes at the same depth, where it is installed.
    fio: Vec<f64>,
    driver: Vec<f64>,
    ours: Vec<Run>,
    peer: Vec<Run>,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// One line.
pub async fn run(arguments: &Arguments) -> Result<(), ProgramError> {
    let directory = WorkDirectory::make(&arguments.directory)?;
    let time = Duration::from_secs(arguments.seconds.into());
    let pgbench = Pgbench::find(&arguments.pgbench, &directory.join("insert.sql"), TABLE)?;
    let served = Served::start(&directory.join("data"), &arguments.settings).await?;
    let engine = Driver::start(&directory.join("driver"), &arguments.settings).await?;
    served.connection().empty_table(TABLE, COLUMNS).await?;
    let target = Target {
        conninfo: served.conninfo().to_owned(),
        processes: Some(served.processes()),
    };
    let peer = match &arguments.peer {
        None => None,
        Some(conninfo) => Some(Connection::open(conninfo).await?),
    };
    let mut peer_target = None;
    if let (Some(conninfo), Some(peer)) = (&arguments.peer, &peer) {
        println!("peer: {}, {}", peer.name, peer.settings);
        peer.empty_table(TABLE, COLUMNS).await?;
        peer_target = Some(Target {
            conninfo: conninfo.clone(),
            processes: processor_time::postgres_processes(peer).await,
        });
    }
    println!(
        "commit: {} repetitions of {} s: median; {}",
        arguments.repetitions,
        arguments.seconds,
        served.settings(SETTINGS).await?
    );
    let raw = DurableWrites::make(&directory.join("raw"))?;
    let mut contests: Vec<Contest> = arguments
        .clients
        .iter()
        .map(|&clients| Contest::new(clients))
        .collect();
    // A first round pays for files that later ones reuse.
    for repetition in 0..=arguments.repetitions {
        for contest in &mut contests {
            let clients = contest.clients;
            let rates = raw.rates(clients as usize, time)?;
            let driver = engine.run(clients, time).await?;
            let ours = pgbench.run(&target, clients, arguments.seconds)?;
            let theirs = match &peer_target {
                Some(target) => Some(pgbench.run(target, clients, arguments.seconds)?),
                None => None,
            };
            if repetition > 0 {
                contest.raw.extend(durable_write::fastest(&rates));
                let fio = rates.iter().find(|rate| rate.way == Way::FioDsync);
                contest.fio.extend(fio.map(|rate| rate.writes_per_second));
                contest.driver.push(driver);
                contest.ours.push(ours);
                contest.peer.extend(theirs);
            }
        }
    }
    for contest in &contests {
        contest.print();
    }
    let clients = contests
        .iter()
        .map(|contest| contest.clients)
        .max()
        .unwrap_or(1);
    let in_flight = log_writes_in_flight(&served, &pgbench, &target, clients).await?;
    println!(
        "pg_stat_aios: {in_flight} log writes and syncs in flight at once, at most, with {clients} clients"
    );
    println!("pg_stat_wal: {}", log_counts(&served).await?);
    if let Some(peer) = &peer {
        peer.drop_table(TABLE).await?;
    }
    engine.stop().await?;
    served.stop().await
}

/// What `pg_stat_wal` says of how the server's log got to the disk.
async fn log_counts(served: &Served) -> Result<String, ProgramError> {
    const COUNTS: &[&str] = &[
        "wal_records",
        "wal_bytes",
        "wal_write",
        "wal_sync",
        "wal_flush",
        "wal_flush_wait",
        "wal_partial_wait",
        "wal_partial_pad",
        "wal_partial_pad_bytes",
    ];
    let mut shown = Vec::new();
    for name in COUNTS {
        let query = format!("SELECT {name} FROM pg_stat_wal");
        shown.push(format!(
            "{name} {}",
            served.connection().text(&query).await?
        ));
    }
    Ok(shown.join(", "))
}

/// The most I/Os of the log that `pg_stat_aios` shows at once while clients commit for a second.
async fn log_writes_in_flight(
    served: &Served,
    pgbench: &Pgbench,
    target: &Target,
    clients: u32,
) -> Result<u64, ProgramError> {
    let (target, pgbench) = (target.clone(), pgbench.clone());
    let load = tokio::task::spawn_blocking(move || pgbench.run(&target, clients, 1));
    let mut most = 0;
    while !load.is_finished() {
        let seen = served
            .connection()
            .text("SELECT count(*) FROM pg_stat_aios WHERE scb = 'wal'")
            .await?;
        most = most.max(seen.parse().unwrap_or(0));
    }
    load.await
        .map_err(|error| ProgramError::new(error.to_string()))??;
    Ok(most)
}

impl Contest {
    fn new(clients: u32) -> Contest {
        Contest {
            clients,
            raw: Vec::new(),
            fio: Vec::new(),
            driver: Vec::new(),
            ours: Vec::new(),
            peer: Vec::new(),
        }
    }

    fn print(&self) {
        let clients = match self.clients {
            1 => "1 client".to_owned(),
            clients => format!("{clients} clients"),
        };
        println!("{clients}:");
        let raw_rate = median_of(self.raw.iter().map(|rate| rate.writes_per_second));
        let raw_us = median_of(self.raw.iter().map(|rate| rate.latency_us));
        let way = self.raw.first().map_or(Way::Dsync, |rate| rate.way);
        println!("  raw durable writes ({way})      {raw_rate:>9.0} writes/s {raw_us:>9.0} us");
        let driver = median_of(self.driver.iter().copied());
        let of_raw = median_of(
            self.driver
                .iter()
                .zip(&self.raw)
                .map(|(driver, raw)| driver / raw.writes_per_second),
        );
        print!(
            "  engine without SQL and sockets {driver:>9.0} commits/s           {of_raw:.2} of the raw rate"
        );
        if self.fio.is_empty() {
            println!();
        } else {
            let fio = median_of(self.fio.iter().copied());
            let of_fio = median_of(
                self.driver
                    .iter()
                    .zip(&self.fio)
                    .map(|(driver, fio)| driver / fio),
            );
            println!(", {of_fio:.2} of fio's O_DSYNC writes ({fio:.0}/s)");
        }
        let line = |name: &str, runs: &[Run]| {
            let rate = median_of(runs.iter().map(|run| run.commits_per_second));
            let latency = median_of(runs.iter().map(|run| run.latency_us));
            let cpu = median_of(runs.iter().map(|run| run.cpu_us_per_commit));
            print!("  {name:<30} {rate:>9.0} commits/s {latency:>8.0} us {cpu:>7.1} us CPU");
        };
        line("server", &self.ours);
        let latency = median_of(
            self.ours
                .iter()
                .zip(&self.raw)
                .map(|(ours, raw)| ours.latency_us / raw.latency_us),
        );
        println!("   {latency:.2} of the raw latency");
        if self.peer.is_empty() {
            return;
        }
        line("peer", &self.peer);
        // Of the pairs: a disk that is shared is fast one second and slow the next.
        let pairs = || self.ours.iter().zip(&self.peer);
        let rate = median_of(
            pairs().map(|(ours, peer)| ours.commits_per_second / peer.commits_per_second),
        );
        let cpu =
            median_of(pairs().map(|(ours, peer)| ours.cpu_us_per_commit / peer.cpu_us_per_commit));
        println!("   ours is {rate:.2} times as fast, {cpu:.2} of its CPU");
    }
}
