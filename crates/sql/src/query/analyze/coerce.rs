//! Coercion (`parse_coerce.c`): bringing an expression to a type, and finding the type that
//! several expressions have in common.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;
use trunkline_pgformat::Oid;
use trunkline_types::{ColumnType, input_text, oids};

use super::{Analyzer, Typed, Unknown, field};
use crate::query::column::scalar_from_payload;
use crate::query::decimal::DECIMAL_MAX_PRECISION;
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::alias::{alias_of, read_alias, split_identifiers};
use crate::query::functions::cast::cast_expr;
use crate::query::pgtype::{
    CoercionContext, PgType, arrow_type, can_coerce, category, is_preferred,
};

impl Analyzer<'_> {
    /// Brings an expression to a type. 42846 if PostgreSQL wouldn't in this context.
    pub(crate) fn coerce(
        &mut self,
        value: Typed,
        to: PgType,
        context: CoercionContext,
    ) -> Result<Typed, QueryError> {
        let position = value.position;
        let coerced = match value.unknown.clone() {
            Unknown::Literal(text) => self.literal(&text, to, context, position)?,
            Unknown::Null => typed_null(to),
            Unknown::Parameter(index) => {
                let decided = PgType::new(to.oid);
                self.decide_parameter(index, decided);
                let value = self.parameter_of_type(index, decided)?;
                return self.coerce(value.at(position), to, context);
            }
            Unknown::No => self.convert(value, to, context)?,
        };
        Ok(coerced.at(position))
    }

    fn literal(
        &mut self,
        text: &str,
        to: PgType,
        context: CoercionContext,
        position: Option<usize>,
    ) -> Result<Typed, QueryError> {
        // A length or precision is applied afterwards, as a cast by itself: its errors are those
        // of running, not of reading the literal.
        let limited = matches!(to.oid, oids::VARCHAR | oids::BPCHAR | oids::NUMERIC);
        let read_as = if limited { PgType::new(to.oid) } else { to };
        if to.oid == oids::REGCLASS {
            let oid = self
                .relation_oid(text)
                .map_err(|error| error.at(position))?;
            return Ok(Typed::of(
                Expr::Literal(ScalarValue::UInt32(Some(oid.0)), None),
                oids::REGCLASS,
            ));
        }
        if let Some(alias) = alias_of(to.oid) {
            self.require_for(to)?;
            let oid = read_alias(alias, text, &self.env.styles.names)
                .map_err(|error| error.at(position))?;
            return Ok(Typed::of(
                Expr::Literal(ScalarValue::UInt32(Some(oid)), None),
                to.oid,
            ));
        }
        let column_type = ColumnType::new(read_as.oid, read_as.typmod)?;
        let mut payload = Vec::new();
        input_text(&column_type, text, &self.env.styles.input, &mut payload)
            .map_err(|error| QueryError::from(error).at(position))?;
        let arrow = arrow_type(read_as);
        let scalar = scalar_from_payload(read_as, &arrow, Some(&payload))?;
        let value = Typed::new(Expr::Literal(scalar, None), read_as, arrow);
        if read_as == to {
            Ok(value)
        } else {
            self.convert(value, to, context)
        }
    }

    /// `regclassin`: a number, or a name as SQL would write it.
    fn relation_oid(&self, text: &str) -> Result<Oid, QueryError> {
        if let Ok(number) = text.parse::<u32>() {
            return Ok(Oid(number));
        }
        if text == "-" {
            return Ok(Oid::INVALID);
        }
        let parts = split_identifiers(text)?;
        let (schema, name) = match parts.as_slice() {
            [name] => (None, name),
            [schema, name] => (Some(schema.as_str()), name),
            _ => {
                return Err(QueryError::new(
                    sqlstate::SYNTAX_ERROR,
                    format!("improper relation name (too many dotted names): {text}"),
                ));
            }
        };
        match self.env.tables.relation(schema, name)? {
            Some(relation) => Ok(relation.oid),
            None => Err(QueryError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("relation \"{}\" does not exist", parts.join(".")),
            )),
        }
    }

    fn convert(
        &mut self,
        value: Typed,
        to: PgType,
        context: CoercionContext,
    ) -> Result<Typed, QueryError> {
        let position = value.position;
        if !can_coerce(value.ty.oid, to.oid, context) {
            return Err(QueryError::new(
                sqlstate::CANNOT_COERCE,
                format!("cannot cast type {} to {}", value.ty.name(), to.name()),
            )
            .at(position));
        }
        if value.ty.oid == to.oid && (to.typmod < 0 || to.typmod == value.ty.typmod) {
            return Ok(value);
        }
        if category(to.oid) == 'S' {
            self.require_for(value.ty)?;
        }
        if alias_of(to.oid).is_some() && category(value.ty.oid) == 'S' {
            self.require_for(to)?;
        }
        if category(value.ty.oid) == 'A' && category(to.oid) == 'A' {
            // A vector is an array that begins at 0.
            let arrow = arrow_type(to);
            return Ok(Typed::new(value.expr, to, arrow));
        }
        let arrow = if to.oid == oids::NUMERIC && to.typmod < 0 {
            match (&value.expr, value.ty.oid) {
                (_, oids::INT2) => DataType::Decimal128(5, 0),
                (Expr::Literal(ScalarValue::Int32(Some(literal)), _), oids::INT4) => {
                    DataType::Decimal128(digits(i128::from(*literal)), 0)
                }
                (_, oids::INT4) => DataType::Decimal128(10, 0),
                (_, oids::INT8) => DataType::Decimal128(19, 0),
                _ => arrow_type(to),
            }
        } else {
            arrow_type(to)
        };
        let explicit = context == CoercionContext::Explicit;
        let expr = cast_expr(
            value.expr,
            value.ty,
            to,
            arrow.clone(),
            explicit,
            &self.env.styles,
        );
        Ok(self.folded(Typed::new(expr, to, arrow)))
    }

    /// A cast of a constant, evaluated now if it succeeds: an error must wait for execution,
    /// which may never reach it.
    fn folded(&self, value: Typed) -> Typed {
        let constant_argument = matches!(
            &value.expr,
            Expr::ScalarFunction(call) if call.args.iter().all(|arg| matches!(arg, Expr::Literal(..)))
        );
        if constant_argument && let Ok(Some(scalar)) = self.constant(&value.expr) {
            return Typed {
                expr: Expr::Literal(scalar, None),
                ..value
            };
        }
        value
    }

    /// Makes a numeric travel in another way; its value and type stay.
    pub(crate) fn represent(&self, value: Typed, arrow: &DataType) -> Typed {
        if value.arrow == *arrow {
            return value;
        }
        let plain = PgType::new(value.ty.oid);
        let expr = cast_expr(
            value.expr,
            plain,
            plain,
            arrow.clone(),
            false,
            &self.env.styles,
        );
        self.folded(Typed {
            expr,
            arrow: arrow.clone(),
            ..value
        })
    }

    /// Makes numerics travel alike without changing how any of them is displayed.
    pub(crate) fn represent_alike(&self, values: Vec<Typed>) -> Vec<Typed> {
        let Some(first) = values.first() else {
            return values;
        };
        if first.ty.oid != oids::NUMERIC {
            return values;
        }
        let mut arrow = first.arrow.clone();
        for value in &values[1..] {
            arrow = match (&arrow, &value.arrow) {
                (DataType::Decimal128(lp, ls), DataType::Decimal128(rp, rs)) if ls == rs => {
                    DataType::Decimal128(*lp.max(rp), *ls)
                }
                // A NULL literal takes any form.
                (_, _) if is_null_literal(&value.expr) => arrow,
                _ => DataType::LargeBinary,
            };
        }
        values
            .into_iter()
            .map(|value| {
                if is_null_literal(&value.expr)
                    && let Ok(null) = ScalarValue::try_from(&arrow)
                {
                    return Typed {
                        expr: Expr::Literal(null, None),
                        arrow: arrow.clone(),
                        ..value
                    };
                }
                self.represent(value, &arrow)
            })
            .collect()
    }

    /// The type that expressions of a CASE, UNION, VALUES, COALESCE... have in common
    /// (`select_common_type`), e.g. 42804 `CASE types integer and text cannot be matched`.
    pub(crate) fn common_type(
        &self,
        values: &[Typed],
        context: &str,
    ) -> Result<PgType, QueryError> {
        let Some(first) = values.first() else {
            return Ok(PgType::new(oids::TEXT));
        };
        let typmod = |oid: Oid| {
            let same = values
                .iter()
                .all(|value| value.ty.oid == oid && value.ty.typmod == first.ty.typmod);
            if same { first.ty.typmod } else { -1 }
        };
        if !first.is_unknown() && values.iter().all(|value| value.ty.oid == first.ty.oid) {
            return Ok(PgType::with_typmod(first.ty.oid, typmod(first.ty.oid)));
        }
        let mut chosen: Option<&Typed> = None;
        for value in values {
            if value.is_unknown() {
                continue;
            }
            let Some(current) = chosen else {
                chosen = Some(value);
                continue;
            };
            let (have, new) = (current.ty.oid, value.ty.oid);
            if have == new {
                continue;
            }
            if category(have) != category(new) {
                return Err(QueryError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!(
                        "{context} types {} and {} cannot be matched",
                        current.ty.name(),
                        value.ty.name()
                    ),
                )
                .at(value.position));
            }
            if !is_preferred(have)
                && can_coerce(have, new, CoercionContext::Implicit)
                && !can_coerce(new, have, CoercionContext::Implicit)
            {
                chosen = Some(value);
            }
        }
        let oid = chosen.map_or(oids::TEXT, |value| value.ty.oid);
        Ok(PgType::with_typmod(oid, typmod(oid)))
    }

    /// Brings expressions to their common type.
    pub(crate) fn coerce_alike(
        &mut self,
        values: Vec<Typed>,
        context: &str,
    ) -> Result<Vec<Typed>, QueryError> {
        let common = self.common_type(&values, context)?;
        self.coerce_to_common(values, common, context)
    }

    /// Brings expressions to a type that was found common.
    pub(crate) fn coerce_to_common(
        &mut self,
        values: Vec<Typed>,
        common: PgType,
        context: &str,
    ) -> Result<Vec<Typed>, QueryError> {
        let mut coerced = Vec::with_capacity(values.len());
        for value in values {
            if !can_coerce(value.ty.oid, common.oid, CoercionContext::Implicit) {
                return Err(QueryError::new(
                    sqlstate::CANNOT_COERCE,
                    format!(
                        "{context} could not convert type {} to {}",
                        value.ty.name(),
                        common.name()
                    ),
                )
                .at(value.position));
            }
            let target = PgType::new(common.oid);
            let mut value = self.coerce(value, target, CoercionContext::Implicit)?;
            value.ty.typmod = common.typmod;
            coerced.push(value);
        }
        Ok(self.represent_alike(coerced))
    }

    /// An unknown that nothing decided is text.
    pub(crate) fn resolve_unknown(&mut self, value: Typed) -> Result<Typed, QueryError> {
        if value.is_unknown() {
            self.coerce(value, PgType::new(oids::TEXT), CoercionContext::Implicit)
        } else {
            Ok(value)
        }
    }

    /// A value for a column (`transformAssignedExpr`); 42804 if its type doesn't fit.
    pub(crate) fn coerce_assignment(
        &mut self,
        value: Typed,
        column: &str,
        to: PgType,
    ) -> Result<Typed, QueryError> {
        if !can_coerce(value.ty.oid, to.oid, CoercionContext::Assignment) {
            return Err(QueryError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!(
                    "column \"{column}\" is of type {} but expression is of type {}",
                    to.name(),
                    value.ty.name()
                ),
            )
            .with_hint("You will need to rewrite or cast the expression.")
            .at(value.position));
        }
        let coerced = self.coerce(value, to, CoercionContext::Assignment)?;
        Ok(self.represent(coerced, &arrow_type(to)))
    }

    /// A condition: boolean or 42804.
    pub(crate) fn condition(&mut self, value: Typed, clause: &str) -> Result<Expr, QueryError> {
        let boolean = PgType::new(oids::BOOL);
        if value.ty.oid != oids::BOOL && !value.is_unknown() {
            return Err(super::not_boolean(clause, value.ty, value.position));
        }
        Ok(self.coerce(value, boolean, CoercionContext::Implicit)?.expr)
    }

    fn decide_parameter(&mut self, index: usize, ty: PgType) {
        if let Some(slot) = self.parameters.types.get_mut(index) {
            slot.get_or_insert(ty);
        }
    }

    /// A parameter (from 0) in an expression.
    pub(crate) fn parameter(&mut self, index: usize) -> Result<Typed, QueryError> {
        if self.parameters.types.len() <= index {
            if self.parameters.values.is_some() {
                return Err(QueryError::new(
                    sqlstate::UNDEFINED_PARAMETER,
                    format!("there is no parameter ${}", index + 1),
                ));
            }
            self.parameters.types.resize(index + 1, None);
        }
        match self.parameters.types[index] {
            Some(ty) => self.parameter_of_type(index, ty),
            None => Ok(Typed {
                unknown: Unknown::Parameter(index),
                ..Typed::null()
            }),
        }
    }

    fn parameter_of_type(&mut self, index: usize, ty: PgType) -> Result<Typed, QueryError> {
        let ty = self
            .parameters
            .types
            .get(index)
            .copied()
            .flatten()
            .unwrap_or(ty);
        let arrow = arrow_type(ty);
        let expr = match &self.parameters.values {
            Some(values) => {
                let value = values.get(index).ok_or_else(|| {
                    QueryError::new(
                        sqlstate::UNDEFINED_PARAMETER,
                        format!("there is no parameter ${}", index + 1),
                    )
                })?;
                Expr::Literal(value.clone(), None)
            }
            None => Expr::Placeholder(Placeholder::new_with_field(
                format!("${}", index + 1),
                Some(Arc::new(field("parameter", &arrow))),
            )),
        };
        Ok(Typed::new(expr, ty, arrow))
    }
}

/// How many digits an integer has.
pub(crate) fn digits(value: i128) -> u8 {
    let mut rest = value.unsigned_abs();
    let mut count = 1;
    while rest >= 10 {
        rest /= 10;
        count += 1;
    }
    count.min(DECIMAL_MAX_PRECISION)
}

fn is_null_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// A NULL of a type.
pub(crate) fn typed_null(ty: PgType) -> Typed {
    let arrow = arrow_type(ty);
    let scalar = ScalarValue::try_from(&arrow).unwrap_or(ScalarValue::Null);
    Typed::new(Expr::Literal(scalar, None), ty, arrow)
}
