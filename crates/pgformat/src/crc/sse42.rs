//! The CRC with SSE4.2's instruction, for short pieces: a record of the log has several of a few
//! bytes each, for which setting up anything wider takes longer than the sum.

#![expect(
    unsafe_code,
    reason = "calling a function compiled for SSE4.2 after detecting it"
)]

use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};

/// The state after `bytes`, if the machine has SSE4.2.
#[inline]
pub(super) fn update(state: u32, bytes: &[u8]) -> Option<u32> {
    if !std::arch::is_x86_feature_detected!("sse4.2") {
        return None;
    }
    // SAFETY: the machine has SSE4.2, the only thing that the function requires.
    Some(unsafe { with_sse42(state, bytes) })
}

#[target_feature(enable = "sse4.2")]
fn with_sse42(state: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(u64::from(state), |state, word| {
        _mm_crc32_u64(state, u64::from_le_bytes(*word))
    });
    rest.iter()
        .fold(state as u32, |state, &byte| _mm_crc32_u8(state, byte))
}
