//! Random numbers for stress tests, from a seed that is printed and can be given again: this
//! crate's, and those of the crates above, which include this file.

use std::time::SystemTime;

/// `TRUNKLINE_SEED`, or one that differs from run to run.
pub fn seed() -> u64 {
    let seed = match std::env::var("TRUNKLINE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    println!("TRUNKLINE_SEED={seed}");
    seed
}

/// xorshift64*.
pub struct Random(u64);

impl Random {
    /// One for each of a test's threads.
    pub fn new(seed: u64, thread: u64) -> Random {
        Random(seed ^ (thread + 1) << 32 | 1)
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % u64::from(limit)) as u32
    }
}
