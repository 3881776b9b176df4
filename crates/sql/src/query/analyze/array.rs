//! Arrays in expressions: subscripts, comparisons with an array's elements, `ARRAY(SELECT ...)`,
//! equality and concatenation. What needs an array's elements one by one is a function of
//! [`crate::query::functions::arrays`].

use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr as SqlExpr, Query, Subscript,
};
use trunkline_pgformat::Oid;
use trunkline_types::{oids, type_info};

use super::expr::boolean;
use super::operator::no_operator;
use super::resolve::is_array;
use super::{Analyzer, Level, Typed, unsupported_clause};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::arrays::{ArrayOperation, array_call};
use crate::query::functions::subplan::SubPlanKind;
use crate::query::pgtype::{CoercionContext, PgType, arrow_type};

/// The element type of an array type.
pub(crate) fn element_of(ty: PgType) -> Option<PgType> {
    let element = type_info(ty.oid).map(|info| info.elem)?;
    (is_array(ty.oid) && element.is_valid()).then_some(PgType::with_typmod(element, ty.typmod))
}

/// The array type over a type.
fn array_of(element: Oid) -> Option<PgType> {
    let array = type_info(element)?.array;
    array.is_valid().then_some(PgType::new(array))
}

/// Types whose values are equal only if they look alike.
fn equal_if_alike(element: Oid) -> bool {
    !matches!(
        element,
        oids::FLOAT4 | oids::FLOAT8 | oids::NUMERIC | oids::BPCHAR | oids::ACLITEM
    )
}

impl Analyzer<'_> {
    /// `array[index]`, with or without a qualified name before it.
    pub(crate) fn field_access(
        &mut self,
        root: &SqlExpr,
        chain: &[AccessExpr],
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let mut rest = chain;
        let mut names = match root {
            SqlExpr::Identifier(ident) => vec![ident.clone()],
            SqlExpr::CompoundIdentifier(idents) => idents.clone(),
            _ => Vec::new(),
        };
        while let [AccessExpr::Dot(SqlExpr::Identifier(ident)), after @ ..] = rest
            && !names.is_empty()
        {
            names.push(ident.clone());
            rest = after;
        }
        let mut value = match names.as_slice() {
            [] => self.expr(root, level)?,
            [ident] => self.expr(&SqlExpr::Identifier(ident.clone()), level)?,
            _ => self.expr(&SqlExpr::CompoundIdentifier(names), level)?,
        };
        for access in rest {
            let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                return Err(unsupported_clause("an array slice or a field of a value"));
            };
            let Some(element) = element_of(value.ty) else {
                return Err(QueryError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!(
                        "cannot subscript type {} because it does not support subscripting",
                        value.ty.name()
                    ),
                )
                .at(value.position));
            };
            let index = self.expr(index, level)?;
            let index = self.coerce(index, PgType::new(oids::INT4), CoercionContext::Assignment)?;
            let position = value.position;
            let args = vec![value.expr, index.expr];
            value = Typed::new(
                array_call(ArrayOperation::Element, element, args),
                element,
                arrow_type(element),
            )
            .at(position);
        }
        Ok(value)
    }

    /// `value = ANY (array)` and `value <> ALL (array)`.
    pub(crate) fn quantified_array(
        &mut self,
        value: Typed,
        op: &BinaryOperator,
        array: Typed,
        any: bool,
    ) -> Result<Typed, QueryError> {
        let operation = match (op, any) {
            (BinaryOperator::Eq, true) => ArrayOperation::EqualsAny,
            (BinaryOperator::NotEq, false) => ArrayOperation::DiffersFromAll,
            _ => {
                return Err(unsupported_clause(
                    "ANY or ALL of an array but for = ANY and <> ALL",
                ));
            }
        };
        let array = if array.is_unknown() {
            let value = self.resolve_unknown(value.clone())?;
            let Some(ty) = array_of(value.ty.oid) else {
                return Err(self.no_array_type(value.ty));
            };
            self.coerce(array, ty, CoercionContext::Implicit)?
        } else {
            array
        };
        let Some(element) = element_of(array.ty) else {
            return Err(QueryError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                "op ANY/ALL (array) requires array on right side",
            )
            .at(value.position));
        };
        if !equal_if_alike(element.oid) {
            return Err(QueryError::unsupported(format!(
                "comparing with the elements of a {} is not supported",
                array.ty.name()
            )));
        }
        let element = PgType::new(element.oid);
        // The operator decides what both sides become; the elements cannot be changed.
        let sample = super::coerce::typed_null(element);
        self.binary_operator(op, value.clone(), sample, value.position)?;
        if !value.is_unknown() && value.ty.oid != element.oid {
            let widened = self.coerce(value.clone(), element, CoercionContext::Implicit);
            if widened.is_err() && !(is_text(value.ty.oid) && is_text(element.oid)) {
                return Err(QueryError::unsupported(format!(
                    "comparing {} with the elements of a {} is not supported",
                    value.ty.name(),
                    array.ty.name()
                )));
            }
        }
        let value = self.coerce(value, element, CoercionContext::Implicit)?;
        let args = vec![value.expr, array.expr];
        Ok(boolean(array_call(operation, element, args)))
    }

    fn no_array_type(&self, element: PgType) -> QueryError {
        QueryError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("could not find array type for data type {}", element.name()),
        )
    }

    /// `ARRAY(SELECT ...)`
    pub(crate) fn array_subquery(
        &mut self,
        query: &Query,
        level: &Level<'_>,
        position: Option<usize>,
    ) -> Result<Typed, QueryError> {
        let bound = self.query(query, Some(level))?;
        let [column] = bound.columns.as_slice() else {
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                "subquery must return only one column",
            )
            .at(position));
        };
        let element = column.ty;
        if is_array(element.oid) {
            return Err(unsupported_clause("ARRAY of a query of arrays"));
        }
        let Some(ty) = array_of(element.oid) else {
            return Err(self.no_array_type(element).at(position));
        };
        let expr = self.subplan(bound.plan, SubPlanKind::Array(element), Vec::new(), level)?;
        Ok(Typed::new(expr, ty, arrow_type(ty)))
    }

    /// An operator of arrays, if its operands are any.
    pub(crate) fn array_operator(
        &mut self,
        op: &BinaryOperator,
        left: &Typed,
        right: &Typed,
        position: Option<usize>,
    ) -> Result<Option<Typed>, QueryError> {
        let ty = match (is_array(left.ty.oid), is_array(right.ty.oid)) {
            (true, _) => left.ty,
            (false, true) => right.ty,
            _ => return Ok(None),
        };
        let described = format!("{} {op} {}", left.ty.name(), right.ty.name());
        let ty = PgType::new(ty.oid);
        let Some(element) = element_of(ty) else {
            return Ok(None);
        };
        let fits = |value: &Typed| value.is_unknown() || value.ty.oid == ty.oid;
        let is_concatenation = *op == BinaryOperator::StringConcat;
        if is_concatenation && !(is_array(left.ty.oid) && is_array(right.ty.oid)) {
            // An array and text: both are printed.
            let other = if is_array(left.ty.oid) { right } else { left };
            if !other.is_unknown() {
                return Ok(None);
            }
        }
        if !fits(left) || !fits(right) {
            return Err(no_operator(&described).at(position));
        }
        let mut operand = |value: &Typed| self.coerce(value.clone(), ty, CoercionContext::Implicit);
        let (left, right) = (operand(left)?.expr, operand(right)?.expr);
        match op {
            BinaryOperator::Eq | BinaryOperator::NotEq if equal_if_alike(element.oid) => {
                Ok(Some(boolean(if *op == BinaryOperator::Eq {
                    left.eq(right)
                } else {
                    left.not_eq(right)
                })))
            }
            BinaryOperator::StringConcat => {
                let expr: Expr =
                    array_call(ArrayOperation::Concatenate, element, vec![left, right]);
                Ok(Some(Typed::new(expr, ty, arrow_type(ty))))
            }
            _ => Err(QueryError::unsupported(format!(
                "operator {op} of type {} is not supported",
                ty.name()
            ))
            .at(position)),
        }
    }
}

fn is_text(oid: Oid) -> bool {
    matches!(oid, oids::TEXT | oids::VARCHAR | oids::NAME)
}
