//! POSIX time zone specifications: `EST5EDT,M3.2.0,M11.1.0`.

use std::sync::Arc;

use super::calendar::{SECS_PER_DAY, days_from_civil, days_in_month, is_leap, unix_year};
use super::zone::ZonePeriod;

/// What PostgreSQL assumes for daylight saving time without rules (`TZDEFRULESTRING`).
const DEFAULT_RULES: &str = ",M3.2.0,M11.1.0";

/// A parsed specification.
#[derive(Debug, PartialEq)]
pub(crate) struct PosixZone {
    standard: ZonePeriod,
    daylight: Option<Daylight>,
}

#[derive(Debug, PartialEq)]
struct Daylight {
    period: ZonePeriod,
    start: Rule,
    end: Rule,
}

/// When a change happens within a year, in local time before the change.
#[derive(Debug, PartialEq)]
struct Rule {
    day: RuleDay,
    time_secs: i64,
}

#[derive(Debug, PartialEq)]
enum RuleDay {
    /// `Jn`: 1 to 365, February 29 never counts.
    Julian(i64),
    /// `n`: 0 to 365, February 29 counts.
    DayOfYear(i64),
    /// `Mm.w.d`: weekday d (0 is Sunday) of week w (5 is the last) of month m.
    Month { month: u32, week: i64, weekday: i64 },
}

impl PosixZone {
    /// Reads a specification; `None` if it is none.
    pub(crate) fn parse(spec: &str) -> Option<PosixZone> {
        let mut rest = spec;
        let standard_name = parse_name(&mut rest)?;
        let standard_west = parse_offset(&mut rest)?;
        let standard = period(standard_name, -standard_west, false);
        if rest.is_empty() {
            return Some(PosixZone {
                standard,
                daylight: None,
            });
        }
        let daylight_name = parse_name(&mut rest)?;
        let daylight_west = if rest.is_empty() || rest.starts_with([',', ';']) {
            standard_west - 3600
        } else {
            parse_offset(&mut rest)?
        };
        let mut rules = if rest.is_empty() { DEFAULT_RULES } else { rest };
        rules = rules.strip_prefix([',', ';'])?;
        let start = parse_rule(&mut rules)?;
        rules = rules.strip_prefix(',')?;
        let end = parse_rule(&mut rules)?;
        if !rules.is_empty() {
            return None;
        }
        let period = period(daylight_name, -daylight_west, true);
        Some(PosixZone {
            standard,
            daylight: Some(Daylight { period, start, end }),
        })
    }

    /// The only period, if there is no daylight saving time.
    pub(crate) fn fixed_period(&self) -> Option<&ZonePeriod> {
        self.daylight.is_none().then_some(&self.standard)
    }

    pub(crate) fn period_at(&self, unix_secs: i64) -> &ZonePeriod {
        let Some(daylight) = &self.daylight else {
            return &self.standard;
        };
        let standard_offset = i64::from(self.standard.offset_secs);
        let year = unix_year(unix_secs + standard_offset);
        let start = daylight.start.local_secs(year) - standard_offset;
        let end = daylight.end.local_secs(year) - i64::from(daylight.period.offset_secs);
        let is_daylight = if start < end {
            (start..end).contains(&unix_secs)
        } else {
            !(end..start).contains(&unix_secs)
        };
        if is_daylight {
            &daylight.period
        } else {
            &self.standard
        }
    }

    pub(crate) fn period_of_abbreviation(&self, upper: &str) -> Option<&ZonePeriod> {
        std::iter::once(&self.standard)
            .chain(self.daylight.iter().map(|daylight| &daylight.period))
            .find(|period| *period.abbreviation == *upper)
    }
}

fn period(name: &str, offset_secs: i32, is_dst: bool) -> ZonePeriod {
    ZonePeriod {
        offset_secs,
        is_dst,
        abbreviation: Arc::from(name),
    }
}

/// `<...>` or letters up to a digit, sign or comma.
fn parse_name<'s>(rest: &mut &'s str) -> Option<&'s str> {
    let (name, after) = if let Some(quoted) = rest.strip_prefix('<') {
        quoted.split_once('>')?
    } else {
        let end = rest
            .find(|c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | '+'))
            .unwrap_or(rest.len());
        rest.split_at(end)
    };
    if name.is_empty() {
        return None;
    }
    *rest = after;
    Some(name)
}

fn parse_number(rest: &mut &str, min: i64, max: i64) -> Option<i64> {
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    let number = digits
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number))?;
    *rest = after;
    Some(number)
}

/// `hh[:mm[:ss]]`, at most a week.
fn parse_seconds(rest: &mut &str) -> Option<i64> {
    let mut secs = parse_number(rest, 0, 24 * 7 - 1)? * 3600;
    if let Some(after) = rest.strip_prefix(':') {
        *rest = after;
        secs += parse_number(rest, 0, 59)? * 60;
        if let Some(after) = rest.strip_prefix(':') {
            *rest = after;
            secs += parse_number(rest, 0, 60)?;
        }
    }
    Some(secs)
}

fn parse_signed_seconds(rest: &mut &str) -> Option<i64> {
    if let Some(after) = rest.strip_prefix('-') {
        *rest = after;
        return parse_seconds(rest).map(|secs| -secs);
    }
    if let Some(after) = rest.strip_prefix('+') {
        *rest = after;
    }
    parse_seconds(rest)
}

fn parse_offset(rest: &mut &str) -> Option<i32> {
    i32::try_from(parse_signed_seconds(rest)?).ok()
}

fn parse_rule(rest: &mut &str) -> Option<Rule> {
    let day = if let Some(after) = rest.strip_prefix('J') {
        *rest = after;
        RuleDay::Julian(parse_number(rest, 1, 365)?)
    } else if let Some(after) = rest.strip_prefix('M') {
        *rest = after;
        let month = parse_number(rest, 1, 12)?;
        *rest = rest.strip_prefix('.')?;
        let week = parse_number(rest, 1, 5)?;
        *rest = rest.strip_prefix('.')?;
        let weekday = parse_number(rest, 0, 6)?;
        RuleDay::Month {
            month: u32::try_from(month).ok()?,
            week,
            weekday,
        }
    } else {
        RuleDay::DayOfYear(parse_number(rest, 0, 365)?)
    };
    let time_secs = match rest.strip_prefix('/') {
        Some(after) => {
            *rest = after;
            parse_signed_seconds(rest)?
        }
        None => 2 * 3600,
    };
    Some(Rule { day, time_secs })
}

impl Rule {
    /// The moment of the change in a year, in seconds since 1970 on the local clock.
    fn local_secs(&self, year: i64) -> i64 {
        let new_year = days_from_civil(year, 1, 1);
        let day = match self.day {
            RuleDay::Julian(number) => {
                new_year + number - 1 + i64::from(is_leap(year) && number >= 60)
            }
            RuleDay::DayOfYear(number) => new_year + number,
            RuleDay::Month {
                month,
                week,
                weekday,
            } => {
                let first = days_from_civil(year, month, 1);
                // 1970-01-01 was a Thursday.
                let first_weekday = (first + 4).rem_euclid(7);
                let mut day = (weekday - first_weekday).rem_euclid(7) + (week - 1) * 7;
                if day >= i64::from(days_in_month(year, month)) {
                    day -= 7;
                }
                first + day
            }
        };
        day * SECS_PER_DAY + self.time_secs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daylight_saving_by_rule() {
        let zone = PosixZone::parse("FOO5BAR,M3.2.0,M11.1.0").unwrap();
        let at = |month, day, hour: i64| {
            let secs = days_from_civil(2024, month, day) * SECS_PER_DAY + hour * 3600;
            zone.period_at(secs).abbreviation.to_string()
        };
        assert_eq!(at(3, 10, 6), "FOO");
        assert_eq!(at(3, 10, 7), "BAR");
        assert_eq!(at(11, 3, 5), "BAR");
        assert_eq!(at(11, 3, 6), "FOO");
    }

    #[test]
    fn nonsense_is_refused() {
        for spec in [
            "",
            "FOO",
            "5",
            "FOO5BAR,",
            "FOO5BAR,M13.1.0,M11.1.0",
            "A1B2C",
            "FOO200",
        ] {
            assert!(PosixZone::parse(spec).is_none(), "{spec}");
        }
    }
}
