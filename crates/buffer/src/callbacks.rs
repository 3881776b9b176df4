//! The shared callbacks of buffer I/O: what a read or a write in flight owns, and what its completion
//! does to the buffers, on whichever thread (A7).
#![expect(
    unsafe_code,
    reason = "looks at pages that a completed read has filled"
)]

use crate::damage::{DamageCount, PageFailure, Verdict};
use crate::damage_log::DamagedPage;
use crate::frames::Frames;
use crate::reader::ReadFlags;
use crate::tag::RelFork;
use std::fmt;
use std::sync::{Arc, OnceLock};
use trunkline_aio::{CallbackId, IoResult, IoView, SharedCallbacks};
use trunkline_pgformat::checksum::PageError;
use trunkline_pgformat::{BLCKSZ, BlockNumber, PageBytes, PageRef, verify_page};
use trunkline_smgr::{decode_relation_tag, describe_blocks};

/// Callbacks of a read into shared buffers. The I/O's data are the buffers' indexes, the callback's
/// the read's flags.
pub(crate) struct ReadCallbacks {
    frames: Arc<Frames>,
    id: OnceLock<CallbackId>,
}

impl ReadCallbacks {
    pub(crate) fn new(frames: Arc<Frames>) -> ReadCallbacks {
        ReadCallbacks {
            frames,
            id: OnceLock::new(),
        }
    }

    /// Tells it the id that it was registered under, before its first I/O.
    pub(crate) fn set_id(&self, id: CallbackId) {
        self.id.get_or_init(|| id);
    }

    /// What is wrong with the page of a buffer, just read as `block`, and what becomes of it.
    fn judge(
        &self,
        buffer: u32,
        block: BlockNumber,
        flags: ReadFlags,
    ) -> Option<(Verdict, PageFailure)> {
        let page = self.frames.page(buffer);
        // SAFETY: the read of this buffer is over and it is not published yet: nobody else looks at
        // the page (`Frames`, rule 3).
        let bytes = unsafe { page.as_ref() };
        let failure = match verify_page(bytes, block, self.frames.checksums) {
            Ok(()) => return None,
            Err(PageError::Checksum {
                calculated,
                expected,
            }) => PageFailure::Checksum {
                found: calculated,
                expected,
            },
            Err(PageError::Header(_)) => PageFailure::Header,
        };
        let verdict =
            if flags.ignore_checksum_failures && PageRef::new(bytes).check_header().is_ok() {
                Verdict::Ignored
            } else if flags.zero_on_error {
                // SAFETY: as above, and `bytes` is not used any more.
                unsafe { page.write([0; BLCKSZ]) };
                Verdict::Zeroed
            } else {
                Verdict::Invalid
            };
        Some((verdict, failure))
    }
}

impl SharedCallbacks for ReadCallbacks {
    fn name(&self) -> &'static str {
        "shared_buffer_readv"
    }

    fn stage(&self, io: &IoView<'_>) {
        for &buffer in io.data() {
            self.frames.descriptor(buffer).stage_io(io.wait_ref());
        }
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        let (rel, fork, first) = decode_relation_tag(&io.target());
        let flags = ReadFlags::from_bits(io.callback_data());
        let readable = prior.bytes() as usize / size_of::<PageBytes>();
        let mut damage = DamageCount::default();
        for (nth, &buffer) in (0u32..).zip(io.data()) {
            let block = first + nth;
            let mut good = (nth as usize) < readable;
            if good && let Some((verdict, failure)) = self.judge(buffer, block, flags) {
                damage.add(nth, verdict, failure);
                self.frames.damage.note(DamagedPage {
                    rel_fork: RelFork::new(rel, fork),
                    block,
                    verdict,
                    failure,
                });
                good = verdict != Verdict::Invalid;
            }
            self.frames.descriptor(buffer).finish_read(good);
        }
        let failure = self.id.get().and_then(|id| damage.encode(*id));
        match failure {
            None => prior,
            Some(failure) if damage.has_invalid() => IoResult::Error(failure),
            // That blocks are missing as well, the number of bytes says.
            Some(failure) => IoResult::Warning {
                bytes: prior.bytes(),
                failure,
            },
        }
    }

    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe(io, out)
    }
}

/// Callbacks of a write from shared buffers. The I/O's data are the buffers' indexes; it owns their
/// content locks in share-exclusive mode, and pins.
pub(crate) struct WriteCallbacks {
    frames: Arc<Frames>,
}

impl WriteCallbacks {
    pub(crate) fn new(frames: Arc<Frames>) -> WriteCallbacks {
        WriteCallbacks { frames }
    }
}

impl SharedCallbacks for WriteCallbacks {
    fn name(&self) -> &'static str {
        "shared_buffer_writev"
    }

    fn stage(&self, io: &IoView<'_>) {
        for &buffer in io.data() {
            self.frames.descriptor(buffer).stage_io(io.wait_ref());
        }
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        let written = prior.bytes() as usize / size_of::<PageBytes>();
        for (nth, &buffer) in io.data().iter().enumerate() {
            self.frames.descriptor(buffer).finish_write(nth < written);
        }
        prior
    }

    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe(io, out)
    }
}

fn describe(io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    describe_blocks(&io.target(), io.data().len() as u64, out)
}
