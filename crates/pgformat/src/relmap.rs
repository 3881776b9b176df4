//! `pg_filenode.map`: the files of the catalogs that must be found before the catalogs can be read
//! (`RelMapFile` in `cache/relmapper.c`).
//!
//! ```text
//!  0         4              8                                     520   524
//! | 0x592717 | num_mappings | 64 x (catalog's oid, file's number) | CRC-32C |
//! ```
//!
//! The CRC covers everything before it; unused mappings are zeros.

use crate::crc::crc32c;
use crate::ids::Oid;
use thiserror::Error;

/// Bytes of the file.
pub const RELMAP_FILE_SIZE: usize = 524;

/// The most mappings that a file has (`MAX_MAPPINGS`).
pub const MAX_MAPPINGS: usize = 64;

const RELMAPPER_FILEMAGIC: u32 = 0x0059_2717;
const MAPPINGS: usize = 8;
const CRC: usize = RELMAP_FILE_SIZE - 4;

/// Why bytes are no relation map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RelMapError {
    /// The file is too short, or does not begin as a map does.
    #[error("relation mapping file contains invalid data")]
    InvalidData,
    /// The CRC does not match.
    #[error("relation mapping file contains incorrect checksum")]
    Checksum,
    /// More mappings than a file holds.
    #[error("ran out of space in relation map")]
    Full,
}

/// The contents of a relation map.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RelMap {
    mappings: Vec<(Oid, u32)>,
}

impl RelMap {
    /// Parses the contents of a `pg_filenode.map`.
    pub fn decode(bytes: &[u8]) -> Result<RelMap, RelMapError> {
        let Some(file) = bytes.first_chunk::<RELMAP_FILE_SIZE>() else {
            return Err(RelMapError::InvalidData);
        };
        let word =
            |at: usize| u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
        let count = word(4) as usize;
        if word(0) != RELMAPPER_FILEMAGIC || count > MAX_MAPPINGS {
            return Err(RelMapError::InvalidData);
        }
        if word(CRC) != crc32c(&file[..CRC]) {
            return Err(RelMapError::Checksum);
        }
        let mappings = (0..count)
            .map(|index| MAPPINGS + index * 8)
            .map(|at| (Oid(word(at)), word(at + 4)))
            .collect();
        Ok(RelMap { mappings })
    }

    /// The contents of the file.
    pub fn encode(&self) -> [u8; RELMAP_FILE_SIZE] {
        let mut file = [0; RELMAP_FILE_SIZE];
        let mut put = |at: usize, word: u32| file[at..at + 4].copy_from_slice(&word.to_le_bytes());
        put(0, RELMAPPER_FILEMAGIC);
        put(4, self.mappings.len() as u32);
        for (index, (catalog, file_number)) in self.mappings.iter().enumerate() {
            put(MAPPINGS + index * 8, catalog.0);
            put(MAPPINGS + index * 8 + 4, *file_number);
        }
        let crc = crc32c(&file[..CRC]);
        file[CRC..].copy_from_slice(&crc.to_le_bytes());
        file
    }

    /// The file's number of `catalog`, if it is mapped.
    pub fn get(&self, catalog: Oid) -> Option<u32> {
        self.mappings
            .iter()
            .find(|(mapped, _)| *mapped == catalog)
            .map(|(_, file_number)| *file_number)
    }

    /// Maps `catalog` to `file_number`, replacing what it was mapped to.
    pub fn set(&mut self, catalog: Oid, file_number: u32) -> Result<(), RelMapError> {
        if let Some(mapping) = self.mappings.iter_mut().find(|(oid, _)| *oid == catalog) {
            mapping.1 = file_number;
            return Ok(());
        }
        if self.mappings.len() >= MAX_MAPPINGS {
            return Err(RelMapError::Full);
        }
        self.mappings.push((catalog, file_number));
        Ok(())
    }

    /// All mappings in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (Oid, u32)> {
        self.mappings.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_64_mappings_and_replaces_without_growing() {
        let mut map = RelMap::default();
        for oid in 1..=64 {
            assert_eq!(map.set(Oid(oid), oid + 100), Ok(()));
        }
        assert_eq!(map.set(Oid(65), 1), Err(RelMapError::Full));
        assert_eq!(map.set(Oid(64), 7), Ok(()));
        assert_eq!(map.get(Oid(64)), Some(7));
        assert_eq!(map.get(Oid(65)), None);
        assert_eq!(RelMap::decode(&map.encode()), Ok(map));
    }

    #[test]
    fn a_changed_byte_is_found() {
        let mut map = RelMap::default();
        map.set(Oid(1259), 1259).unwrap();
        let mut file = map.encode();
        file[9] ^= 1;
        assert_eq!(RelMap::decode(&file), Err(RelMapError::Checksum));
        file[0] ^= 1;
        assert_eq!(RelMap::decode(&file), Err(RelMapError::InvalidData));
        let file = map.encode();
        assert_eq!(RelMap::decode(&file[..523]), Err(RelMapError::InvalidData));
    }

    proptest! {
        #[test]
        fn any_count_and_bytes_are_read_without_panic(
            count in any::<u32>(), fill in any::<u8>(), length in 0_usize..600,
        ) {
            let mut file = vec![fill; length.max(8)];
            file[..4].copy_from_slice(&RELMAPPER_FILEMAGIC.to_le_bytes());
            file[4..8].copy_from_slice(&count.to_le_bytes());
            if let Some(covered) = file.get(..CRC) {
                let crc = crc32c(covered).to_le_bytes();
                if let Some(stored) = file.get_mut(CRC..RELMAP_FILE_SIZE) {
                    stored.copy_from_slice(&crc);
                }
            }
            if let Ok(map) = RelMap::decode(&file) {
                prop_assert_eq!(map.iter().count(), count as usize);
            }
        }
    }
}
