//! The words that dates may contain, besides time zones (`datetktbl`, `datetime.c`).

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    /// `infinity`
    Late,
    /// `-infinity`
    Early,
    /// `epoch`
    Epoch,
    /// `now`
    Now,
    /// `yesterday`, `today`, `tomorrow`: days from today
    Day(i64),
    /// `allballs`: midnight UTC
    Zulu,
    /// A month, from 1
    Month(u32),
    /// A day of the week; only its being one counts
    Weekday,
    /// `am` or `pm`
    Meridian(Meridian),
    /// `ad` (false) or `bc` (true)
    Era(bool),
    /// `dst`
    DaylightModifier,
    /// `at`, `on`
    Ignored,
    /// `j`, `jd`, `julian`
    Julian,
    /// `t`
    IsoTime,
    /// A unit that only intervals know
    OtherUnit,
}

/// Half of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meridian {
    /// Before noon
    Am,
    /// After noon
    Pm,
}

/// The meaning of a lower-case word.
pub(super) fn keyword(word: &str) -> Option<Keyword> {
    use Keyword::*;
    Some(match word {
        "+infinity" | "infinity" => Late,
        "-infinity" => Early,
        "epoch" => Epoch,
        "now" => Now,
        "yesterday" => Day(-1),
        "today" => Day(0),
        "tomorrow" => Day(1),
        "allballs" => Zulu,
        "jan" | "january" => Month(1),
        "feb" | "february" => Month(2),
        "mar" | "march" => Month(3),
        "apr" | "april" => Month(4),
        "may" => Month(5),
        "jun" | "june" => Month(6),
        "jul" | "july" => Month(7),
        "aug" | "august" => Month(8),
        "sep" | "sept" | "september" => Month(9),
        "oct" | "october" => Month(10),
        "nov" | "november" => Month(11),
        "dec" | "december" => Month(12),
        "sun" | "sunday" | "mon" | "monday" | "tue" | "tues" | "tuesday" | "wed" | "weds"
        | "wednesday" | "thu" | "thur" | "thurs" | "thursday" | "fri" | "friday" | "sat"
        | "saturday" => Weekday,
        "am" => Meridian(self::Meridian::Am),
        "pm" => Meridian(self::Meridian::Pm),
        "ad" => Era(false),
        "bc" => Era(true),
        "dst" => DaylightModifier,
        "at" | "on" => Ignored,
        "j" | "jd" | "julian" => Julian,
        "t" => IsoTime,
        "d" | "dow" | "doy" | "h" | "isodow" | "isoyear" | "m" | "mm" | "s" | "y" => OtherUnit,
        _ => return None,
    })
}
