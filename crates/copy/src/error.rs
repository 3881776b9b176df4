//! The error of this crate, and the context lines PostgreSQL adds to it.

use trunkline_types::TypeError;

/// What stops a COPY: PostgreSQL's SQLSTATE and texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CopyError {
    /// The five characters of the SQLSTATE.
    pub sqlstate: &'static str,
    /// The primary message.
    pub message: String,
    /// The DETAIL line, if there is one.
    pub detail: Option<String>,
    /// The HINT line, if there is one.
    pub hint: Option<String>,
    /// The CONTEXT line: `COPY src, line 3, column b: "x"`.
    pub context: Option<String>,
    /// For an error in the option list: the index of the option at fault, so that the
    /// parser can tell its position in the statement.
    pub option_index: Option<u32>,
}

impl CopyError {
    /// An error with only a SQLSTATE and a message.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            option_index: None,
        }
    }

    /// 22P04: the data does not have the form that the options announce.
    pub(crate) fn bad_format(message: impl Into<String>) -> Self {
        Self::new("22P04", message)
    }

    /// 54000, as PostgreSQL's `enlargeStringInfo` says it.
    pub(crate) fn buffer_limit(held_bytes: usize, more_bytes: usize, limit_bytes: usize) -> Self {
        Self::new(
            "54000",
            format!("string buffer exceeds maximum allowed length ({limit_bytes} bytes)"),
        )
        .with_detail(format!(
            "Cannot enlarge string buffer containing {held_bytes} bytes by {more_bytes} more bytes."
        ))
    }

    /// Adds the DETAIL line.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the HINT line.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the CONTEXT line, unless a lower layer has given one already.
    pub(crate) fn with_context(mut self, context: impl FnOnce() -> String) -> Self {
        self.context.get_or_insert_with(context);
        self
    }

    pub(crate) fn at_option(mut self, index: u32) -> Self {
        self.option_index = Some(index);
        self
    }
}

impl From<TypeError> for CopyError {
    fn from(error: TypeError) -> Self {
        Self {
            sqlstate: error.sqlstate,
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            context: None,
            option_index: None,
        }
    }
}

/// PostgreSQL's `MAX_COPY_DATA_DISPLAY`.
const DISPLAY_LIMIT_BYTES: usize = 100;

/// A value or a line as a context line shows it: at most 100 bytes of whole characters,
/// then `...` (copyfrom.c, `CopyLimitPrintoutLength`).
pub(crate) fn limit_for_display(text: &str) -> String {
    if text.len() <= DISPLAY_LIMIT_BYTES {
        text.to_owned()
    } else {
        format!(
            "{}...",
            &text[..text.floor_char_boundary(DISPLAY_LIMIT_BYTES)]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_cut_between_characters() {
        assert_eq!(limit_for_display(&"x".repeat(100)), "x".repeat(100));
        assert_eq!(
            limit_for_display(&"x".repeat(101)),
            format!("{}...", "x".repeat(100))
        );
        let text = format!("{}é tail", "x".repeat(99));
        assert_eq!(limit_for_display(&text), format!("{}...", "x".repeat(99)));
    }

    #[test]
    fn the_first_context_wins() {
        let error = CopyError::new("22P04", "m")
            .with_context(|| "inner".to_owned())
            .with_context(|| "outer".to_owned());
        assert_eq!(error.context.as_deref(), Some("inner"));
    }
}
