//! The commands that begin with a backslash.

use super::copy_command::{CopyCommand, parse_copy_command};

/// What `\?` prints.
pub const HELP: &str = "\
General
  \\q                     quit
  \\?                     show this help

Input/Output
  \\copy ...              perform SQL COPY with the data of a file here:
                         \\copy table [(columns)] | (query) FROM | TO
                               'file' | STDIN | STDOUT [options]
  \\i FILE                execute the statements of a file, up to the first error

Variables
  \\timing [on|off]       toggle timing of statements
";

/// A backslash command.
#[derive(Debug, PartialEq, Eq)]
pub enum MetaCommand {
    /// `\copy`.
    Copy(CopyCommand),
    /// `\i`, `\include`.
    Include {
        /// The file.
        path: String,
    },
    /// `\timing`.
    Timing {
        /// None to toggle.
        on: Option<bool>,
    },
    /// `\?`.
    Help,
    /// `\q`.
    Quit,
}

/// Reads a command's line, which begins with the backslash. The error is what psql would say.
///
/// # Errors
/// An unknown command, or bad arguments.
pub fn parse_meta_command(line: &str) -> Result<MetaCommand, String> {
    let line = line.trim();
    let name_end = line[1..]
        .find(|c: char| c.is_whitespace() || c == '\\')
        .map_or(line.len(), |end| end + 1);
    let (name, rest) = (&line[1..name_end], line[name_end..].trim());
    match name {
        "copy" => parse_copy_command(rest).map(MetaCommand::Copy),
        "i" | "include" => match unquote(rest) {
            Some(path) if !path.is_empty() => Ok(MetaCommand::Include { path }),
            Some(_) => Err(format!("\\{name}: missing required argument")),
            None => Err("unterminated quoted string".to_owned()),
        },
        "timing" => match rest {
            "" => Ok(MetaCommand::Timing { on: None }),
            value => match parse_switch(value) {
                Some(on) => Ok(MetaCommand::Timing { on: Some(on) }),
                None => Err(format!(
                    "unrecognized value \"{value}\" for \"\\timing\": Boolean expected"
                )),
            },
        },
        "?" => Ok(MetaCommand::Help),
        "q" | "quit" => Ok(MetaCommand::Quit),
        name => Err(format!("invalid command \\{name}")),
    }
}

/// `ParseVariableBool` in psql's variables.c.
fn parse_switch(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    match value.as_str() {
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        _ if value.is_empty() => None,
        _ if "true".starts_with(&value) || "yes".starts_with(&value) => Some(true),
        _ if "false".starts_with(&value) || "no".starts_with(&value) => Some(false),
        _ => None,
    }
}

/// The argument, whose single quotes may surround it; None if one is missing.
fn unquote(argument: &str) -> Option<String> {
    match argument.strip_prefix('\'') {
        Some(quoted) => Some(quoted.strip_suffix('\'')?.replace("''", "'")),
        None => Some(argument.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_or_refused_as_psql_does() {
        assert_eq!(parse_meta_command("\\q"), Ok(MetaCommand::Quit));
        assert_eq!(parse_meta_command(" \\?\n"), Ok(MetaCommand::Help));
        assert_eq!(
            parse_meta_command("\\i 'a b''c.sql'"),
            Ok(MetaCommand::Include {
                path: "a b'c.sql".to_owned()
            })
        );
        assert_eq!(
            parse_meta_command("\\i"),
            Err("\\i: missing required argument".to_owned())
        );
        assert_eq!(
            parse_meta_command("\\timing off"),
            Ok(MetaCommand::Timing { on: Some(false) })
        );
        assert_eq!(
            parse_meta_command("\\timing x"),
            Err("unrecognized value \"x\" for \"\\timing\": Boolean expected".to_owned())
        );
        assert_eq!(
            parse_meta_command("\\foo bar"),
            Err("invalid command \\foo".to_owned())
        );
        assert_eq!(
            parse_meta_command("\\"),
            Err("invalid command \\".to_owned())
        );
    }
}
