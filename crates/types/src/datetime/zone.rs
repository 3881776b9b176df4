//! Time zones: which offset holds when.
//!
//! A named zone's history comes from the IANA data in `chrono-tz`; it is turned into a table of
//! transitions once per process. Years after that data's end repeat the last complete cycle of
//! the calendar, as PostgreSQL extrapolates (`localtime.c`).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use chrono::{DateTime, Offset, TimeZone as _};
use chrono_tz::{OffsetComponents, OffsetName, TZ_VARIANTS, Tz};

use super::calendar::{SECS_PER_DAY, days_from_civil, unix_year};
use super::posix_zone::PosixZone;

/// What holds in a zone during some span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonePeriod {
    /// Seconds east of Greenwich.
    pub offset_secs: i32,
    /// Whether this is daylight saving time.
    pub is_dst: bool,
    /// The zone's abbreviation for it: `CET`, `-03`.
    pub abbreviation: Arc<str>,
}

/// How a zone uses an abbreviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbbreviationUse {
    /// It always meant this many seconds east; whether that is daylight saving time.
    Always(i32, bool),
    /// It meant different things at different times.
    Varying,
}

/// A time zone: a name from the IANA database, a POSIX specification, or a fixed offset.
#[derive(Clone, PartialEq)]
pub struct TimeZone(Zone);

#[derive(Clone, PartialEq)]
enum Zone {
    Fixed {
        name: Arc<str>,
        period: Arc<ZonePeriod>,
    },
    Named(Arc<ZoneTable>),
    Posix {
        name: Arc<str>,
        rules: Arc<PosixZone>,
    },
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZone({})", self.name())
    }
}

impl TimeZone {
    /// `UTC`.
    pub fn utc() -> TimeZone {
        static UTC: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::fixed("UTC".into(), 0, "UTC"));
        UTC.clone()
    }

    fn fixed(name: Arc<str>, offset_secs: i32, abbreviation: &str) -> TimeZone {
        let period = ZonePeriod {
            offset_secs,
            is_dst: false,
            abbreviation: Arc::from(abbreviation),
        };
        TimeZone(Zone::Fixed {
            name,
            period: Arc::new(period),
        })
    }

    /// The zone that a `TimeZone` setting means: a name in any letter case, a POSIX specification
    /// (`EST5EDT,M3.2.0,M11.1.0`), or a number of hours east of Greenwich.
    pub fn parse(setting: &str) -> Option<TimeZone> {
        if let Ok(hours) = setting.trim_start().parse::<f64>() {
            if !hours.is_finite() || hours.abs() > 168.0 {
                return None;
            }
            return Some(TimeZone::from_offset((hours * 3600.0) as i32));
        }
        TimeZone::by_name(setting)
    }

    /// A fixed offset in seconds east of Greenwich, named as `SET TIME ZONE -7` names it:
    /// `<-07>+07`.
    pub fn from_offset(offset_secs: i32) -> TimeZone {
        let absolute = offset_secs.unsigned_abs();
        let mut digits = format!("{:02}", absolute / 3600);
        if !absolute.is_multiple_of(3600) {
            digits.push_str(&format!(":{:02}", absolute / 60 % 60));
            if !absolute.is_multiple_of(60) {
                digits.push_str(&format!(":{:02}", absolute % 60));
            }
        }
        let (sign, opposite) = if offset_secs < 0 {
            ('-', '+')
        } else {
            ('+', '-')
        };
        let abbreviation = format!("{sign}{digits}");
        let name = format!("<{abbreviation}>{opposite}{digits}");
        TimeZone::fixed(name.into(), offset_secs, &abbreviation)
    }

    /// The zone that a name or a POSIX specification within a date means.
    pub(crate) fn by_name(name: &str) -> Option<TimeZone> {
        if name.eq_ignore_ascii_case("UTC") {
            return Some(TimeZone::utc());
        }
        let known = name.parse::<Tz>().ok().or_else(|| {
            TZ_VARIANTS
                .iter()
                .copied()
                .find(|zone| zone.name().eq_ignore_ascii_case(name))
        });
        if let Some(zone) = known {
            return Some(TimeZone(Zone::Named(ZoneTable::of(zone))));
        }
        let upper = name.to_ascii_uppercase();
        let rules = PosixZone::parse(&upper)?;
        Some(match rules.fixed_period() {
            Some(period) => {
                let period = Arc::new(period.clone());
                TimeZone(Zone::Fixed {
                    name: upper.into(),
                    period,
                })
            }
            None => TimeZone(Zone::Posix {
                name: upper.into(),
                rules: Arc::new(rules),
            }),
        })
    }

    /// The name that `SHOW TimeZone` prints.
    pub fn name(&self) -> &str {
        match &self.0 {
            Zone::Fixed { name, .. } | Zone::Posix { name, .. } => name,
            Zone::Named(table) => table.name,
        }
    }

    /// The offset in seconds east if it never changes.
    #[inline]
    pub fn fixed_offset(&self) -> Option<i32> {
        match &self.0 {
            Zone::Fixed { period, .. } => Some(period.offset_secs),
            _ => None,
        }
    }

    /// What holds at a moment, given in seconds since 1970 UTC.
    #[inline]
    pub fn period_at(&self, unix_secs: i64) -> &ZonePeriod {
        match &self.0 {
            Zone::Fixed { period, .. } => period,
            Zone::Named(table) => table.period_at(unix_secs),
            Zone::Posix { rules, .. } => rules.period_at(unix_secs),
        }
    }

    /// The offset in seconds east of Greenwich that a local time means, given as seconds since
    /// 1970 on the zone's own clock.
    ///
    /// A time that the clock skipped is read with the offset before the jump; one that it showed
    /// twice means the second (`DetermineTimeZoneOffset`, `datetime.c`).
    pub fn offset_of_local(&self, local_secs: i64) -> i32 {
        if let Some(offset) = self.fixed_offset() {
            return offset;
        }
        let at = |secs: i64| self.period_at(secs).offset_secs;
        // No offset is larger than a day, no two transitions lie within two.
        let before = at(local_secs - SECS_PER_DAY);
        let after = at(local_secs + SECS_PER_DAY);
        if before == after {
            return before;
        }
        let before_holds = at(local_secs - i64::from(before)) == before;
        let after_holds = at(local_secs - i64::from(after)) == after;
        match (before_holds, after_holds) {
            (true, false) => before,
            (false, true) => after,
            (true, true) => after,
            (false, false) => before,
        }
    }

    /// What an abbreviation in capitals means in this zone near a moment: the latest use of it up
    /// to then, else the earliest after. `None` if the zone never used it
    /// (`pg_interpret_timezone_abbrev`, `localtime.c`).
    pub(crate) fn offset_of_abbreviation(&self, upper: &str, unix_secs: i64) -> Option<i32> {
        match &self.0 {
            Zone::Fixed { period, .. } => {
                (&*period.abbreviation == upper).then_some(period.offset_secs)
            }
            Zone::Named(table) => table.offset_of_abbreviation(upper, unix_secs),
            Zone::Posix { rules, .. } => rules
                .period_of_abbreviation(upper)
                .map(|period| period.offset_secs),
        }
    }
}

impl TimeZone {
    /// How the zone uses an abbreviation in capitals, if it ever did
    /// (`pg_timezone_abbrev_is_known`, `localtime.c`).
    pub(crate) fn use_of_abbreviation(&self, upper: &str) -> Option<AbbreviationUse> {
        match &self.0 {
            Zone::Named(table) => {
                let mut kinds = table
                    .kinds
                    .iter()
                    .filter(|kind| *kind.abbreviation == *upper);
                let first = kinds.next()?;
                Some(if kinds.next().is_none() {
                    AbbreviationUse::Always(first.offset_secs, first.is_dst)
                } else {
                    AbbreviationUse::Varying
                })
            }
            Zone::Fixed { period, .. } => (&*period.abbreviation == upper)
                .then_some(AbbreviationUse::Always(period.offset_secs, period.is_dst)),
            Zone::Posix { rules, .. } => rules
                .period_of_abbreviation(upper)
                .map(|period| AbbreviationUse::Always(period.offset_secs, period.is_dst)),
        }
    }
}

/// A named zone's transitions.
struct ZoneTable {
    name: &'static str,
    /// Moments (seconds since 1970 UTC) at which the period with the same index plus one begins.
    starts: Vec<i64>,
    /// One more than `starts`; the first holds since ever.
    periods: Vec<u16>,
    /// The distinct periods.
    kinds: Vec<ZonePeriod>,
}

impl PartialEq for ZoneTable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// First and last year of a whole cycle of weekdays and leap years that the data covers.
const CYCLE_FIRST_YEAR: i64 = 2071;
const CYCLE_LAST_YEAR: i64 = 2098;
/// The data is taken from 1840, before the first time zone, to the end of this cycle.
const HISTORY_FIRST_YEAR: i64 = 1840;

static TABLES: LazyLock<Mutex<HashMap<&'static str, Arc<ZoneTable>>>> =
    LazyLock::new(Mutex::default);

impl ZoneTable {
    fn of(zone: Tz) -> Arc<ZoneTable> {
        let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            tables
                .entry(zone.name())
                .or_insert_with(|| Arc::new(ZoneTable::build(zone))),
        )
    }

    fn build(zone: Tz) -> ZoneTable {
        let mut table = ZoneTable {
            name: zone.name(),
            starts: vec![],
            periods: vec![],
            kinds: vec![],
        };
        let first = days_from_civil(HISTORY_FIRST_YEAR, 1, 1) * SECS_PER_DAY;
        let last = days_from_civil(CYCLE_LAST_YEAR + 1, 1, 1) * SECS_PER_DAY;
        let mut kind = table.kind_of(zone, first);
        table.periods.push(kind);
        let mut time = first;
        while time < last {
            let next = time + SECS_PER_DAY;
            let next_kind = table.kind_of(zone, next);
            if next_kind != kind {
                // The first second of the new period lies in (low, high].
                let (mut low, mut high) = (time, next);
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    if table.kind_of(zone, middle) == kind {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                kind = table.kind_of(zone, high);
                table.starts.push(high);
                table.periods.push(kind);
                // Another change may follow within the same day.
                time = high;
                continue;
            }
            time = next;
        }
        table
    }

    fn kind_of(&mut self, zone: Tz, unix_secs: i64) -> u16 {
        let utc = DateTime::from_timestamp(unix_secs, 0)
            .unwrap_or_default()
            .naive_utc();
        let offset = zone.offset_from_utc_datetime(&utc);
        let offset_secs = offset.fix().local_minus_utc();
        let is_dst = offset.dst_offset().num_seconds() != 0;
        let known = self.kinds.iter().position(|kind| {
            kind.offset_secs == offset_secs
                && kind.is_dst == is_dst
                && match offset.abbreviation() {
                    Some(name) => *kind.abbreviation == *name,
                    None => !kind
                        .abbreviation
                        .starts_with(|c: char| c.is_ascii_alphabetic()),
                }
        });
        let index = known.unwrap_or_else(|| {
            let abbreviation: Arc<str> = match offset.abbreviation() {
                Some(name) => Arc::from(name),
                None => Arc::from(offset.to_string()),
            };
            self.kinds.push(ZonePeriod {
                offset_secs,
                is_dst,
                abbreviation,
            });
            self.kinds.len() - 1
        });
        index as u16
    }

    #[inline]
    fn period_at(&self, unix_secs: i64) -> &ZonePeriod {
        let end = const { days_from_civil(CYCLE_LAST_YEAR + 1, 1, 1) * SECS_PER_DAY };
        let time = if unix_secs < end {
            unix_secs
        } else {
            fold_into_cycle(unix_secs)
        };
        let index = self.starts.partition_point(|&start| start <= time);
        &self.kinds[usize::from(self.periods[index])]
    }

    fn offset_of_abbreviation(&self, upper: &str, unix_secs: i64) -> Option<i32> {
        let now = self.starts.partition_point(|&start| start <= unix_secs);
        let matches = |index: &usize| {
            let kind = &self.kinds[usize::from(self.periods[*index])];
            *kind.abbreviation == *upper
        };
        let found = (0..=now)
            .rev()
            .find(matches)
            .or_else(|| (now + 1..self.periods.len()).find(matches))?;
        Some(self.kinds[usize::from(self.periods[found])].offset_secs)
    }
}

/// The moment in the data's last cycle at the same place of a year that has the same weekdays.
fn fold_into_cycle(unix_secs: i64) -> i64 {
    let year = unix_year(unix_secs);
    let start = days_from_civil(year, 1, 1);
    let leap = days_from_civil(year + 1, 1, 1) - start;
    let weekday = start.rem_euclid(7);
    let twin = (CYCLE_FIRST_YEAR..=CYCLE_LAST_YEAR)
        .find(|&twin| {
            let twin_start = days_from_civil(twin, 1, 1);
            twin_start.rem_euclid(7) == weekday
                && days_from_civil(twin + 1, 1, 1) - twin_start == leap
        })
        .unwrap_or(CYCLE_LAST_YEAR);
    unix_secs + (days_from_civil(twin, 1, 1) - start) * SECS_PER_DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(zone: &str, y: i64, m: u32, d: u32, h: i64, min: i64) -> i32 {
        let secs = days_from_civil(y, m, d) * SECS_PER_DAY + h * 3600 + min * 60;
        TimeZone::parse(zone).unwrap().offset_of_local(secs)
    }

    #[test]
    fn skipped_and_repeated_local_times() {
        assert_eq!(local("Europe/Berlin", 2024, 3, 31, 2, 30), 3600);
        assert_eq!(local("Europe/Berlin", 2024, 3, 31, 3, 0), 7200);
        assert_eq!(local("Europe/Berlin", 2024, 10, 27, 2, 30), 3600);
        assert_eq!(local("europe/berlin", 2024, 10, 27, 1, 59), 7200);
    }

    #[test]
    fn the_far_future_keeps_its_rules() {
        assert_eq!(local("Europe/Berlin", 2400, 7, 1, 0, 0), 7200);
        assert_eq!(local("Europe/Berlin", 2400, 1, 1, 0, 0), 3600);
        assert_eq!(local("Europe/Berlin", 294_000, 7, 1, 0, 0), 7200);
    }

    #[test]
    fn numbers_are_hours_east() {
        let zone = TimeZone::parse("-7").unwrap();
        assert_eq!(zone.name(), "<-07>+07");
        assert_eq!(zone.fixed_offset(), Some(-7 * 3600));
        assert!(TimeZone::parse("Nowhere/Land").is_none());
    }
}
