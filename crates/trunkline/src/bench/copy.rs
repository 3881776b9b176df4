//! `bench copy`: COPY FROM a binary file with one client, beside the peer.

use super::Common;
use super::embedded::Embedded;
use super::peer::Peer;
use super::sample::Series;
use crate::program_error::ProgramError;

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// One line.
pub async fn run(common: &Common) -> Result<(), ProgramError> {
    let mut ours = Embedded::start(common).await?;
    println!("copy: {}", ours.heading().await?);
    let peer = match &common.peer {
        None => None,
        Some(conninfo) => {
            let peer = Peer::connect(conninfo, common.peer_files.as_deref(), &ours.source).await?;
            println!("peer: {}", peer.heading());
            if !peer.reads_file() {
                println!("peer: reads from the connection (--peer-files makes it read a file)");
            }
            Some(peer)
        }
    };
    let (rows, megabytes) = (ours.source.rows as f64, ours.source.bytes as f64 / 1e6);
    // The first load of each pays for memory and files that later ones reuse.
    ours.load("").await?;
    if let Some(peer) = &peer {
        peer.copy(&ours.source).await?;
    }
    let (mut plain, mut frozen, mut peers) =
        (Series::default(), Series::default(), Series::default());
    for _ in 0..common.repetitions {
        plain.push(ours.load("").await?);
        frozen.push(ours.load(", FREEZE").await?);
        if let Some(peer) = &peer {
            peer.empty_table().await?;
            peers.push(peer.copy(&ours.source).await?);
        }
    }
    println!("{} repetitions: median [min..max]", common.repetitions);
    let line = |name: &str, series: &Series| {
        println!(
            "{name:<28} {} krows/s {} MB/s  {:.2} CPU s/Mrow",
            series.rate(rows / 1e3),
            series.rate(megabytes),
            series.cpu_seconds_per(rows / 1e6)
        );
    };
    line("COPY binary", &plain);
    line("COPY binary, FREEZE", &frozen);
    if let Some(peer) = &peer {
        let (ours_rate, peer_rate) = (plain.rate(rows / 1e3), peers.rate(rows / 1e3));
        println!(
            "{:<28} {peer_rate} krows/s {} MB/s  ours is {:.1} times as fast",
            peer.name(),
            peers.rate(megabytes),
            ours_rate.median / peer_rate.median
        );
        peer.drop_table().await?;
    }
    drop(peer);
    ours.finish().await
}
