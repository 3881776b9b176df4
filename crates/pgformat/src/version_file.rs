//! `PG_VERSION`: the major version, in decimal, on a line of its own
//! (`ValidatePgVersion` in `miscinit.c`).

/// The major version whose formats these are.
pub const MAJOR_VERSION: u32 = 18;

/// The contents of a `PG_VERSION` file.
pub fn encode() -> Vec<u8> {
    format!("{MAJOR_VERSION}\n").into_bytes()
}

/// The major version that the contents of a `PG_VERSION` file begin with, if they do.
pub fn decode(contents: &[u8]) -> Option<u32> {
    let digits = contents
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(contents.len());
    std::str::from_utf8(&contents[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_number_at_the_front() {
        assert_eq!(decode(b"18\n"), Some(18));
        assert_eq!(decode(b"9.6\n"), Some(9));
        for contents in [&b""[..], b"\n18", b"x", b"99999999999", b"\xff"] {
            assert_eq!(decode(contents), None);
        }
    }
}
