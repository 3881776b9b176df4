//! Scalar expressions (`parse_expr.c`).

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Case, Expr, Operator};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType as SqlType, Expr as SqlExpr, Ident,
    Spanned, TrimWhereField, UnaryOperator, ValueWithSpan,
};
use trunkline_types::oids;

use super::coerce::typed_null;
use super::literal::{is_number, literal_int4, literal_text, negated_literal};
use super::naming::column_name;
use super::operator::{compare, no_operator, no_prefix_operator};
use super::{Analyzer, Level, ScopeColumn, Typed, field, fold, unsupported_clause};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::key::key_expr;
use crate::query::functions::rows::row_function;
use crate::query::pgtype::{CoercionContext, PgType, can_coerce, resolve_type};

impl Analyzer<'_> {
    /// Analyses an expression.
    pub(crate) fn expr(&mut self, expr: &SqlExpr, level: &Level<'_>) -> Result<Typed, QueryError> {
        let position = self.position(expr.span());
        self.expr_inner(expr, level).map(|value| value.at(position))
    }

    fn expr_inner(&mut self, expr: &SqlExpr, level: &Level<'_>) -> Result<Typed, QueryError> {
        match expr {
            SqlExpr::Identifier(ident) => self.identifier(ident, level),
            SqlExpr::CompoundIdentifier(parts) => self.compound_identifier(parts, level),
            SqlExpr::Nested(inner) => self.expr(inner, level),
            SqlExpr::Value(value) => self.value(value),
            SqlExpr::TypedString(typed) => {
                let mut ty = resolve_type(&typed.data_type)?;
                // Unlike a cast's or a column's, a literal's `char` has no length.
                if matches!(
                    typed.data_type,
                    SqlType::Char(None) | SqlType::Character(None)
                ) {
                    ty.typmod = -1;
                }
                let value = self
                    .value(&typed.value)?
                    .at(self.position(typed.value.span));
                self.coerce(value, ty, CoercionContext::Explicit)
            }
            SqlExpr::Cast {
                kind,
                expr,
                data_type,
                ..
            } => {
                let operator = match kind {
                    CastKind::DoubleColon => self.word_after(self.end_position(expr), "::"),
                    _ => None,
                };
                let type_name = operator.and_then(|at| self.next_word(at + 2));
                let ty = resolve_type(data_type).map_err(|error| {
                    let modifier = error.message.starts_with("precision for type float");
                    let inside = self.word_after(type_name, "(").map(|at| at + 1);
                    error.at(if modifier { inside } else { type_name })
                })?;
                let value = self.expr(expr, level)?;
                self.coerce(value, ty, CoercionContext::Explicit)
                    .map_err(|error| {
                        if error.sqlstate == sqlstate::CANNOT_COERCE && operator.is_some() {
                            QueryError {
                                position: operator,
                                ..error
                            }
                        } else {
                            error
                        }
                    })
            }
            SqlExpr::Collate { expr, collation } => self.collate(expr, collation, level),
            SqlExpr::UnaryOp { op, expr } => self.unary(*op, expr, level),
            SqlExpr::BinaryOp { left, op, right } => self.binary(left, op, right, level),
            SqlExpr::IsNull(inner) => {
                let value = self.expr(inner, level)?;
                let value = self.resolve_unknown(value)?;
                Ok(boolean(value.expr.is_null()))
            }
            SqlExpr::IsNotNull(inner) => {
                let value = self.expr(inner, level)?;
                let value = self.resolve_unknown(value)?;
                Ok(boolean(value.expr.is_not_null()))
            }
            SqlExpr::IsTrue(inner) => self.boolean_test(inner, "IS TRUE", level, Expr::is_true),
            SqlExpr::IsNotTrue(inner) => {
                self.boolean_test(inner, "IS NOT TRUE", level, Expr::is_not_true)
            }
            SqlExpr::IsFalse(inner) => self.boolean_test(inner, "IS FALSE", level, Expr::is_false),
            SqlExpr::IsNotFalse(inner) => {
                self.boolean_test(inner, "IS NOT FALSE", level, Expr::is_not_false)
            }
            SqlExpr::IsUnknown(inner) => {
                self.boolean_test(inner, "IS UNKNOWN", level, Expr::is_unknown)
            }
            SqlExpr::IsNotUnknown(inner) => {
                self.boolean_test(inner, "IS NOT UNKNOWN", level, Expr::is_not_unknown)
            }
            SqlExpr::IsDistinctFrom(left, right) => {
                self.distinct_from(left, right, Operator::IsDistinctFrom, level)
            }
            SqlExpr::IsNotDistinctFrom(left, right) => {
                self.distinct_from(left, right, Operator::IsNotDistinctFrom, level)
            }
            SqlExpr::Between {
                expr,
                negated,
                low,
                high,
            } => self.between(expr, *negated, low, high, level),
            SqlExpr::InList {
                expr,
                list,
                negated,
            } => self.in_list(expr, list, *negated, level),
            SqlExpr::Like {
                negated,
                any,
                expr,
                pattern,
                escape_char,
            } => {
                let name = if *negated { "notlike" } else { "like" };
                let symbol = if *negated { "!~~" } else { "~~" };
                self.like(
                    [name, symbol],
                    *any,
                    [expr, pattern],
                    escape_char.as_ref(),
                    level,
                )
            }
            SqlExpr::ILike {
                negated,
                any,
                expr,
                pattern,
                escape_char,
            } => {
                let name = if *negated { "notilike" } else { "ilike" };
                let symbol = if *negated { "!~~*" } else { "~~*" };
                self.like(
                    [name, symbol],
                    *any,
                    [expr, pattern],
                    escape_char.as_ref(),
                    level,
                )
            }
            SqlExpr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(
                operand.as_deref(),
                conditions,
                else_result.as_deref(),
                level,
            ),
            SqlExpr::Function(function) => self.function_call(function, level),
            SqlExpr::Substring {
                expr,
                substring_from,
                substring_for,
                shorthand,
                ..
            } => {
                let mut args = vec![self.expr(expr, level)?];
                match (substring_from, substring_for) {
                    (Some(from), None) => args.push(self.expr(from, level)?),
                    (from, Some(length)) => {
                        args.push(match from {
                            Some(from) => self.expr(from, level)?,
                            None => literal_int4(1),
                        });
                        args.push(self.expr(length, level)?);
                    }
                    (None, None) => {}
                }
                let place = args.first().and_then(|arg| arg.position);
                let name = if *shorthand { "substr" } else { "substring" };
                let position = self.word_before(place, name);
                self.named_function(name, args, position)
            }
            SqlExpr::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters,
            } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut args = vec![self.expr(expr, level)?];
                if let Some(what) = trim_what {
                    args.push(self.expr(what, level)?);
                }
                for what in trim_characters.iter().flatten() {
                    args.push(self.expr(what, level)?);
                }
                self.named_function(name, args, None)
            }
            SqlExpr::Position { expr, r#in } => {
                let needle = self.expr(expr, level)?;
                let haystack = self.expr(r#in, level)?;
                self.named_function("position", vec![haystack, needle], None)
            }
            SqlExpr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                let mut args = vec![
                    self.expr(expr, level)?,
                    self.expr(overlay_what, level)?,
                    self.expr(overlay_from, level)?,
                ];
                if let Some(length) = overlay_for {
                    args.push(self.expr(length, level)?);
                }
                self.named_function("overlay", args, None)
            }
            SqlExpr::Extract { field, expr, .. } => {
                let what = field.to_string().to_lowercase();
                let source = self.expr(expr, level)?;
                let position = self.word_before(source.position, "extract");
                self.named_function("extract", vec![literal_text(&what), source], position)
            }
            SqlExpr::Ceil { expr, field } => self.rounding("ceil", expr, field, level),
            SqlExpr::Floor { expr, field } => self.rounding("floor", expr, field, level),
            SqlExpr::Subquery(query) => self.scalar_subquery(query, level),
            SqlExpr::Exists { subquery, negated } => {
                let bound = self.query(subquery, Some(level))?;
                self.exists(bound, *negated, level)
            }
            SqlExpr::InSubquery {
                expr,
                subquery,
                negated,
            } => {
                let value = self.expr(expr, level)?;
                let value = Typed {
                    position: self.keyword_after(expr),
                    ..value
                };
                self.in_subquery(value, subquery, *negated, level)
            }
            SqlExpr::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => self.quantified(left, compare_op, right, true, level),
            SqlExpr::AllOp {
                left,
                compare_op,
                right,
            } => self.quantified(left, compare_op, right, false, level),
            SqlExpr::CompoundFieldAccess { root, access_chain } => {
                self.field_access(root, access_chain, level)
            }
            SqlExpr::Interval(_) => Err(QueryError::unsupported("type interval is not supported")),
            SqlExpr::AtTimeZone { .. } => Err(unsupported_clause("AT TIME ZONE")),
            SqlExpr::Array(_) => Err(QueryError::unsupported(
                "array expressions are not supported",
            )),
            SqlExpr::Tuple(_) => Err(QueryError::unsupported("row expressions are not supported")),
            SqlExpr::SimilarTo { .. } => Err(unsupported_clause("SIMILAR TO")),
            other => Err(QueryError::unsupported(format!(
                "expression {other} is not supported"
            ))),
        }
    }

    fn identifier(&mut self, ident: &Ident, level: &Level<'_>) -> Result<Typed, QueryError> {
        let name = fold(ident);
        let position = self.position(ident.span);
        let matches = |column: &ScopeColumn| !column.merged_away && column.name == name;
        if let Some(found) = self.find(level, matches, &name, position)? {
            return Ok(found);
        }
        if ident.quote_style.is_none()
            && let Some(value) = self.session_keyword(&name)?
        {
            return Ok(value);
        }
        Err(QueryError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{name}\" does not exist"),
        )
        .at(position))
    }

    fn compound_identifier(
        &mut self,
        parts: &[Ident],
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let position = parts.first().and_then(|ident| self.position(ident.span));
        let [.., relation, column] = parts else {
            return Err(QueryError::syntax(None, position));
        };
        let (relation, name) = (fold(relation), fold(column));
        let matches = |column: &ScopeColumn| {
            column.relation.as_deref() == Some(relation.as_str()) && column.name == name
        };
        if let Some(found) = self.find(level, matches, &name, position)? {
            return Ok(found);
        }
        let mut around = Some(level);
        while let Some(level) = around {
            if level.scope.relations.contains(&relation) {
                return Err(QueryError::new(
                    sqlstate::UNDEFINED_COLUMN,
                    format!("column {relation}.{name} does not exist"),
                )
                .at(position));
            }
            around = level.parent;
        }
        let mut around = Some(level);
        while let Some(level) = around {
            let aliased = level
                .scope
                .aliased
                .iter()
                .find(|(table, _)| *table == relation);
            if let Some((table, alias)) = aliased {
                return Err(QueryError::new(
                    sqlstate::UNDEFINED_TABLE,
                    format!("invalid reference to FROM-clause entry for table \"{table}\""),
                )
                .with_hint(format!(
                    "Perhaps you meant to reference the table alias \"{alias}\"."
                ))
                .at(position));
            }
            around = level.parent;
        }
        Err(QueryError::new(
            sqlstate::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table \"{relation}\""),
        )
        .at(position))
    }

    /// Looks a column up, the innermost level first.
    fn find(
        &mut self,
        level: &Level<'_>,
        matches: impl Fn(&ScopeColumn) -> bool,
        name: &str,
        position: Option<usize>,
    ) -> Result<Option<Typed>, QueryError> {
        let mut around = Some(level);
        let mut outer = false;
        while let Some(level) = around {
            let mut found = level.scope.columns.iter().filter(|column| matches(column));
            if let Some(column) = found.next() {
                if found.next().is_some() {
                    return Err(QueryError::new(
                        sqlstate::AMBIGUOUS_COLUMN,
                        format!("column reference \"{name}\" is ambiguous"),
                    )
                    .at(position));
                }
                if let (false, Some(position)) = (outer, position) {
                    self.references.push((column.expr.clone(), position));
                }
                let expr = if outer {
                    outer_reference(column)?
                } else {
                    column.expr.clone()
                };
                return Ok(Some(Typed::new(expr, column.ty, column.arrow.clone())));
            }
            around = level.parent;
            outer = true;
        }
        Ok(None)
    }

    fn collate(
        &mut self,
        expr: &SqlExpr,
        collation: &datafusion::sql::sqlparser::ast::ObjectName,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let parts = super::name_parts(collation)?;
        match parts.last().map(String::as_str) {
            Some("C" | "POSIX" | "default" | "ucs_basic") => self.expr(expr, level),
            Some(name) => Err(QueryError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("collation \"{name}\" for encoding \"UTF8\" does not exist"),
            )),
            None => Err(QueryError::syntax(None, None)),
        }
    }

    fn unary(
        &mut self,
        op: UnaryOperator,
        expr: &SqlExpr,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        if op == UnaryOperator::Not {
            let value = self.expr(expr, level)?;
            let condition = self.condition(value, "NOT")?;
            return Ok(boolean(Expr::Not(Box::new(condition))));
        }
        let value = self.expr(expr, level)?;
        let (symbol, function) = match op {
            UnaryOperator::Minus => ("-", "uminus"),
            UnaryOperator::Plus => ("+", "uplus"),
            UnaryOperator::PGAbs => ("@", "abs"),
            UnaryOperator::BitwiseNot => ("~", "bitnot"),
            UnaryOperator::PGSquareRoot => ("|/", "sqrt"),
            UnaryOperator::PGCubeRoot => ("||/", "cbrt"),
            other => return Err(no_prefix_operator(&format!("{other} {}", value.ty.name()))),
        };
        let position = self.word_before(value.position, symbol);
        if op == UnaryOperator::Minus
            && is_number(expr)
            && let Some(folded) = negated_literal(&value)
        {
            return Ok(folded);
        }
        if value.is_unknown() && matches!(op, UnaryOperator::Minus | UnaryOperator::Plus) {
            let value = self.coerce(value, PgType::new(oids::FLOAT8), CoercionContext::Implicit)?;
            return self.named_function(function, vec![value], None);
        }
        let described = format!("{symbol} {}", value.ty.name());
        let is_root = matches!(op, UnaryOperator::PGSquareRoot | UnaryOperator::PGCubeRoot);
        // As operators, the roots are of double precision only.
        let value = if is_root && can_coerce(value.ty.oid, oids::FLOAT8, CoercionContext::Implicit)
        {
            self.coerce(value, PgType::new(oids::FLOAT8), CoercionContext::Implicit)?
        } else {
            value
        };
        self.named_function(function, vec![value], None)
            .map_err(|error| {
                if error.sqlstate == sqlstate::UNDEFINED_FUNCTION {
                    no_prefix_operator(&described).at(position)
                } else {
                    error
                }
            })
    }

    fn binary(
        &mut self,
        left: &SqlExpr,
        op: &BinaryOperator,
        right: &SqlExpr,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let logical = match op {
            BinaryOperator::And => Some((Operator::And, "AND")),
            BinaryOperator::Or => Some((Operator::Or, "OR")),
            _ => None,
        };
        if let Some((operator, clause)) = logical {
            let left = self.expr(left, level)?;
            let left = self.condition(left, clause)?;
            let right = self.expr(right, level)?;
            let right = self.condition(right, clause)?;
            return Ok(boolean(datafusion::logical_expr::binary_expr(
                left, operator, right,
            )));
        }
        let left_value = self.expr(left, level)?;
        let right_value = self.expr(right, level)?;
        let position = self.word_after(self.end_position(left), &op.to_string());
        self.binary_operator(op, left_value, right_value, position)
    }

    /// The place behind an expression's last token that the parser recorded.
    pub(crate) fn end_position(&self, expr: &SqlExpr) -> Option<usize> {
        self.place(expr.span().end)
    }

    /// The first character from a place on that is neither blank nor a closing parenthesis.
    fn next_word(&self, place: usize) -> Option<usize> {
        let mut characters = self.sql.chars().enumerate().skip(place.checked_sub(1)?);
        characters
            .find(|(_, c)| !c.is_whitespace() && *c != ')')
            .map(|(at, _)| at + 1)
    }

    /// Where the keyword behind an operand stands.
    fn keyword_after(&self, operand: &SqlExpr) -> Option<usize> {
        self.next_word(self.end_position(operand)?)
    }

    fn boolean_test(
        &mut self,
        inner: &SqlExpr,
        clause: &str,
        level: &Level<'_>,
        test: fn(Expr) -> Expr,
    ) -> Result<Typed, QueryError> {
        let value = self.expr(inner, level)?;
        Ok(boolean(test(self.condition(value, clause)?)))
    }

    fn distinct_from(
        &mut self,
        left: &SqlExpr,
        right: &SqlExpr,
        op: Operator,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let left = self.expr(left, level)?;
        let right = self.expr(right, level)?;
        let equal = self.binary_operator(&BinaryOperator::Eq, left, right, None)?;
        match equal.expr {
            Expr::BinaryExpr(mut binary) => {
                binary.op = op;
                Ok(boolean(Expr::BinaryExpr(binary)))
            }
            _ => Err(QueryError::internal("an equality is no comparison")),
        }
    }

    fn between(
        &mut self,
        expr: &SqlExpr,
        negated: bool,
        low: &SqlExpr,
        high: &SqlExpr,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let value = self.expr(expr, level)?;
        let low = self.expr(low, level)?;
        let high = self.expr(high, level)?;
        let (lower, upper) = if negated {
            (BinaryOperator::Lt, BinaryOperator::Gt)
        } else {
            (BinaryOperator::GtEq, BinaryOperator::LtEq)
        };
        let lower = self.compare_values(lower, value.clone(), low, value.position)?;
        let upper = self.compare_values(upper, value.clone(), high, value.position)?;
        Ok(boolean(if negated {
            lower.or(upper)
        } else {
            lower.and(upper)
        }))
    }

    fn in_list(
        &mut self,
        expr: &SqlExpr,
        list: &[SqlExpr],
        negated: bool,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let value = self.expr(expr, level)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(self.expr(item, level)?);
        }
        let value = Typed {
            position: self.keyword_after(expr),
            ..value
        };
        self.in_values(value, items, negated)
    }

    /// `value IN (items)`: equality with each, as one list if all have the value's type.
    fn in_values(
        &mut self,
        value: Typed,
        items: Vec<Typed>,
        negated: bool,
    ) -> Result<Typed, QueryError> {
        let mut all = vec![value.clone()];
        all.extend(items.iter().cloned());
        if let Ok(common) = self.common_type(&all, "IN") {
            let comparable = self.coerce_to_common(all, common, "IN")?;
            // A type without equality is refused here.
            self.compare_values(
                BinaryOperator::Eq,
                comparable[0].clone(),
                comparable[0].clone(),
                value.position,
            )?;
            let key = |item: Typed| key_expr(item.expr, item.ty, &item.arrow, false);
            let mut keys = comparable.into_iter().map(key);
            let first = keys.next().unwrap_or_else(|| value.expr.clone());
            return Ok(boolean(first.in_list(keys.collect(), negated)));
        }
        let op = if negated {
            BinaryOperator::NotEq
        } else {
            BinaryOperator::Eq
        };
        let mut result: Option<Expr> = None;
        for item in items {
            let test = self.compare_values(op.clone(), value.clone(), item, value.position)?;
            result = Some(match result {
                None => test,
                Some(before) if negated => before.and(test),
                Some(before) => before.or(test),
            });
        }
        result
            .map(boolean)
            .ok_or_else(|| QueryError::syntax(Some(")"), None))
    }

    fn like(
        &mut self,
        [name, symbol]: [&'static str; 2],
        any: bool,
        [expr, pattern]: [&SqlExpr; 2],
        escape: Option<&ValueWithSpan>,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let position = self.keyword_after(expr);
        if any {
            return Err(unsupported_clause("LIKE ANY"));
        }
        let value = self.expr(expr, level)?;
        let pattern = self.expr(pattern, level)?;
        let string = |typed: &Typed| {
            typed.is_unknown() || crate::query::pgtype::category(typed.ty.oid) == 'S'
        };
        if !string(&value) || !string(&pattern) {
            return Err(no_operator(&format!(
                "{} {symbol} {}",
                value.ty.name(),
                pattern.ty.name()
            ))
            .at(position));
        }
        let text = PgType::new(oids::TEXT);
        // A character(n) is matched with its blanks; a cast to text would drop them.
        let value = if value.ty.oid == oids::BPCHAR {
            Typed { ty: text, ..value }
        } else {
            self.coerce(value, text, CoercionContext::Implicit)?
        };
        let mut args = vec![
            value,
            self.coerce(pattern, text, CoercionContext::Implicit)?,
        ];
        if let Some(escape) = escape {
            let escape = self.value(escape)?;
            args.push(self.coerce(escape, text, CoercionContext::Implicit)?);
        }
        row_function(name, args, PgType::new(oids::BOOL), &self.env.styles)
    }

    fn case(
        &mut self,
        operand: Option<&SqlExpr>,
        conditions: &[CaseWhen],
        else_result: Option<&SqlExpr>,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let operand = operand
            .map(|operand| self.expr(operand, level))
            .transpose()?;
        let mut tests = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for when in conditions {
            let condition = self.expr(&when.condition, level)?;
            tests.push(match &operand {
                Some(operand) => {
                    let position = condition.position;
                    self.compare_values(BinaryOperator::Eq, operand.clone(), condition, position)?
                }
                None => self.condition(condition, "CASE/WHEN")?,
            });
            results.push(self.expr(&when.result, level)?);
        }
        // PostgreSQL looks at the ELSE first when it chooses the type.
        let otherwise = match else_result {
            Some(otherwise) => self.expr(otherwise, level)?,
            None => Typed::null(),
        };
        results.insert(0, otherwise);
        let results = self.coerce_alike(results, "CASE")?;
        Ok(case_of(tests, results))
    }

    fn rounding(
        &mut self,
        name: &str,
        expr: &SqlExpr,
        kind: &CeilFloorKind,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        if !matches!(
            kind,
            CeilFloorKind::DateTimeField(
                datafusion::sql::sqlparser::ast::DateTimeField::NoDateTime
            )
        ) {
            return Err(QueryError::syntax(Some("TO"), None));
        }
        let value = self.expr(expr, level)?;
        self.named_function(name, vec![value], None)
    }

    /// COALESCE, NULLIF, GREATEST and LEAST, which are grammar and no functions.
    pub(crate) fn conditional(
        &mut self,
        name: &str,
        args: Vec<Typed>,
    ) -> Result<Option<Typed>, QueryError> {
        let clause = name.to_uppercase();
        match (name, args.len()) {
            ("coalesce", 1..) => {
                let mut values = self.coerce_alike(args, &clause)?;
                let Some(last) = values.pop() else {
                    return Ok(None);
                };
                let tests = values
                    .iter()
                    .map(|value| value.expr.clone().is_not_null())
                    .collect();
                values.insert(0, last);
                Ok(Some(case_of(tests, values)))
            }
            ("nullif", 2) => {
                let equal = self.compare_values(
                    BinaryOperator::Eq,
                    args[0].clone(),
                    args[1].clone(),
                    args[0].position,
                )?;
                let value = self.resolve_unknown(args[0].clone())?;
                let null = Typed {
                    arrow: value.arrow.clone(),
                    ..typed_null(value.ty)
                };
                let null = match ScalarValue::try_from(&value.arrow) {
                    Ok(scalar) => Typed {
                        expr: Expr::Literal(scalar, None),
                        ..null
                    },
                    Err(_) => null,
                };
                Ok(Some(case_of(vec![equal], vec![value, null])))
            }
            ("greatest" | "least", 1..) => {
                let op = if name == "greatest" {
                    Operator::GtEq
                } else {
                    Operator::LtEq
                };
                let values = self.coerce_alike(args, &clause)?;
                let mut rest = values.into_iter();
                let Some(mut best) = rest.next() else {
                    return Ok(None);
                };
                for next in rest {
                    let keep =
                        next.expr
                            .clone()
                            .is_null()
                            .or(compare(op, best.clone(), next.clone()));
                    best = case_of(vec![keep], vec![next, best]);
                }
                Ok(Some(best))
            }
            _ => Ok(None),
        }
    }
}

/// `CASE WHEN tests[i] THEN results[i + 1] ... ELSE results[0] END`; results are of one type.
pub(crate) fn case_of(tests: Vec<Expr>, results: Vec<Typed>) -> Typed {
    let mut results = results.into_iter();
    let otherwise = match results.next() {
        Some(value) => value,
        None => Typed::null(),
    };
    if tests.is_empty() {
        return otherwise;
    }
    let when_then: Vec<_> = tests
        .into_iter()
        .zip(results)
        .map(|(test, result)| (Box::new(test), Box::new(result.expr)))
        .collect();
    let expr = Expr::Case(Case::new(None, when_then, Some(Box::new(otherwise.expr))));
    Typed {
        expr,
        ..Typed::new(Expr::default(), otherwise.ty, otherwise.arrow)
    }
}

pub(crate) fn boolean(expr: Expr) -> Typed {
    Typed::of(expr, oids::BOOL)
}

pub(crate) fn outer_reference(column: &ScopeColumn) -> Result<Expr, QueryError> {
    match &column.expr {
        Expr::Column(inner) => Ok(Expr::OuterReferenceColumn(
            std::sync::Arc::new(field(&inner.name, &column.arrow)),
            inner.clone(),
        )),
        _ => Err(QueryError::unsupported(
            "a subquery that refers to a merged join column is not supported",
        )),
    }
}

/// The name of a select item that has no alias.
pub(crate) fn default_name(expr: &SqlExpr) -> String {
    column_name(expr)
}
