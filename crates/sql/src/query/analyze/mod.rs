//! Parse analysis: a statement's syntax tree becomes a DataFusion plan in which every type is
//! PostgreSQL's and every operation is one that behaves as PostgreSQL's.
//!
//! DataFusion's own SQL planner and its type coercion take no part. Names are resolved against
//! a [`Scope`] per query level, operators and functions with PostgreSQL's candidate rules
//! (`parse_oper.c`, `parse_func.c`), and each expression carries its PostgreSQL type beside its
//! plan expression ([`Typed`]): the plan itself knows Arrow's types only. Every relation of a
//! statement gets a qualifier of its own and every output column a name of its own, so nothing
//! in the plan is ambiguous whatever the user's names are.

mod aggregate;
mod array;
mod coerce;
mod expr;
mod from;
mod function;
mod group;
mod literal;
mod naming;
mod operator;
mod query;
mod resolve;
mod select;
mod setop;
mod subquery;
mod table_function;

pub(crate) use resolve::{ANY, accepts};
pub(crate) use setop::{AssignmentTarget, check_width};

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::array::RecordBatchOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::error::{QueryError, sqlstate};
use super::names::{NamesPart, parts_of_type};
use super::pgtype::PgType;
use super::session::{ExternalFunctions, SessionFunctions, TableResolver};
use super::value::Styles;

/// An expression with its type. `arrow` says how its values travel: for numeric the type alone
/// doesn't tell.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub expr: Expr,
    pub ty: PgType,
    pub arrow: DataType,
    pub unknown: Unknown,
    pub position: Option<usize>,
}

/// What an expression of type unknown is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Unknown {
    /// The type is known.
    No,
    /// A quoted literal.
    Literal(String),
    /// NULL.
    Null,
    /// A parameter (from 0) whose type nobody has decided yet.
    Parameter(usize),
}

impl Typed {
    pub(crate) fn new(expr: Expr, ty: PgType, arrow: DataType) -> Self {
        Self {
            expr,
            ty,
            arrow,
            unknown: Unknown::No,
            position: None,
        }
    }

    /// An expression of a type that travels in one way only.
    pub(crate) fn of(expr: Expr, oid: Oid) -> Self {
        let ty = PgType::new(oid);
        let arrow = super::pgtype::arrow_type(ty);
        Self::new(expr, ty, arrow)
    }

    pub(crate) fn null() -> Self {
        Self {
            expr: Expr::Literal(ScalarValue::Utf8(None), None),
            ty: PgType::new(oids::UNKNOWN),
            arrow: DataType::Utf8,
            unknown: Unknown::Null,
            position: None,
        }
    }

    pub(crate) fn at(mut self, position: Option<usize>) -> Self {
        self.position = self.position.or(position);
        self
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.ty.oid == oids::UNKNOWN
    }
}

/// A column that names can reach.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    /// The alias of its FROM item; none for a column merged by USING.
    pub relation: Option<String>,
    /// The column's name as the user sees it.
    pub name: String,
    pub ty: PgType,
    pub arrow: DataType,
    /// What the name stands for: a column of the plan, or a merged column's expression.
    pub expr: Expr,
    /// Reachable by its qualified name only: hidden behind a merged column.
    pub merged_away: bool,
    /// Where the column comes from, for row descriptions (0, 0: computed).
    pub origin: (u32, i16),
}

/// What a FROM clause makes visible.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub columns: Vec<ScopeColumn>,
    /// Aliases of the FROM items with the schema they were written with, in order.
    pub relations: Vec<String>,
    /// Relations that go by an alias only: (relation, alias).
    pub aliased: Vec<(String, String)>,
}

/// One query level: its scope, and the level around it for correlated names.
pub(crate) struct Level<'p> {
    pub scope: Scope,
    pub parent: Option<&'p Level<'p>>,
    /// Set where aggregates may not stand: the clause's name for the message.
    pub no_aggregates: Option<&'static str>,
}

impl<'p> Level<'p> {
    pub(crate) fn new(scope: Scope, parent: Option<&'p Level<'p>>) -> Self {
        Self {
            scope,
            parent,
            no_aggregates: None,
        }
    }

    pub(crate) fn without_aggregates<'q>(
        scope: Scope,
        parent: Option<&'q Level<'q>>,
        clause: &'static str,
    ) -> Level<'q> {
        Level {
            scope,
            parent,
            no_aggregates: Some(clause),
        }
    }
}

/// A column that a query returns.
#[derive(Clone, Debug)]
pub(crate) struct OutputColumn {
    pub name: String,
    pub ty: PgType,
    pub arrow: DataType,
    /// The column in the query's plan.
    pub column: Column,
    pub origin: (u32, i16),
    /// A literal that became text because nothing said otherwise: it can still become another
    /// type.
    pub unknown: Unknown,
    pub position: Option<usize>,
}

/// A planned query.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub plan: LogicalPlan,
    pub columns: Vec<OutputColumn>,
}

/// A statement's parameters: their types as far as known, their values once given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    pub types: Vec<Option<PgType>>,
    pub values: Option<Vec<ScalarValue>>,
}

/// What analysis needs from outside.
#[derive(Clone)]
pub(crate) struct Environment {
    pub tables: Arc<dyn TableResolver>,
    pub session: Arc<dyn SessionFunctions>,
    pub external: Arc<dyn ExternalFunctions>,
    pub styles: Arc<Styles>,
    pub state: Arc<SessionState>,
}

/// Analyses one statement.
pub(crate) struct Analyzer<'a> {
    pub env: &'a Environment,
    /// The statement's text, for error positions.
    pub sql: &'a str,
    pub parameters: Parameters,
    ctes: Vec<HashMap<String, Bound>>,
    used_names: HashSet<String>,
    /// Where the statement refers to columns, for errors that show up later.
    references: Vec<(Expr, usize)>,
    /// Where each line of the text starts, in characters from 0, and where the text ends.
    lines: OnceCell<Vec<usize>>,
    /// The catalogs' relations that the statement reads.
    pub relations: Vec<Oid>,
    /// Every subquery that depends on the query around it is computed row by row: set once the
    /// optimiser has failed to turn one into a join.
    pub all_subplans: bool,
}

fn line_starts(sql: &str) -> Vec<usize> {
    let mut starts = vec![0];
    let mut characters = 0;
    for character in sql.chars() {
        characters += 1;
        if character == '\n' {
            starts.push(characters);
        }
    }
    starts.push(characters);
    starts
}

impl<'a> Analyzer<'a> {
    pub(crate) fn new(env: &'a Environment, sql: &'a str, parameters: Parameters) -> Self {
        Self {
            env,
            sql,
            parameters,
            ctes: Vec::new(),
            used_names: HashSet::new(),
            references: Vec::new(),
            lines: OnceCell::new(),
            relations: Vec::new(),
            all_subplans: false,
        }
    }

    /// Has these names of the catalogs read before the statement runs.
    pub(crate) fn require(&self, parts: &[NamesPart]) -> Result<(), QueryError> {
        let (tables, session) = (self.env.tables.as_ref(), self.env.session.as_ref());
        parts
            .iter()
            .try_for_each(|part| self.env.styles.names.load(*part, tables, session))
    }

    /// Has the names read that values of a type are printed with.
    pub(crate) fn require_for(&self, ty: PgType) -> Result<(), QueryError> {
        self.require(parts_of_type(ty.oid))
    }

    /// A name that no other relation or generated column of the statement has.
    pub(crate) fn unique_name(&mut self, base: &str) -> String {
        if self.used_names.insert(base.to_owned()) {
            return base.to_owned();
        }
        let mut number = 1;
        loop {
            let name = format!("{base}_{number}");
            if self.used_names.insert(name.clone()) {
                return name;
            }
            number += 1;
        }
    }

    pub(crate) fn position(&self, span: Span) -> Option<usize> {
        self.place(span.start)
    }

    /// The parser's place as a character number from 1.
    pub(crate) fn place(&self, location: Location) -> Option<usize> {
        // A long VALUES list asks for very many places.
        let lines = self.lines.get_or_init(|| line_starts(self.sql));
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
        let at = lines.get(line)? + column;
        let end = lines.get(line + 1)?;
        (at < *end).then_some(at + 1)
    }

    /// Where `word` stands, the last time before a place.
    pub(crate) fn word_before(&self, place: Option<usize>, word: &str) -> Option<usize> {
        let characters: Vec<char> = self.sql.chars().take(place?.checked_sub(1)?).collect();
        let wanted: Vec<char> = word.chars().collect();
        let matches = |window: &[char]| {
            window
                .iter()
                .zip(&wanted)
                .all(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        characters
            .windows(wanted.len())
            .rposition(matches)
            .map(|at| at + 1)
    }

    /// Where `word` stands, the first time from a place on.
    pub(crate) fn word_after(&self, place: Option<usize>, word: &str) -> Option<usize> {
        let place = place?.checked_sub(1)?;
        let characters: Vec<char> = self.sql.chars().skip(place).collect();
        let wanted: Vec<char> = word.chars().collect();
        let matches = |window: &[char]| {
            window
                .iter()
                .zip(&wanted)
                .all(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        characters
            .windows(wanted.len())
            .position(matches)
            .map(|at| place + at + 1)
    }

    /// The value of an expression without columns. `None` while it depends on a parameter whose
    /// value isn't known yet.
    pub(crate) fn constant(&self, expr: &Expr) -> Result<Option<ScalarValue>, QueryError> {
        let mut depends = false;
        datafusion::common::tree_node::TreeNode::apply(expr, |node| {
            if matches!(node, Expr::Placeholder(_)) {
                depends = true;
            }
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        if depends {
            return Ok(None);
        }
        let physical = self
            .env
            .state
            .create_physical_expr(expr.clone(), &DFSchema::empty())?;
        let batch = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            vec![],
            &RecordBatchOptions::new().with_row_count(Some(1)),
        )?;
        Ok(Some(match physical.evaluate(&batch)? {
            ColumnarValue::Scalar(value) => value,
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
        }))
    }
}

/// An identifier as PostgreSQL folds it.
pub(crate) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

/// The folded parts of a possibly qualified name.
pub(crate) fn name_parts(name: &ObjectName) -> Result<Vec<String>, QueryError> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ObjectNamePart::Function(_) => Err(QueryError::syntax(Some(&part.to_string()), None)),
        })
        .collect()
}

/// Where a name stands.
pub(crate) fn name_span(name: &ObjectName) -> Span {
    match name.0.first() {
        Some(ObjectNamePart::Identifier(ident)) => ident.span,
        _ => Span::empty(),
    }
}

/// A column of the plan under a relation's qualifier.
pub(crate) fn qualified(qualifier: &str, name: &str) -> Column {
    Column::new(Some(TableReference::bare(qualifier)), name)
}

/// A nullable field.
pub(crate) fn field(name: &str, arrow: &DataType) -> Field {
    Field::new(name, arrow.clone(), true)
}

/// 0A000 for a clause that isn't there yet.
pub(crate) fn unsupported_clause(clause: &str) -> QueryError {
    QueryError::unsupported(format!("{clause} is not supported"))
}

/// 42804 where a condition isn't boolean.
pub(crate) fn not_boolean(clause: &str, ty: PgType, position: Option<usize>) -> QueryError {
    QueryError::new(
        sqlstate::DATATYPE_MISMATCH,
        format!(
            "argument of {clause} must be type boolean, not type {}",
            ty.name()
        ),
    )
    .at(position)
}
