//! When something happened, as records tell it.

use std::time::Duration;

/// Microseconds since 2000-01-01 00:00:00 UTC (`TimestampTz`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct TimestampTz(pub i64);

/// From the Unix epoch to PostgreSQL's, in microseconds.
const EPOCH_OFFSET: i64 = 946_684_800 * 1_000_000;

impl TimestampTz {
    /// The moment that lies `duration` after 1970-01-01 00:00:00 UTC.
    pub fn since_unix_epoch(duration: Duration) -> TimestampTz {
        let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        TimestampTz(microseconds - EPOCH_OFFSET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL: `SELECT extract(epoch FROM timestamptz '2026-11-28 12:00:00+00')` is 1795867200.
    #[test]
    fn counts_from_2000() {
        let at = |seconds| TimestampTz::since_unix_epoch(Duration::from_secs(seconds));
        assert_eq!(at(946_684_800), TimestampTz(0));
        assert_eq!(at(1_795_867_200).0, 849_182_400_000_000);
    }
}
