//! Transaction ids that never wrap: the 32-bit id with its epoch.

use std::fmt;

use trunkline_pgformat::Xid;

/// A 64-bit transaction id (`FullTransactionId`): epoch in the upper half, [`Xid`] in the lower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FullXid(pub u64);

impl FullXid {
    /// The first id that a new cluster gives to a transaction.
    pub const FIRST_NORMAL: FullXid = FullXid(3);

    /// The id as pages carry it.
    pub const fn xid(self) -> Xid {
        Xid(self.0 as u32)
    }

    /// How often the 32-bit counter has wrapped.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The next id whose 32-bit form is normal (`FullTransactionIdAdvance`).
    #[must_use]
    pub const fn next(self) -> FullXid {
        let mut next = self.0 + 1;
        while next as u32 <= Xid::FROZEN.0 {
            next += 1;
        }
        FullXid(next)
    }

    /// The previous id whose 32-bit form is normal (`FullTransactionIdRetreat`).
    ///
    /// # Panics
    /// At ids of the first epoch's start, which have no predecessor; see `FIRST_NORMAL`.
    #[must_use]
    pub const fn previous(self) -> FullXid {
        assert!(
            self.0 > Xid::BOOTSTRAP.0 as u64,
            "no transaction id precedes this one"
        );
        let mut previous = self.0 - 1;
        if previous > Xid::FROZEN.0 as u64 {
            while previous as u32 <= Xid::FROZEN.0 {
                previous -= 1;
            }
        }
        FullXid(previous)
    }

    /// The full id of a normal `xid` that is at most 2^31 ids older than `self`, or newer; how an
    /// id found on a page is put into the epoch it must come from.
    pub const fn nearest(self, xid: Xid) -> FullXid {
        let distance = xid.0.wrapping_sub(self.0 as u32) as i32;
        FullXid(self.0.wrapping_add_signed(distance as i64))
    }
}

impl fmt::Display for FullXid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for FullXid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FullXid({}:{})", self.epoch(), self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn special_ids_are_skipped_at_each_epoch() {
        let last = FullXid(u64::from(u32::MAX));
        assert_eq!(last.next(), FullXid((1 << 32) + 3));
        assert_eq!(last.next().previous(), last);
        assert_eq!(FullXid(3).previous(), FullXid(2));
    }

    proptest! {
        #[test]
        fn nearest_inverts_truncation(at in 1u64 << 31..u64::MAX / 2, back in 0u64..(1 << 31)) {
            prop_assert_eq!(FullXid(at).nearest(FullXid(at - back).xid()), FullXid(at - back));
        }

        /// PostgreSQL's 32-bit comparison agrees with the true order of ids less than 2^31 apart.
        #[test]
        fn precedes_is_the_order_of_full_ids(a in 3u64..1 << 40, distance in 0u64..(1 << 31)) {
            let (a, b) = (FullXid(a), FullXid(a + distance));
            prop_assume!(a.xid().is_normal() && b.xid().is_normal());
            prop_assert_eq!(a.xid().precedes(b.xid()), a < b);
            prop_assert!(!b.xid().precedes(a.xid()));
            prop_assert!(a.xid().precedes_or_equals(b.xid()));
        }

        #[test]
        fn special_ids_precede_all_normal_ones(xid in 3u32..) {
            prop_assert!(Xid::FROZEN.precedes(Xid(xid)) && Xid::BOOTSTRAP.precedes(Xid(xid)));
            prop_assert!(!Xid(xid).precedes(Xid::FROZEN));
        }
    }
}
