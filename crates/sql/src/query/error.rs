//! Errors of the query layer: every failure of planning or running a query as PostgreSQL
//! would report it. DataFusion's own errors are translated here and nowhere else.

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use trunkline_types::TypeError;

/// SQLSTATE codes that the query layer raises (`errcodes.txt`).
pub mod sqlstate {
    /// `configuration_limit_exceeded`
    pub const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
    /// `cardinality_violation`
    pub const CARDINALITY_VIOLATION: &str = "21000";
    /// `numeric_value_out_of_range`
    pub const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";
    /// `string_data_right_truncation`
    pub const STRING_DATA_RIGHT_TRUNCATION: &str = "22001";
    /// `substring_error`
    pub const SUBSTRING_ERROR: &str = "22011";
    /// `division_by_zero`
    pub const DIVISION_BY_ZERO: &str = "22012";
    /// `invalid_parameter_value`
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    /// `invalid_escape_sequence`
    pub const INVALID_ESCAPE_SEQUENCE: &str = "22025";
    /// `invalid_row_count_in_limit_clause`
    pub const INVALID_ROW_COUNT_IN_LIMIT: &str = "2201W";
    /// `invalid_row_count_in_result_offset_clause`
    pub const INVALID_ROW_COUNT_IN_OFFSET: &str = "2201X";
    /// `invalid_argument_for_power_function`
    pub const INVALID_ARGUMENT_FOR_POWER: &str = "2201F";
    /// `invalid_argument_for_logarithm`
    pub const INVALID_ARGUMENT_FOR_LOG: &str = "2201E";
    /// `invalid_regular_expression`
    pub const INVALID_REGULAR_EXPRESSION: &str = "2201B";
    /// `datetime_field_overflow`
    pub const DATETIME_FIELD_OVERFLOW: &str = "22008";
    /// `query_canceled`
    pub const QUERY_CANCELED: &str = "57014";
    /// `syntax_error`
    pub const SYNTAX_ERROR: &str = "42601";
    /// `undefined_column`
    pub const UNDEFINED_COLUMN: &str = "42703";
    /// `undefined_function`
    pub const UNDEFINED_FUNCTION: &str = "42883";
    /// `undefined_table`
    pub const UNDEFINED_TABLE: &str = "42P01";
    /// `undefined_parameter`
    pub const UNDEFINED_PARAMETER: &str = "42P02";
    /// `undefined_object`
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// `invalid_schema_name`
    pub const INVALID_SCHEMA_NAME: &str = "3F000";
    /// `ambiguous_column`
    pub const AMBIGUOUS_COLUMN: &str = "42702";
    /// `ambiguous_function`
    pub const AMBIGUOUS_FUNCTION: &str = "42725";
    /// `duplicate_alias`
    pub const DUPLICATE_ALIAS: &str = "42712";
    /// `invalid_column_reference`
    pub const INVALID_COLUMN_REFERENCE: &str = "42P10";
    /// `grouping_error`
    pub const GROUPING_ERROR: &str = "42803";
    /// `datatype_mismatch`
    pub const DATATYPE_MISMATCH: &str = "42804";
    /// `wrong_object_type`
    pub const WRONG_OBJECT_TYPE: &str = "42809";
    /// `cannot_coerce`
    pub const CANNOT_COERCE: &str = "42846";
    /// `indeterminate_datatype`
    pub const INDETERMINATE_DATATYPE: &str = "42P18";
    /// `feature_not_supported`
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// `out_of_memory`
    pub const OUT_OF_MEMORY: &str = "53200";
    /// `statement_too_complex`
    pub const STATEMENT_TOO_COMPLEX: &str = "54001";
    /// `io_error`
    pub const IO_ERROR: &str = "58030";
    /// `internal_error`
    pub const INTERNAL_ERROR: &str = "XX000";
}

/// What the executor cannot plan by itself.
const SUBQUERY_FORM: &str = "this form of subquery is not supported";
const CORRELATED_FORM: &str = "this form of correlated subquery is not supported";

/// A failed query: SQLSTATE and PostgreSQL's message texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// Five-character SQLSTATE.
    pub sqlstate: &'static str,
    /// The primary message.
    pub message: String,
    /// The DETAIL line.
    pub detail: Option<String>,
    /// The HINT line.
    pub hint: Option<String>,
    /// The error's place in the statement's text, in characters from 1.
    pub position: Option<usize>,
}

impl QueryError {
    /// An error with neither detail nor hint nor position.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// `0A000`: PostgreSQL can do it, this engine can't yet.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
    }

    /// `XX000`: a state that should be impossible.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INTERNAL_ERROR, message)
    }

    /// Adds a DETAIL line.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a HINT line.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the place in the statement's text unless one is known already.
    pub fn at(mut self, position: Option<usize>) -> Self {
        self.position = self.position.or(position);
        self
    }

    /// Whether planning failed at a subquery that depends on the query around it.
    pub(crate) fn is_about_correlation(&self) -> bool {
        self.sqlstate == sqlstate::FEATURE_NOT_SUPPORTED
            && [SUBQUERY_FORM, CORRELATED_FORM].contains(&self.message.as_str())
    }

    /// `54001`: the statement is nested or chained too deeply.
    pub(crate) fn too_deep() -> Self {
        Self::new(
            sqlstate::STATEMENT_TOO_COMPLEX,
            "stack depth limit exceeded",
        )
        .with_hint(
            "Increase the configuration parameter \"max_stack_depth\" (currently 2048kB), \
             after ensuring the platform's stack depth limit is adequate.",
        )
    }

    /// `42601`: `syntax error at or near "token"`, or at the end of the input.
    pub fn syntax(token: Option<&str>, position: Option<usize>) -> Self {
        let message = match token {
            Some(token) => format!("syntax error at or near \"{token}\""),
            None => "syntax error at end of input".to_owned(),
        };
        Self::new(sqlstate::SYNTAX_ERROR, message).at(position)
    }
}

impl From<TypeError> for QueryError {
    fn from(error: TypeError) -> Self {
        Self {
            sqlstate: error.sqlstate,
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            position: None,
        }
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        arrow_error(&error)
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        datafusion_error(&error)
    }
}

fn boxed_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> QueryError {
    if let Some(ours) = error.downcast_ref::<QueryError>() {
        return ours.clone();
    }
    if let Some(ours) = error.downcast_ref::<TypeError>() {
        return ours.clone().into();
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return datafusion_error(inner);
    }
    if let Some(inner) = error.downcast_ref::<ArrowError>() {
        return arrow_error(inner);
    }
    QueryError::internal(error.to_string())
}

fn arrow_error(error: &ArrowError) -> QueryError {
    match error {
        ArrowError::ExternalError(inner) => boxed_error(inner.as_ref()),
        ArrowError::DivideByZero => QueryError::new(sqlstate::DIVISION_BY_ZERO, "division by zero"),
        ArrowError::ArithmeticOverflow(_) => {
            QueryError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range")
        }
        ArrowError::MemoryError(message) => {
            QueryError::new(sqlstate::OUT_OF_MEMORY, "out of memory").with_detail(message)
        }
        ArrowError::IoError(message, _) => temporary_file_error(message),
        other => QueryError::internal(other.to_string()),
    }
}

/// Files that queries themselves write are those that they spill to.
fn temporary_file_error(error: impl std::fmt::Display) -> QueryError {
    let text = error.to_string();
    if text.contains("exceeded the allowable limit") {
        return QueryError::new(
            sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
            "temporary file size exceeds \"temp_file_limit\"",
        );
    }
    QueryError::new(
        sqlstate::IO_ERROR,
        format!("could not access temporary file: {text}"),
    )
}

fn datafusion_error(error: &DataFusionError) -> QueryError {
    match error {
        DataFusionError::External(inner) => boxed_error(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => arrow_error(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            datafusion_error(inner)
        }
        DataFusionError::Shared(inner) => datafusion_error(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => datafusion_error(first),
            None => QueryError::internal("unknown error"),
        },
        DataFusionError::ResourcesExhausted(message) => {
            QueryError::new(sqlstate::OUT_OF_MEMORY, "out of memory")
                .with_detail(message.lines().next().unwrap_or_default())
        }
        DataFusionError::NotImplemented(message)
            if message.contains("does not support logical expression") =>
        {
            QueryError::unsupported(SUBQUERY_FORM)
        }
        DataFusionError::NotImplemented(message) => QueryError::unsupported(message),
        DataFusionError::IoError(inner) => temporary_file_error(inner),
        DataFusionError::Execution(message)
            if message.contains("Scalar subquery returned more than one row") =>
        {
            QueryError::new(
                sqlstate::CARDINALITY_VIOLATION,
                "more than one row returned by a subquery used as an expression",
            )
        }
        DataFusionError::Plan(message) if message.contains("orrelated") => {
            QueryError::unsupported(CORRELATED_FORM).with_detail(message)
        }
        other => {
            let text = other.to_string();
            if text.contains("orrelated") || text.contains("OuterReferenceColumn") {
                return QueryError::unsupported(CORRELATED_FORM);
            }
            QueryError::internal(text)
        }
    }
}

/// Translates a parser's complaint about `sql`: the offending token is found again by the
/// place that the parser names.
pub(crate) fn parser_error(sql: &str, error: &ParserError) -> QueryError {
    match error {
        ParserError::RecursionLimitExceeded => QueryError::too_deep(),
        ParserError::TokenizerError(message) => tokenizer_error(sql, message),
        ParserError::ParserError(message) => {
            let position = line_and_column(message).and_then(|at| character_at(sql, at));
            match position {
                Some(position) if !message.contains("found: EOF") => {
                    QueryError::syntax(token_at(sql, position).as_deref(), Some(position))
                }
                _ => {
                    let end = sql.trim_end().trim_end_matches(';').chars().count() + 1;
                    QueryError::syntax(None, Some(end))
                }
            }
        }
    }
}

fn tokenizer_error(sql: &str, message: &str) -> QueryError {
    let position = line_and_column(message).and_then(|at| character_at(sql, at));
    let rest = |position: usize| sql.chars().skip(position - 1).collect::<String>();
    let near = position.map(rest).unwrap_or_default();
    let what = if message.contains("Unterminated string") {
        "unterminated quoted string"
    } else if message.contains("multi-line comment") {
        "unterminated /* comment"
    } else if message.contains("dollar-quoted") || message.contains("Unterminated dollar") {
        "unterminated dollar-quoted string"
    } else if message.contains("close delimiter") {
        "unterminated quoted identifier"
    } else {
        let token = position.and_then(|position| token_at(sql, position));
        return QueryError::syntax(token.as_deref(), position);
    };
    QueryError::new(
        sqlstate::SYNTAX_ERROR,
        format!("{what} at or near \"{near}\""),
    )
    .at(position)
}

/// The `Line: l, Column: c` at the end of a parser message.
fn line_and_column(message: &str) -> Option<(u64, u64)> {
    let (_, tail) = message.rsplit_once("Line: ")?;
    let (line, column) = tail.split_once(", Column: ")?;
    let digits = |text: &str| {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        text[..end].parse().ok()
    };
    Some((digits(line)?, digits(column)?))
}

/// A line and column, both from 1, as a character number from 1.
pub(crate) fn character_at(sql: &str, (line, column): (u64, u64)) -> Option<usize> {
    if line == 0 || column == 0 {
        return None;
    }
    let mut at_line = 1;
    let mut at_column = 1;
    for (index, character) in sql.chars().enumerate() {
        if at_line == line && at_column == column {
            return Some(index + 1);
        }
        if character == '\n' {
            at_line += 1;
            at_column = 1;
        } else {
            at_column += 1;
        }
    }
    None
}

/// The token that begins at a character, as PostgreSQL quotes it in a syntax error.
fn token_at(sql: &str, position: usize) -> Option<String> {
    let rest: String = sql.chars().skip(position - 1).collect();
    let first = rest.chars().next()?;
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let length = if word(first) {
        rest.find(|c| !word(c)).unwrap_or(rest.len())
    } else if first == '\'' || first == '"' {
        rest[1..].find(first).map_or(rest.len(), |end| end + 2)
    } else if "+-*/<>=~!@#%^&|`?".contains(first) {
        rest.find(|c| !"+-*/<>=~!@#%^&|`?".contains(c))
            .unwrap_or(rest.len())
    } else {
        first.len_utf8()
    };
    Some(rest[..length].to_owned())
}
