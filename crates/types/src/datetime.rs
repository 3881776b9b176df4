//! Dates, timestamps and time zones.

mod abbreviations;
mod calendar;
mod posix_zone;
mod zone;

pub use zone::{TimeZone, ZonePeriod};
