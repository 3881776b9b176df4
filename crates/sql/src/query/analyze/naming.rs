//! Names of output columns without an alias (`FigureColname`, `parse_target.c`).

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType as SqlType, Expr, Query, SelectItem, SetExpr, TrimWhereField,
};
use trunkline_types::type_info;

use super::{fold, name_parts};
use crate::query::pgtype::resolve_type;

/// The name of an output column that `expr` computes.
pub(crate) fn column_name(expr: &Expr) -> String {
    figure(expr).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

fn named(name: &str) -> Option<(String, u8)> {
    Some((name.to_owned(), 2))
}

fn type_name(data_type: &SqlType) -> Option<(String, u8)> {
    let ty = resolve_type(data_type).ok()?;
    let name = type_info(ty.oid)?.name;
    Some((name.trim_start_matches('_').to_owned(), 1))
}

/// A name and how much it is worth: 2 for a real one, 1 for a type's or `case`.
fn figure(expr: &Expr) -> Option<(String, u8)> {
    match expr {
        Expr::Identifier(ident) => Some((fold(ident), 2)),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| (fold(ident), 2)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let named = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some((fold(ident), 2)),
                _ => None,
            });
            named.or_else(|| figure(root))
        }
        Expr::Function(function) => {
            let name = name_parts(&function.name).ok()?.pop()?;
            Some((name, 2))
        }
        Expr::Cast {
            expr, data_type, ..
        } => match figure(expr) {
            Some((name, 2)) => Some((name, 2)),
            other => type_name(data_type).or(other),
        },
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, 2)) => Some((name, 2)),
            _ => Some(("case".to_owned(), 1)),
        },
        Expr::Exists { negated: false, .. } => named("exists"),
        Expr::Subquery(query) => subquery_name(query),
        Expr::Extract { .. } => named("extract"),
        Expr::Position { .. } => named("position"),
        Expr::Substring { shorthand, .. } => named(if *shorthand { "substr" } else { "substring" }),
        Expr::Overlay { .. } => named("overlay"),
        Expr::Trim { trim_where, .. } => named(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Ceil { .. } => named("ceil"),
        Expr::Floor { .. } => named("floor"),
        Expr::AtTimeZone { .. } => named("timezone"),
        Expr::Array(_) => named("array"),
        Expr::Tuple(_) => named("row"),
        _ => None,
    }
}

fn subquery_name(query: &Query) -> Option<(String, u8)> {
    match query.body.as_ref() {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::ExprWithAlias { alias, .. } => Some((fold(alias), 2)),
            SelectItem::UnnamedExpr(expr) => Some((column_name(expr), 2)),
            _ => None,
        },
        SetExpr::Query(query) => subquery_name(query),
        SetExpr::Values(_) => named("column1"),
        _ => None,
    }
}
