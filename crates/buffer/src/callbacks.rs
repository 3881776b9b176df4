//! The shared callbacks of buffer I/O: what a read or a write in flight owns, and what its completion
//! does to the buffers, on whichever thread (A7).
#![expect(
    unsafe_code,
    reason = "looks at pages that a completed read has filled"
)]

use crate::error::PageFailure;
use crate::frames::Frames;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use trunkline_aio::{CallbackId, FailureOrigin, IoFailure, IoResult, IoView, SharedCallbacks};
use trunkline_pgformat::checksum::PageError;
use trunkline_pgformat::{BLCKSZ, BlockNumber, PageBytes, PageRef, verify_page};
use trunkline_smgr::{decode_relation_tag, describe_blocks};

/// Codes of [`IoFailure`]s made here; the first detail is the block's place in the I/O.
const CHECKSUM: i32 = 1;
const HEADER: i32 = 2;

/// What a read's failure or warning says about one of its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DamagedPage {
    /// Which block of the read.
    pub(crate) nth: u32,
    pub(crate) failure: PageFailure,
    /// Published all the same, as the settings ask: zeroed, or with its bad checksum.
    pub(crate) zeroed: bool,
}

impl DamagedPage {
    fn encode(self, origin: CallbackId) -> IoFailure {
        let (code, found, expected) = match self.failure {
            PageFailure::Checksum { found, expected } => (CHECKSUM, found, expected),
            PageFailure::Header => (HEADER, 0, 0),
        };
        IoFailure {
            origin: FailureOrigin::Callback(origin),
            code,
            detail: [self.nth, found.into(), expected.into(), self.zeroed.into()],
        }
    }

    /// What a failure that is not the system's says.
    pub(crate) fn decode(failure: &IoFailure) -> DamagedPage {
        let [nth, found, expected, zeroed] = failure.detail;
        let failure = match failure.code {
            CHECKSUM => PageFailure::Checksum {
                found: found as u16,
                expected: expected as u16,
            },
            _ => PageFailure::Header,
        };
        DamagedPage {
            nth,
            failure,
            zeroed: zeroed != 0,
        }
    }
}

/// Callbacks of a read into shared buffers. The I/O's data are the buffers' indexes.
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

    /// Whether the page of a buffer, just read as `block`, may be published; and what is wrong with it
    /// in any case.
    fn judge(&self, nth: u32, buffer: u32, block: BlockNumber) -> (bool, Option<DamagedPage>) {
        let page = self.frames.page(buffer);
        // SAFETY: the read of this buffer is over and it is not published yet: nobody else looks at
        // the page (`Frames`, rule 3).
        let bytes = unsafe { page.as_ref() };
        let error = match verify_page(bytes, block, self.frames.checksums) {
            Ok(()) => return (true, None),
            Err(error) => error,
        };
        let failure = match error {
            PageError::Checksum {
                calculated,
                expected,
            } => PageFailure::Checksum {
                found: calculated,
                expected,
            },
            PageError::Header(_) => PageFailure::Header,
        };
        let damaged = DamagedPage {
            nth,
            failure,
            zeroed: false,
        };
        let ignore = self.frames.ignore_checksum_failure.load(Ordering::Relaxed);
        let sane = PageRef::new(bytes).check_header().is_ok();
        if ignore && sane {
            return (true, Some(damaged));
        }
        if self.frames.zero_damaged_pages.load(Ordering::Relaxed) {
            // SAFETY: as above, and `bytes` is not used any more.
            unsafe { page.write([0; BLCKSZ]) };
            return (
                true,
                Some(DamagedPage {
                    zeroed: true,
                    ..damaged
                }),
            );
        }
        (false, Some(damaged))
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
        let (_, _, first) = decode_relation_tag(&io.target());
        let readable = prior.bytes() as usize / size_of::<PageBytes>();
        let mut worst: Option<(bool, DamagedPage)> = None;
        for (nth, &buffer) in (0u32..).zip(io.data()) {
            let mut good = false;
            if (nth as usize) < readable {
                let (publish, damaged) = self.judge(nth, buffer, first + nth);
                good = publish;
                if let Some(damaged) = damaged
                    && worst.is_none_or(|(published, _)| published && !publish)
                {
                    worst = Some((publish, damaged));
                }
            }
            self.frames.descriptor(buffer).finish_read(good);
        }
        let (Some((published, damaged)), Some(&id)) = (worst, self.id.get()) else {
            return prior;
        };
        let failure = damaged.encode(id);
        if !published {
            IoResult::Error(failure)
        } else if matches!(prior, IoResult::Partial { .. }) {
            // That blocks are missing is the worse news.
            prior
        } else {
            IoResult::Warning {
                bytes: prior.bytes(),
                failure,
            }
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
