//! `generate_series` as a relation of one column, made while it is read (`generate_series_*`).

use std::fmt;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use futures::StreamExt;
use futures::stream;
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::error::{QueryError, sqlstate};
use super::numeric::Numeric;
use super::pgtype::{PgType, arrow_type};
use super::scan::{
    BatchStream, RelationScan, RelationSource, RelationTable, ScanBatch, ScanRequest,
};
use super::session::{Relation, RelationColumn};
use super::value::{Value, ValueBuilder, value_at};

/// A series' first value, last value and step.
#[derive(Clone, Debug)]
pub(crate) enum Series {
    /// No rows: an argument is NULL, or not known yet.
    Empty,
    Integer {
        start: i64,
        stop: i64,
        step: i64,
    },
    Numeric {
        start: Numeric,
        stop: Numeric,
        step: Numeric,
    },
}

/// A series from its arguments' values, `None` for one that a parameter decides later.
pub(crate) fn series_element(
    element: PgType,
    bounds: Vec<Option<ScalarValue>>,
) -> Result<Series, QueryError> {
    let mut values = Vec::with_capacity(bounds.len());
    for bound in bounds {
        let Some(bound) = bound.filter(|bound| !bound.is_null()) else {
            return Ok(Series::Empty);
        };
        values.push(bound.to_array_of_size(1)?);
    }
    let value = |index: usize| {
        values
            .get(index)
            .map(|array| value_at(array, 0))
            .transpose()
    };
    let zero_step = || {
        QueryError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            "step size cannot equal zero",
        )
    };
    if element.oid == oids::NUMERIC {
        let number = |index: usize| -> Result<Option<Numeric>, QueryError> {
            value(index)?
                .map(|value| value.as_numeric().cloned())
                .transpose()
        };
        let (Some(start), Some(stop)) = (number(0)?, number(1)?) else {
            return Ok(Series::Empty);
        };
        let step = number(2)?.unwrap_or_else(|| Numeric::from(1));
        for (name, bound) in [
            ("start value", &start),
            ("stop value", &stop),
            ("step size", &step),
        ] {
            if !bound.is_finite() {
                let what = if bound.is_nan() { "NaN" } else { "infinity" };
                return Err(QueryError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("{name} cannot be {what}"),
                ));
            }
        }
        if step.is_zero() {
            return Err(zero_step());
        }
        return Ok(Series::Numeric { start, stop, step });
    }
    let number = |index: usize| -> Result<Option<i64>, QueryError> {
        value(index)?.map(|value| value.as_int()).transpose()
    };
    let (Some(start), Some(stop)) = (number(0)?, number(1)?) else {
        return Ok(Series::Empty);
    };
    let step = number(2)?.unwrap_or(1);
    if step == 0 {
        return Err(zero_step());
    }
    Ok(Series::Integer { start, stop, step })
}

/// The relation of a series.
pub(crate) fn series_table(element: PgType, series: Series) -> RelationTable {
    RelationTable::new(Relation {
        oid: Oid::INVALID,
        name: "generate_series".to_owned(),
        columns: vec![RelationColumn {
            name: "generate_series".to_owned(),
            ty: element,
            number: 1,
        }],
        source: Arc::new(SeriesSource { element, series }),
    })
}

#[derive(Debug)]
struct SeriesSource {
    element: PgType,
    series: Series,
}

impl RelationSource for SeriesSource {
    fn scan(&self, request: &ScanRequest) -> Result<Arc<dyn RelationScan>, QueryError> {
        Ok(Arc::new(SeriesScan {
            element: self.element,
            series: self.series.clone(),
            request: request.clone(),
        }))
    }

    fn estimated_rows(&self) -> Option<usize> {
        match &self.series {
            Series::Empty => Some(0),
            Series::Integer { start, stop, step } => {
                let steps = (i128::from(*stop) - i128::from(*start)) / i128::from(*step) + 1;
                usize::try_from(steps.max(0)).ok()
            }
            Series::Numeric { .. } => None,
        }
    }
}

#[derive(Debug)]
struct SeriesScan {
    element: PgType,
    series: Series,
    request: ScanRequest,
}

impl RelationScan for SeriesScan {
    fn partitions(&self) -> usize {
        1
    }

    fn stream(&self, _partition: usize) -> Result<BatchStream, QueryError> {
        let element = self.element;
        let request = self.request.clone();
        let batches = stream::unfold(Some(self.series.clone()), move |rest| {
            let batch = rest.and_then(|series| next_batch(series, element, &request));
            async move { batch }
        });
        Ok(batches.boxed())
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" on generate_series")
    }
}

type Step = (Result<ScanBatch, QueryError>, Option<Series>);

/// The next rows, and what is left after them.
fn next_batch(series: Series, element: PgType, request: &ScanRequest) -> Option<Step> {
    let limit = request
        .batch_rows
        .min(request.limit.unwrap_or(usize::MAX).max(1));
    let mut values = Vec::new();
    let rest = match series {
        Series::Empty => None,
        Series::Integer { start, stop, step } => {
            let mut next = Some(start);
            while let Some(value) = next
                && values.len() < limit
                && if step > 0 {
                    value <= stop
                } else {
                    value >= stop
                }
            {
                values.push(Value::Int(value));
                // The series also ends where the type does.
                next = value.checked_add(step);
            }
            next.map(|start| Series::Integer { start, stop, step })
        }
        Series::Numeric { start, stop, step } => {
            let up = step > Numeric::ZERO;
            let mut next = start;
            while values.len() < limit && if up { next <= stop } else { next >= stop } {
                let following = match next.add(&step) {
                    Ok(following) => following,
                    Err(error) => return Some((Err(error.into()), None)),
                };
                values.push(Value::Numeric(next));
                next = following;
            }
            Some(Series::Numeric {
                start: next,
                stop,
                step,
            })
        }
    };
    if values.is_empty() {
        return None;
    }
    let batch = || {
        let mut columns = Vec::new();
        for _ in &request.projection {
            let mut builder = ValueBuilder::new(&arrow_type(element), values.len())?;
            for value in &values {
                builder.push(value)?;
            }
            columns.push(builder.finish());
        }
        ScanBatch::new(request, columns, values.len())
    };
    Some((batch(), rest))
}
