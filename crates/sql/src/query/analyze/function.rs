//! Function calls (`parse_func.c`): grammar's own functions, the session's, aggregates, the row
//! functions, those that storage provides, and types used as functions.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, OrderByExpr,
};
use trunkline_pgformat::Oid;
use trunkline_types::{oids, type_by_name};

use super::literal::literal_text;
use super::resolve::{Choice, choose};
use super::{Analyzer, Level, Typed, name_parts, name_span, unsupported_clause};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::external::external_call;
use crate::query::functions::log::{file_name_call, position_by_function, position_call};
use crate::query::functions::record::record_text;
use crate::query::functions::rows::{candidates, is_internal, row_function};
use crate::query::functions::session::setting_call;
use crate::query::pgtype::{CoercionContext, PgType, can_coerce};
use crate::query::session::ExternalResult;

/// A call's parts after checking what isn't supported.
pub(crate) struct Call<'e> {
    pub name: String,
    /// The name as it was written, for messages.
    pub shown: String,
    pub args: Vec<&'e SqlExpr>,
    pub star: bool,
    pub distinct: bool,
    pub filter: Option<&'e SqlExpr>,
    pub order_by: Vec<&'e OrderByExpr>,
    pub position: Option<usize>,
}

fn no_function(name: &str, args: &[Typed]) -> QueryError {
    let types: Vec<String> = args.iter().map(|arg| arg.ty.name()).collect();
    QueryError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("function {name}({}) does not exist", types.join(", ")),
    )
    .with_hint(
        "No function matches the given name and argument types. \
         You might need to add explicit type casts.",
    )
}

impl Analyzer<'_> {
    fn call<'e>(&self, function: &'e Function) -> Result<Call<'e>, QueryError> {
        let position = self.position(name_span(&function.name));
        let mut parts = name_parts(&function.name)?;
        let name = parts
            .pop()
            .ok_or_else(|| QueryError::syntax(None, position))?;
        let schema = parts.pop();
        let shown = match &schema {
            Some(schema) => format!("{schema}.{name}"),
            None => name.clone(),
        };
        if let Some(schema) = schema
            && schema != "pg_catalog"
        {
            if !self.env.tables.schema_exists(&schema)? {
                return Err(QueryError::new(
                    sqlstate::INVALID_SCHEMA_NAME,
                    format!("schema \"{schema}\" does not exist"),
                )
                .at(position));
            }
            return Err(no_function(&format!("{schema}.{name}"), &[]).at(position));
        }
        if function.over.is_some() {
            return Err(QueryError::unsupported("window functions are not supported").at(position));
        }
        if !function.within_group.is_empty() {
            return Err(unsupported_clause("WITHIN GROUP").at(position));
        }
        if function.null_treatment.is_some() {
            return Err(unsupported_clause("IGNORE NULLS").at(position));
        }
        let mut call = Call {
            name,
            shown,
            args: Vec::new(),
            star: false,
            distinct: false,
            filter: function.filter.as_deref(),
            order_by: Vec::new(),
            position,
        };
        match &function.args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(_) if call.name == "array" => {}
            FunctionArguments::Subquery(_) => {
                return Err(QueryError::syntax(Some("SELECT"), None));
            }
            FunctionArguments::List(list) => {
                call.distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
                for arg in &list.args {
                    match arg {
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => call.args.push(expr),
                        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => call.star = true,
                        _ => {
                            return Err(
                                unsupported_clause("a named function argument").at(position)
                            );
                        }
                    }
                }
                for clause in &list.clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(keys) => call.order_by.extend(keys),
                        other => {
                            return Err(unsupported_clause(&other.to_string()).at(position));
                        }
                    }
                }
            }
        }
        Ok(call)
    }

    /// A function call in an expression.
    pub(crate) fn function_call(
        &mut self,
        function: &Function,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let call = self.call(function)?;
        let bare = matches!(function.args, FunctionArguments::None);
        if let (FunctionArguments::Subquery(query), "array") = (&function.args, call.name.as_str())
        {
            return self.array_subquery(query, level, call.position);
        }
        if bare && let Some(value) = self.session_keyword(&call.name)? {
            return Ok(value);
        }
        if super::aggregate::is_aggregate(&call.name) {
            let position = call.position;
            return self
                .aggregate(call, level)
                .map_err(|error| error.at(position));
        }
        if call.name == "generate_series" {
            return Err(QueryError::unsupported(
                "set-returning functions are supported in FROM and as a whole select item only",
            )
            .at(call.position));
        }
        if call.star || call.distinct || call.filter.is_some() || !call.order_by.is_empty() {
            let what = if call.star {
                format!(
                    "{}(*) specified, but {} is not an aggregate function",
                    call.name, call.name
                )
            } else if call.distinct {
                format!(
                    "DISTINCT specified, but {} is not an aggregate function",
                    call.name
                )
            } else if call.filter.is_some() {
                format!(
                    "FILTER specified, but {} is not an aggregate function",
                    call.name
                )
            } else {
                format!(
                    "ORDER BY specified, but {} is not an aggregate function",
                    call.name
                )
            };
            return Err(QueryError::new(sqlstate::WRONG_OBJECT_TYPE, what).at(call.position));
        }
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.expr(arg, level)?);
        }
        if is_internal(&call.name) {
            return Err(no_function(&call.shown, &args).at(call.position));
        }
        self.shown_function(&call.name, &call.shown, args, call.position)
    }

    /// A function by name over analysed arguments.
    pub(crate) fn named_function(
        &mut self,
        name: &str,
        args: Vec<Typed>,
        position: Option<usize>,
    ) -> Result<Typed, QueryError> {
        self.shown_function(name, name, args, position)
    }

    fn shown_function(
        &mut self,
        name: &str,
        shown: &str,
        args: Vec<Typed>,
        position: Option<usize>,
    ) -> Result<Typed, QueryError> {
        if let Some(result) = self.conditional(name, args.clone())? {
            return Ok(result);
        }
        if let Some(result) = self.session_function(name, &args)? {
            return Ok(result);
        }
        // A type's name over a literal is a cast, whatever functions it names too
        // (`func_get_detail`, `parse_func.c`).
        if let [arg] = args.as_slice()
            && arg.is_unknown()
            && let Some(result) = self.named_cast(name, arg)?
        {
            return Ok(result);
        }
        let types: Vec<Oid> = args.iter().map(|arg| arg.ty.oid).collect();
        let overloads = candidates(name, args.len());
        let signatures: Vec<&[Oid]> = overloads
            .iter()
            .map(|overload| overload.args.as_slice())
            .collect();
        match choose(&types, &signatures) {
            Choice::One(index) => {
                let overload = &overloads[index];
                self.require(overload.needs)?;
                let args = self.row_arguments(args, &overload.args)?;
                return row_function(name, args, PgType::new(overload.result), &self.env.styles)
                    .map_err(|error| error.at(position));
            }
            Choice::Ambiguous => {
                let names: Vec<String> = args.iter().map(|arg| arg.ty.name()).collect();
                return Err(QueryError::new(
                    sqlstate::AMBIGUOUS_FUNCTION,
                    format!("function {shown}({}) is not unique", names.join(", ")),
                )
                .with_hint(
                    "Could not choose a best candidate function. \
                     You might need to add explicit type casts.",
                )
                .at(position));
            }
            Choice::None => {}
        }
        if let Some((call, returns)) = self.external_function(name, &args)? {
            return Ok(match returns {
                ExternalResult::Value(oid) => Typed::of(call, oid),
                // A whole row is printed.
                ExternalResult::Record(columns) => {
                    Typed::of(record_text(call, &columns, &self.env.styles), oids::TEXT)
                }
            });
        }
        // A type's name over one argument is a cast.
        if let [arg] = args.as_slice()
            && let Some(result) = self.named_cast(name, arg)?
        {
            return Ok(result);
        }
        Err(no_function(shown, &args).at(position))
    }

    /// `name(arg)` as a cast, if `name` is a type's.
    fn named_cast(&mut self, name: &str, arg: &Typed) -> Result<Option<Typed>, QueryError> {
        let Some(info) = type_by_name(name).filter(|info| !info.is_pseudo()) else {
            return Ok(None);
        };
        let ty = PgType::new(info.oid);
        self.coerce(arg.clone(), ty, CoercionContext::Explicit)
            .map(Some)
    }

    /// The call of a function that the caller provides, and what it gives.
    pub(crate) fn external_function(
        &mut self,
        name: &str,
        args: &[Typed],
    ) -> Result<Option<(Expr, ExternalResult)>, QueryError> {
        let external = Arc::clone(&self.env.external);
        let types: Vec<Oid> = args.iter().map(|arg| arg.ty.oid).collect();
        let overloads: Vec<_> = external
            .functions()
            .iter()
            .filter(|function| function.name == name && function.accepts(args.len()))
            .collect();
        let signatures: Vec<&[Oid]> = overloads
            .iter()
            .map(|function| &function.args[..args.len()])
            .collect();
        let Choice::One(index) = choose(&types, &signatures) else {
            return Ok(None);
        };
        let args = self.arguments(args.to_vec(), signatures[index])?;
        let function = overloads[index];
        let call = external_call(Arc::clone(&external), function, args);
        Ok(Some((call, function.returns.clone())))
    }

    /// Brings arguments to a row function's types; where it takes any, to text, but booleans,
    /// which it prints itself.
    fn row_arguments(
        &mut self,
        args: Vec<Typed>,
        signature: &[Oid],
    ) -> Result<Vec<Typed>, QueryError> {
        let mut taken = Vec::with_capacity(args.len());
        for (arg, want) in args.into_iter().zip(signature) {
            taken.push(match *want {
                super::resolve::ANY if arg.ty.oid == oids::BOOL => arg,
                super::resolve::ANY if arg.ty.oid == oids::BPCHAR => Typed {
                    ty: PgType::new(oids::TEXT),
                    ..arg
                },
                super::resolve::ANY => {
                    self.coerce(arg, PgType::new(oids::TEXT), CoercionContext::Explicit)?
                }
                oids::ANYARRAY if arg.is_unknown() => {
                    return Err(QueryError::new(
                        sqlstate::DATATYPE_MISMATCH,
                        "could not determine polymorphic type because input has type unknown",
                    ));
                }
                oids::ANYARRAY => {
                    self.require_for(arg.ty)?;
                    arg
                }
                want => self.coerce(arg, PgType::new(want), CoercionContext::Implicit)?,
            });
        }
        Ok(taken)
    }

    /// Brings arguments to a signature's types.
    pub(crate) fn arguments(
        &mut self,
        args: Vec<Typed>,
        signature: &[Oid],
    ) -> Result<Vec<Typed>, QueryError> {
        args.into_iter()
            .zip(signature)
            .map(|(arg, want)| {
                if *want == super::resolve::ANY {
                    return self.resolve_unknown(arg);
                }
                self.coerce(arg, PgType::new(*want), CoercionContext::Implicit)
            })
            .collect()
    }

    /// The functions that SQL writes without parentheses.
    pub(crate) fn session_keyword(&mut self, name: &str) -> Result<Option<Typed>, QueryError> {
        let session = &self.env.session;
        Ok(Some(match name {
            "current_user" | "user" | "current_role" => name_literal(&session.user()),
            "session_user" => name_literal(&session.session_user()),
            "current_catalog" => name_literal(&session.database()),
            "current_schema" => self.current_schema(),
            "current_timestamp" => timestamptz(session.transaction_time_us()),
            "localtimestamp" => {
                let now = timestamptz(session.transaction_time_us());
                self.coerce(now, PgType::new(oids::TIMESTAMP), CoercionContext::Explicit)?
            }
            "current_date" => {
                let now = timestamptz(session.transaction_time_us());
                self.coerce(now, PgType::new(oids::DATE), CoercionContext::Explicit)?
            }
            "current_time" | "localtime" => {
                return Err(QueryError::unsupported("type time is not supported"));
            }
            _ => return Ok(None),
        }))
    }

    fn current_schema(&self) -> Typed {
        match self.env.session.search_path().first() {
            Some(schema) => name_literal(schema),
            None => super::coerce::typed_null(PgType::new(oids::NAME)),
        }
    }

    /// Functions whose answers the session knows: constants of the statement, but for settings and
    /// where the log is.
    fn session_function(
        &mut self,
        name: &str,
        args: &[Typed],
    ) -> Result<Option<Typed>, QueryError> {
        let session = Arc::clone(&self.env.session);
        Ok(Some(match (name, args) {
            ("version", []) => literal_text(&session.version()),
            ("current_database", []) => name_literal(&session.database()),
            ("current_schema", []) => self.current_schema(),
            ("pg_backend_pid", []) => super::literal::literal_int4(session.backend_pid()),
            ("now" | "transaction_timestamp", []) => timestamptz(session.transaction_time_us()),
            ("statement_timestamp", []) => timestamptz(session.statement_time_us()),
            ("clock_timestamp", []) => timestamptz(session.clock_time_us()),
            ("pg_typeof", [arg]) => {
                let oid = Expr::Literal(ScalarValue::UInt32(Some(arg.ty.oid.0)), None);
                Typed::of(oid, oids::REGTYPE)
            }
            (name, []) if let Some(position) = position_by_function(name) => {
                Typed::of(position_call(session, position), oids::PG_LSN)
            }
            ("pg_walfile_name", [lsn])
                if can_coerce(lsn.ty.oid, oids::PG_LSN, CoercionContext::Implicit) =>
            {
                let lsn = lsn.clone();
                let lsn = self.coerce(lsn, PgType::new(oids::PG_LSN), CoercionContext::Implicit)?;
                Typed::of(file_name_call(session, lsn), oids::TEXT)
            }
            ("current_setting", [_] | [_, _]) => {
                let signature = [oids::TEXT, oids::BOOL];
                let args = self.arguments(args.to_vec(), &signature[..args.len()])?;
                Typed::of(setting_call(session, args), oids::TEXT)
            }
            _ => return Ok(None),
        }))
    }
}

fn name_literal(name: &str) -> Typed {
    Typed::of(
        Expr::Literal(ScalarValue::Utf8(Some(name.to_owned())), None),
        oids::NAME,
    )
}

fn timestamptz(us: i64) -> Typed {
    let scalar = ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()));
    Typed::of(Expr::Literal(scalar, None), oids::TIMESTAMPTZ)
}
