//! The error that a statement ends with, as PostgreSQL's protocol reports one.

use std::borrow::Cow;
use std::fmt;

use trunkline_catalog::CatalogError;
use trunkline_copy::CopyError;
use trunkline_engine::settings::SettingError;
use trunkline_engine::{EngineError, StatementError, ThreadError};
use trunkline_txn::Cancelled;
use trunkline_types::TypeError;

use crate::query::QueryError;

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

impl From<EngineError> for SqlError {
    fn from(error: EngineError) -> SqlError {
        SqlError {
            detail: error.detail(),
            hint: error.hint(),
            is_fatal: error.is_fatal(),
            ..SqlError::new(error.sqlstate(), error.to_string())
        }
    }
}

impl From<StatementError> for SqlError {
    fn from(error: StatementError) -> SqlError {
        EngineError::from(error).into()
    }
}

impl From<SettingError> for SqlError {
    fn from(error: SettingError) -> SqlError {
        EngineError::from(error).into()
    }
}

impl From<CatalogError> for SqlError {
    fn from(error: CatalogError) -> SqlError {
        EngineError::from(error).into()
    }
}

impl From<Cancelled> for SqlError {
    fn from(cancelled: Cancelled) -> SqlError {
        EngineError::from(cancelled).into()
    }
}

impl From<ThreadError> for SqlError {
    fn from(error: ThreadError) -> SqlError {
        EngineError::from(error).into()
    }
}

impl From<CopyError> for SqlError {
    fn from(error: CopyError) -> SqlError {
        SqlError {
            detail: error.detail,
            hint: error.hint,
            context: error.context,
            ..SqlError::new(error.sqlstate, error.message)
        }
    }
}

impl From<TypeError> for SqlError {
    fn from(error: TypeError) -> SqlError {
        SqlError {
            detail: error.detail,
            hint: error.hint,
            ..SqlError::new(error.sqlstate, error.message)
        }
    }
}

impl From<QueryError> for SqlError {
    fn from(error: QueryError) -> SqlError {
        SqlError {
            detail: error.detail,
            hint: error.hint,
            position: error.position,
            ..SqlError::new(error.sqlstate, error.message)
        }
    }
}

/// An engine's error on its way through the query layer, which keeps its SQLSTATE and texts.
pub(crate) fn query_error(error: EngineError) -> QueryError {
    QueryError {
        detail: error.detail(),
        hint: error.hint(),
        ..QueryError::new(error.sqlstate(), error.to_string())
    }
}
