//! What a session's settings say about reading and printing values.

use std::fmt;
use std::sync::Arc;

use crate::datetime::TimeZone;
use crate::system::OidAlias;

/// The order in which ambiguous dates are read and printed (second half of `DateStyle`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DateOrder {
    /// Year, month, day.
    Ymd,
    /// Day, month, year.
    Dmy,
    /// Month, day, year.
    #[default]
    Mdy,
}

/// The layout of printed dates (first half of `DateStyle`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DateStyle {
    /// `1997-12-17 07:37:16-08`
    #[default]
    Iso,
    /// `12/17/1997 07:37:16.00 PST`
    Sql,
    /// `Wed Dec 17 07:37:16 1997 PST`
    Postgres,
    /// `17.12.1997 07:37:16.00 PST`
    German,
}

/// How `bytea` is printed (`bytea_output`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ByteaOutput {
    /// `\x0102`
    #[default]
    Hex,
    /// `\001\002`
    Escape,
}

/// What reading text depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct InputStyle {
    /// `TimeZone`: what a timestamp without a zone is in.
    pub time_zone: TimeZone,
    /// How `01/02/03` is read.
    pub date_order: DateOrder,
    /// Start of the transaction, what `now` and `today` mean: microseconds since 2000-01-01 UTC.
    pub now_us: i64,
}

impl Default for InputStyle {
    fn default() -> Self {
        InputStyle {
            time_zone: TimeZone::utc(),
            date_order: DateOrder::Mdy,
            now_us: 0,
        }
    }
}

/// The catalogs as printing needs them: what the object that an OID alias holds is called.
pub trait ObjectNames: fmt::Debug + Send + Sync {
    /// The name as the alias's output function prints it, quoted and qualified where needed;
    /// `None` if there is no such object, which is then printed as a number.
    fn printed_name(&self, alias: OidAlias, oid: u32) -> Option<String>;

    /// The name of a role as it is.
    fn role_name(&self, oid: u32) -> Option<String>;
}

/// What printing depends on.
#[derive(Clone, Debug)]
pub struct OutputStyle {
    /// `TimeZone`: the zone that a `timestamptz` is shown in.
    pub time_zone: TimeZone,
    /// Layout of dates.
    pub date_style: DateStyle,
    /// Order of the fields in layouts other than ISO.
    pub date_order: DateOrder,
    /// `extra_float_digits`: above 0 means shortest exact digits.
    pub extra_float_digits: i32,
    /// Layout of `bytea`.
    pub bytea_output: ByteaOutput,
    /// Names for OID aliases and privileges; without it, those of the built-in types and of the
    /// first role are known.
    pub names: Option<Arc<dyn ObjectNames>>,
}

impl Default for OutputStyle {
    fn default() -> Self {
        OutputStyle {
            time_zone: TimeZone::utc(),
            date_style: DateStyle::Iso,
            date_order: DateOrder::Mdy,
            extra_float_digits: 1,
            bytea_output: ByteaOutput::Hex,
            names: None,
        }
    }
}

/// Reads a `DateStyle` setting (`ISO, MDY`, `german`, `default`), starting from what was in force.
/// `None` if a keyword is unknown or two contradict each other (`variable.c`, `check_datestyle`).
pub fn parse_date_style(
    setting: &str,
    current: (DateStyle, DateOrder),
) -> Option<(DateStyle, DateOrder)> {
    let mut style = None;
    let mut order = None;
    fn agree<T: PartialEq + Copy>(slot: &mut Option<T>, value: T) -> bool {
        let agrees = slot.is_none_or(|old| old == value);
        *slot = Some(value);
        agrees
    }
    for word in setting.split(',') {
        let word = word.trim().trim_matches('"').to_ascii_lowercase();
        let ok = match word.as_str() {
            "iso" => agree(&mut style, DateStyle::Iso),
            "sql" => agree(&mut style, DateStyle::Sql),
            "german" => {
                if order.is_none() {
                    order = Some(DateOrder::Dmy);
                }
                agree(&mut style, DateStyle::German)
            }
            "ymd" => agree(&mut order, DateOrder::Ymd),
            "mdy" | "us" | "noneuro" | "noneuropean" => agree(&mut order, DateOrder::Mdy),
            "dmy" | "euro" | "european" => agree(&mut order, DateOrder::Dmy),
            "default" => {
                style.get_or_insert(DateStyle::Iso);
                order.get_or_insert(DateOrder::Mdy);
                true
            }
            other if other.starts_with("postgres") => agree(&mut style, DateStyle::Postgres),
            _ => false,
        };
        if !ok {
            return None;
        }
    }
    Some((style.unwrap_or(current.0), order.unwrap_or(current.1)))
}

/// The canonical spelling of a `DateStyle`, as `SHOW` prints it: `ISO, MDY`.
pub fn format_date_style(style: DateStyle, order: DateOrder) -> String {
    let style = match style {
        DateStyle::Iso => "ISO",
        DateStyle::Sql => "SQL",
        DateStyle::Postgres => "Postgres",
        DateStyle::German => "German",
    };
    let order = match order {
        DateOrder::Ymd => "YMD",
        DateOrder::Dmy => "DMY",
        DateOrder::Mdy => "MDY",
    };
    format!("{style}, {order}")
}
