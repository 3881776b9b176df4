//! Aggregates that must see their rows together: `string_agg`, which may sort them, and every
//! DISTINCT one.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::Accumulator;

use crate::query::error::QueryError;

/// What becomes of the collected rows.
#[derive(Debug)]
pub(crate) enum RowsKind {
    /// `string_agg(value, delimiter, keys...)`; each key is (descending, nulls first).
    Concat { order: Vec<(bool, bool)> },
    /// Another aggregate of the distinct values.
    Aggregate(Box<dyn Accumulator>),
}

/// Collects rows of arguments; its state is one list per argument.
#[derive(Debug)]
pub(crate) struct RowsAccumulator {
    kind: RowsKind,
    types: Vec<DataType>,
    distinct: bool,
    seen: HashSet<ScalarValue>,
    rows: Vec<Vec<ScalarValue>>,
    bytes: usize,
}

impl RowsAccumulator {
    pub(crate) fn new(kind: RowsKind, types: Vec<DataType>, distinct: bool) -> Self {
        Self {
            kind,
            types,
            distinct,
            seen: HashSet::new(),
            rows: Vec::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, columns: &[ArrayRef]) -> DfResult<()> {
        let Some(first) = columns.first() else {
            return Ok(());
        };
        for row in 0..first.len() {
            if first.is_null(row) {
                continue;
            }
            let values = columns
                .iter()
                .map(|column| ScalarValue::try_from_array(column, row))
                .collect::<DfResult<Vec<_>>>()?;
            if self.distinct && !self.seen.insert(values[0].clone()) {
                continue;
            }
            self.bytes += values.iter().map(ScalarValue::size).sum::<usize>();
            self.rows.push(values);
        }
        Ok(())
    }

    fn sorted(&self) -> Vec<&Vec<ScalarValue>> {
        let mut rows: Vec<&Vec<ScalarValue>> = self.rows.iter().collect();
        match &self.kind {
            RowsKind::Concat { order } if !order.is_empty() => {
                rows.sort_by(|a, b| {
                    let keys = a[2..].iter().zip(&b[2..]).zip(order);
                    keys.map(|((a, b), (descending, nulls_first))| {
                        compare(a, b, *descending, *nulls_first)
                    })
                    .find(|ordering| *ordering != Ordering::Equal)
                    .unwrap_or(Ordering::Equal)
                });
            }
            // PostgreSQL finds distinct values by sorting, and they come out that way.
            _ if self.distinct => {
                rows.sort_by(|a, b| a[0].partial_cmp(&b[0]).unwrap_or(Ordering::Equal));
            }
            _ => {}
        }
        rows
    }
}

fn compare(a: &ScalarValue, b: &ScalarValue, descending: bool, nulls_first: bool) -> Ordering {
    let nulls = if nulls_first {
        Ordering::Less
    } else {
        Ordering::Greater
    };
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => nulls,
        (false, true) => nulls.reverse(),
        (false, false) => {
            let ordering = a.partial_cmp(b).unwrap_or(Ordering::Equal);
            if descending {
                ordering.reverse()
            } else {
                ordering
            }
        }
    }
}

fn bytes_of(value: &ScalarValue) -> &[u8] {
    match value {
        ScalarValue::Utf8(Some(text)) => text.as_bytes(),
        ScalarValue::Binary(Some(bytes)) => bytes,
        _ => &[],
    }
}

impl Accumulator for RowsAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add(values)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let rows: Vec<Vec<ScalarValue>> = self.sorted().into_iter().cloned().collect();
        match &mut self.kind {
            RowsKind::Concat { .. } => {
                let mut out = Vec::new();
                for (index, row) in rows.iter().enumerate() {
                    if index > 0
                        && let Some(delimiter) = row.get(1)
                    {
                        out.extend_from_slice(bytes_of(delimiter));
                    }
                    out.extend_from_slice(bytes_of(&row[0]));
                }
                let value = (!rows.is_empty()).then_some(out);
                if self.types.first() == Some(&DataType::Binary) {
                    return Ok(ScalarValue::Binary(value));
                }
                let text = value
                    .map(String::from_utf8)
                    .transpose()
                    .map_err(|_| QueryError::internal("a concatenation of texts is not text"))?;
                Ok(ScalarValue::Utf8(text))
            }
            RowsKind::Aggregate(inner) => {
                if !rows.is_empty() {
                    let values = ScalarValue::iter_to_array(
                        rows.into_iter().map(|mut row| row.swap_remove(0)),
                    )?;
                    inner.update_batch(&[values])?;
                }
                inner.evaluate()
            }
        }
    }

    fn size(&self) -> usize {
        // Distinct values are held twice: as rows and as what was seen.
        size_of_val(self) + self.bytes * if self.distinct { 2 } else { 1 }
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(self
            .types
            .iter()
            .enumerate()
            .map(|(index, data_type)| {
                let column: Vec<ScalarValue> =
                    self.rows.iter().map(|row| row[index].clone()).collect();
                ScalarValue::List(ScalarValue::new_list_nullable(&column, data_type))
            })
            .collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let groups = states.first().map_or(0, |state| state.len());
        for group in 0..groups {
            if states.iter().any(|state| state.is_null(group)) {
                continue;
            }
            let columns: Vec<ArrayRef> = states
                .iter()
                .map(|state| Arc::clone(&state.as_list::<i32>().value(group)))
                .collect();
            self.add(&columns)?;
        }
        Ok(())
    }
}
