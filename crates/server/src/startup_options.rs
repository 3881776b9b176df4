//! The `options` of a startup packet: `-c name=value` and `--name=value`, as libpq's
//! `PGOPTIONS` passes them (`pg_split_opts` and `process_postgres_switches` in PostgreSQL).

use trunkline_sql::error::SqlError;

/// The settings in `options`, in order.
///
/// # Errors
/// 42601 for another switch, or a setting without a value.
pub(crate) fn parse_options(options: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut settings = Vec::new();
    let mut words = split_options(options).into_iter();
    while let Some(word) = words.next() {
        let (switch, assignment) = if word == "-c" {
            let Some(assignment) = words.next() else {
                return Err(invalid_argument(&word));
            };
            ("-c ", assignment)
        } else if let Some(assignment) = word.strip_prefix("--") {
            ("--", assignment.to_owned())
        } else if let Some(assignment) = word.strip_prefix("-c") {
            ("-c ", assignment.to_owned())
        } else {
            return Err(invalid_argument(&word));
        };
        match assignment.split_once('=') {
            Some((name, value)) => settings.push((name.replace('-', "_"), value.to_owned())),
            None => {
                let message = format!("{switch}{assignment} requires a value");
                return Err(SqlError::new("42601", message));
            }
        }
    }
    Ok(settings)
}

fn invalid_argument(argument: &str) -> SqlError {
    let message = format!("invalid command-line argument for server process: {argument}");
    SqlError::new("42601", message)
}

/// Splits at white space; a backslash takes the next character as it is.
fn split_options(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let word = word.get_or_insert_default();
                word.extend(characters.next());
            }
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &str) -> Vec<(String, String)> {
        parse_options(options).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn both_ways_to_write_a_setting() {
        let expected = vec![pair("work_mem", "1MB"), pair("datestyle", "german")];
        assert_eq!(settings("-c work_mem=1MB  --datestyle=german "), expected);
        assert_eq!(settings("-cwork_mem=1MB --datestyle=german"), expected);
        assert_eq!(settings("--work-mem=1MB"), vec![pair("work_mem", "1MB")]);
        assert_eq!(
            settings(r"-c search_path=a,\ b\\"),
            vec![pair("search_path", r"a, b\")]
        );
        assert_eq!(settings("  "), vec![]);
    }

    #[test]
    fn other_switches_are_refused() {
        let error = parse_options("-q 1").unwrap_err();
        assert_eq!(error.sqlstate, "42601");
        assert_eq!(
            error.message,
            "invalid command-line argument for server process: -q"
        );
        let error = parse_options("-c work_mem").unwrap_err();
        assert_eq!(error.message, "-c work_mem requires a value");
        assert!(parse_options("-c").is_err());
    }
}
