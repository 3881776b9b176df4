//! `bench prewarm`: pg_prewarm, cold beside the raw device.

use super::Common;
use super::embedded::Embedded;
use super::raw::RawReads;
use super::sample::Series;
use crate::program_error::ProgramError;

const MIB: f64 = 1024.0 * 1024.0;

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// One line.
pub async fn run(common: &Common) -> Result<(), ProgramError> {
    let mut ours = Embedded::start(common).await?;
    println!("prewarm: {}", ours.heading().await?);
    ours.load(", FREEZE").await?;
    let mut raw = RawReads::new(&ours.table_file().await?)?;
    let mib = raw.bytes() as f64 / MIB;
    let modes = ["buffer", "read"];
    let mut series = [Series::default(), Series::default()];
    ours.use_whole_pool(mib).await?;
    for _ in 0..common.repetitions {
        raw.repeat(ours.database().aio())?;
        for (mode, series) in modes.iter().zip(&mut series) {
            ours.evict().await?;
            series.push(
                ours.timed(&format!("SELECT pg_prewarm('t', '{mode}')"))
                    .await?
                    .0,
            );
        }
    }
    println!(
        "{mib:.0} MiB, {} repetitions: median [min..max]",
        common.repetitions
    );
    let raw_rate = raw.print();
    for (mode, series) in modes.iter().zip(&series) {
        let rate = series.rate(mib);
        println!(
            "{:<44} {rate} MiB/s  {:.2} of the best raw  {:.2} CPU s/GiB",
            format!("pg_prewarm('{mode}'), cold"),
            rate.median / raw_rate.median,
            series.cpu_seconds_per(mib / 1024.0),
        );
    }
    ours.finish().await
}
