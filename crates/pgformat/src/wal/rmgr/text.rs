//! Pieces of text that several resource managers print.

use crate::control_file::{CATALOG_VERSION_NO, WalLevel};
use crate::ids::{DEFAULTTABLESPACE_OID, ForkNumber, GLOBALTABLESPACE_OID, RelFileLocator};
use crate::version_file::MAJOR_VERSION;
use std::fmt::Display;

/// Microseconds in a second.
const USECS_PER_SEC: i64 = 1_000_000;
/// Seconds from 1970 to 2000.
const POSTGRES_EPOCH: i64 = 946_684_800;
const SECS_PER_DAY: i64 = 86_400;

/// A timestamp in UTC, as `pg_waldump` writes it (`timestamptz_to_str` in `pg_waldump/compat.c`).
pub(super) fn timestamp(microseconds: i64) -> String {
    // Truncated as in C, also before 2000.
    let seconds = microseconds / USECS_PER_SEC + POSTGRES_EPOCH;
    let (day, second) = (
        seconds.div_euclid(SECS_PER_DAY),
        seconds.rem_euclid(SECS_PER_DAY),
    );
    let (year, month, day) = civil(day);
    let fraction = microseconds % USECS_PER_SEC;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction:06} UTC")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Days are
/// counted from 0000-03-01 in eras of 400 years, so that a leap day is a year's last.
fn civil(day: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(DAYS_PER_ERA), day.rem_euclid(DAYS_PER_ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next_year, month, day_of_month)
}

/// The path of a relation's first file (`relpathperm`).
pub(super) fn path(locator: RelFileLocator, fork: ForkNumber) -> String {
    let RelFileLocator {
        spc_oid,
        db_oid,
        rel_number,
    } = locator;
    if [DEFAULTTABLESPACE_OID, GLOBALTABLESPACE_OID].contains(&spc_oid) {
        return locator.path(fork);
    }
    let mut path = format!(
        "pg_tblspc/{spc_oid}/PG_{MAJOR_VERSION}_{CATALOG_VERSION_NO}/{db_oid}/{rel_number}"
    );
    if fork != ForkNumber::Main {
        path += "_";
        path += fork.name();
    }
    path
}

/// `tablespace/database/relation`.
pub(super) fn locator(locator: RelFileLocator) -> String {
    format!(
        "{}/{}/{}",
        locator.spc_oid, locator.db_oid, locator.rel_number
    )
}

/// A list in brackets (`array_desc`).
pub(super) fn array<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!(" [{}]", items.join(", "))
}

/// Things that each follow a blank.
pub(super) fn spaced<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!(" {item}")).collect()
}

/// `T` or `F`.
pub(super) const fn letter(is_true: bool) -> char {
    if is_true { 'T' } else { 'F' }
}

/// The name of a `wal_level`.
pub(super) fn wal_level(number: i32) -> &'static str {
    u32::try_from(number)
        .ok()
        .and_then(WalLevel::from_number)
        .map_or("?", WalLevel::name)
}

/// A C string: the bytes up to the first zero.
pub(super) fn c_string(bytes: &[u8]) -> String {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Oid;

    #[test]
    fn timestamps_are_dates_and_times() {
        for (microseconds, text) in [
            (0, "2000-01-01 00:00:00.000000 UTC"),
            (1, "2000-01-01 00:00:00.000001 UTC"),
            (5_097_600_000_000, "2000-02-29 00:00:00.000000 UTC"),
            (31_622_399_000_000, "2000-12-31 23:59:59.000000 UTC"),
            (849_876_230_123_456, "2026-12-06 12:43:50.123456 UTC"),
            (-946_684_800_000_000, "1970-01-01 00:00:00.000000 UTC"),
            (-1, "2000-01-01 00:00:00.-00001 UTC"),
        ] {
            assert_eq!(timestamp(microseconds), text);
        }
        // None is out of range.
        timestamp(i64::MIN);
        timestamp(i64::MAX);
    }

    #[test]
    fn paths_name_the_tablespace() {
        let mut locator = RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(5),
            rel_number: 7,
        };
        assert_eq!(path(locator, ForkNumber::Vm), "base/5/7_vm");
        locator.spc_oid = Oid(16400);
        assert_eq!(
            path(locator, ForkNumber::Init),
            "pg_tblspc/16400/PG_18_202506291/5/7_init"
        );
    }
}
