//! The proleptic Gregorian calendar in integers.
//!
//! Days are counted from 1970-01-01 (Unix) or 2000-01-01 (PostgreSQL's epoch). Years are
//! astronomical: 0 is 1 BC. The conversions are Howard Hinnant's `days_from_civil` and
//! `civil_from_days` ("chrono-Compatible Low-Level Date Algorithms").

/// Seconds in a day.
pub(crate) const SECS_PER_DAY: i64 = 86_400;
/// Microseconds in a second.
pub(crate) const USECS_PER_SEC: i64 = 1_000_000;
/// Microseconds in a day.
pub(crate) const USECS_PER_DAY: i64 = SECS_PER_DAY * USECS_PER_SEC;
/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const UNIX_TO_PG_DAYS: i64 = 10_957;
/// Seconds from 1970-01-01 to 2000-01-01.
pub(crate) const UNIX_TO_PG_SECS: i64 = UNIX_TO_PG_DAYS * SECS_PER_DAY;
/// Julian day of 2000-01-01 (`POSTGRES_EPOCH_JDATE`).
pub(crate) const PG_EPOCH_JULIAN: i64 = 2_451_545;

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
#[inline]
pub(crate) const fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month as i64 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i64 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
#[inline]
pub(crate) const fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month as u32, day)
}

/// The year in which a number of seconds since 1970 lies.
pub(crate) const fn unix_year(unix_secs: i64) -> i64 {
    civil_from_days(unix_secs.div_euclid(SECS_PER_DAY)).0
}

/// Whether an astronomical year is a leap year.
pub(crate) const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days in a month (1 to 12) of an astronomical year.
pub(crate) const fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => {
            if is_leap(year) {
                29
            } else {
                28
            }
        }
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_inverse() {
        for days in (-2_000_000i64..110_000_000).step_by(997) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=days_in_month(year, month)).contains(&day));
        }
        assert_eq!(days_from_civil(2000, 1, 1), UNIX_TO_PG_DAYS);
        assert_eq!(civil_from_days(0), (1970, 1, 1));
    }
}
