//! Constant expressions whose value is an error, `1/0`. PostgreSQL comes upon them when it plans a
//! query (`eval_const_expressions` in `optimizer/util/clauses.c`), before the client hears of a
//! result's columns. DataFusion's optimiser leaves an expression that it cannot evaluate where it is.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Volatility};

/// Evaluates what is constant in an optimised plan.
///
/// # Errors
/// The first error of an expression whose value does not depend on rows or on the time.
pub(super) fn check(plan: &LogicalPlan, state: &SessionState) -> Result<(), DataFusionError> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            check_expression(expr, state)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn check_expression(expr: &Expr, state: &SessionState) -> Result<(), DataFusionError> {
    expr.apply(|node| {
        if matches!(node, Expr::Literal(..) | Expr::Column(_)) {
            return Ok(TreeNodeRecursion::Jump);
        }
        if is_constant(node)? {
            evaluate(node, state)?;
            return Ok(TreeNodeRecursion::Jump);
        }
        match node {
            // What a branch holds may be kept from being evaluated by what comes before it.
            Expr::Case(case) => {
                if let Some((condition, _)) = case.when_then_expr.first() {
                    let first = case.expr.as_ref().unwrap_or(condition);
                    check_expression(first, state)?;
                }
                Ok(TreeNodeRecursion::Jump)
            }
            Expr::BinaryExpr(binary) if is_logical(binary) => {
                // A chain of ten thousand is as deep.
                let mut first = &binary.left;
                while let Expr::BinaryExpr(left) = first.as_ref()
                    && is_logical(left)
                {
                    first = &left.left;
                }
                check_expression(first, state)?;
                Ok(TreeNodeRecursion::Jump)
            }
            Expr::ScalarFunction(function) if function.func.short_circuits() => {
                if let Some(first) = function.args.first() {
                    check_expression(first, state)?;
                }
                Ok(TreeNodeRecursion::Jump)
            }
            _ => Ok(TreeNodeRecursion::Continue),
        }
    })?;
    Ok(())
}

fn is_logical(binary: &BinaryExpr) -> bool {
    matches!(binary.op, Operator::And | Operator::Or)
}

/// Whether the value is the same for every row and at any time.
fn is_constant(expr: &Expr) -> Result<bool, DataFusionError> {
    let mut is_constant = true;
    expr.apply(|node| {
        is_constant = match node {
            Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Not(_)
            | Expr::Negative(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::Alias(_) => true,
            Expr::ScalarFunction(function) => {
                function.func.signature().volatility == Volatility::Immutable
            }
            _ => false,
        };
        Ok(if is_constant {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    })?;
    Ok(is_constant)
}

fn evaluate(expr: &Expr, state: &SessionState) -> Result<(), DataFusionError> {
    let physical = state.create_physical_expr(expr.clone(), &DFSchema::empty())?;
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    physical.evaluate(&one_row)?;
    Ok(())
}
