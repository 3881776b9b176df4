//! PostgreSQL's queries over DataFusion.
//!
//! Text is parsed by `sqlparser` ([`parse_statement`]); [`analyze`] turns the syntax tree into a
//! plan whose every type and operation is PostgreSQL's; DataFusion optimises and runs the plan;
//! a [`QueryStream`] gives the rows as datum payloads, which [`trunkline_types`] prints. Nothing
//! of DataFusion shows outside this module: relations come in through [`TableResolver`] and
//! [`RelationSource`], results go out as [`Batch`]es.
//!
//! The layer knows no storage, no transaction and no wire. What the session or storage must
//! answer is asked through [`SessionFunctions`] and [`ExternalFunctions`].

mod analyze;
mod column;
mod constants;
mod context;
mod cooperation;
mod decimal;
mod depth;
mod dialect;
mod error;
mod functions;
mod interrupts;
mod lexical;
mod names;
mod numeric;
mod parse;
mod pgtype;
mod scan;
mod series;
mod session;
mod value;
mod waiting;

pub use column::{ColumnBuilder, ColumnReader};
pub use context::{
    Batch, Description, Field, InsertTarget, ParameterValues, Planner, QueryContext, QueryInputs,
    QueryRuntime, QuerySettings, QueryStream, RuntimeLimits,
};
pub use datafusion::sql::sqlparser;
pub(crate) use decimal::is_decimal_nan;
pub(crate) use error::parser_error;
pub use error::{QueryError, sqlstate};
pub use interrupts::QueryStop;
pub(crate) use lexical::tokenize;
pub use names::CatalogNames;
pub(crate) use parse::parser;
pub use parse::{parse_expression, parse_query, parse_statement};
pub use pgtype::{CoercionContext, PgType, arrow_type, decimal_shape, resolve_type};
pub use scan::{BatchStream, RelationScan, RelationSource, ScanBatch, ScanRequest};
pub use session::{
    ExternalFunction, ExternalFunctions, ExternalResult, LogPosition, Relation, RelationColumn,
    SessionFunctions, SystemRow, TableResolver,
};
pub use value::Styles;
