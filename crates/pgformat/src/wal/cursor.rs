//! Taking little-endian fields off the front of bytes, each a question whether it is there.

use crate::ids::{ForkNumber, Lsn, Oid, RelFileLocator, Xid};

/// Bytes that were not taken yet. After something was not there, what is left does not matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub const fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor(bytes)
    }

    /// What was not taken yet.
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Leaves out padding.
    pub fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    /// Whether everything was taken.
    pub const fn end(self) -> Option<()> {
        if self.0.is_empty() { Some(()) } else { None }
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// C's `bool`: anything but zero is true.
    pub fn bool(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn xid(&mut self) -> Option<Xid> {
        self.u32().map(Xid)
    }

    pub fn oid(&mut self) -> Option<Oid> {
        self.u32().map(Oid)
    }

    pub fn lsn(&mut self) -> Option<Lsn> {
        self.u64().map(Lsn)
    }

    pub fn locator(&mut self) -> Option<RelFileLocator> {
        Some(RelFileLocator {
            spc_oid: self.oid()?,
            db_oid: self.oid()?,
            rel_number: self.u32()?,
        })
    }

    /// `count` things of `size` bytes each; that many bytes are there before anything is made of
    /// them.
    pub fn array_of<T>(
        &mut self,
        count: usize,
        size: usize,
        mut one: impl FnMut(&mut Cursor<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut items = Cursor(self.take(count.checked_mul(size)?)?);
        (0..count).map(|_| one(&mut items)).collect()
    }

    /// A count as C's `int`, and that many things of `size` bytes each.
    pub fn counted<T>(
        &mut self,
        size: usize,
        one: impl FnMut(&mut Cursor<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(self.i32()?).ok()?;
        self.array_of(count, size, one)
    }
}

/// The fork that has this number in a record.
pub(super) fn fork_from_number(number: u32) -> Option<ForkNumber> {
    ForkNumber::ALL.get(number as usize).copied()
}
