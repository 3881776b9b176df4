//! Direct I/O on an open file, in the way of each system.

use std::fs;
use std::io;

use crate::file::DirectAlignment;

/// Switches an open file over to direct I/O; the inner error says why it
/// stayed buffered.
///
/// # Errors
/// The file's properties could not be read.
#[cfg(target_os = "linux")]
pub(crate) fn switch_to_direct(file: &fs::File) -> io::Result<Result<DirectAlignment, String>> {
    use rustix::fs::{AtFlags, OFlags, StatxFlags};

    // STATX_DIOALIGN, Linux 6.1.
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
    let reported = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    let (memory_bytes, offset_bytes) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
    let alignment_limit = crate::memory::AlignedBuf::ALIGNMENT_BYTES;
    let usable = |bytes: u32| bytes.is_power_of_two() && bytes as usize <= alignment_limit;
    if !(reported && usable(memory_bytes) && usable(offset_bytes)) {
        return Ok(Err("the file system does not offer it".to_owned()));
    }
    let flags = rustix::fs::fcntl_getfl(file)?;
    match rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT) {
        Ok(()) => Ok(Ok(DirectAlignment {
            memory_bytes,
            offset_bytes,
        })),
        Err(errno) => Ok(Err(errno.to_string())),
    }
}

/// What direct I/O is held to where the system does not say what it demands:
/// enough for every device.
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
const CAREFUL: DirectAlignment = DirectAlignment {
    memory_bytes: 4096,
    offset_bytes: 4096,
};

/// `O_DIRECT` of FreeBSD asks for as little caching as the file system can do.
#[cfg(target_os = "freebsd")]
pub(crate) fn switch_to_direct(file: &fs::File) -> io::Result<Result<DirectAlignment, String>> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    match rustix::fs::fcntl_setfl(file, flags | rustix::fs::OFlags::DIRECT) {
        Ok(()) => Ok(Ok(CAREFUL)),
        Err(errno) => Ok(Err(errno.to_string())),
    }
}

/// `F_NOCACHE` keeps what is transferred from now on out of the cache.
#[cfg(target_vendor = "apple")]
pub(crate) fn switch_to_direct(file: &fs::File) -> io::Result<Result<DirectAlignment, String>> {
    match rustix::fs::fcntl_nocache(file, true) {
        Ok(()) => Ok(Ok(CAREFUL)),
        Err(errno) => Ok(Err(errno.to_string())),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple")))]
pub(crate) fn switch_to_direct(_: &fs::File) -> io::Result<Result<DirectAlignment, String>> {
    Ok(Err("the system does not offer it".to_owned()))
}
