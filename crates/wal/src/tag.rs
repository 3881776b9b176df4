//! How an I/O names a range of the log.

use std::fmt;

use trunkline_aio::{TargetId, TargetTag};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::TimeLineId;

/// The range `[start, end)` of a timeline.
pub(crate) fn wal_tag(timeline: TimeLineId, start: Lsn, end: Lsn) -> TargetTag {
    TargetTag {
        kind: TargetId::Wal,
        words: [timeline.into(), start.0, end.0, 0],
    }
}

/// The same in words.
pub(crate) fn describe(tag: &TargetTag, out: &mut dyn fmt::Write) -> fmt::Result {
    let [timeline, start, end, _] = tag.words;
    write!(
        out,
        "WAL {} to {}, timeline {timeline}",
        Lsn(start),
        Lsn(end)
    )
}

/// The range that a tag names.
pub(crate) fn range(tag: &TargetTag) -> (Lsn, Lsn) {
    (Lsn(tag.words[1]), Lsn(tag.words[2]))
}
