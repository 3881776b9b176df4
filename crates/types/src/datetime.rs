//! Dates, timestamps and time zones.
//!
//! Text goes through `tokens` (fields), `decode` (their meaning) and `value` (the number and its
//! range), unless `value` recognises the usual ISO layout at once. `print` is the way back.

mod abbreviations;
mod calendar;
mod decode;
mod keywords;
mod posix_zone;
mod print;
mod tokens;
mod value;
mod zone;

pub(crate) use print::{push_date, push_timestamp, push_timestamptz};
pub use value::{
    DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, date_is_valid,
    date_out_of_range, date_to_timestamp, local_to_timestamptz, parse_date, parse_timestamp,
    parse_timestamptz, round_timestamp, timestamp_is_valid, timestamp_out_of_range,
    timestamp_to_date, timestamptz_to_local,
};
pub use zone::{TimeZone, ZonePeriod};
