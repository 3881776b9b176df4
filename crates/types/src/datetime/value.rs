//! Dates and timestamps as numbers: reading them, and their range.
//!
//! A date is days, a timestamp microseconds, since 2000-01-01; both have two infinities.

use super::calendar::{
    SECS_PER_DAY, UNIX_TO_PG_DAYS, UNIX_TO_PG_SECS, USECS_PER_DAY, USECS_PER_SEC, days_from_civil,
    days_in_month,
};
use super::decode::{Civil, Decoded, Failure, decode};
use super::tokens::split;
use super::zone::TimeZone;
use crate::error::{TypeError, sqlstate};
use crate::style::InputStyle;

/// `-infinity` of `date`.
pub const DATE_NEG_INFINITY: i32 = i32::MIN;
/// `infinity` of `date`.
pub const DATE_INFINITY: i32 = i32::MAX;
/// `-infinity` of `timestamp` and `timestamptz`.
pub const TIMESTAMP_NEG_INFINITY: i64 = i64::MIN;
/// `infinity` of `timestamp` and `timestamptz`.
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
/// 4714-11-24 BC, the first day of the Julian calendar.
const DATE_MIN: i64 = -2_451_545;
/// The day after 5874897-12-31.
const DATE_END: i64 = 2_147_483_494 - 2_451_545;
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
/// 294277-01-01
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// Microseconds from 2000-01-01 to 1970-01-01.
const UNIX_EPOCH_US: i64 = -UNIX_TO_PG_SECS * USECS_PER_SEC;

/// Whether a date is finite and in range, or infinite.
pub fn date_is_valid(date: i32) -> bool {
    matches!(date, DATE_INFINITY | DATE_NEG_INFINITY)
        || (DATE_MIN..DATE_END).contains(&i64::from(date))
}

/// Whether a timestamp is finite and in range, or infinite.
#[inline]
pub fn timestamp_is_valid(timestamp: i64) -> bool {
    (TIMESTAMP_MIN..TIMESTAMP_END).contains(&timestamp)
        || matches!(timestamp, TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY)
}

#[cold]
fn failed(failure: Failure, type_name: &str, text: &str) -> TypeError {
    match failure {
        Failure::BadFormat => TypeError::new(
            sqlstate::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type {type_name}: \"{text}\""),
        ),
        Failure::FieldOverflow => TypeError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{text}\""),
        ),
        Failure::MonthOrDayOverflow => failed(Failure::FieldOverflow, type_name, text)
            .with_hint("Perhaps you need a different \"DateStyle\" setting."),
        Failure::ZoneOverflow => TypeError::new(
            sqlstate::INVALID_TIME_ZONE_DISPLACEMENT_VALUE,
            format!("time zone displacement out of range: \"{text}\""),
        ),
        Failure::BadZone(zone) => TypeError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("time zone \"{zone}\" not recognized"),
        ),
    }
}

#[cold]
fn text_out_of_range(kind: &str, text: &str) -> TypeError {
    TypeError::new(
        sqlstate::DATETIME_FIELD_OVERFLOW,
        format!("{kind} out of range: \"{text}\""),
    )
}

/// `timestamp out of range` (22008), what arithmetic and binary input say.
#[cold]
pub fn timestamp_out_of_range() -> TypeError {
    TypeError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

/// `date out of range` (22008).
#[cold]
pub fn date_out_of_range() -> TypeError {
    TypeError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "date out of range")
}

fn parse(text: &str, type_name: &str, style: &InputStyle) -> Result<Decoded, TypeError> {
    split(text)
        .ok_or(Failure::BadFormat)
        .and_then(|fields| decode(&fields, style))
        .map_err(|failure| failed(failure, type_name, text))
}

/// Two digits at an offset, `None` if they are none.
#[inline]
fn two(bytes: &[u8], at: usize) -> Option<u32> {
    let tens = bytes.get(at)?.wrapping_sub(b'0');
    let ones = bytes.get(at + 1)?.wrapping_sub(b'0');
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Days since 2000-01-01 of a leading `YYYY-MM-DD`.
#[inline]
fn iso_date(bytes: &[u8]) -> Option<i64> {
    let year = two(bytes, 0)? * 100 + two(bytes, 2)?;
    let month = two(bytes, 5)?;
    let day = two(bytes, 8)?;
    let separated = bytes[4] == b'-' && bytes[7] == b'-';
    let year = i64::from(year);
    let valid = year >= 1
        && (1..=12).contains(&month)
        && day >= 1
        && (day <= 28 || day <= days_in_month(year, month));
    (separated && valid).then(|| days_from_civil(year, month, day) - UNIX_TO_PG_DAYS)
}

/// The usual ISO layout, `YYYY-MM-DD HH:MM:SS[.ffffff][+HH[:MM]]`: microseconds on the local
/// clock and the offset in seconds, if there is one. `None` for any other text, right or wrong.
#[inline]
fn iso_timestamp(bytes: &[u8]) -> Option<(i64, Option<i64>)> {
    let days = iso_date(bytes)?;
    if !matches!(bytes.get(10), Some(b' ' | b'T')) {
        return None;
    }
    let hour = i64::from(two(bytes, 11)?);
    let minute = i64::from(two(bytes, 14)?);
    let second = i64::from(two(bytes, 17)?);
    if bytes[13] != b':' || bytes[16] != b':' || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut micros = 0i64;
    if let [b'.', after @ ..] = rest {
        let mut unit = 1_000_000;
        rest = after;
        while let [byte @ b'0'..=b'9', after @ ..] = rest {
            if unit == 1 {
                return None;
            }
            unit /= 10;
            micros += i64::from(byte - b'0') * unit;
            rest = after;
        }
    }
    let secs = days * SECS_PER_DAY + (hour * 60 + minute) * 60 + second;
    let local = secs * USECS_PER_SEC + micros;
    let negative = match rest {
        [] => return Some((local, None)),
        [b'+', ..] => false,
        [b'-', ..] => true,
        _ => return None,
    };
    let hours = i64::from(two(rest, 1)?);
    let minutes = match rest.len() {
        3 => 0,
        6 if rest[3] == b':' => i64::from(two(rest, 4)?),
        _ => return None,
    };
    if hours > 15 || minutes > 59 {
        return None;
    }
    let offset = hours * 3600 + minutes * 60;
    Some((local, Some(if negative { -offset } else { offset })))
}

/// Whether the Julian day routines can take a date (`IS_VALID_JULIAN`).
fn in_julian_range(civil: &Civil) -> bool {
    (civil.year > -4713 || (civil.year == -4713 && civil.month >= 11))
        && (civil.year < 5_874_898 || (civil.year == 5_874_898 && civil.month < 6))
}

/// Reads a `date`: days since 2000-01-01 (`date_in`).
///
/// # Errors
/// 22007 for bad syntax, 22008 for values out of range, 22009 and 22023 for bad time zones.
#[inline]
pub fn parse_date(text: &str, style: &InputStyle) -> Result<i32, TypeError> {
    if text.len() == 10
        && let Some(days) = iso_date(text.as_bytes())
    {
        return Ok(days as i32);
    }
    parse_any_date(text, style)
}

fn parse_any_date(text: &str, style: &InputStyle) -> Result<i32, TypeError> {
    let civil = match parse(text, "date", style)? {
        Decoded::Civil(civil) => civil,
        Decoded::Epoch => return Ok(-(UNIX_TO_PG_DAYS as i32)),
        Decoded::Late => return Ok(DATE_INFINITY),
        Decoded::Early => return Ok(DATE_NEG_INFINITY),
    };
    let out_of_range = || text_out_of_range("date", text);
    if !in_julian_range(&civil) {
        return Err(out_of_range());
    }
    let days = civil.unix_days() - UNIX_TO_PG_DAYS;
    if !(DATE_MIN..DATE_END).contains(&days) {
        return Err(out_of_range());
    }
    Ok(days as i32)
}

/// Rounds a timestamp to a modifier's digits of a second (`AdjustTimestampForTypmod`).
#[inline]
pub fn round_timestamp(timestamp: i64, typmod: i32) -> i64 {
    if !(0..6).contains(&typmod) || matches!(timestamp, TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY)
    {
        return timestamp;
    }
    let unit = 10i64.pow(6 - typmod as u32);
    let rounded = (timestamp.unsigned_abs() + unit as u64 / 2) / unit as u64 * unit as u64;
    if timestamp < 0 {
        -(rounded as i64)
    } else {
        rounded as i64
    }
}

/// Reads a `timestamp`: microseconds since 2000-01-01 (`timestamp_in`). A time zone is ignored.
///
/// # Errors
/// As [`parse_date`].
#[inline]
pub fn parse_timestamp(text: &str, typmod: i32, style: &InputStyle) -> Result<i64, TypeError> {
    let timestamp = match iso_timestamp(text.as_bytes()) {
        Some((local, _)) => local,
        None => match parse(text, "timestamp", style)? {
            Decoded::Civil(civil) => {
                micros(&civil, 0).ok_or_else(|| text_out_of_range("timestamp", text))?
            }
            special => special_timestamp(&special),
        },
    };
    Ok(round_timestamp(timestamp, typmod))
}

/// Reads a `timestamptz`: microseconds since 2000-01-01 UTC (`timestamptz_in`).
///
/// # Errors
/// As [`parse_date`].
#[inline]
pub fn parse_timestamptz(text: &str, typmod: i32, style: &InputStyle) -> Result<i64, TypeError> {
    let timestamp = match iso_timestamp(text.as_bytes()) {
        Some((local, offset)) => {
            let offset = offset.unwrap_or_else(|| {
                let secs = local.div_euclid(USECS_PER_SEC) + UNIX_TO_PG_SECS;
                style.time_zone.offset_of_local(secs).into()
            });
            local - offset * USECS_PER_SEC
        }
        None => match parse(text, "timestamp with time zone", style)? {
            Decoded::Civil(civil) => micros(&civil, civil.offset_secs)
                .ok_or_else(|| text_out_of_range("timestamp", text))?,
            special => special_timestamp(&special),
        },
    };
    Ok(round_timestamp(timestamp, typmod))
}

fn special_timestamp(special: &Decoded) -> i64 {
    match special {
        Decoded::Late => TIMESTAMP_INFINITY,
        Decoded::Early => TIMESTAMP_NEG_INFINITY,
        Decoded::Epoch | Decoded::Civil(_) => UNIX_EPOCH_US,
    }
}

/// Microseconds since 2000-01-01, `None` if out of range (`tm2timestamp`).
fn micros(civil: &Civil, offset_secs: i64) -> Option<i64> {
    if !in_julian_range(civil) {
        return None;
    }
    let days = civil.unix_days() - UNIX_TO_PG_DAYS;
    let time =
        ((civil.hour * 60 + civil.minute) * 60 + civil.second) * USECS_PER_SEC + civil.micros;
    let total = i128::from(days) * i128::from(USECS_PER_DAY) + i128::from(time)
        - i128::from(offset_secs * USECS_PER_SEC);
    i64::try_from(total)
        .ok()
        .filter(|total| (TIMESTAMP_MIN..TIMESTAMP_END).contains(total))
}

/// The `timestamp` that a zone's clock shows at a `timestamptz` (the cast, and `AT TIME ZONE`).
///
/// # Errors
/// 22008 if out of range.
pub fn timestamptz_to_local(timestamptz: i64, zone: &TimeZone) -> Result<i64, TypeError> {
    if matches!(timestamptz, TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY) {
        return Ok(timestamptz);
    }
    let unix = timestamptz.div_euclid(USECS_PER_SEC) + UNIX_TO_PG_SECS;
    let offset = i64::from(zone.period_at(unix).offset_secs);
    checked(timestamptz.checked_add(offset * USECS_PER_SEC))
}

/// The `timestamptz` at which a zone's clock shows a `timestamp`.
///
/// # Errors
/// 22008 if out of range.
pub fn local_to_timestamptz(timestamp: i64, zone: &TimeZone) -> Result<i64, TypeError> {
    if matches!(timestamp, TIMESTAMP_INFINITY | TIMESTAMP_NEG_INFINITY) {
        return Ok(timestamp);
    }
    let local = timestamp.div_euclid(USECS_PER_SEC) + UNIX_TO_PG_SECS;
    let offset = i64::from(zone.offset_of_local(local));
    checked(timestamp.checked_sub(offset * USECS_PER_SEC))
}

fn checked(timestamp: Option<i64>) -> Result<i64, TypeError> {
    timestamp
        .filter(|value| (TIMESTAMP_MIN..TIMESTAMP_END).contains(value))
        .ok_or_else(timestamp_out_of_range)
}

/// The `timestamp` of a date's midnight.
///
/// # Errors
/// 22008 `date out of range for timestamp`.
pub fn date_to_timestamp(date: i32) -> Result<i64, TypeError> {
    match date {
        DATE_INFINITY => Ok(TIMESTAMP_INFINITY),
        DATE_NEG_INFINITY => Ok(TIMESTAMP_NEG_INFINITY),
        _ => i64::from(date)
            .checked_mul(USECS_PER_DAY)
            .filter(|value| *value < TIMESTAMP_END)
            .ok_or_else(|| {
                TypeError::new(
                    sqlstate::DATETIME_FIELD_OVERFLOW,
                    "date out of range for timestamp",
                )
            }),
    }
}

/// The date on which a `timestamp` lies.
pub fn timestamp_to_date(timestamp: i64) -> i32 {
    match timestamp {
        TIMESTAMP_INFINITY => DATE_INFINITY,
        TIMESTAMP_NEG_INFINITY => DATE_NEG_INFINITY,
        _ => timestamp.div_euclid(USECS_PER_DAY) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_agrees_with_the_general_one() {
        let style = InputStyle::default();
        for text in [
            "2000-01-01 00:00:00",
            "1999-12-31T23:59:59.999999",
            "2024-02-29 12:34:56.5+05:30",
            "0001-01-01 00:00:00-15:59",
            "9999-12-31 23:59:59.000001-00",
        ] {
            let (local, offset) = iso_timestamp(text.as_bytes()).unwrap();
            let Decoded::Civil(civil) = parse(text, "timestamp", &style).unwrap() else {
                panic!("{text} is finite");
            };
            assert_eq!(micros(&civil, 0), Some(local), "{text}");
            assert_eq!(civil.offset_secs, offset.unwrap_or(0), "{text}");
        }
        for text in [
            "2023-02-29",
            "2000-13-01",
            "0000-01-01",
            "2000-1-01x",
            "2000/01/01",
        ] {
            assert_eq!(iso_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn now_is_the_transactions_start_on_the_sessions_clock() {
        // 2000-01-01 23:30:00.25 UTC, already the next day in Berlin.
        let style = InputStyle {
            time_zone: TimeZone::parse("Europe/Berlin").unwrap(),
            now_us: (23 * 60 + 30) * 60 * USECS_PER_SEC + 250_000,
            ..InputStyle::default()
        };
        let timestamptz = |text| parse_timestamptz(text, -1, &style).unwrap();
        assert_eq!(timestamptz("now"), style.now_us);
        let local = parse_timestamp("now", -1, &style).unwrap();
        assert_eq!(local, style.now_us + 3600 * USECS_PER_SEC);
        assert_eq!(parse_date("now", &style).unwrap(), 1);
        assert_eq!(parse_date("yesterday", &style).unwrap(), 0);
        assert_eq!(
            timestamptz("tomorrow"),
            2 * USECS_PER_DAY - 3600 * USECS_PER_SEC
        );
        assert_eq!(timestamptz("today 12:00"), timestamptz("2000-01-02 12:00"));
    }

    #[test]
    fn rounding_to_digits_of_a_second() {
        assert_eq!(round_timestamp(1_499_999, 0), 1_000_000);
        assert_eq!(round_timestamp(1_500_000, 0), 2_000_000);
        assert_eq!(round_timestamp(-1_500_000, 0), -2_000_000);
        assert_eq!(round_timestamp(1_234_567, 3), 1_235_000);
        assert_eq!(round_timestamp(i64::MAX, 0), i64::MAX);
    }
}
