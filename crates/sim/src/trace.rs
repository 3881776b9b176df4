//! What happened on the disk, as text and as a hash of that text: the same
//! seed and the same driver give the same trace.

use std::fmt;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When, in nanoseconds of simulated time.
    pub at_ns: u64,
    /// What kind of event.
    pub kind: TraceKind,
    /// The operation, by [`crate::OpKind::name`]; empty for a power cut.
    pub op: &'static str,
    /// The path below [`crate::SimConfig::trace_root`]; of a rename, both.
    pub path: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes were asked for.
    pub length_bytes: u64,
    /// What came of it: bytes, or a negated errno; 0 where it is open.
    pub outcome: i64,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// An I/O was submitted.
    Submitted,
    /// An I/O (or an attempt at it) ended.
    Completed,
    /// File metadata were changed or asked for.
    Called,
    /// The power failed.
    PowerCut,
    /// The power came back.
    Restarted,
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            TraceKind::Submitted => "submit",
            TraceKind::Completed => "end",
            TraceKind::Called => "call",
            TraceKind::PowerCut => "power cut",
            TraceKind::Restarted => "restart",
        };
        write!(
            f,
            "{:>14} {kind} {} {} {}+{} = {}",
            self.at_ns, self.op, self.path, self.offset, self.length_bytes, self.outcome
        )
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hash: u64,
    recorded: Option<Vec<TraceEvent>>,
}

impl Trace {
    pub(crate) fn new(record: bool) -> Self {
        Trace {
            hash: FNV_OFFSET_BASIS,
            recorded: record.then(Vec::new),
        }
    }

    pub(crate) fn push(&mut self, event: TraceEvent) {
        for byte in event.to_string().bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if let Some(events) = &mut self.recorded {
            events.push(event);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> &[TraceEvent] {
        self.recorded.as_deref().unwrap_or_default()
    }
}

// FNV-1a, 64 bits: draft-eastlake-fnv.
const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_the_text() {
        let event = TraceEvent {
            at_ns: 12,
            kind: TraceKind::Completed,
            op: "read",
            path: "base/5/1".into(),
            offset: 8192,
            length_bytes: 4096,
            outcome: -5,
        };
        assert_eq!(
            event.to_string(),
            "            12 end read base/5/1 8192+4096 = -5"
        );
        let mut trace = Trace::new(true);
        trace.push(event.clone());
        let first = trace.hash();
        trace.push(event.clone());
        assert_ne!(first, trace.hash());
        assert_eq!(trace.events().len(), 2);
        let mut other = Trace::new(false);
        other.push(TraceEvent {
            outcome: 0,
            ..event
        });
        assert_ne!(first, other.hash());
        assert!(other.events().is_empty());
    }
}
