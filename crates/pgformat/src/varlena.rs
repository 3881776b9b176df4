//! Headers of variable-length values (`varatt.h`).
//!
//! ```text
//! first byte    form                                              aligned
//! .......1      short: 1-byte header, length 1..=127 in the upper seven bits    no
//! 00000001      external: tag byte, then a TOAST pointer                        no
//! ......00      long: 4-byte header, length in the upper thirty bits            to 4
//! ......10      compressed: as long, then raw size (30 bits) and method (2)     to 4
//! ```
//!
//! Lengths include the header. A zero byte never begins a short value, which is how padding is
//! told from one.

use thiserror::Error;

/// Bytes of a long header (`VARHDRSZ`).
pub const LONG_HEADER_SIZE: usize = 4;

/// Bytes of a short header (`VARHDRSZ_SHORT`).
pub const SHORT_HEADER_SIZE: usize = 1;

/// The longest payload that a short header can carry.
pub const SHORT_PAYLOAD_MAX: usize = 126;

/// The longest payload that a long header can carry.
pub const LONG_PAYLOAD_MAX: usize = (1 << 30) - 1 - LONG_HEADER_SIZE;

/// Why there is no value to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum VarlenaError {
    /// The value ends after the bytes do, or before its own header does.
    #[error("variable-length value of {size} bytes where {available} bytes are left")]
    Length {
        /// What the header says, itself included.
        size: usize,
        /// What is there.
        available: usize,
    },
    /// An external value of a kind that no table holds.
    #[error("unknown tag {tag} of an external value")]
    Tag {
        /// The tag as found.
        tag: u8,
    },
    /// The value is stored outside the tuple.
    #[error("value is stored outside its tuple (TOAST)")]
    External,
    /// The value is compressed.
    #[error("value is compressed")]
    Compressed,
}

/// How a value is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VarlenaForm {
    /// One-byte header.
    Short,
    /// Four-byte header.
    Long,
    /// Four-byte header, compressed.
    Compressed,
    /// A pointer to a value stored elsewhere.
    External,
}

/// Tags of external values (`vartag_external`) and the size of what follows the tag.
const EXTERNAL_SIZES: [(u8, usize); 4] = [(1, 8), (2, 8), (3, 8), (18, 16)];

/// Whether a payload of this length gets a short header, if its type's storage allows one.
#[inline]
pub const fn fits_short(payload_length: usize) -> bool {
    payload_length <= SHORT_PAYLOAD_MAX
}

/// Whether a value that begins with `first` has a one-byte header and so is not aligned
/// (`VARATT_NOT_PAD_BYTE` says the same of a place that may hold padding).
#[inline]
pub const fn is_unaligned(first: u8) -> bool {
    first & 1 != 0
}

/// The form and the whole size, header included, of the value that `bytes` begin with
/// (`VARSIZE_ANY`); the value lies within `bytes`.
#[inline]
pub fn form_and_size(bytes: &[u8]) -> Result<(VarlenaForm, usize), VarlenaError> {
    let available = bytes.len();
    let Some(&first) = bytes.first() else {
        return Err(VarlenaError::Length { size: 1, available });
    };
    let (form, least, size) = if first == 1 {
        let Some(&tag) = bytes.get(1) else {
            return Err(VarlenaError::Length { size: 2, available });
        };
        let known = EXTERNAL_SIZES.iter().find(|(known, _)| *known == tag);
        let Some((_, pointer_size)) = known else {
            return Err(VarlenaError::Tag { tag });
        };
        (VarlenaForm::External, 2, 2 + pointer_size)
    } else if first & 1 != 0 {
        (
            VarlenaForm::Short,
            SHORT_HEADER_SIZE,
            usize::from(first >> 1),
        )
    } else {
        let Some(header) = bytes.first_chunk::<LONG_HEADER_SIZE>() else {
            return Err(VarlenaError::Length {
                size: LONG_HEADER_SIZE,
                available,
            });
        };
        let size = (u32::from_le_bytes(*header) >> 2) as usize;
        if first & 2 == 0 {
            (VarlenaForm::Long, LONG_HEADER_SIZE, size)
        } else {
            (VarlenaForm::Compressed, 2 * LONG_HEADER_SIZE, size)
        }
    };
    if size < least || size > available {
        return Err(VarlenaError::Length { size, available });
    }
    Ok((form, size))
}

/// The whole size, header included, of the value that `bytes` begin with, whatever its form.
#[inline]
pub fn size_any(bytes: &[u8]) -> Result<usize, VarlenaError> {
    form_and_size(bytes).map(|(_, size)| size)
}

/// The payload of the plain value that `bytes` begin with, and its whole size; a compressed or
/// external one is an error.
#[inline]
pub fn payload(bytes: &[u8]) -> Result<(&[u8], usize), VarlenaError> {
    let (form, size) = form_and_size(bytes)?;
    match form {
        VarlenaForm::Short => Ok((&bytes[SHORT_HEADER_SIZE..size], size)),
        VarlenaForm::Long => Ok((&bytes[LONG_HEADER_SIZE..size], size)),
        VarlenaForm::Compressed => Err(VarlenaError::Compressed),
        VarlenaForm::External => Err(VarlenaError::External),
    }
}

/// The header of a short value; [`fits_short`] must have said that there is one.
#[inline]
pub const fn short_header(payload_length: usize) -> u8 {
    debug_assert!(fits_short(payload_length));
    (((payload_length + SHORT_HEADER_SIZE) << 1) | 1) as u8
}

/// The header of a long value of at most [`LONG_PAYLOAD_MAX`] bytes.
#[inline]
pub const fn long_header(payload_length: usize) -> [u8; LONG_HEADER_SIZE] {
    debug_assert!(payload_length <= LONG_PAYLOAD_MAX);
    (((payload_length + LONG_HEADER_SIZE) as u32) << 2).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_and_long_headers_are_read_as_written() {
        let mut value = vec![short_header(126)];
        value.extend([7; 126]);
        assert_eq!(value[0], 0xff);
        assert_eq!(payload(&value), Ok((&[7; 126][..], 127)));
        assert_eq!(payload(&[short_header(0)]), Ok((&[][..], 1)));

        let mut value = long_header(127).to_vec();
        value.extend([8; 127]);
        assert_eq!(value[0] & 3, 0);
        value.extend(b"next");
        assert_eq!(payload(&value), Ok((&[8; 127][..], 131)));
    }

    #[test]
    fn compressed_and_external_values_have_a_size_but_no_payload() {
        let compressed = [40 | 2, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3];
        assert_eq!(
            form_and_size(&compressed),
            Ok((VarlenaForm::Compressed, 10))
        );
        assert_eq!(payload(&compressed), Err(VarlenaError::Compressed));
        let mut external = [0; 20];
        external[..2].copy_from_slice(&[1, 18]);
        assert_eq!(form_and_size(&external), Ok((VarlenaForm::External, 18)));
        assert_eq!(payload(&external), Err(VarlenaError::External));
        external[1] = 17;
        assert_eq!(size_any(&external), Err(VarlenaError::Tag { tag: 17 }));
    }

    #[test]
    fn values_that_run_past_the_end_are_errors() {
        for bytes in [
            &[][..],
            &[1],
            &[1, 18, 0],
            &[0xff],
            &[0, 0, 0],
            &[8, 0, 0, 0],
            &[24, 0, 0, 0],
        ] {
            assert!(
                matches!(size_any(bytes), Err(VarlenaError::Length { .. })),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(size) = size_any(&bytes) {
                prop_assert!(size >= 1 && size <= bytes.len());
            }
            let _ = payload(&bytes);
        }
    }
}
