//! PostgreSQL's own compression (`common/pg_lzcompress.c`), of page images in the log and of
//! values.
//!
//! ```text
//! | control byte | 8 items | control byte | 8 items | ...
//! bit clear (least significant first): a byte as it is
//! bit set: | offset's high 4 bits, length - 3 | offset's low 8 bits |    length 3..=17
//!          | offset's high 4 bits, 15         | offset's low 8 bits | length - 18 |
//! ```
//!
//! An item with its bit set repeats `length` bytes, up to 273, from `offset` bytes before; the two
//! may overlap. The size of what was compressed is kept elsewhere.

use thiserror::Error;

const MAX_MATCH: usize = 273;
const MAX_OFFSET: usize = 0x0ffe;
/// Positions that are looked back to.
const HISTORY_SIZE: usize = 4096;
/// The most lists of positions, by the hash of the four bytes there.
const MAX_HISTORY_LISTS: usize = 8192;
/// The default strategy (`PGLZ_strategy_default`): a shorter input is not worth it.
const MIN_INPUT_SIZE: usize = 32;
/// Percent that must be saved.
const MIN_COMPRESSION_RATE: u64 = 25;
/// Bytes of output within which something must have been found to repeat.
const FIRST_SUCCESS_BY: usize = 1024;
/// A match this long ends the search; 10 percent less with each position that was looked at.
const GOOD_MATCH: usize = 128;
const GOOD_MATCH_DROP: usize = 10;

/// The bytes are no compression of as many bytes as were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("compressed pglz data is corrupt")]
pub struct PglzError;

/// Decompresses `source`, all of it, to exactly `destination.len()` bytes (`pglz_decompress` with
/// `check_complete`).
pub fn decompress(source: &[u8], destination: &mut [u8]) -> Result<(), PglzError> {
    let mut input = source.iter().copied();
    let mut next = || input.next().ok_or(PglzError);
    let mut filled = 0;
    let mut control = 0;
    let mut items_left = 0;
    while filled < destination.len() {
        if items_left == 0 {
            control = next()?;
            items_left = 8;
        }
        let first = next()?;
        if control & 1 == 0 {
            destination[filled] = first;
            filled += 1;
        } else {
            let mut length = usize::from(first & 0x0f) + 3;
            let offset = usize::from(first & 0xf0) << 4 | usize::from(next()?);
            if length == 18 {
                length += usize::from(next()?);
            }
            if offset == 0 || offset > filled {
                return Err(PglzError);
            }
            // PostgreSQL too cuts off a match that goes past the end.
            let length = length.min(destination.len() - filled);
            for at in filled..filled + length {
                destination[at] = destination[at - offset];
            }
            filled += length;
        }
        control >>= 1;
        items_left -= 1;
    }
    if input.next().is_some() {
        return Err(PglzError);
    }
    Ok(())
}

/// Compresses with PostgreSQL's default strategy; made once and used again, since the tables are
/// large.
#[derive(Clone, Debug)]
pub struct Compressor {
    /// The newest entry with each hash; `NONE` if there is none.
    lists: Box<[u16; MAX_HISTORY_LISTS]>,
    /// What was seen at a position and where to look next, in a ring.
    entries: Box<[Entry; HISTORY_SIZE]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    position: u32,
    /// The entry before with the same hash.
    older: u16,
}

const NONE: u16 = u16::MAX;

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor::new()
    }
}

impl Compressor {
    /// Tables for one compression after the other.
    pub fn new() -> Compressor {
        let entry = Entry {
            position: 0,
            older: NONE,
        };
        Compressor {
            lists: Box::new([NONE; MAX_HISTORY_LISTS]),
            entries: Box::new([entry; HISTORY_SIZE]),
        }
    }

    /// Compresses `source` to the end of `destination`, which grows by less than three quarters of
    /// `source`. Where that cannot be done, nor anything repeated be found at first, it gives
    /// `false` and `destination` is as it was; so too for a `source` of 4 GiB or more.
    pub fn compress(&mut self, source: &[u8], destination: &mut Vec<u8>) -> bool {
        let start = destination.len();
        let done = self.try_compress(source, destination).is_some();
        if !done {
            destination.truncate(start);
        }
        done
    }

    fn try_compress(&mut self, source: &[u8], destination: &mut Vec<u8>) -> Option<()> {
        if source.len() < MIN_INPUT_SIZE || u32::try_from(source.len()).is_err() {
            return None;
        }
        let start = destination.len();
        let limit = (source.len() as u64 * (100 - MIN_COMPRESSION_RATE) / 100) as usize;
        let mask = list_count(source.len()) - 1;
        self.lists[..=mask].fill(NONE);
        let mut control_at = start;
        let mut control_bit = 0_u8;
        let mut found_match = false;
        let mut at = 0;
        while at < source.len() {
            let written = destination.len() - start;
            if written >= limit || (!found_match && written >= FIRST_SUCCESS_BY) {
                return None;
            }
            if control_bit == 0 {
                control_at = destination.len();
                destination.push(0);
                control_bit = 1;
            }
            let end = if let Some((length, offset)) = self.find_match(source, at, mask) {
                destination[control_at] |= control_bit;
                let high = (offset >> 4 & 0xf0) as u8;
                let low = offset as u8;
                if length > 17 {
                    destination.extend([high | 0x0f, low, (length - 18) as u8]);
                } else {
                    destination.extend([high | (length - 3) as u8, low]);
                }
                found_match = true;
                at + length
            } else {
                destination.push(source[at]);
                at + 1
            };
            control_bit <<= 1;
            while at < end {
                self.remember(source, at, mask);
                at += 1;
            }
        }
        (destination.len() - start < limit).then_some(())
    }

    /// The length and offset of the longest match that the search comes upon.
    fn find_match(&self, source: &[u8], at: usize, mask: usize) -> Option<(usize, usize)> {
        let mut best = (0, 0);
        let mut good_match = GOOD_MATCH;
        let mut entry = self.lists[hash(&source[at..], mask)];
        let most = MAX_MATCH.min(source.len() - at);
        // Entries that were overwritten are found through older ones: then the position is not
        // before the one that led there, and the list ends.
        let mut newer = at;
        while entry != NONE {
            let Entry { position, older } = self.entries[usize::from(entry)];
            let position = position as usize;
            let offset = at - position.min(at);
            if position >= newer || offset > MAX_OFFSET {
                break;
            }
            newer = position;
            let length = source[at..at + most]
                .iter()
                .zip(&source[position..])
                .take_while(|(new, old)| new == old)
                .count();
            if length > best.0 {
                best = (length, offset);
            }
            entry = older;
            if best.0 >= good_match {
                break;
            }
            good_match -= good_match * GOOD_MATCH_DROP / 100;
        }
        (best.0 > 2).then_some(best)
    }

    fn remember(&mut self, source: &[u8], at: usize, mask: usize) {
        let list = &mut self.lists[hash(&source[at..], mask)];
        let slot = at % HISTORY_SIZE;
        self.entries[slot] = Entry {
            position: at as u32,
            older: *list,
        };
        *list = slot as u16;
    }
}

/// How many lists an input of `length` bytes gets: a power of two.
const fn list_count(length: usize) -> usize {
    match length {
        0..128 => 512,
        128..256 => 1024,
        256..512 => 2048,
        512..1024 => 4096,
        _ => MAX_HISTORY_LISTS,
    }
}

/// The list of the first four bytes, or of the first if there are fewer.
fn hash(bytes: &[u8], mask: usize) -> usize {
    // PostgreSQL's bytes are C's char, which is signed on the machines that these formats are for.
    let byte = |at: usize| bytes[at] as i8 as i32;
    let hash = if bytes.len() < 4 {
        byte(0)
    } else {
        byte(0) << 6 ^ byte(1) << 4 ^ byte(2) << 2 ^ byte(3)
    };
    hash as usize & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(source: &[u8]) -> Option<usize> {
        let mut compressed = b"before".to_vec();
        if !Compressor::new().compress(source, &mut compressed) {
            assert_eq!(compressed, b"before");
            return None;
        }
        let compressed = &compressed[6..];
        let mut restored = vec![0xee; source.len()];
        assert_eq!(decompress(compressed, &mut restored), Ok(()));
        assert_eq!(restored, source);
        // One byte more or less is not what was compressed.
        let mut longer = vec![0; source.len() + 1];
        assert_eq!(decompress(compressed, &mut longer), Err(PglzError));
        Some(compressed.len())
    }

    #[test]
    fn repeated_bytes_become_short() {
        // A literal and a match; a literal, 30 matches of 273 bytes, a literal.
        assert_eq!(round_trip(&[7; 100]), Some(1 + 1 + 3));
        assert_eq!(round_trip(&[0; 8192]), Some(4 + 1 + 30 * 3 + 1));
    }

    #[test]
    fn what_cannot_be_compressed_is_refused() {
        assert_eq!(round_trip(&[0; 31]), None);
        let mut state = 1_u64;
        let random: Vec<u8> = (0..4096)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        assert_eq!(round_trip(&random), None);
    }

    #[test]
    fn matches_are_found_however_far_back_they_may_be() {
        let phrase = b"a phrase that comes again";
        for distance in [40, 1000, 4000, 4070] {
            let mut source = phrase.to_vec();
            source.resize(distance, b'.');
            source.extend_from_slice(phrase);
            assert!(round_trip(&source).is_some());
        }
    }

    #[test]
    fn damaged_bytes_are_told() {
        let mut page = [0; 64];
        // An offset of zero; one before the beginning; an end amid an item.
        for source in [
            &[1, 0x00, 0x00][..],
            &[2, 9, 0x00, 0x02],
            &[2, 9, 0x0f, 0x01],
        ] {
            assert_eq!(decompress(source, &mut page), Err(PglzError));
        }
        assert_eq!(decompress(&[2, 9, 0x0f, 1, 44], &mut page), Err(PglzError));
        for length in [45, 60] {
            assert_eq!(decompress(&[2, 9, 0x0f, 1, length], &mut page), Ok(()));
            assert_eq!(page, [9; 64]);
        }
        assert_eq!(
            decompress(&[2, 9, 0x0f, 1, 45, 0], &mut page),
            Err(PglzError)
        );
        assert_eq!(decompress(&[], &mut []), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decompressed_without_panic(
            source in proptest::collection::vec(any::<u8>(), 0..200), length in 0_usize..500,
        ) {
            let _ = decompress(&source, &mut vec![0; length]);
        }

        #[test]
        fn words_survive(words in proptest::collection::vec(0_u8..20, 0..3000)) {
            let source: Vec<u8> = words
                .iter()
                .flat_map(|&word| [word, 255 - word, word.wrapping_mul(77), 3])
                .collect();
            round_trip(&source);
        }
    }
}
