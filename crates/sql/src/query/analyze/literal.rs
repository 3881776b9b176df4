//! Literals: numbers take the smallest of integer, bigint and numeric that holds them, strings
//! wait for a type (`make_const`).

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, UnaryOperator, Value, ValueWithSpan};
use datafusion::sql::sqlparser::tokenizer::Span;
use trunkline_types::oids;

use super::coerce::digits;
use super::expr::boolean;
use super::{Analyzer, Typed, Unknown};
use crate::query::error::{QueryError, sqlstate};
use crate::query::pgtype::{CoercionContext, PgType};

impl Analyzer<'_> {
    pub(crate) fn value(&mut self, value: &ValueWithSpan) -> Result<Typed, QueryError> {
        let unknown = |text: &str| Typed {
            unknown: Unknown::Literal(text.to_owned()),
            expr: Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None),
            ..Typed::null()
        };
        match &value.value {
            Value::Number(text, _) => self.number(text),
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => Ok(unknown(text)),
            Value::DollarQuotedString(quoted) => Ok(unknown(&quoted.value)),
            // `0x1F` is a number, `X'1F'` would be a bit string.
            Value::HexStringLiteral(text) if self.starts_with_digit(value.span) => {
                self.number(&format!("0x{text}"))
            }
            Value::Boolean(value) => Ok(boolean(Expr::Literal(
                ScalarValue::Boolean(Some(*value)),
                None,
            ))),
            Value::Null => Ok(Typed::null()),
            Value::Placeholder(name) => {
                let number: Option<usize> = name
                    .strip_prefix('$')
                    .and_then(|digits| digits.parse().ok());
                match number {
                    Some(number @ 1..=65_535) => self
                        .parameter(number - 1)
                        .map_err(|error| error.at(self.position(value.span))),
                    _ => Err(QueryError::new(
                        sqlstate::UNDEFINED_PARAMETER,
                        format!("there is no parameter {name}"),
                    )),
                }
            }
            other => Err(QueryError::unsupported(format!(
                "literal {other} is not supported"
            ))),
        }
    }

    pub(crate) fn starts_with_digit(&self, span: Span) -> bool {
        let place = self.position(span).and_then(|place| place.checked_sub(1));
        place
            .and_then(|at| self.sql.chars().nth(at))
            .is_some_and(|c| c.is_ascii_digit())
    }

    /// A numeric literal: integer if it fits, bigint if that fits, else numeric (`make_const`).
    pub(crate) fn number(&mut self, text: &str) -> Result<Typed, QueryError> {
        let plain: String = text.chars().filter(|c| *c != '_').collect();
        let radix = match plain.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => Some(16),
            Some("0o") => Some(8),
            Some("0b") => Some(2),
            _ => None,
        };
        let integer = match radix {
            Some(radix) => i64::from_str_radix(&plain[2..], radix).ok(),
            None => plain.parse::<i64>().ok(),
        };
        if let Some(value) = integer {
            return Ok(match i32::try_from(value) {
                Ok(value) => literal_int4(value),
                Err(_) => Typed::of(
                    Expr::Literal(ScalarValue::Int64(Some(value)), None),
                    oids::INT8,
                ),
            });
        }
        let numeric = PgType::new(oids::NUMERIC);
        if let Some((value, scale)) = exact_decimal(&plain) {
            let precision = digits(value).max(scale).max(1);
            let arrow = DataType::Decimal128(precision, scale as i8);
            let scalar = ScalarValue::Decimal128(Some(value), precision, scale as i8);
            return Ok(Typed::new(Expr::Literal(scalar, None), numeric, arrow));
        }
        let literal = Typed {
            unknown: Unknown::Literal(plain),
            ..Typed::null()
        };
        self.coerce(literal, numeric, CoercionContext::Implicit)
    }
}

pub(crate) fn literal_int4(value: i32) -> Typed {
    Typed::of(
        Expr::Literal(ScalarValue::Int32(Some(value)), None),
        oids::INT4,
    )
}

pub(crate) fn literal_text(value: &str) -> Typed {
    Typed::of(
        Expr::Literal(ScalarValue::Utf8(Some(value.to_owned())), None),
        oids::TEXT,
    )
}

/// Whether this is a number as it is written, perhaps in parentheses and with signs.
pub(crate) fn is_number(expr: &SqlExpr) -> bool {
    match expr {
        SqlExpr::Value(value) => matches!(value.value, Value::Number(..)),
        SqlExpr::Nested(inner) => is_number(inner),
        SqlExpr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => is_number(expr),
        _ => false,
    }
}

/// A minus before a number belongs to the number (`doNegate`): -2147483648 is an integer though
/// 2147483648 is none.
pub(crate) fn negated_literal(value: &Typed) -> Option<Typed> {
    let scalar = match &value.expr {
        Expr::Literal(ScalarValue::Int32(Some(number)), _) => match number.checked_neg() {
            Some(negated) => ScalarValue::Int32(Some(negated)),
            None => {
                let negated = ScalarValue::Int64(Some(-i64::from(*number)));
                return Some(Typed::of(Expr::Literal(negated, None), oids::INT8));
            }
        },
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => {
            // PostgreSQL's literal is an integer if the negated value fits one.
            match i32::try_from(-i128::from(*number)) {
                Ok(small) => return Some(literal_int4(small)),
                Err(_) => match number.checked_neg() {
                    Some(negated) => ScalarValue::Int64(Some(negated)),
                    None => {
                        let negated = -i128::from(*number);
                        let scalar = ScalarValue::Decimal128(Some(negated), digits(negated), 0);
                        let arrow = DataType::Decimal128(digits(negated), 0);
                        let expr = Expr::Literal(scalar, None);
                        return Some(Typed::new(expr, PgType::new(oids::NUMERIC), arrow));
                    }
                },
            }
        }
        Expr::Literal(ScalarValue::Decimal128(Some(number), precision, scale), _) => {
            if *scale == 0 && *number == -i128::from(i64::MIN) {
                return Some(Typed::of(
                    Expr::Literal(ScalarValue::Int64(Some(i64::MIN)), None),
                    oids::INT8,
                ));
            }
            ScalarValue::Decimal128(Some(-number), *precision, *scale)
        }
        _ => return None,
    };
    Some(Typed {
        expr: Expr::Literal(scalar, None),
        ..value.clone()
    })
}

/// A decimal literal without exponent as an integer and its scale.
pub(crate) fn exact_decimal(text: &str) -> Option<(i128, u8)> {
    let (integral, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(integral) || !all_digits(fraction) || integral.len() + fraction.len() > 38 {
        return None;
    }
    let value = format!("{integral}{fraction}").parse().ok()?;
    Some((value, fraction.len() as u8))
}
