//! `name=value` on the command line.

use crate::program_error::ProgramError;

/// Splits `name=value` arguments, given with `option`, as PostgreSQL's `-c` does: dashes in a name
/// stand for underscores (`ParseLongOption` in guc.c).
///
/// # Errors
/// One without a value.
pub fn parse_settings(
    option: &str,
    arguments: &[String],
) -> Result<Vec<(String, String)>, ProgramError> {
    arguments
        .iter()
        .map(|argument| match argument.split_once('=') {
            Some((name, value)) => Ok((name.trim().replace('-', "_"), value.trim().to_owned())),
            None => Err(ProgramError::new(format!(
                "{option} {argument} requires a value"
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_split_at_the_first_equals_sign() {
        let given = ["io-method=sync".to_owned(), "search_path=a=b".to_owned()];
        assert_eq!(
            parse_settings("-c", &given).unwrap(),
            [
                ("io_method".to_owned(), "sync".to_owned()),
                ("search_path".to_owned(), "a=b".to_owned())
            ]
        );
        assert_eq!(
            parse_settings("-c", &["port".to_owned()])
                .unwrap_err()
                .to_string(),
            "trunkline: error: -c port requires a value"
        );
    }
}
