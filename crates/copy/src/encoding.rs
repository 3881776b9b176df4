//! UTF-8 checked as PostgreSQL checks it, and the names of encodings.

use crate::CopyError;

/// How far a stretch of bytes is good UTF-8 (without NUL, which PostgreSQL refuses too).
pub(crate) struct Verified<'a> {
    /// The good prefix.
    pub text: &'a str,
    /// Why `text` ends before the bytes do.
    pub stop: Stop,
}

/// What follows the good prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing: all bytes are good.
    End,
    /// Fewer bytes than the longest character has: more input decides.
    Undecided,
    /// A bad sequence.
    Invalid,
}

/// The longest UTF-8 character in bytes. PostgreSQL waits for this many bytes before it
/// calls a sequence bad (copyfromparse.c, `CopyConvertBuf`), so that its message shows the
/// whole of it wherever the input was cut.
const MAX_CHARACTER_BYTES: usize = 4;

/// Checks `bytes`; `at_end` says that no more will follow.
pub(crate) fn verify(bytes: &[u8], at_end: bool) -> Verified<'_> {
    let without_nul = match memchr::memchr(0, bytes) {
        Some(nul) => &bytes[..nul],
        None => bytes,
    };
    let text = match std::str::from_utf8(without_nul) {
        Ok(text) => text,
        Err(error) => valid_prefix(without_nul, error.valid_up_to()),
    };
    let left = bytes.len() - text.len();
    let stop = if left == 0 {
        Stop::End
    } else if at_end || left >= MAX_CHARACTER_BYTES {
        Stop::Invalid
    } else {
        Stop::Undecided
    };
    Verified { text, stop }
}

/// The prefix that `from_utf8` has just called valid. An empty string would only make an
/// error come earlier.
fn valid_prefix(bytes: &[u8], valid_up_to: usize) -> &str {
    std::str::from_utf8(&bytes[..valid_up_to]).unwrap_or_default()
}

/// 22021 for the sequence at the start of `bytes`, showing as many bytes as its first
/// announces (mbutils.c, `report_invalid_encoding`).
pub(crate) fn invalid_sequence(bytes: &[u8]) -> CopyError {
    let announced = match bytes.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => 1,
    };
    let shown: Vec<String> = bytes
        .iter()
        .take(announced)
        .map(|byte| format!("0x{byte:02x}"))
        .collect();
    CopyError::new(
        "22021",
        format!(
            "invalid byte sequence for encoding \"UTF8\": {}",
            shown.join(" ")
        ),
    )
}

/// `bytes` as text, or 22021 for its first bad sequence.
pub(crate) fn checked_text(bytes: &[u8]) -> Result<&str, CopyError> {
    let verified = verify(bytes, true);
    match verified.stop {
        Stop::End => Ok(verified.text),
        Stop::Undecided | Stop::Invalid => Err(invalid_sequence(&bytes[verified.text.len()..])),
    }
}

/// What an encoding name given by the user stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EncodingName {
    /// The one encoding that is supported.
    Utf8,
    /// An encoding that PostgreSQL knows and we do not convert.
    Other,
    /// No encoding.
    Unknown,
}

/// PostgreSQL's encoding names and aliases (encnames.c), without those of UTF-8, as
/// `clean_encoding_name` leaves them: letters and digits only, in lower case.
const OTHER_ENCODINGS: &str = "abc alt big5 euccn eucjis2004 eucjp euckr euctw gb18030 gbk \
    iso88591 iso885910 iso885913 iso885914 iso885915 iso885916 iso88592 iso88593 iso88594 \
    iso88595 iso88596 iso88597 iso88598 iso88599 johab koi8 koi8r koi8u latin1 latin10 latin2 \
    latin3 latin4 latin5 latin6 latin7 latin8 latin9 mskanji muleinternal shiftjis \
    shiftjis2004 sjis sqlascii tcvn tcvn5712 uhc vscii win win1250 win1251 win1252 win1253 \
    win1254 win1255 win1256 win1257 win1258 win866 win874 win932 win936 win949 win950 \
    windows1250 windows1251 windows1252 windows1253 windows1254 windows1255 windows1256 \
    windows1257 windows1258 windows866 windows874 windows932 windows936 windows949 windows950";

/// Looks `name` up as `pg_char_to_encoding` does.
pub(crate) fn encoding_name(name: &str) -> EncodingName {
    let clean: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    if clean == "utf8" || clean == "unicode" {
        EncodingName::Utf8
    } else if !clean.is_empty()
        && OTHER_ENCODINGS
            .split_whitespace()
            .any(|known| known == clean)
    {
        EncodingName::Other
    } else {
        EncodingName::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_tail_is_undecided_until_the_end() {
        let bytes = b"ab\xe2\x28";
        assert_eq!(verify(bytes, false).stop, Stop::Undecided);
        assert_eq!(verify(bytes, true).stop, Stop::Invalid);
        assert_eq!(verify(b"ab\xe2\x28\xa1c", false).stop, Stop::Invalid);
        assert_eq!(verify(b"ab\xe2\x28\xa1c", false).text, "ab");
    }

    #[test]
    fn nul_is_a_bad_sequence() {
        assert_eq!(verify(b"a\0bcd", false).text, "a");
        assert_eq!(verify(b"a\0bcd", false).stop, Stop::Invalid);
        assert!(checked_text(b"a\0").is_err());
    }

    #[test]
    fn the_message_shows_the_announced_bytes() {
        let message = |bytes: &[u8]| invalid_sequence(bytes).message;
        assert!(message(b"\xff\xfe").ends_with(": 0xff"));
        assert!(message(b"\xe2\x28\xa1\x41").ends_with(": 0xe2 0x28 0xa1"));
        assert!(message(b"\xf0\x28").ends_with(": 0xf0 0x28"));
    }

    #[test]
    fn encoding_names_ignore_case_and_punctuation() {
        assert_eq!(encoding_name("UTF-8"), EncodingName::Utf8);
        assert_eq!(encoding_name("unicode"), EncodingName::Utf8);
        assert_eq!(encoding_name("ISO_8859-1"), EncodingName::Other);
        assert_eq!(encoding_name("sql_ascii"), EncodingName::Other);
        assert_eq!(encoding_name("nonsense"), EncodingName::Unknown);
        assert_eq!(encoding_name("-"), EncodingName::Unknown);
    }
}
