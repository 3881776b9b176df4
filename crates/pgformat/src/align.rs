//! Alignment of tuples and of the values in them (`c.h`, `access/tupmacs.h`).

/// The largest alignment of any type, and that of tuples (PostgreSQL's `MAXIMUM_ALIGNOF`).
pub const MAXIMUM_ALIGNOF: usize = 8;

/// The next multiple of `alignment`, a power of two, at or after `offset`.
#[inline]
pub const fn align_up(offset: usize, alignment: usize) -> usize {
    debug_assert!(alignment.is_power_of_two());
    (offset + (alignment - 1)) & !(alignment - 1)
}

/// `MAXALIGN`: the next multiple of eight at or after `size`.
#[inline]
pub const fn max_align(size: usize) -> usize {
    align_up(size, MAXIMUM_ALIGNOF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_to_the_next_multiple() {
        for (size, aligned) in [(0, 0), (1, 8), (7, 8), (8, 8), (23, 24), (8160, 8160)] {
            assert_eq!(max_align(size), aligned);
        }
        assert_eq!(align_up(5, 4), 8);
        assert_eq!(align_up(5, 1), 5);
    }
}
