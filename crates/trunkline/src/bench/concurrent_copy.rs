//! `bench concurrent-copy`: several clients load the same binary file at once, each into a table of its
//! own, in a server beside the peer's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio::sync::Barrier;

use super::Common;
use super::peer::Connection;
use super::processor_time::{self, Processes};
use super::sample::{mean_and_deviation, median_of};
use super::served::Served;
use super::source::{COLUMNS, Source};
use super::work_directory::WorkDirectory;
use crate::program_error::ProgramError;

/// Settings that explain the server's figures.
const SETTINGS: &[&str] = &[
    "shared_buffers",
    "io_method",
    "io_direct",
    "wal_sync_method",
    "wal_buffers",
    "max_wal_size",
    "full_page_writes",
];

/// Arguments of `bench concurrent-copy`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Clients at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
}

/// One client's connection, and its table.
struct Client {
    connection: Connection,
    table: String,
}

/// A server with the clients that load.
struct Contestant {
    clients: Vec<Arc<Client>>,
    /// The file as its server calls it.
    file: String,
    processes: Option<Processes>,
    rounds: Vec<Round>,
}

/// What one round of loads took.
struct Round {
    files_per_second: f64,
    cpu_seconds_per_file: f64,
    latencies: Vec<f64>,
}

/// Removes the peer's copy of the file.
struct PeerFile(PathBuf);

impl Drop for PeerFile {
    fn drop(&mut self) {
        // Left behind, it takes space but does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// One line.
pub async fn run(arguments: &Arguments) -> Result<(), ProgramError> {
    let common = &arguments.common;
    let directory = WorkDirectory::make(&common.directory)?;
    let source = Source::write(&directory.join("source.bin"), common.rows)
        .map_err(|error| ProgramError::new(error.to_string()))?;
    let served = Served::start(&directory.join("data"), &common.settings).await?;
    println!(
        "concurrent copy: {} clients, a file of {} rows and {:.0} MB; {}",
        arguments.clients,
        source.rows,
        source.bytes as f64 / 1e6,
        served.settings(SETTINGS).await?
    );
    let file = source.path.display().to_string();
    let mut ours = Contestant::start(
        served.conninfo(),
        arguments.clients,
        file,
        Some(served.processes()),
    )
    .await?;
    let mut peer = None;
    let mut _peer_file = None;
    if let Some(conninfo) = &common.peer {
        let Some(files) = &common.peer_files else {
            return Err(ProgramError::new(
                "--peer-files is needed: the peer's server reads the file itself".to_owned(),
            ));
        };
        let (seen_by_us, seen_as) = files.split_once('=').unwrap_or((files, files));
        let name = "trunkline-bench.bin";
        let path = PathBuf::from(seen_by_us).join(name);
        std::fs::copy(&source.path, &path)
            .map_err(|error| ProgramError::new(format!("{}: {error}", path.display())))?;
        _peer_file = Some(PeerFile(path));
        let connection = Connection::open(conninfo).await?;
        println!("peer: {}, {}", connection.name, connection.settings);
        let processes = processor_time::postgres_processes(&connection).await;
        let file = format!("{seen_as}/{name}");
        peer = Some(Contestant::start(conninfo, arguments.clients, file, processes).await?);
    }
    // A first round pays for memory and files that later ones reuse: the log's segments among them,
    // which the checkpoint before each round makes free.
    for repetition in 0..=common.repetitions {
        for contestant in [Some(&mut ours), peer.as_mut()].into_iter().flatten() {
            contestant.load().await?;
            // So that the next one does not find the disk busy with what this one has left to write.
            contestant.checkpoint().await?;
            if repetition == 0 {
                contestant.rounds.clear();
            }
        }
    }
    println!("{} repetitions: median", common.repetitions);
    ours.print("server", &source);
    if let Some(peer) = &peer {
        peer.print("peer", &source);
        let pairs = || ours.rounds.iter().zip(&peer.rounds);
        let rate =
            median_of(pairs().map(|(ours, peer)| ours.files_per_second / peer.files_per_second));
        println!(
            "ours is {rate:.2} times as fast; its relative deviation is {:.2} of the peer's",
            ours.relative_deviation() / peer.relative_deviation()
        );
        peer.drop_tables().await?;
    }
    served.stop().await
}

impl Contestant {
    async fn start(
        conninfo: &str,
        clients: u32,
        file: String,
        processes: Option<Processes>,
    ) -> Result<Contestant, ProgramError> {
        let mut connected = Vec::new();
        for number in 0..clients {
            let connection = Connection::open(conninfo).await?;
            let table = format!("trunkline_bench_{number}");
            connection.empty_table(&table, COLUMNS).await?;
            connected.push(Arc::new(Client { connection, table }));
        }
        Ok(Contestant {
            clients: connected,
            file,
            processes,
            rounds: Vec::new(),
        })
    }

    /// Every client loads the file once, all at the same time.
    async fn load(&mut self) -> Result<(), ProgramError> {
        for client in &self.clients {
            client
                .connection
                .run(&format!("TRUNCATE {}", client.table))
                .await?;
        }
        self.checkpoint().await?;
        let before = self.processes.as_ref().map(processor_time::seconds);
        let barrier = Arc::new(Barrier::new(self.clients.len() + 1));
        let mut loads = Vec::new();
        for client in &self.clients {
            let (client, barrier) = (Arc::clone(client), Arc::clone(&barrier));
            let copy = format!("COPY {} FROM '{}' (FORMAT binary)", client.table, self.file);
            loads.push(tokio::spawn(async move {
                barrier.wait().await;
                let began = Instant::now();
                client.connection.run(&copy).await?;
                Ok::<f64, ProgramError>(began.elapsed().as_secs_f64())
            }));
        }
        barrier.wait().await;
        let began = Instant::now();
        let mut latencies = Vec::new();
        for load in loads {
            let loaded = load
                .await
                .map_err(|error| ProgramError::new(error.to_string()))?;
            latencies.push(loaded?);
        }
        let files = latencies.len() as f64;
        let files_per_second = files / began.elapsed().as_secs_f64();
        let used = self.processes.as_ref().map(processor_time::seconds);
        let cpu_seconds = before
            .zip(used)
            .map_or(f64::NAN, |(before, used)| used - before);
        self.rounds.push(Round {
            files_per_second,
            cpu_seconds_per_file: cpu_seconds / files,
            latencies,
        });
        Ok(())
    }

    async fn checkpoint(&self) -> Result<(), ProgramError> {
        match self.clients.first() {
            Some(client) => client.connection.run("CHECKPOINT").await,
            None => Ok(()),
        }
    }

    /// Of all loads' times: how far they are from the mean, in parts of it.
    fn relative_deviation(&self) -> f64 {
        let all = self
            .rounds
            .iter()
            .flat_map(|round| round.latencies.iter().copied());
        let (mean, deviation) = mean_and_deviation(all);
        deviation / mean
    }

    fn print(&self, name: &str, source: &Source) {
        let rate = median_of(self.rounds.iter().map(|round| round.files_per_second));
        let cpu = median_of(self.rounds.iter().map(|round| round.cpu_seconds_per_file));
        let all = self
            .rounds
            .iter()
            .flat_map(|round| round.latencies.iter().copied());
        let (mean, deviation) = mean_and_deviation(all);
        println!(
            "{name:<8} {rate:>7.2} files/s {:>7.0} MB/s {cpu:>6.2} CPU s/file, a load {mean:.3} s, \
             deviation {:.3} of that",
            rate * source.bytes as f64 / 1e6,
            deviation / mean
        );
    }

    async fn drop_tables(&self) -> Result<(), ProgramError> {
        for client in &self.clients {
            client.connection.drop_table(&client.table).await?;
        }
        Ok(())
    }
}
