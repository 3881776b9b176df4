//! `bench checksum`: the page checksum on one core, over pages in cache and over pages in memory.
//!
//! Beside it the same algorithm as a plain loop, compiled for the instructions that every machine of
//! the target has, and the rate at which one core reads memory at all.

use std::hint::black_box;

use clap::Args;
use trunkline_pgformat::checksum::BASE_OFFSETS;
use trunkline_pgformat::{BLCKSZ, BlockNumber, PageBytes, page_checksum};

use super::sample::{Sample, Series, Stopwatch};
use crate::program_error::ProgramError;

/// Pages that stay in a core's own cache: 128 KiB.
const CACHED_PAGES: usize = 16;

/// What one measurement of cached pages goes over, in bytes.
const CACHED_RUN_BYTES: usize = 512 << 20;

/// Arguments of `bench checksum`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pages in memory to go over, in MiB; much more than the caches hold
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    memory_mib: u32,
    /// Repetitions, of which the median counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
}

/// Something done to a page; what it gives is used, so that it cannot be left out.
type Work = fn(&PageBytes, BlockNumber) -> u64;

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// The two ways to compute the checksum differ.
pub fn run(arguments: &Arguments) -> Result<(), ProgramError> {
    let memory = pages((arguments.memory_mib as usize) << 20);
    let cached = &memory[..CACHED_PAGES.min(memory.len())];
    for (block, page) in (0..).zip(cached) {
        if page_checksum(page, block) != plain_loop(page, block) {
            return Err(ProgramError::new(
                "the page checksum and its plain loop give different results".to_owned(),
            ));
        }
    }
    let checksum: Work = |page, block| page_checksum(page, block).into();
    let plain: Work = |page, block| plain_loop(page, block).into();
    let contestants: [(&str, &[PageBytes], Work); 5] = [
        ("page checksum, pages in cache", cached, checksum),
        ("plain loop, pages in cache", cached, plain),
        ("page checksum, pages in memory", &memory, checksum),
        ("plain loop, pages in memory", &memory, plain),
        ("reading memory, nothing else", &memory, sum),
    ];
    let mut series = contestants.map(|_| Series::default());
    for _ in 0..arguments.repetitions {
        for ((_, pages, work), series) in contestants.iter().zip(&mut series) {
            series.push(measure(pages, *work));
        }
    }
    println!(
        "checksum: one core, {}; {} kB of pages in cache, {} MiB in memory",
        instructions(),
        CACHED_PAGES * BLCKSZ / 1024,
        arguments.memory_mib,
    );
    println!("{} repetitions: median [min..max]", arguments.repetitions);
    for ((name, _, _), series) in contestants.iter().zip(&series) {
        let rate = series.rate(1.0);
        println!(
            "{name:<32} {} GB/s  {:.0} ns a page",
            series.rate(BLCKSZ as f64 / 1e9),
            1e9 / rate.median,
        );
    }
    Ok(())
}

/// Which code the page checksum chooses here.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "AVX2";
    }
    "baseline instructions"
}

/// Pages without a pattern, `bytes` together.
fn pages(bytes: usize) -> Vec<PageBytes> {
    let mut pages = vec![[0; BLCKSZ]; bytes / BLCKSZ];
    // Knuth's MMIX generator.
    let mut state: u64 = 1;
    for page in &mut pages {
        for word in page.as_chunks_mut::<8>().0 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *word = state.to_le_bytes();
        }
    }
    pages
}

/// Goes over `pages`, again and again if they are few; the time for one page.
fn measure(pages: &[PageBytes], work: Work) -> Sample {
    let rounds = (CACHED_RUN_BYTES / (pages.len() * BLCKSZ)).max(1);
    let watch = Stopwatch::start();
    for _ in 0..rounds {
        let mut result = 0;
        for (block, page) in (0..).zip(pages) {
            result ^= work(page, block);
        }
        black_box(result);
    }
    let Sample {
        seconds,
        cpu_seconds,
    } = watch.stop();
    let count = (rounds * pages.len()) as f64;
    Sample {
        seconds: seconds / count,
        cpu_seconds: cpu_seconds / count,
    }
}

const COLUMNS: usize = BASE_OFFSETS.len();
const ROW_BYTES: usize = COLUMNS * 4;

/// The algorithm as `storage/checksum_impl.h` has it: rows outside, columns inside.
#[inline(never)]
fn plain_loop(page: &PageBytes, block: BlockNumber) -> u16 {
    let mut sums = BASE_OFFSETS;
    let (rows, _) = page.as_chunks::<ROW_BYTES>();
    // The checksum itself counts as zero.
    let mut first = rows[0];
    first[8..10].fill(0);
    mix_row(&mut sums, &first);
    for row in &rows[1..] {
        mix_row(&mut sums, row);
    }
    for _ in 0..2 {
        mix_row(&mut sums, &[0; ROW_BYTES]);
    }
    let hash = sums.iter().fold(block, |hash, sum| hash ^ sum);
    (hash % 65_535 + 1) as u16
}

#[inline(always)]
fn mix_row(sums: &mut [u32; COLUMNS], row: &[u8; ROW_BYTES]) {
    const FNV_PRIME: u32 = 16_777_619;
    for (sum, word) in sums.iter_mut().zip(row.as_chunks::<4>().0) {
        let mixed = *sum ^ u32::from_le_bytes(*word);
        *sum = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

/// Reads every byte of a page, and does as little else as can be.
#[inline(never)]
fn sum(page: &PageBytes, _block: BlockNumber) -> u64 {
    let words = page.as_chunks::<8>().0.iter();
    words.fold(0, |sum, word| sum ^ u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_loop_is_the_page_checksum() {
        for (block, page) in (7..).zip(&pages(8 * BLCKSZ)) {
            assert_eq!(plain_loop(page, block), page_checksum(page, block));
        }
    }
}
