//! The error that a statement ends with, as PostgreSQL's protocol reports one.

use std::borrow::Cow;
use std::fmt;

/// An error for the client: SQLSTATE, message, and PostgreSQL's further fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Five characters.
    pub sqlstate: Cow<'static, str>,
    /// One line.
    pub message: String,
    /// More about what happened.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where it happened: `COPY t, line 2, column b: "x"`.
    pub context: Option<String>,
    /// One-based character position in the query string.
    pub position: Option<usize>,
    /// Whether the connection ends with it.
    pub is_fatal: bool,
}

impl SqlError {
    /// An error with nothing but its SQLSTATE and message.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> SqlError {
        SqlError {
            sqlstate: Cow::Borrowed(sqlstate),
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            position: None,
            is_fatal: false,
        }
    }

    /// `feature_not_supported`.
    pub fn not_supported(message: impl Into<String>) -> SqlError {
        SqlError::new("0A000", message)
    }

    /// `internal_error`: a bug, or a broken invariant.
    pub fn internal(message: impl Into<String>) -> SqlError {
        SqlError::new("XX000", message)
    }

    /// With a DETAIL.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> SqlError {
        self.detail = Some(detail.into());
        self
    }

    /// With a HINT.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> SqlError {
        self.hint = Some(hint.into());
        self
    }

    /// With a one-based character position.
    #[must_use]
    pub fn at(mut self, position: usize) -> SqlError {
        self.position = Some(position);
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}
