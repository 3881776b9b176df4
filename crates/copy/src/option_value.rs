//! The argument of a COPY option and its readings (PostgreSQL's define.c).

use crate::CopyError;

/// The argument of an option as the grammar gives it (`copy_generic_opt_arg`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// A quoted string, a word, `true`, `false`, `on` or `default`.
    String(String),
    /// An integer constant that fits in 32 bits.
    Integer(i32),
    /// Any other numeric constant, as written.
    Float(String),
    /// `*`
    Star,
    /// `(a, b, ...)`
    List(Vec<String>),
}

/// A list of columns or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ColumnList {
    /// The option was not given.
    #[default]
    None,
    /// `*`
    All,
    /// The names given.
    Names(Vec<String>),
}

impl ColumnList {
    /// Whether the option was given.
    pub fn is_given(&self) -> bool {
        *self != Self::None
    }
}

/// `defGetString`.
pub(crate) fn string(name: &str, value: Option<&OptionValue>) -> Result<String, CopyError> {
    match value {
        None => Err(CopyError::new(
            "42601",
            format!("{name} requires a parameter"),
        )),
        Some(OptionValue::String(text) | OptionValue::Float(text)) => Ok(text.clone()),
        Some(OptionValue::Integer(number)) => Ok(number.to_string()),
        Some(OptionValue::Star) => Ok("*".to_owned()),
        Some(OptionValue::List(names)) => Ok(names.join(".")),
    }
}

/// `defGetBoolean`.
pub(crate) fn boolean(name: &str, value: Option<&OptionValue>) -> Result<bool, CopyError> {
    truth(value, name)?
        .ok_or_else(|| CopyError::new("42601", format!("{name} requires a Boolean value")))
}

/// The words and numbers that `defGetBoolean` and `defGetCopyHeaderChoice` share;
/// `None` if `value` is none of them.
pub(crate) fn truth(value: Option<&OptionValue>, name: &str) -> Result<Option<bool>, CopyError> {
    Ok(match value {
        None => Some(true),
        Some(OptionValue::Integer(0)) => Some(false),
        Some(OptionValue::Integer(1)) => Some(true),
        Some(OptionValue::Integer(_)) => None,
        Some(_) => {
            let word = string(name, value)?;
            if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("on") {
                Some(true)
            } else if word.eq_ignore_ascii_case("false") || word.eq_ignore_ascii_case("off") {
                Some(false)
            } else {
                None
            }
        }
    })
}

/// `defGetInt64`, which also takes a string here (`defGetCopyRejectLimitOption`).
pub(crate) fn int64(name: &str, value: Option<&OptionValue>) -> Result<i64, CopyError> {
    match value {
        Some(OptionValue::Integer(number)) => Ok(i64::from(*number)),
        Some(OptionValue::String(text) | OptionValue::Float(text)) => {
            let mut payload = Vec::with_capacity(8);
            let bigint = trunkline_types::ColumnType::new(trunkline_types::oids::INT8, -1)?;
            trunkline_types::input_text(&bigint, text, &Default::default(), &mut payload)?;
            let bytes = payload.as_slice().try_into().map_err(|_| {
                CopyError::new("XX000", "an int8 payload does not have eight bytes")
            })?;
            Ok(i64::from_le_bytes(bytes))
        }
        None | Some(OptionValue::Star | OptionValue::List(_)) => Err(CopyError::new(
            "42601",
            format!("{name} requires a numeric value"),
        )),
    }
}

/// The argument of FORCE_QUOTE and its like.
pub(crate) fn columns(name: &str, value: Option<&OptionValue>) -> Result<ColumnList, CopyError> {
    match value {
        Some(OptionValue::Star) => Ok(ColumnList::All),
        Some(OptionValue::List(names)) => Ok(ColumnList::Names(names.clone())),
        _ => Err(CopyError::new(
            "22023",
            format!("argument to option \"{name}\" must be a list of column names"),
        )),
    }
}
