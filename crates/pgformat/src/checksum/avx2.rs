//! The page's hash compiled for AVX2.
//!
//! The loop is the portable one; 256-bit multiplications hold all 32 columns in four registers.

#![expect(
    unsafe_code,
    reason = "calling a function compiled for AVX2 after detecting it"
)]

use crate::page::PageBytes;

/// The hash of `page`, if the machine has AVX2.
#[inline]
pub(super) fn page_hash(page: &PageBytes) -> Option<u32> {
    if !std::arch::is_x86_feature_detected!("avx2") {
        return None;
    }
    // SAFETY: the machine has AVX2, the only thing that the function requires.
    Some(unsafe { with_avx2(page) })
}

#[target_feature(enable = "avx2")]
fn with_avx2(page: &PageBytes) -> u32 {
    super::columns_hash(page)
}
