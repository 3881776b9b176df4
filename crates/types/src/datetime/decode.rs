//! Making sense of a date's fields (`DecodeDateTime` and its helpers, `datetime.c`).
//!
//! What has been seen is a set of parts; a part that comes twice is an error. The meaning of a
//! bare number depends on which parts are there already.

use super::abbreviations::{self, Abbreviation};
use super::calendar::{
    PG_EPOCH_JULIAN, SECS_PER_DAY, UNIX_TO_PG_DAYS, UNIX_TO_PG_SECS, USECS_PER_DAY, USECS_PER_SEC,
    civil_from_days, days_from_civil, days_in_month,
};
use super::keywords::{Keyword, Meridian, keyword};
use super::tokens::{Field, FieldKind};
use super::zone::{AbbreviationUse, TimeZone};
use crate::style::{DateOrder, InputStyle};

/// Why a text is no date.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    BadFormat,
    FieldOverflow,
    /// A month or day is out of range, which another field order might explain.
    MonthOrDayOverflow,
    ZoneOverflow,
    BadZone(String),
}

/// Parts of a date, as bits.
type Parts = u32;
const YEAR: Parts = 1;
const MONTH: Parts = 1 << 1;
const DAY: Parts = 1 << 2;
const TIME: Parts = 1 << 3;
const ZONE: Parts = 1 << 4;
const DAYLIGHT: Parts = 1 << 5;
const DAY_OF_YEAR: Parts = 1 << 6;
const WEEKDAY: Parts = 1 << 7;
const MERIDIAN: Parts = 1 << 8;
const ERA: Parts = 1 << 9;
const DAYLIGHT_MODIFIER: Parts = 1 << 10;
const DYNAMIC_ZONE: Parts = 1 << 11;
const DATE: Parts = YEAR | MONTH | DAY;

/// What a date's text says.
#[derive(Debug, PartialEq)]
pub(super) enum Decoded {
    /// A date and time on some clock.
    Civil(Civil),
    /// `epoch`
    Epoch,
    /// `infinity`
    Late,
    /// `-infinity`
    Early,
}

/// A date and time on the clock of a zone.
#[derive(Debug, PartialEq, Default)]
pub(super) struct Civil {
    /// Astronomical
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micros: i64,
    /// Seconds east of Greenwich
    pub offset_secs: i64,
}

impl Civil {
    fn set_date_from_unix_days(&mut self, days: i64) {
        let (year, month, day) = civil_from_days(days);
        self.year = year;
        self.month = month.into();
        self.day = day.into();
    }

    /// Days since 1970; month must be valid.
    pub(super) fn unix_days(&self) -> i64 {
        days_from_civil(self.year, self.month as u32, 1) + self.day - 1
    }

    /// Seconds since 1970 on the zone's own clock.
    fn local_secs(&self) -> i64 {
        self.unix_days() * SECS_PER_DAY + self.hour * 3600 + self.minute * 60 + self.second
    }
}

/// A word that says what the next field is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Julian,
    IsoTime,
    Other,
}

/// Where the offset comes from, once the date is known.
enum LateZone {
    Named(TimeZone),
    Abbreviation(TimeZone, String),
}

struct Decoder<'s> {
    style: &'s InputStyle,
    civil: Civil,
    seen: Parts,
    day_of_year: i64,
    year_is_short: bool,
    has_text_month: bool,
    is_julian: bool,
    is_bc: bool,
    meridian: Option<Meridian>,
    prefix: Option<Prefix>,
    late_zone: Option<LateZone>,
    special: Option<Decoded>,
}

/// The meaning of a date's fields.
pub(super) fn decode(fields: &[Field], style: &InputStyle) -> Result<Decoded, Failure> {
    let mut decoder = Decoder {
        style,
        civil: Civil::default(),
        seen: 0,
        day_of_year: 0,
        year_is_short: false,
        has_text_month: false,
        is_julian: false,
        is_bc: false,
        meridian: None,
        prefix: None,
        late_zone: None,
        special: None,
    };
    for field in fields {
        let parts = decoder.field(field)?;
        if parts & decoder.seen != 0 {
            return Err(Failure::BadFormat);
        }
        decoder.seen |= parts;
    }
    decoder.finish()
}

/// `strtol` in base 10 on text that begins with a digit or not at all: value (0 without digits)
/// and the rest; an overflow is `None`.
fn leading_number(text: &str) -> (Option<i64>, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return (Some(0), rest);
    }
    let value = digits.parse::<i32>().ok().map(i64::from);
    (value, rest)
}

/// Like C's `atoi` on digits of which there may be too many.
fn lenient_number(digits: &str) -> i64 {
    digits.bytes().fold(0i64, |sum, byte| {
        sum.wrapping_mul(10)
            .wrapping_add(i64::from(byte.wrapping_sub(b'0')))
    }) as i32 as i64
}

/// The fraction that text beginning with a point holds, in 0..1.
fn fraction(text: &str) -> Result<f64, Failure> {
    let digits = &text[1..];
    if digits.is_empty() {
        return Ok(0.0);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::BadFormat);
    }
    text.parse().map_err(|_| Failure::BadFormat)
}

fn fraction_micros(text: &str) -> Result<i64, Failure> {
    Ok((fraction(text)? * 1_000_000.0).round_ties_even() as i64)
}

/// Seconds east of Greenwich of `+01`, `-0330`, `+05:45:10` (`DecodeTimezone`).
pub(super) fn numeric_zone(text: &str) -> Result<i64, Failure> {
    let negative = match text.as_bytes().first() {
        Some(b'-') => true,
        Some(b'+') => false,
        _ => return Err(Failure::BadFormat),
    };
    let number = |text| match leading_number(text) {
        (Some(value), rest) => Ok((value, rest)),
        (None, _) => Err(Failure::ZoneOverflow),
    };
    let (mut hours, mut rest) = number(&text[1..])?;
    let (mut minutes, mut seconds) = (0, 0);
    if let Some(after) = rest.strip_prefix(':') {
        (minutes, rest) = number(after)?;
        if let Some(after) = rest.strip_prefix(':') {
            (seconds, rest) = number(after)?;
        }
    } else if rest.is_empty() && text.len() > 3 {
        minutes = hours % 100;
        hours /= 100;
    }
    if hours > 15 || minutes >= 60 || seconds >= 60 {
        return Err(Failure::ZoneOverflow);
    }
    if !rest.is_empty() {
        return Err(Failure::BadFormat);
    }
    let offset = (hours * 60 + minutes) * 60 + seconds;
    Ok(if negative { -offset } else { offset })
}

impl Decoder<'_> {
    fn field(&mut self, field: &Field) -> Result<Parts, Failure> {
        let text = field.text.as_str();
        match field.kind {
            FieldKind::Date => self.date_field(text),
            FieldKind::Time => {
                self.take_time_prefix()?;
                self.time(text)
            }
            FieldKind::Zone => {
                self.civil.offset_secs = numeric_zone(text)?;
                Ok(ZONE)
            }
            FieldKind::Number => match self.prefix.take() {
                Some(prefix) => self.prefixed_number(prefix, text),
                None => self.number_field(text),
            },
            FieldKind::Text | FieldKind::Special => self.word(text),
        }
    }

    /// Accepts a pending `t`, refuses any other pending prefix.
    fn take_time_prefix(&mut self) -> Result<(), Failure> {
        match self.prefix.take() {
            None | Some(Prefix::IsoTime) => Ok(()),
            Some(_) => Err(Failure::BadFormat),
        }
    }

    fn date_field(&mut self, text: &str) -> Result<Parts, Failure> {
        if self.prefix == Some(Prefix::Julian) {
            // A Julian day with a time zone.
            self.prefix = None;
            let (value, rest) = leading_number(text);
            self.julian_day(value.ok_or(Failure::FieldOverflow)?);
            self.civil.offset_secs = numeric_zone(rest)?;
            return Ok(DATE | TIME | ZONE);
        }
        if self.prefix.is_none() && self.seen & (MONTH | DAY) != (MONTH | DAY) {
            return self.date(text);
        }
        if !text.starts_with(|c: char| c.is_ascii_digit()) && self.prefix.is_none() {
            let zone = TimeZone::by_name(text).ok_or_else(|| Failure::BadZone(text.to_owned()))?;
            self.late_zone = Some(LateZone::Named(zone));
            return Ok(ZONE);
        }
        // A time without colons, with a time zone.
        self.take_time_prefix()?;
        if self.seen & TIME != 0 {
            return Err(Failure::BadFormat);
        }
        let at = text.find('-').ok_or(Failure::BadFormat)?;
        self.civil.offset_secs = numeric_zone(&text[at..])?;
        Ok(self.concatenated(&text[..at], self.seen)? | ZONE)
    }

    fn julian_day(&mut self, day: i64) {
        self.civil
            .set_date_from_unix_days(day - PG_EPOCH_JULIAN + UNIX_TO_PG_DAYS);
        self.is_julian = true;
    }

    fn prefixed_number(&mut self, prefix: Prefix, text: &str) -> Result<Parts, Failure> {
        let (value, rest) = leading_number(text);
        let value = value.ok_or(Failure::FieldOverflow)?;
        if !rest.is_empty() && !rest.starts_with('.') {
            return Err(Failure::BadFormat);
        }
        match prefix {
            Prefix::Julian => {
                self.julian_day(value);
                if rest.is_empty() {
                    return Ok(DATE);
                }
                let time = (fraction(rest)? * USECS_PER_DAY as f64) as i64;
                self.civil.hour = time / (3600 * USECS_PER_SEC);
                self.civil.minute = time / (60 * USECS_PER_SEC) % 60;
                self.civil.second = time / USECS_PER_SEC % 60;
                self.civil.micros = time % USECS_PER_SEC;
                Ok(DATE | TIME)
            }
            Prefix::IsoTime => match self.concatenated(text, self.seen | DATE)? {
                TIME => Ok(TIME),
                _ => Err(Failure::BadFormat),
            },
            Prefix::Other => Err(Failure::BadFormat),
        }
    }

    fn number_field(&mut self, text: &str) -> Result<Parts, Failure> {
        match text.find('.') {
            Some(_) if self.seen & DATE == 0 => self.date(text),
            Some(at) if at > 2 => self.concatenated(text, self.seen),
            // Six digits or more are a date or a time run together, unless both are there.
            _ if text.len() >= 6 && (self.seen & DATE == 0 || self.seen & TIME == 0) => {
                self.concatenated(text, self.seen)
            }
            _ => {
                let text_month = self.has_text_month;
                self.number(text, text_month, self.seen)
            }
        }
    }

    /// A date of fields with separators (`DecodeDate`).
    fn date(&mut self, text: &str) -> Result<Parts, Failure> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            let first = rest.chars().next().ok_or(Failure::BadFormat)?;
            let end = if first.is_ascii_digit() {
                rest.find(|c: char| !c.is_ascii_digit())
            } else {
                rest.find(|c: char| !c.is_ascii_alphabetic())
            };
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            pieces.push(piece);
            // The separator, whatever it is.
            rest = after.get(1..).unwrap_or_default();
        }
        let mut seen = self.seen;
        let mut parts = 0;
        let mut text_month = false;
        for piece in &pieces {
            if !piece.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            match keyword(piece) {
                Some(Keyword::Ignored) => continue,
                Some(Keyword::Month(month)) => {
                    self.civil.month = month.into();
                    text_month = true;
                }
                _ => return Err(Failure::BadFormat),
            }
            if seen & MONTH != 0 {
                return Err(Failure::BadFormat);
            }
            seen |= MONTH;
            parts |= MONTH;
        }
        for piece in &pieces {
            if piece.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            let new = self.number(piece, text_month, seen)?;
            if seen & new != 0 {
                return Err(Failure::BadFormat);
            }
            seen |= new;
            parts |= new;
        }
        if seen & !(DAY_OF_YEAR | ZONE) != DATE {
            return Err(Failure::BadFormat);
        }
        Ok(parts)
    }

    /// A number whose meaning follows from what is there (`DecodeNumber`).
    fn number(&mut self, text: &str, text_month: bool, seen: Parts) -> Result<Parts, Failure> {
        let (value, rest) = leading_number(text);
        let value = value.ok_or(Failure::FieldOverflow)?;
        let digits = text.len() - rest.len();
        if digits == 0 {
            return Err(Failure::BadFormat);
        }
        if rest.starts_with('.') {
            if digits > 2 {
                return self.concatenated(text, seen | DATE);
            }
            self.civil.micros = fraction_micros(rest)?;
        } else if !rest.is_empty() {
            return Err(Failure::BadFormat);
        }
        let long = text.len() >= 3;
        if text.len() == 3 && seen & DATE == YEAR && (1..=366).contains(&value) {
            self.day_of_year = value;
            return Ok(DAY_OF_YEAR | MONTH | DAY);
        }
        let order = self.style.date_order;
        let part = match seen & DATE {
            0 if long || order == DateOrder::Ymd => YEAR,
            0 if order == DateOrder::Dmy => DAY,
            0 => MONTH,
            YEAR => MONTH,
            MONTH if text_month && (long || order == DateOrder::Ymd) => YEAR,
            MONTH => DAY,
            part if part == YEAR | MONTH => {
                if text_month && long && self.year_is_short {
                    // The first number was the day after all.
                    self.civil.day = self.civil.year;
                    self.civil.year = value;
                    self.year_is_short = false;
                    return Ok(DAY);
                }
                DAY
            }
            DAY => MONTH,
            part if part == MONTH | DAY => YEAR,
            DATE => return self.concatenated(text, seen),
            _ => return Err(Failure::BadFormat),
        };
        match part {
            YEAR => {
                self.civil.year = value;
                self.year_is_short = text.len() <= 2;
            }
            MONTH => self.civil.month = value,
            _ => self.civil.day = value,
        }
        Ok(part)
    }

    /// A date or a time run together (`DecodeNumberField`).
    fn concatenated(&mut self, text: &str, seen: Parts) -> Result<Parts, Failure> {
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Err(Failure::BadFormat);
        }
        let mut digits = text;
        if let Some(at) = text.find('.') {
            self.civil.micros = fraction_micros(&text[at..])?;
            digits = &text[..at];
        } else if seen & DATE != DATE && digits.len() >= 6 {
            let (year, month_day) = digits.split_at(digits.len() - 4);
            self.civil.day = lenient_number(&month_day[2..]);
            self.civil.month = lenient_number(&month_day[..2]);
            self.civil.year = lenient_number(year);
            if year.len() == 2 {
                self.year_is_short = true;
            }
            return Ok(DATE);
        }
        if seen & TIME == 0 && (digits.len() == 6 || digits.len() == 4) {
            self.civil.hour = lenient_number(&digits[..2]);
            self.civil.minute = lenient_number(&digits[2..4]);
            self.civil.second = lenient_number(&digits[4..]);
            return Ok(TIME);
        }
        Err(Failure::BadFormat)
    }

    /// A time with colons (`DecodeTime`).
    fn time(&mut self, text: &str) -> Result<Parts, Failure> {
        let number = |text| match leading_number(text) {
            (Some(value), rest) => Ok((value, rest)),
            (None, _) => Err(Failure::FieldOverflow),
        };
        let (mut hour, rest) = number(text)?;
        let (mut minute, rest) = number(rest.strip_prefix(':').ok_or(Failure::BadFormat)?)?;
        let mut second = 0;
        let mut micros = 0;
        if rest.starts_with('.') {
            // mm:ss.sss
            micros = fraction_micros(rest)?;
            (hour, minute, second) = (0, hour, minute);
        } else if let Some(after) = rest.strip_prefix(':') {
            let rest;
            (second, rest) = number(after)?;
            if rest.starts_with('.') {
                micros = fraction_micros(rest)?;
            } else if !rest.is_empty() {
                return Err(Failure::BadFormat);
            }
        } else if !rest.is_empty() {
            return Err(Failure::BadFormat);
        }
        let total = ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC + micros;
        if minute > 59 || second > 60 || total > USECS_PER_DAY {
            return Err(Failure::FieldOverflow);
        }
        self.civil.hour = hour;
        self.civil.minute = minute;
        self.civil.second = second;
        self.civil.micros = micros;
        Ok(TIME)
    }

    /// What an abbreviation of a time zone stands for: the session's zone goes before the common
    /// ones (`DecodeTimezoneAbbrev`).
    fn zone_abbreviation(&mut self, word: &str) -> Option<Parts> {
        let upper = word.to_ascii_uppercase();
        match self.style.time_zone.use_of_abbreviation(&upper) {
            Some(AbbreviationUse::Always(offset, is_dst)) => {
                self.civil.offset_secs = offset.into();
                return Some(if is_dst { ZONE | DAYLIGHT } else { ZONE });
            }
            Some(AbbreviationUse::Varying) => {
                let zone = self.style.time_zone.clone();
                self.late_zone = Some(LateZone::Abbreviation(zone, upper));
                return Some(ZONE | DYNAMIC_ZONE);
            }
            None => {}
        }
        match abbreviations::find(word)? {
            Abbreviation::Fixed(offset, is_dst) => {
                self.civil.offset_secs = offset.into();
                Some(if is_dst { ZONE | DAYLIGHT } else { ZONE })
            }
            Abbreviation::Dynamic(name) => {
                let zone = TimeZone::by_name(name)?;
                self.late_zone = Some(LateZone::Abbreviation(zone, upper));
                Some(ZONE | DYNAMIC_ZONE)
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<Parts, Failure> {
        if let Some(parts) = self.zone_abbreviation(word) {
            return Ok(parts);
        }
        let Some(keyword) = keyword(word) else {
            let zone = TimeZone::by_name(word).ok_or(Failure::BadFormat)?;
            self.late_zone = Some(LateZone::Named(zone));
            return Ok(ZONE);
        };
        match keyword {
            Keyword::Ignored => Ok(0),
            Keyword::Now => {
                let (secs, micros, offset) = self.now();
                self.set_local(secs, micros);
                self.civil.offset_secs = offset;
                Ok(DATE | TIME | ZONE)
            }
            Keyword::Day(days) => {
                let (secs, _, _) = self.now();
                let today = secs.div_euclid(SECS_PER_DAY);
                self.civil.set_date_from_unix_days(today + days);
                Ok(DATE)
            }
            Keyword::Zulu => {
                self.civil.hour = 0;
                self.civil.minute = 0;
                self.civil.second = 0;
                self.civil.offset_secs = 0;
                Ok(TIME | ZONE)
            }
            Keyword::Epoch => self.special(Decoded::Epoch),
            Keyword::Late => self.special(Decoded::Late),
            Keyword::Early => self.special(Decoded::Early),
            Keyword::Month(month) => {
                let mut parts = MONTH;
                if self.seen & MONTH != 0
                    && !self.has_text_month
                    && self.seen & DAY == 0
                    && (1..=31).contains(&self.civil.month)
                {
                    // The number taken for the month was the day.
                    self.civil.day = self.civil.month;
                    parts = DAY;
                }
                self.has_text_month = true;
                self.civil.month = month.into();
                Ok(parts)
            }
            Keyword::DaylightModifier => {
                self.civil.offset_secs += 3600;
                Ok(DAYLIGHT_MODIFIER | DAYLIGHT)
            }
            Keyword::Meridian(meridian) => {
                self.meridian = Some(meridian);
                Ok(MERIDIAN)
            }
            Keyword::Era(is_bc) => {
                self.is_bc = is_bc;
                Ok(ERA)
            }
            Keyword::Weekday => Ok(WEEKDAY),
            Keyword::Julian => self.set_prefix(Prefix::Julian),
            Keyword::OtherUnit => self.set_prefix(Prefix::Other),
            Keyword::IsoTime => {
                if self.seen & DATE != DATE {
                    return Err(Failure::BadFormat);
                }
                self.set_prefix(Prefix::IsoTime)
            }
        }
    }

    fn set_prefix(&mut self, prefix: Prefix) -> Result<Parts, Failure> {
        if self.prefix.is_some() {
            return Err(Failure::BadFormat);
        }
        self.prefix = Some(prefix);
        Ok(0)
    }

    fn special(&mut self, special: Decoded) -> Result<Parts, Failure> {
        self.special = Some(special);
        Ok(DATE | TIME | ZONE)
    }

    /// The transaction's start on the session's clock: seconds since 1970, microseconds, offset.
    fn now(&self) -> (i64, i64, i64) {
        let now = self.style.now_us;
        let unix = now.div_euclid(USECS_PER_SEC) + UNIX_TO_PG_SECS;
        let offset = i64::from(self.style.time_zone.period_at(unix).offset_secs);
        (unix + offset, now.rem_euclid(USECS_PER_SEC), offset)
    }

    fn set_local(&mut self, secs: i64, micros: i64) {
        self.civil
            .set_date_from_unix_days(secs.div_euclid(SECS_PER_DAY));
        let time = secs.rem_euclid(SECS_PER_DAY);
        self.civil.hour = time / 3600;
        self.civil.minute = time / 60 % 60;
        self.civil.second = time % 60;
        self.civil.micros = micros;
    }

    fn finish(mut self) -> Result<Decoded, Failure> {
        if self.prefix.is_some() {
            return Err(Failure::BadFormat);
        }
        if let Some(special) = self.special {
            return Ok(special);
        }
        self.validate_date()?;
        if let Some(meridian) = self.meridian {
            if self.civil.hour > 12 {
                return Err(Failure::FieldOverflow);
            }
            match meridian {
                Meridian::Am if self.civil.hour == 12 => self.civil.hour = 0,
                Meridian::Pm if self.civil.hour != 12 => self.civil.hour += 12,
                _ => {}
            }
        }
        if self.seen & DATE != DATE {
            return Err(Failure::BadFormat);
        }
        let modified = self.seen & DAYLIGHT_MODIFIER != 0;
        let local = self.civil.local_secs();
        let late = match &self.late_zone {
            Some(LateZone::Named(zone)) => Some(zone.offset_of_local(local)),
            Some(LateZone::Abbreviation(zone, upper)) => {
                let offset = zone.offset_of_local(local);
                let moment = local - i64::from(offset);
                Some(zone.offset_of_abbreviation(upper, moment).unwrap_or(offset))
            }
            None if self.seen & ZONE == 0 => Some(self.style.time_zone.offset_of_local(local)),
            None => None,
        };
        if let Some(offset) = late {
            if modified {
                return Err(Failure::BadFormat);
            }
            self.civil.offset_secs = offset.into();
        }
        Ok(Decoded::Civil(self.civil))
    }

    /// `ValidateDate`
    fn validate_date(&mut self) -> Result<(), Failure> {
        let civil = &mut self.civil;
        if self.seen & YEAR != 0 && !self.is_julian {
            if self.is_bc {
                if civil.year <= 0 {
                    return Err(Failure::FieldOverflow);
                }
                civil.year = 1 - civil.year;
            } else if self.year_is_short {
                match civil.year {
                    ..70 => civil.year += 2000,
                    70..100 => civil.year += 1900,
                    _ => {}
                }
            } else if civil.year <= 0 {
                return Err(Failure::FieldOverflow);
            }
        }
        if self.seen & DAY_OF_YEAR != 0 {
            let days = days_from_civil(civil.year, 1, 1) + self.day_of_year - 1;
            civil.set_date_from_unix_days(days);
        }
        if self.seen & MONTH != 0 && !(1..=12).contains(&civil.month) {
            return Err(Failure::MonthOrDayOverflow);
        }
        if self.seen & DAY != 0 && !(1..=31).contains(&civil.day) {
            return Err(Failure::MonthOrDayOverflow);
        }
        if self.seen & DATE == DATE
            && civil.day > i64::from(days_in_month(civil.year, civil.month as u32))
        {
            return Err(Failure::FieldOverflow);
        }
        Ok(())
    }
}
