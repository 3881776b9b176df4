//! Dates and timestamps as text (`EncodeDateOnly`, `EncodeDateTime`, `datetime.c`).

use super::calendar::{
    UNIX_TO_PG_DAYS, UNIX_TO_PG_SECS, USECS_PER_DAY, USECS_PER_SEC, civil_from_days,
};
use super::value::{DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY};
use super::zone::ZonePeriod;
use crate::integer::{push_four, push_two, push_u64};
use crate::style::{DateOrder, DateStyle, OutputStyle};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// From 1970-01-01, a Thursday, on.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
/// Bytes of a zone's abbreviation that are printed (`MAXTZLEN`).
const MAX_ZONE_LEN: usize = 10;

struct Day {
    /// As printed: without sign
    year: u32,
    is_bc: bool,
    month: u32,
    day: u32,
}

fn day_of(pg_days: i64) -> Day {
    let (year, month, day) = civil_from_days(pg_days + UNIX_TO_PG_DAYS);
    let is_bc = year <= 0;
    let year = if is_bc { 1 - year } else { year };
    Day {
        year: year as u32,
        is_bc,
        month,
        day,
    }
}

/// A year with at least four digits.
#[inline]
fn push_year(out: &mut Vec<u8>, year: u32) {
    if year < 10_000 {
        push_four(out, year);
    } else {
        push_u64(out, year.into());
    }
}

fn push_separated(out: &mut Vec<u8>, separator: u8, day: &Day, day_first: bool) {
    let (first, second) = if day_first {
        (day.day, day.month)
    } else {
        (day.month, day.day)
    };
    push_two(out, first);
    out.push(separator);
    push_two(out, second);
    out.push(separator);
    push_year(out, day.year);
}

#[inline]
fn push_iso_day(out: &mut Vec<u8>, day: &Day) {
    push_year(out, day.year);
    out.push(b'-');
    push_two(out, day.month);
    out.push(b'-');
    push_two(out, day.day);
}

fn push_era(out: &mut Vec<u8>, day: &Day) {
    if day.is_bc {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a `date`.
pub(crate) fn push_date(out: &mut Vec<u8>, date: i32, style: &OutputStyle) {
    match date {
        DATE_INFINITY => return out.extend_from_slice(b"infinity"),
        DATE_NEG_INFINITY => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let day = day_of(date.into());
    let day_first = style.date_order == DateOrder::Dmy;
    match style.date_style {
        DateStyle::Iso => push_iso_day(out, &day),
        DateStyle::Sql => push_separated(out, b'/', &day, day_first),
        DateStyle::German => push_separated(out, b'.', &day, true),
        DateStyle::Postgres => push_separated(out, b'-', &day, day_first),
    }
    push_era(out, &day);
}

/// Appends a `timestamp`.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, timestamp: i64, style: &OutputStyle) {
    if !push_infinity(out, timestamp) {
        push_clock(out, timestamp, None, style);
    }
}

/// Appends a `timestamptz` as the session's clock shows it.
pub(crate) fn push_timestamptz(out: &mut Vec<u8>, timestamp: i64, style: &OutputStyle) {
    if push_infinity(out, timestamp) {
        return;
    }
    let unix = timestamp.div_euclid(USECS_PER_SEC) + UNIX_TO_PG_SECS;
    let period = style.time_zone.period_at(unix);
    // Only damaged values are so near the limits that the shift would overflow.
    let local = timestamp.saturating_add(i64::from(period.offset_secs) * USECS_PER_SEC);
    push_clock(out, local, Some(period), style);
}

fn push_infinity(out: &mut Vec<u8>, timestamp: i64) -> bool {
    match timestamp {
        TIMESTAMP_INFINITY => out.extend_from_slice(b"infinity"),
        TIMESTAMP_NEG_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

fn push_clock(out: &mut Vec<u8>, local: i64, zone: Option<&ZonePeriod>, style: &OutputStyle) {
    let days = local.div_euclid(USECS_PER_DAY);
    let time = local.rem_euclid(USECS_PER_DAY);
    let day = day_of(days);
    let day_first = style.date_order == DateOrder::Dmy;
    match style.date_style {
        DateStyle::Iso => {
            push_iso_day(out, &day);
            out.push(b' ');
            push_time(out, time);
            if let Some(zone) = zone {
                push_offset(out, zone.offset_secs);
            }
        }
        DateStyle::Sql | DateStyle::German => {
            match style.date_style {
                DateStyle::Sql => push_separated(out, b'/', &day, day_first),
                _ => push_separated(out, b'.', &day, true),
            }
            out.push(b' ');
            push_time(out, time);
            push_zone_name(out, zone);
        }
        DateStyle::Postgres => {
            let weekday = (days + UNIX_TO_PG_DAYS).rem_euclid(7) as usize;
            out.extend_from_slice(WEEKDAYS[weekday].as_bytes());
            out.push(b' ');
            let month = MONTHS[day.month as usize - 1].as_bytes();
            if day_first {
                push_two(out, day.day);
                out.push(b' ');
                out.extend_from_slice(month);
            } else {
                out.extend_from_slice(month);
                out.push(b' ');
                push_two(out, day.day);
            }
            out.push(b' ');
            push_time(out, time);
            out.push(b' ');
            push_year(out, day.year);
            push_zone_name(out, zone);
        }
    }
    push_era(out, &day);
}

/// `HH:MM:SS` and the fraction without trailing zeros.
#[inline]
fn push_time(out: &mut Vec<u8>, time: i64) {
    let secs = (time / USECS_PER_SEC) as u32;
    push_two(out, secs / 3600);
    out.push(b':');
    push_two(out, secs / 60 % 60);
    out.push(b':');
    push_two(out, secs % 60);
    let micros = (time % USECS_PER_SEC) as u32;
    if micros != 0 {
        out.push(b'.');
        push_two(out, micros / 10_000);
        push_four(out, micros % 10_000);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// The offset of ISO timestamps: `+01`, `-03:30`, `+00:53:28`.
#[inline]
fn push_offset(out: &mut Vec<u8>, offset_secs: i32) {
    out.push(if offset_secs < 0 { b'-' } else { b'+' });
    let absolute = offset_secs.unsigned_abs();
    push_two(out, absolute / 3600);
    if !absolute.is_multiple_of(3600) {
        out.push(b':');
        push_two(out, absolute / 60 % 60);
        if !absolute.is_multiple_of(60) {
            out.push(b':');
            push_two(out, absolute % 60);
        }
    }
}

fn push_zone_name(out: &mut Vec<u8>, zone: Option<&ZonePeriod>) {
    if let Some(zone) = zone {
        out.push(b' ');
        let name = zone.abbreviation.as_bytes();
        out.extend_from_slice(&name[..name.len().min(MAX_ZONE_LEN)]);
    }
}
