//! Results of functions with several OUT parameters: rows that travel as Arrow structs until FROM
//! takes their columns out, or a select list prints them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use trunkline_pgformat::Oid;

use crate::query::error::QueryError;
use crate::query::pgtype::{PgType, arrow_type};
use crate::query::value::{Styles, value_at, value_to_text};

/// How a row of these columns travels.
pub(crate) fn record_type(columns: &[(String, Oid)]) -> DataType {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, oid)| Field::new(name, arrow_type(PgType::new(*oid)), true))
        .collect();
    DataType::Struct(fields.into())
}

/// What is made of a record.
#[derive(Debug)]
enum Use {
    /// One of its columns.
    Column { index: usize, arrow: DataType },
    /// Its text form.
    Text {
        types: Vec<Oid>,
        styles: Arc<Styles>,
    },
}

#[derive(Debug)]
struct RecordUse {
    used_as: Use,
    signature: Signature,
}

impl RecordUse {
    fn key(&self) -> Option<usize> {
        match &self.used_as {
            Use::Column { index, .. } => Some(*index),
            Use::Text { .. } => None,
        }
    }

    fn call(used_as: Use, record: Expr) -> Expr {
        let function = RecordUse {
            used_as,
            signature: Signature::any(1, Volatility::Immutable),
        };
        ScalarUDF::new_from_impl(function).call(vec![record])
    }
}

impl PartialEq for RecordUse {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for RecordUse {}

impl Hash for RecordUse {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// A column (from 0) of a record.
pub(crate) fn record_column(record: Expr, index: usize, ty: PgType) -> Expr {
    let arrow = arrow_type(ty);
    RecordUse::call(Use::Column { index, arrow }, record)
}

/// A record's text form (`record_out`).
pub(crate) fn record_text(record: Expr, columns: &[(String, Oid)], styles: &Arc<Styles>) -> Expr {
    let used_as = Use::Text {
        types: columns.iter().map(|(_, oid)| *oid).collect(),
        styles: Arc::clone(styles),
    };
    RecordUse::call(used_as, record)
}

impl ScalarUDFImpl for RecordUse {
    fn name(&self) -> &str {
        match &self.used_as {
            Use::Column { .. } => "record_column",
            Use::Text { .. } => "record_out",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(match &self.used_as {
            Use::Column { arrow, .. } => arrow.clone(),
            Use::Text { .. } => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let Some(record) = args.args.into_iter().next() else {
            return Err(QueryError::internal("a record is missing").into());
        };
        let record = record.into_array(rows)?;
        let array: ArrayRef = match &self.used_as {
            Use::Column { index, .. } => Arc::clone(record.as_struct().column(*index)),
            Use::Text { types, styles } => printed(&record, types, styles)?,
        };
        Ok(ColumnarValue::Array(array))
    }
}

fn printed(record: &ArrayRef, types: &[Oid], styles: &Styles) -> Result<ArrayRef, QueryError> {
    let columns = record.as_struct().columns();
    let mut builder = StringBuilder::new();
    for row in 0..record.len() {
        if record.is_null(row) {
            builder.append_null();
            continue;
        }
        let mut text = String::from("(");
        for (index, (column, ty)) in columns.iter().zip(types).enumerate() {
            if index > 0 {
                text.push(',');
            }
            let value = value_at(column, row)?;
            if !value.is_null() {
                push_field(&value_to_text(PgType::new(*ty), &value, styles)?, &mut text);
            }
        }
        text.push(')');
        builder.append_value(text);
    }
    Ok(Arc::new(builder.finish()))
}

fn push_field(field: &str, out: &mut String) {
    let special = |c: char| matches!(c, '"' | '\\' | '(' | ')' | ',') || c.is_ascii_whitespace();
    if !field.is_empty() && !field.contains(special) {
        return out.push_str(field);
    }
    out.push('"');
    for c in field.chars() {
        if matches!(c, '"' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::push_field;

    /// What PostgreSQL's `ROW('a', ...)::text` shows of each.
    #[test]
    fn fields_are_quoted_where_needed() {
        let mut out = String::new();
        for field in ["plain", "", "two words", "a\"b\\c", "(1,2)"] {
            push_field(field, &mut out);
            out.push(';');
        }
        assert_eq!(out, r#"plain;"";"two words";"a""b\\c";"(1,2)";"#);
    }
}
