//! Operators: which one a symbol means for two types (`parse_oper.c`), and its plan.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::resolve::{ANY, Choice, choose};
use super::{Analyzer, Typed};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::arithmetic::{ArithmeticOp, arithmetic_expr};
use crate::query::functions::key::key_expr;
use crate::query::functions::rows::row_function;
use crate::query::pgtype::{CoercionContext, PgType};

use oids::{
    BOOL, BPCHAR, BYTEA, CHAR, DATE, FLOAT4, FLOAT8, INT2, INT4, INT8, NAME, NUMERIC, OID, PG_LSN,
    TEXT, TIMESTAMP, TIMESTAMPTZ, UUID, XID,
};

/// What an operator does with arguments of its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Arithmetic(ArithmeticOp),
    Compare(Operator),
    /// A function of the row function table.
    Function(&'static str),
    Regex(Operator),
    /// PostgreSQL has it, this engine doesn't; the type it would need.
    Unsupported(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    args: [Oid; 2],
    result: Oid,
    action: Action,
}

const INTEGERS: [Oid; 3] = [INT2, INT4, INT8];
const TIMES: [Oid; 3] = [DATE, TIMESTAMP, TIMESTAMPTZ];
/// Type `interval`, which values can't have here.
const INTERVAL: Oid = Oid(1186);

fn wider(left: Oid, right: Oid, order: &[Oid]) -> Oid {
    let rank = |oid| order.iter().position(|other| *other == oid);
    if rank(left) >= rank(right) {
        left
    } else {
        right
    }
}

fn arithmetic(op: ArithmeticOp) -> Vec<Candidate> {
    let action = Action::Arithmetic(op);
    let mut list = Vec::new();
    let mut add = |left, right, result| {
        list.push(Candidate {
            args: [left, right],
            result,
            action,
        });
    };
    if op == ArithmeticOp::Modulo {
        for ty in [INT2, INT4, INT8, NUMERIC] {
            add(ty, ty, ty);
        }
        return list;
    }
    for left in INTEGERS {
        for right in INTEGERS {
            add(left, right, wider(left, right, &INTEGERS));
        }
    }
    for left in [FLOAT4, FLOAT8] {
        for right in [FLOAT4, FLOAT8] {
            add(left, right, wider(left, right, &[FLOAT4, FLOAT8]));
        }
    }
    add(NUMERIC, NUMERIC, NUMERIC);
    match op {
        ArithmeticOp::Add => {
            add(DATE, INT4, DATE);
            add(INT4, DATE, DATE);
        }
        ArithmeticOp::Subtract => {
            add(DATE, DATE, INT4);
            add(DATE, INT4, DATE);
            let action = Action::Unsupported("interval");
            for ty in [TIMESTAMP, TIMESTAMPTZ] {
                list.push(Candidate {
                    args: [ty, ty],
                    result: INTERVAL,
                    action,
                });
            }
        }
        _ => {}
    }
    list
}

fn comparison(op: Operator) -> Vec<Candidate> {
    let mut pairs = Vec::new();
    for family in [INTEGERS.as_slice(), &[FLOAT4, FLOAT8], &TIMES] {
        for left in family {
            for right in family {
                pairs.push([*left, *right]);
            }
        }
    }
    for ty in [
        NUMERIC, TEXT, BPCHAR, NAME, BOOL, BYTEA, UUID, OID, CHAR, PG_LSN,
    ] {
        pairs.push([ty, ty]);
    }
    pairs.push([NAME, TEXT]);
    pairs.push([TEXT, NAME]);
    if matches!(op, Operator::Eq | Operator::NotEq) {
        pairs.push([XID, XID]);
        pairs.push([XID, INT4]);
    }
    pairs
        .into_iter()
        .map(|args| Candidate {
            args,
            result: BOOL,
            action: Action::Compare(op),
        })
        .collect()
}

fn strings(action: Action, result: Oid) -> Vec<Candidate> {
    [TEXT, BPCHAR, NAME]
        .into_iter()
        .map(|left| Candidate {
            args: [left, TEXT],
            result,
            action,
        })
        .collect()
}

fn bitwise(and_or: &'static str) -> Vec<Candidate> {
    INTEGERS
        .into_iter()
        .map(|ty| Candidate {
            args: [ty, ty],
            result: ty,
            action: Action::Function(and_or),
        })
        .collect()
}

fn shift(function: &'static str) -> Vec<Candidate> {
    INTEGERS
        .into_iter()
        .map(|ty| Candidate {
            args: [ty, INT4],
            result: ty,
            action: Action::Function(function),
        })
        .collect()
}

/// An operator's symbol and what PostgreSQL has under it.
fn candidates(op: &BinaryOperator) -> Option<(String, Vec<Candidate>)> {
    let one = |args, result, action| {
        vec![Candidate {
            args,
            result,
            action,
        }]
    };
    let (symbol, list) = match op {
        BinaryOperator::Plus => {
            let mut list = arithmetic(ArithmeticOp::Add);
            list.extend(one(
                [PG_LSN, NUMERIC],
                PG_LSN,
                Action::Function("pg_lsn_pli"),
            ));
            let action = Action::Function("numeric_pl_pg_lsn");
            list.extend(one([NUMERIC, PG_LSN], PG_LSN, action));
            ("+", list)
        }
        BinaryOperator::Minus => {
            let mut list = arithmetic(ArithmeticOp::Subtract);
            list.extend(one(
                [PG_LSN, PG_LSN],
                NUMERIC,
                Action::Function("pg_lsn_mi"),
            ));
            list.extend(one(
                [PG_LSN, NUMERIC],
                PG_LSN,
                Action::Function("pg_lsn_mii"),
            ));
            ("-", list)
        }
        BinaryOperator::Multiply => ("*", arithmetic(ArithmeticOp::Multiply)),
        BinaryOperator::Divide => ("/", arithmetic(ArithmeticOp::Divide)),
        BinaryOperator::Modulo => ("%", arithmetic(ArithmeticOp::Modulo)),
        BinaryOperator::Eq => ("=", comparison(Operator::Eq)),
        BinaryOperator::NotEq => ("<>", comparison(Operator::NotEq)),
        BinaryOperator::Lt => ("<", comparison(Operator::Lt)),
        BinaryOperator::LtEq => ("<=", comparison(Operator::LtEq)),
        BinaryOperator::Gt => (">", comparison(Operator::Gt)),
        BinaryOperator::GtEq => (">=", comparison(Operator::GtEq)),
        BinaryOperator::StringConcat => {
            let mut list = one([TEXT, TEXT], TEXT, Action::Function("textcat"));
            list.extend(one([BYTEA, BYTEA], BYTEA, Action::Function("byteacat")));
            list.extend(one([TEXT, ANY], TEXT, Action::Function("textcat")));
            list.extend(one([ANY, TEXT], TEXT, Action::Function("textcat")));
            ("||", list)
        }
        BinaryOperator::PGExp | BinaryOperator::BitwiseXor => {
            let mut list = one([FLOAT8, FLOAT8], FLOAT8, Action::Function("power"));
            list.extend(one(
                [NUMERIC, NUMERIC],
                NUMERIC,
                Action::Unsupported("numeric"),
            ));
            ("^", list)
        }
        BinaryOperator::BitwiseAnd => ("&", bitwise("bitand")),
        BinaryOperator::BitwiseOr => ("|", bitwise("bitor")),
        BinaryOperator::PGBitwiseXor => ("#", bitwise("bitxor")),
        BinaryOperator::PGBitwiseShiftLeft => ("<<", shift("shiftleft")),
        BinaryOperator::PGBitwiseShiftRight => (">>", shift("shiftright")),
        BinaryOperator::PGRegexMatch => ("~", strings(Action::Regex(Operator::RegexMatch), BOOL)),
        BinaryOperator::PGRegexIMatch => {
            ("~*", strings(Action::Regex(Operator::RegexIMatch), BOOL))
        }
        BinaryOperator::PGRegexNotMatch => {
            ("!~", strings(Action::Regex(Operator::RegexNotMatch), BOOL))
        }
        BinaryOperator::PGRegexNotIMatch => (
            "!~*",
            strings(Action::Regex(Operator::RegexNotIMatch), BOOL),
        ),
        BinaryOperator::PGLikeMatch => ("~~", strings(Action::Function("like"), BOOL)),
        BinaryOperator::PGNotLikeMatch => ("!~~", strings(Action::Function("notlike"), BOOL)),
        BinaryOperator::PGILikeMatch => ("~~*", strings(Action::Function("ilike"), BOOL)),
        BinaryOperator::PGNotILikeMatch => ("!~~*", strings(Action::Function("notilike"), BOOL)),
        BinaryOperator::PGStartsWith => (
            "^@",
            one([TEXT, TEXT], BOOL, Action::Function("starts_with")),
        ),
        BinaryOperator::PGCustomBinaryOperator(parts) => {
            let plain = match parts.last()?.as_str() {
                "=" => BinaryOperator::Eq,
                "<>" => BinaryOperator::NotEq,
                "<" => BinaryOperator::Lt,
                "<=" => BinaryOperator::LtEq,
                ">" => BinaryOperator::Gt,
                ">=" => BinaryOperator::GtEq,
                "+" => BinaryOperator::Plus,
                "-" => BinaryOperator::Minus,
                "*" => BinaryOperator::Multiply,
                "/" => BinaryOperator::Divide,
                "~" => BinaryOperator::PGRegexMatch,
                "~*" => BinaryOperator::PGRegexIMatch,
                "!~" => BinaryOperator::PGRegexNotMatch,
                "!~*" => BinaryOperator::PGRegexNotIMatch,
                "~~" => BinaryOperator::PGLikeMatch,
                "||" => BinaryOperator::StringConcat,
                _ => return None,
            };
            return candidates(&plain);
        }
        _ => return None,
    };
    Some((symbol.to_owned(), list))
}

/// 42883 for an operator that the types don't have.
pub(crate) fn no_operator(call: &str) -> QueryError {
    QueryError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("operator does not exist: {call}"),
    )
    .with_hint(
        "No operator matches the given name and argument types. \
             You might need to add explicit type casts.",
    )
}

/// 42883 for a prefix operator.
pub(crate) fn no_prefix_operator(call: &str) -> QueryError {
    QueryError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("operator does not exist: {call}"),
    )
    .with_hint(
        "No operator matches the given name and argument type. \
             You might need to add an explicit type cast.",
    )
}

impl Analyzer<'_> {
    /// A binary operator over two analysed operands.
    pub(crate) fn binary_operator(
        &mut self,
        op: &BinaryOperator,
        left: Typed,
        right: Typed,
        position: Option<usize>,
    ) -> Result<Typed, QueryError> {
        if let Some(result) = self.array_operator(op, &left, &right, position)? {
            return Ok(result);
        }
        let described = |symbol: &str| format!("{} {symbol} {}", left.ty.name(), right.ty.name());
        let Some((symbol, list)) = candidates(op) else {
            return Err(no_operator(&described(&op.to_string())).at(position));
        };
        let mut args = [left.ty.oid, right.ty.oid];
        // One unknown operand first of all means the other's type (`binary_oper_exact`).
        let assumed = match (left.is_unknown(), right.is_unknown()) {
            (true, false) => [args[1], args[1]],
            (false, true) => [args[0], args[0]],
            _ => args,
        };
        let exact = list.iter().position(|candidate| candidate.args == assumed);
        // varchar has no operators of its own: it is text in all but name.
        for arg in &mut args {
            if *arg == oids::VARCHAR {
                *arg = TEXT;
            }
        }
        let types: Vec<&[Oid]> = list
            .iter()
            .map(|candidate| candidate.args.as_slice())
            .collect();
        let chosen = match exact {
            Some(index) => list[index],
            None => match choose(&args, &types) {
                Choice::One(index) => list[index],
                Choice::None => return Err(no_operator(&described(&symbol)).at(position)),
                Choice::Ambiguous => {
                    return Err(QueryError::new(
                        sqlstate::AMBIGUOUS_FUNCTION,
                        format!("operator is not unique: {}", described(&symbol)),
                    )
                    .with_hint(
                        "Could not choose a best candidate operator. \
                         You might need to add explicit type casts.",
                    )
                    .at(position));
                }
            },
        };
        self.apply(chosen, &symbol, left, right)
            .map_err(|error| error.at(position))
    }

    fn operand(&mut self, value: Typed, oid: Oid) -> Result<Typed, QueryError> {
        let target = if oid == ANY { TEXT } else { oid };
        let context = if oid == ANY {
            CoercionContext::Explicit
        } else {
            CoercionContext::Implicit
        };
        self.coerce(value, PgType::new(target), context)
    }

    fn apply(
        &mut self,
        chosen: Candidate,
        symbol: &str,
        left: Typed,
        right: Typed,
    ) -> Result<Typed, QueryError> {
        let [left_type, right_type] = chosen.args;
        match chosen.action {
            Action::Unsupported(what) => Err(QueryError::unsupported(format!(
                "operator {symbol} of types {} and {} needs type {what}, which it does not \
                 support yet",
                left.ty.name(),
                right.ty.name()
            ))),
            Action::Arithmetic(op) => {
                let dates = left_type == DATE || right_type == DATE;
                let (left_type, right_type) = if dates || chosen.result == NUMERIC {
                    (left_type, right_type)
                } else {
                    (chosen.result, chosen.result)
                };
                let left = self.operand(left, left_type)?;
                let right = self.operand(right, right_type)?;
                if chosen.result == NUMERIC {
                    let arrow = op.numeric_result(&left.arrow, &right.arrow);
                    let expr = arithmetic_expr(op, left.expr, right.expr, arrow.clone());
                    return Ok(Typed::new(expr, PgType::new(NUMERIC), arrow));
                }
                let mut result = Typed::of(left.expr, chosen.result);
                result.expr = arithmetic_expr(op, result.expr, right.expr, result.arrow.clone());
                Ok(result)
            }
            Action::Compare(op) => {
                let (left, right) = self.comparable(chosen.args, left, right)?;
                Ok(Typed::of(compare(op, left, right), BOOL))
            }
            Action::Function(name) => {
                let left = self.operand(left, left_type)?;
                let right = self.operand(right, right_type)?;
                let args = vec![left, right];
                let result = PgType::new(chosen.result);
                Ok(row_function(name, args, result, &self.env.styles)?)
            }
            Action::Regex(op) => {
                let left = self.operand(left, TEXT)?;
                let right = self.operand(right, TEXT)?;
                let expr = Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(left.expr),
                    op,
                    Box::new(right.expr),
                ));
                Ok(Typed::of(expr, BOOL))
            }
        }
    }

    /// Brings operands of a comparison to one form whose order is PostgreSQL's.
    fn comparable(
        &mut self,
        types: [Oid; 2],
        left: Typed,
        right: Typed,
    ) -> Result<(Typed, Typed), QueryError> {
        let common = match types {
            [left, right] if left == right => left,
            [NAME, _] | [_, NAME] => TEXT,
            [XID, _] => XID,
            [left, right] if TIMES.contains(&left) => wider(left, right, &TIMES),
            [left, right] if INTEGERS.contains(&left) => wider(left, right, &INTEGERS),
            _ => FLOAT8,
        };
        if common == XID && types[1] == INT4 {
            return Err(QueryError::unsupported(
                "comparing xid with integer is not supported",
            ));
        }
        let left = self.operand(left, common)?;
        let right = self.operand(right, common)?;
        if common == NUMERIC {
            return Ok(self.comparable_numerics(left, right));
        }
        Ok((left, right))
    }

    /// For a comparison the display scale doesn't matter: decimals are brought to one scale.
    fn comparable_numerics(&self, left: Typed, right: Typed) -> (Typed, Typed) {
        let arrow = match (&left.arrow, &right.arrow) {
            (DataType::Decimal128(lp, ls), DataType::Decimal128(rp, rs)) => {
                let scale = *ls.max(rs);
                let integral = (*lp as i8 - ls).max(*rp as i8 - rs);
                let precision = integral.max(0) + scale;
                if (1..=38).contains(&precision) {
                    DataType::Decimal128(precision as u8, scale)
                } else {
                    DataType::LargeBinary
                }
            }
            _ => DataType::LargeBinary,
        };
        (self.represent(left, &arrow), self.represent(right, &arrow))
    }

    /// `left op right` for values that are known to be of one type already, as CASE and IN need.
    pub(crate) fn compare_values(
        &mut self,
        op: BinaryOperator,
        left: Typed,
        right: Typed,
        position: Option<usize>,
    ) -> Result<Expr, QueryError> {
        Ok(self.binary_operator(&op, left, right, position)?.expr)
    }
}

/// A comparison of the operands' keys.
pub(crate) fn compare(op: Operator, left: Typed, right: Typed) -> Expr {
    // Strings padded to one length are equal as they are; a blank of the padding sorts after a
    // control character, though, and the end of a string before it.
    let is_equality = matches!(
        op,
        Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
    );
    let same_form = is_equality && left.ty == right.ty;
    Expr::BinaryExpr(BinaryExpr::new(
        Box::new(key_expr(left.expr, left.ty, &left.arrow, same_form)),
        op,
        Box::new(key_expr(right.expr, right.ty, &right.arrow, same_form)),
    ))
}
