//! The errors that values can cause, in PostgreSQL's words.

use std::fmt;

/// A value that its type refuses: SQLSTATE and exactly PostgreSQL's message text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TypeError {
    /// Five-character SQLSTATE.
    pub sqlstate: &'static str,
    /// The primary message.
    pub message: String,
    /// PostgreSQL's DETAIL line, where it has one.
    pub detail: Option<String>,
    /// PostgreSQL's HINT line, where it has one.
    pub hint: Option<String>,
}

/// SQLSTATE codes that this crate raises (`errcodes.txt`).
pub mod sqlstate {
    /// `protocol_violation`
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// `feature_not_supported`
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// `string_data_right_truncation`
    pub const STRING_DATA_RIGHT_TRUNCATION: &str = "22001";
    /// `numeric_value_out_of_range`
    pub const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";
    /// `invalid_datetime_format`
    pub const INVALID_DATETIME_FORMAT: &str = "22007";
    /// `datetime_field_overflow`
    pub const DATETIME_FIELD_OVERFLOW: &str = "22008";
    /// `invalid_time_zone_displacement_value`
    pub const INVALID_TIME_ZONE_DISPLACEMENT_VALUE: &str = "22009";
    /// `division_by_zero`
    pub const DIVISION_BY_ZERO: &str = "22012";
    /// `character_not_in_repertoire`
    pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
    /// `invalid_parameter_value`
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    /// `array_subscript_error`
    pub const ARRAY_SUBSCRIPT_ERROR: &str = "2202E";
    /// `invalid_argument_for_power_function`
    pub const INVALID_ARGUMENT_FOR_POWER_FUNCTION: &str = "2201F";
    /// `invalid_text_representation`
    pub const INVALID_TEXT_REPRESENTATION: &str = "22P02";
    /// `invalid_binary_representation`
    pub const INVALID_BINARY_REPRESENTATION: &str = "22P03";
    /// `undefined_object`
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// `undefined_function`
    pub const UNDEFINED_FUNCTION: &str = "42883";
    /// `datatype_mismatch`
    pub const DATATYPE_MISMATCH: &str = "42804";
    /// `program_limit_exceeded`
    pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
    /// `data_corrupted`
    pub const DATA_CORRUPTED: &str = "XX001";
}

impl TypeError {
    /// An error with neither detail nor hint.
    #[cold]
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> TypeError {
        TypeError {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// The same error with a DETAIL line.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> TypeError {
        self.detail = Some(detail.into());
        self
    }

    /// The same error with a HINT line.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> TypeError {
        self.hint = Some(hint.into());
        self
    }

    /// `invalid input syntax for type integer: "x"` (22P02).
    #[cold]
    pub fn invalid_syntax(type_name: &str, input: &str) -> TypeError {
        TypeError::new(
            sqlstate::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {type_name}: \"{input}\""),
        )
    }

    /// `value "999" is out of range for type smallint` (22003).
    #[cold]
    pub fn text_out_of_range(type_name: &str, input: impl fmt::Display) -> TypeError {
        TypeError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{input}\" is out of range for type {type_name}"),
        )
    }

    /// `integer out of range` and the like (22003), what arithmetic and casts say.
    #[cold]
    pub fn out_of_range(type_name: &str) -> TypeError {
        TypeError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("{type_name} out of range"),
        )
    }

    /// `division by zero` (22012).
    #[cold]
    pub fn division_by_zero() -> TypeError {
        TypeError::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
    }

    /// `insufficient data left in message` (08P01): a binary value ends too early.
    #[cold]
    pub fn insufficient_data() -> TypeError {
        TypeError::new(
            sqlstate::PROTOCOL_VIOLATION,
            "insufficient data left in message",
        )
    }

    /// `incorrect binary data format` (22P03): a binary value has bytes left over.
    #[cold]
    pub fn incorrect_binary_format() -> TypeError {
        TypeError::new(
            sqlstate::INVALID_BINARY_REPRESENTATION,
            "incorrect binary data format",
        )
    }
}
