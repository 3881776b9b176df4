//! `bench scan`: count(*), cold beside the raw device, hot beside the peer.

use super::Common;
use super::embedded::Embedded;
use super::peer::Peer;
use super::raw::RawReads;
use super::sample::{Series, peak_memory_mib, reset_peak_memory};
use crate::program_error::ProgramError;

const MIB: f64 = 1024.0 * 1024.0;
const COUNT: &str = "SELECT count(*) FROM t";

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// One line.
pub async fn run(common: &Common) -> Result<(), ProgramError> {
    let mut ours = Embedded::start(common).await?;
    println!("scan: {}", ours.heading().await?);
    let peer = match &common.peer {
        None => None,
        Some(conninfo) => {
            let peer = Peer::connect(conninfo, common.peer_files.as_deref(), &ours.source).await?;
            println!("peer: {}", peer.heading());
            peer.copy(&ours.source).await?;
            // Its best case: every page known to be visible, and in memory.
            peer.vacuum().await?;
            peer.prewarm().await?;
            Some(peer)
        }
    };
    let rows = ours.source.rows as f64;

    ours.load("").await?;
    let mut raw = RawReads::new(&ours.table_file().await?)?;
    let mib = raw.bytes() as f64 / MIB;
    ours.use_whole_pool(mib).await?;
    check_count(&mut ours, rows).await?;
    let (mut cold, mut peak) = (Series::default(), f64::NAN);
    for _ in 0..common.repetitions {
        raw.repeat(ours.database().aio())?;
        ours.evict().await?;
        reset_peak_memory();
        let before = peak_memory_mib();
        cold.push(ours.timed(COUNT).await?.0);
        peak = (peak_memory_mib() - before).max(if peak.is_nan() { 0.0 } else { peak });
    }
    println!(
        "{mib:.0} MiB, {} repetitions: median [min..max]",
        common.repetitions
    );
    let raw_rate = raw.print();
    let cold_rate = cold.rate(mib);
    println!(
        "{:<44} {cold_rate} MiB/s  {:.2} of the best raw  {:.2} CPU s/GiB  peak memory +{peak:.0} MiB",
        "count(*), cold",
        cold_rate.median / raw_rate.median,
        cold.cpu_seconds_per(mib / 1024.0),
    );

    // One core, as the peer: it has one process for a query without parallel workers.
    ours.run("SET max_parallel_workers_per_gather = 0").await?;
    for (name, options) in [
        ("count(*), hot, after COPY and one scan", ""),
        ("count(*), hot, after COPY FREEZE", ", FREEZE"),
    ] {
        ours.load(options).await?;
        ours.run("SELECT pg_prewarm('t', 'buffer')").await?;
        check_count(&mut ours, rows).await?;
        let (mut hot, mut peers) = (Series::default(), Series::default());
        for _ in 0..common.repetitions {
            hot.push(ours.timed(COUNT).await?.0);
            if let Some(peer) = &peer {
                peers.push(peer.count().await?);
            }
        }
        let rate = hot.rate(rows / 1e6);
        // Processor time comes in hundredths of a second, of which a small table takes none.
        let per_cpu = match hot.cpu_seconds_per(rows / 1e6) {
            seconds if seconds > 0.0 => format!("{:.0}", 1.0 / seconds),
            _ => "?".to_owned(),
        };
        println!("{name:<44} {rate} Mrows/s  {per_cpu} Mrows per CPU s");
        if let Some(peer) = &peer {
            let peer_rate = peers.rate(rows / 1e6);
            println!(
                "{:<44} {peer_rate} Mrows/s  ours is {:.1} times as fast",
                format!("  the same by {}", peer.name()),
                rate.median / peer_rate.median
            );
        }
    }
    if let Some(peer) = &peer {
        peer.drop_table().await?;
    }
    drop(peer);
    ours.finish().await
}

async fn check_count(ours: &mut Embedded, rows: f64) -> Result<(), ProgramError> {
    let counted = ours.text(COUNT).await?;
    if counted.parse() == Ok(rows) {
        return Ok(());
    }
    Err(ProgramError::new(format!(
        "count(*) gave {counted} instead of {rows}"
    )))
}
