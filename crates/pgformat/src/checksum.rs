//! The page checksum (`storage/checksum_impl.h`) and the verification of a page that was read
//! (`PageIsVerified` in `page/bufpage.c`).
//!
//! The page is a table of 64 rows and 32 columns of 32-bit words. Each column is hashed on its own
//! with a variant of FNV-1a, two rounds of zeros are mixed in, the columns are xored together
//! with the block number, and the result is folded to 1..=65535. The stored checksum itself counts
//! as zero.
//!
//! A column's next step waits for its multiplication, so speed comes from hashing many columns at
//! once: with AVX2, chosen at run time, four registers of eight; elsewhere as many as the target's
//! baseline vectors allow.

use crate::ids::{BLCKSZ, BlockNumber};
use crate::page::{PageBytes, PageHeaderError, PageRef};
use thiserror::Error;

const COLUMNS: usize = 32;
const ROW_SIZE: usize = COLUMNS * 4;
const FNV_PRIME: u32 = 16_777_619;

/// Where each column's hash starts (`checksumBaseOffsets`).
pub const BASE_OFFSETS: [u32; COLUMNS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// Why a page that was read cannot be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PageError {
    /// The bytes are not those that were written, or were written for another block.
    #[error("page verification failed, calculated checksum {calculated} but expected {expected}")]
    Checksum {
        /// The checksum of the bytes as they are.
        calculated: u16,
        /// The checksum that the page carries.
        expected: u16,
    },
    /// The header makes no sense.
    #[error(transparent)]
    Header(#[from] PageHeaderError),
}

/// The checksum of `page` as block `block` of its fork, blocks counted across segments. What the
/// page's checksum field holds does not matter. A page of zeros has a checksum too, but none is
/// ever stored in one.
#[inline]
pub fn page_checksum(page: &PageBytes, block: BlockNumber) -> u16 {
    let hash = page_hash(page) ^ block;
    // Never zero, so that zero can mean that there is none.
    (hash % 65_535 + 1) as u16
}

/// Checks a page that was just read as block `block` of its fork: the checksum, if the cluster has
/// checksums, and the header. A page of zeros, allocated and never written, is sound.
pub fn verify_page(
    page: &PageBytes,
    block: BlockNumber,
    has_checksums: bool,
) -> Result<(), PageError> {
    let view = PageRef::new(page);
    if has_checksums && !view.is_new() {
        let calculated = page_checksum(page, block);
        let expected = view.checksum();
        if calculated != expected {
            return Err(PageError::Checksum {
                calculated,
                expected,
            });
        }
    }
    view.check_header()?;
    Ok(())
}

#[inline]
fn page_hash(page: &PageBytes) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(hash) = avx2::page_hash(page) {
        return hash;
    }
    columns_hash(page)
}

/// One step of one column.
#[inline(always)]
fn mix(sum: u32, word: u32) -> u32 {
    let mixed = sum ^ word;
    mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17)
}

/// One step of all columns.
#[inline(always)]
fn mix_row(sums: &mut [u32; COLUMNS], row: &[u8; ROW_SIZE]) {
    let (words, _) = row.as_chunks::<4>();
    for (sum, word) in sums.iter_mut().zip(words) {
        *sum = mix(*sum, u32::from_le_bytes(*word));
    }
}

/// The first row with the checksum, the low half of its third word, as zero.
#[inline(always)]
fn first_row(page: &PageBytes) -> [u8; ROW_SIZE] {
    let mut row = [0; ROW_SIZE];
    row.copy_from_slice(&page[..ROW_SIZE]);
    row[8..10].fill(0);
    row
}

/// The hash before the block number is mixed in. Inlined into each caller, so that it is compiled
/// once for each set of instructions.
#[inline(always)]
fn columns_hash(page: &PageBytes) -> u32 {
    const { assert!(BLCKSZ.is_multiple_of(ROW_SIZE)) };
    let mut sums = BASE_OFFSETS;
    // The first row apart: a test in the loop would cost a multiple of what it saves.
    mix_row(&mut sums, &first_row(page));
    let (rows, _) = page.as_chunks::<ROW_SIZE>();
    for row in &rows[1..] {
        mix_row(&mut sums, row);
    }
    for _ in 0..2 {
        mix_row(&mut sums, &[0; ROW_SIZE]);
    }
    sums.iter().fold(0, |hash, sum| hash ^ sum)
}

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PageMut;
    use proptest::prelude::*;

    fn sound_page(seed: u8) -> Box<PageBytes> {
        let mut page = Box::new([0; BLCKSZ]);
        let mut view = PageMut::new(&mut page);
        view.init(0);
        view.add_item(&[seed; 100]).unwrap();
        page
    }

    #[test]
    fn the_stored_checksum_does_not_count_and_the_block_does() {
        let mut page = sound_page(1);
        let checksum = page_checksum(&page, 5);
        PageMut::new(&mut page).set_checksum(0x1234);
        assert_eq!(page_checksum(&page, 5), checksum);
        assert_ne!(page_checksum(&page, 6), checksum);
    }

    #[test]
    fn verification_finds_every_flipped_byte_of_a_page() {
        let mut page = sound_page(2);
        let checksum = page_checksum(&page, 77);
        PageMut::new(&mut page).set_checksum(checksum);
        assert_eq!(verify_page(&page, 77, true), Ok(()));
        assert!(matches!(
            verify_page(&page, 78, true),
            Err(PageError::Checksum { .. })
        ));
        for at in (0..BLCKSZ).step_by(7) {
            page[at] ^= 0x10;
            assert!(verify_page(&page, 77, true).is_err(), "byte {at}");
            page[at] ^= 0x10;
        }
    }

    #[test]
    fn without_checksums_the_header_is_still_checked() {
        let mut page = sound_page(3);
        assert_eq!(verify_page(&page, 0, false), Ok(()));
        page[10] = 0xff;
        assert!(matches!(
            verify_page(&page, 0, false),
            Err(PageError::Header(PageHeaderError::Flags { .. }))
        ));
        assert_eq!(verify_page(&[0; BLCKSZ], 3, true), Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// One word at a time, as the format's definition reads.
        #[test]
        fn every_instruction_set_agrees_with_the_definition(
            seed in any::<[u8; 32]>(),
            block in any::<u32>(),
        ) {
            let mut page = [0; BLCKSZ];
            for (at, byte) in page.iter_mut().enumerate() {
                *byte = seed[at % 32].wrapping_mul(at as u8).wrapping_add((at >> 8) as u8);
            }
            let mut hash = 0;
            for (column, start) in BASE_OFFSETS.iter().enumerate() {
                let mut sum = *start;
                for row in 0..BLCKSZ / ROW_SIZE {
                    let at = row * ROW_SIZE + column * 4;
                    let mut word = u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
                    if at == 8 {
                        word &= 0xffff_0000;
                    }
                    sum = mix(sum, word);
                }
                hash ^= mix(mix(sum, 0), 0);
            }
            prop_assert_eq!(columns_hash(&page), hash);
            prop_assert_eq!(page_hash(&page), hash);
            prop_assert_eq!(u32::from(page_checksum(&page, block)), (hash ^ block) % 65_535 + 1);
        }
    }
}
