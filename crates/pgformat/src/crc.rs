//! CRC-32C, the checksum of PostgreSQL's small files and WAL records (`port/pg_crc32c.h`).

#[cfg(target_arch = "x86_64")]
mod sse42;

use crc_fast::{CrcAlgorithm, Digest};

/// Pieces of this many bytes and more are worth what it takes to set up wide registers.
#[cfg(target_arch = "x86_64")]
const WIDE_SIZE: usize = 128;

/// The CRC-32C (Castagnoli) of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(bytes);
    crc.finish()
}

/// A CRC-32C of bytes that come in pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crc32c {
    /// The remainder so far, not inverted.
    state: u32,
}

impl Crc32c {
    /// The CRC of no bytes.
    pub const fn new() -> Crc32c {
        Crc32c { state: u32::MAX }
    }

    /// Adds the next bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if bytes.len() < WIDE_SIZE
            && let Some(state) = sse42::update(self.state, bytes)
        {
            self.state = state;
            return;
        }
        self.update_wide(bytes);
    }

    fn update_wide(&mut self, bytes: &[u8]) {
        // The crate gives every width as 64 bits.
        let mut digest =
            Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(self.state));
        digest.update(bytes);
        self.state = digest.get_state() as u32;
    }

    /// The CRC of the bytes so far.
    #[inline]
    pub const fn finish(&self) -> u32 {
        !self.state
    }
}

impl Default for Crc32c {
    fn default() -> Crc32c {
        Crc32c::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn pieces_of_any_size_give_what_the_whole_gives() {
        let bytes: Vec<u8> = (0..2000_u32).map(|n| ((n * 7) >> 2) as u8).collect();
        for end in [0, 1, 9, 127, 128, 129, 2000] {
            let whole = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &bytes[..end]) as u32;
            for cut in [0, 1, 7, 8, 9, 63, 64, 500, 1000] {
                let cut = cut.min(end);
                let mut crc = Crc32c::new();
                crc.update(&bytes[..cut]);
                crc.update(&bytes[cut..end]);
                assert_eq!(crc.finish(), whole);
                let mut wide = Crc32c::new();
                wide.update_wide(&bytes[..cut]);
                wide.update_wide(&bytes[cut..end]);
                assert_eq!(wide.finish(), whole);
            }
        }
    }
}
