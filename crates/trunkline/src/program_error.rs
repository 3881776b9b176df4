//! Why the program ends early: one line on standard error, and a hint where there is one.

use std::fmt;

use trunkline_engine::{EngineError, settings::SettingError};
use trunkline_server::ServerError;

/// An error that ends the program.
#[derive(Debug)]
pub struct ProgramError {
    message: String,
    hint: Option<String>,
}

impl ProgramError {
    /// An error of one line.
    pub fn new(message: impl Into<String>) -> ProgramError {
        ProgramError {
            message: message.into(),
            hint: None,
        }
    }

    /// An error whose detail belongs into its line.
    fn with(message: String, detail: Option<String>, hint: Option<String>) -> ProgramError {
        let message = match detail {
            Some(detail) => format!("{message}: {detail}"),
            None => message,
        };
        ProgramError { message, hint }
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A reason may quote a file's line: what is told stays one line.
        let message = self.message.replace(['\r', '\n'], " ");
        write!(f, "trunkline: error: {}", without_error_number(&message))?;
        match &self.hint {
            Some(hint) => write!(f, "\ntrunkline: hint: {}", hint.replace(['\r', '\n'], " ")),
            None => Ok(()),
        }
    }
}

/// The system's words for an error, without the number that the standard library puts after them.
pub fn without_error_number(message: &str) -> String {
    let Some((before, number)) = message.split_once(" (os error ") else {
        return message.to_owned();
    };
    match number.split_once(')') {
        Some((_, after)) => format!("{before}{after}"),
        None => message.to_owned(),
    }
}

impl From<EngineError> for ProgramError {
    fn from(error: EngineError) -> ProgramError {
        ProgramError::with(error.to_string(), error.detail(), error.hint())
    }
}

impl From<SettingError> for ProgramError {
    fn from(error: SettingError) -> ProgramError {
        ProgramError::from(EngineError::from(error))
    }
}

impl From<ServerError> for ProgramError {
    fn from(error: ServerError) -> ProgramError {
        let advice = match &error {
            ServerError::Bind { address, source }
                if source.kind() == std::io::ErrorKind::AddrInUse =>
            {
                Some(format!(
                    "is another server running on port {}? Give another one with -p",
                    address.port()
                ))
            }
            _ => None,
        };
        ProgramError::with(error.to_string(), advice, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_are_left_out() {
        assert_eq!(without_error_number("no (os error 2): x"), "no: x");
        assert_eq!(without_error_number("no (os error"), "no (os error");
    }

    #[test]
    fn an_error_is_one_line_and_its_hint() {
        let error = ProgramError::with(
            "no\nway".to_owned(),
            Some("because".to_owned()),
            Some("go\nround".to_owned()),
        );
        assert_eq!(
            error.to_string(),
            "trunkline: error: no way: because\ntrunkline: hint: go round"
        );
    }
}
