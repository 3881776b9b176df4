//! Functions of dates and timestamps: `extract`, `date_part`, `date_trunc`, `make_date`
//! (`timestamp.c`, `date.c`).

use trunkline_types::datetime::{
    date_is_valid, local_to_timestamptz, timestamp_is_valid, timestamptz_to_local,
};
use trunkline_types::oids::{BOOL, DATE, FLOAT8, INT4, NUMERIC, TEXT, TIMESTAMP, TIMESTAMPTZ};

use super::rows::RowFunction as F;
use crate::query::error::{QueryError, sqlstate};
use crate::query::numeric::Numeric;
use crate::query::value::{Styles, Value};

type Outcome = Result<Value<'static>, QueryError>;

const USECS_PER_SEC: i64 = 1_000_000;
const USECS_PER_HOUR: i64 = 3_600 * USECS_PER_SEC;
const USECS_PER_DAY: i64 = 24 * USECS_PER_HOUR;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
/// The Julian day of 2000-01-01.
const EPOCH_JULIAN: i64 = 2_451_545;

pub(crate) const FUNCTIONS: &[F] = &[
    F::new("extract", &[TEXT, DATE], NUMERIC, |v, _| {
        extract_date(&v[0], v[1].as_date()?)
    }),
    F::new("extract", &[TEXT, TIMESTAMP], NUMERIC, |v, _| {
        extract_timestamp(&v[0], v[1].as_timestamp()?, None)
    }),
    F::new("extract", &[TEXT, TIMESTAMPTZ], NUMERIC, |v, styles| {
        extract_timestamp(&v[0], v[1].as_timestamp()?, Some(styles))
    }),
    F::new("date_part", &[TEXT, DATE], FLOAT8, |v, _| {
        // date_part sees a date as its midnight, which has an hour.
        let midnight = trunkline_types::datetime::date_to_timestamp(v[1].as_date()?)?;
        as_float(extract_timestamp(&v[0], midnight, None))
    }),
    F::new("date_part", &[TEXT, TIMESTAMP], FLOAT8, |v, _| {
        as_float(extract_timestamp(&v[0], v[1].as_timestamp()?, None))
    }),
    F::new("date_part", &[TEXT, TIMESTAMPTZ], FLOAT8, |v, styles| {
        as_float(extract_timestamp(&v[0], v[1].as_timestamp()?, Some(styles)))
    }),
    F::new("date_trunc", &[TEXT, TIMESTAMP], TIMESTAMP, |v, _| {
        truncate(&v[0], v[1].as_timestamp()?, "timestamp without time zone").map(Value::Timestamp)
    }),
    F::new(
        "date_trunc",
        &[TEXT, TIMESTAMPTZ],
        TIMESTAMPTZ,
        |v, styles| {
            let value = v[1].as_timestamp()?;
            if is_infinite(value) {
                return Ok(Value::Timestamp(value));
            }
            let zone = &styles.output.time_zone;
            let local = timestamptz_to_local(value, zone)?;
            let truncated = truncate(&v[0], local, "timestamp with time zone")?;
            Ok(Value::Timestamp(local_to_timestamptz(truncated, zone)?))
        },
    ),
    F::new("make_date", &[INT4, INT4, INT4], DATE, make_date),
    F::new("isfinite", &[DATE], BOOL, |v, _| {
        let date = v[0].as_date()?;
        Ok(Value::Bool(date != i32::MIN && date != i32::MAX))
    }),
    F::new("isfinite", &[TIMESTAMP], BOOL, |v, _| {
        Ok(Value::Bool(!is_infinite(v[0].as_timestamp()?)))
    }),
    F::new("isfinite", &[TIMESTAMPTZ], BOOL, |v, _| {
        Ok(Value::Bool(!is_infinite(v[0].as_timestamp()?)))
    }),
];

fn is_infinite(us: i64) -> bool {
    us == i64::MIN || us == i64::MAX
}

fn as_float(outcome: Outcome) -> Outcome {
    match outcome? {
        Value::Numeric(value) => Ok(Value::Float(value.to_f64())),
        other => Ok(other),
    }
}

/// Year, month and day of a day since 1970 in the proleptic Gregorian calendar; year 0 is 1 BC.
/// Howard Hinnant's `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since 1970 of a date; the way back of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Monday is 1, Sunday 7.
fn iso_weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// ISO 8601's year and week of a day since 1970.
fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - iso_weekday(days) + 4;
    let (year, _, _) = civil_from_days(thursday);
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// Abbreviations and plurals of units (`deltatktbl`, `datetktbl`).
fn unit_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "years" | "y" | "yr" | "yrs" => "year",
        "months" | "mon" | "mons" => "month",
        "days" | "d" => "day",
        "hours" | "h" | "hr" | "hrs" => "hour",
        "minutes" | "m" | "min" | "mins" => "minute",
        "seconds" | "s" | "sec" | "secs" => "second",
        "weeks" | "w" => "week",
        "quarters" | "qtr" => "quarter",
        "decades" | "dec" | "decs" => "decade",
        "centuries" | "c" | "cent" => "century",
        "millenniums" | "millennia" | "mil" | "mils" | "millenium" => "millennium",
        "milliseconds" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" => "milliseconds",
        "millisecond" => "milliseconds",
        "microseconds" | "us" | "usec" | "usecs" | "usecond" | "useconds" => "microseconds",
        "microsecond" => "microseconds",
        _ => return lower,
    }
    .to_owned()
}

fn unsupported_unit(unit: &str, ty: &str) -> QueryError {
    QueryError::unsupported(format!("unit \"{unit}\" not supported for type {ty}"))
}

fn unknown_unit(unit: &str, ty: &str) -> QueryError {
    QueryError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("unit \"{unit}\" not recognized for type {ty}"),
    )
}

fn century(year: i64) -> i64 {
    if year > 0 {
        (year + 99) / 100
    } else {
        -((99 - (year - 1)) / 100)
    }
}

fn millennium(year: i64) -> i64 {
    if year > 0 {
        (year + 999) / 1000
    } else {
        -((999 - (year - 1)) / 1000)
    }
}

/// A unit of a day since 1970, if it is one that days have.
fn day_unit(unit: &str, days: i64) -> Option<i64> {
    let (year, month, day) = civil_from_days(days);
    Some(match unit {
        // There is no year 0: the years before 1 count from -1 down.
        "year" => {
            if year > 0 {
                year
            } else {
                year - 1
            }
        }
        "month" => month,
        "day" => day,
        "quarter" => (month - 1) / 3 + 1,
        "week" => iso_week(days).1,
        "isoyear" => {
            let year = iso_week(days).0;
            if year > 0 { year } else { year - 1 }
        }
        "dow" => iso_weekday(days) % 7,
        "isodow" => iso_weekday(days),
        "doy" => days - days_from_civil(year, 1, 1) + 1,
        "decade" => year.div_euclid(10),
        "century" => century(year),
        "millennium" => millennium(year),
        _ => return None,
    })
}

fn whole(value: i64) -> Value<'static> {
    Value::Numeric(Numeric::from(value))
}

/// What a unit of an infinite date is: infinite if it only grows, else NULL.
fn infinite_unit(unit: &str, positive: bool, ty: &str) -> Outcome {
    match unit {
        "year" | "decade" | "century" | "millennium" | "julian" | "isoyear" | "epoch" => {
            Ok(Value::Numeric(if positive {
                Numeric::INFINITY
            } else {
                Numeric::NEG_INFINITY
            }))
        }
        "month" | "day" | "quarter" | "week" | "dow" | "isodow" | "doy" | "hour" | "minute"
        | "second" | "milliseconds" | "microseconds" => Ok(Value::Null),
        _ => Err(unknown_unit(unit, ty)),
    }
}

fn extract_date(unit: &Value<'_>, date: i32) -> Outcome {
    let given = unit.as_text()?;
    let unit = unit_name(given);
    if matches!(
        unit.as_str(),
        "hour"
            | "minute"
            | "second"
            | "milliseconds"
            | "microseconds"
            | "timezone"
            | "timezone_hour"
            | "timezone_minute"
    ) {
        return Err(unsupported_unit(given, "date"));
    }
    if date == i32::MIN || date == i32::MAX {
        return infinite_unit(&unit, date > 0, "date");
    }
    let days = i64::from(date) + EPOCH_DAYS;
    match unit.as_str() {
        "epoch" => Ok(whole(days * 86_400)),
        "julian" => Ok(whole(i64::from(date) + EPOCH_JULIAN)),
        unit => day_unit(unit, days)
            .map(whole)
            .ok_or_else(|| unknown_unit(given, "date")),
    }
}

fn extract_timestamp(unit: &Value<'_>, us: i64, zone: Option<&Styles>) -> Outcome {
    let given = unit.as_text()?;
    let unit = unit_name(given);
    let ty = match zone {
        Some(_) => "timestamp with time zone",
        None => "timestamp without time zone",
    };
    if is_infinite(us) {
        return infinite_unit(&unit, us > 0, ty);
    }
    if unit == "epoch" {
        let unix = i128::from(us) + i128::from(EPOCH_DAYS * USECS_PER_DAY);
        return Ok(Value::Numeric(Numeric::from_i128(unix, 6)));
    }
    let local = match zone {
        Some(styles) => timestamptz_to_local(us, &styles.output.time_zone)?,
        None => us,
    };
    let days = local.div_euclid(USECS_PER_DAY);
    let time = local.rem_euclid(USECS_PER_DAY);
    let offset_secs = (local - us) / USECS_PER_SEC;
    let decimal = |value: i64, scale: u32| Value::Numeric(Numeric::from_i128(value.into(), scale));
    let below_minute = time % (60 * USECS_PER_SEC);
    Ok(match unit.as_str() {
        "hour" => whole(time / USECS_PER_HOUR),
        "minute" => whole(time / (60 * USECS_PER_SEC) % 60),
        "second" => decimal(below_minute, 6),
        "milliseconds" => decimal(below_minute, 3),
        "microseconds" => whole(below_minute),
        "julian" => {
            let day = Numeric::from(days + EPOCH_JULIAN);
            let fraction = Numeric::from(time).div(&Numeric::from(USECS_PER_DAY))?;
            Value::Numeric(day.add(&fraction)?)
        }
        "timezone" if zone.is_some() => whole(offset_secs),
        "timezone_hour" if zone.is_some() => whole(offset_secs / 3_600),
        "timezone_minute" if zone.is_some() => whole(offset_secs / 60 % 60),
        "timezone" | "timezone_hour" | "timezone_minute" => {
            return Err(unsupported_unit(given, ty));
        }
        unit => match day_unit(unit, days + EPOCH_DAYS) {
            Some(value) => whole(value),
            None => return Err(unknown_unit(given, ty)),
        },
    })
}

fn truncate(unit: &Value<'_>, us: i64, ty: &str) -> Result<i64, QueryError> {
    let given = unit.as_text()?;
    let unit = unit_name(given);
    if is_infinite(us) {
        return Ok(us);
    }
    let days = us.div_euclid(USECS_PER_DAY) + EPOCH_DAYS;
    let (year, month, _) = civil_from_days(days);
    let first_of = |year: i64, month: i64| days_from_civil(year, month, 1);
    let start = match unit.as_str() {
        "microseconds" => return Ok(us),
        "milliseconds" => return Ok(us.div_euclid(1_000) * 1_000),
        "second" => return Ok(us.div_euclid(USECS_PER_SEC) * USECS_PER_SEC),
        "minute" => return Ok(us.div_euclid(60 * USECS_PER_SEC) * 60 * USECS_PER_SEC),
        "hour" => return Ok(us.div_euclid(USECS_PER_HOUR) * USECS_PER_HOUR),
        "day" => days,
        "week" => days - iso_weekday(days) + 1,
        "month" => first_of(year, month),
        "quarter" => first_of(year, (month - 1) / 3 * 3 + 1),
        "year" => first_of(year, 1),
        "decade" => first_of(year.div_euclid(10) * 10, 1),
        "century" => first_of((year - 1).div_euclid(100) * 100 + 1, 1),
        "millennium" => first_of((year - 1).div_euclid(1_000) * 1_000 + 1, 1),
        "dow" | "doy" | "isodow" | "isoyear" | "epoch" | "julian" | "timezone"
        | "timezone_hour" | "timezone_minute" => return Err(unsupported_unit(given, ty)),
        _ => return Err(unknown_unit(given, ty)),
    };
    let truncated = (start - EPOCH_DAYS).saturating_mul(USECS_PER_DAY);
    if !timestamp_is_valid(truncated) {
        return Err(QueryError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            "timestamp out of range",
        ));
    }
    Ok(truncated)
}

fn make_date(v: &[Value<'_>], _: &Styles) -> Outcome {
    let (year, month, day) = (v[0].as_int()?, v[1].as_int()?, v[2].as_int()?);
    let invalid = || {
        QueryError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            format!("date field value out of range: {year}-{month:02}-{day:02}"),
        )
    };
    if year == 0 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(invalid());
    }
    // A negative year is BC: there is no year 0 between.
    let astronomical = if year < 0 { year + 1 } else { year };
    let days = days_from_civil(astronomical, month, day);
    if civil_from_days(days) != (astronomical, month, day) {
        return Err(invalid());
    }
    match i32::try_from(days - EPOCH_DAYS) {
        Ok(date) if date_is_valid(date) => Ok(Value::Date(date)),
        _ => Err(QueryError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            format!("date out of range: {year}-{month:02}-{day:02}"),
        )),
    }
}
