//! PostgreSQL's aggregates: sums and averages with its result types, scales and errors.
//!
//! A state is a count and one or two totals per group. Integers and decimals total in 128 bits,
//! other numerics as [`Numeric`]; floats as PostgreSQL adds them, one after the other.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, LargeBinaryArray,
    LargeBinaryBuilder, PrimitiveArray,
};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::cast::float_overflow;
use super::collect::{RowsAccumulator, RowsKind};
use crate::query::decimal::{DECIMAL_NAN, encode_decimal};
use crate::query::error::{QueryError, sqlstate};
use crate::query::numeric::Numeric;
use crate::query::value::{Value, decode_numeric, encode_numeric, value_at};

/// An aggregate, whatever the types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateKind {
    Count,
    Sum,
    Average,
    Min,
    Max,
    And,
    Or,
    Concat,
    StddevSample,
    StddevPopulation,
    VarianceSample,
    VariancePopulation,
}

/// The function that computes `kind` with a result that travels as `arrow`.
pub(crate) fn aggregate_function(
    kind: AggregateKind,
    arrow: DataType,
) -> Result<Arc<AggregateUDF>, QueryError> {
    Ok(match kind {
        AggregateKind::Count => count_udaf(),
        AggregateKind::Min => min_udaf(),
        AggregateKind::Max => max_udaf(),
        AggregateKind::And => bool_and_udaf(),
        AggregateKind::Or => bool_or_udaf(),
        kind => Arc::new(AggregateUDF::new_from_impl(PgAggregate {
            kind,
            result: arrow,
            order: Vec::new(),
            signature: Signature::variadic_any(Volatility::Immutable),
        })),
    })
}

/// `string_agg` whose further arguments are sort keys: (descending, nulls first) each.
pub(crate) fn ordered_concat(arrow: DataType, order: Vec<(bool, bool)>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(PgAggregate {
        kind: AggregateKind::Concat,
        result: arrow,
        order,
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PgAggregate {
    kind: AggregateKind,
    result: DataType,
    order: Vec<(bool, bool)>,
    signature: Signature,
}

impl AggregateKind {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Average => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::And => "bool_and",
            Self::Or => "bool_or",
            Self::Concat => "string_agg",
            Self::StddevSample => "stddev_samp",
            Self::StddevPopulation => "stddev_pop",
            Self::VarianceSample => "var_samp",
            Self::VariancePopulation => "var_pop",
        }
    }

    /// Whether squares are needed.
    fn squares(self) -> bool {
        matches!(
            self,
            Self::StddevSample
                | Self::StddevPopulation
                | Self::VarianceSample
                | Self::VariancePopulation
        )
    }
}

impl AggregateUDFImpl for PgAggregate {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let types: Vec<DataType> = args
            .expr_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        if self.kind == AggregateKind::Concat {
            let kind = RowsKind::Concat {
                order: self.order.clone(),
            };
            return Ok(Box::new(RowsAccumulator::new(
                kind,
                types,
                args.is_distinct,
            )));
        }
        let first = types.first().cloned().unwrap_or(DataType::Null);
        if args.is_distinct {
            let inner = Totals::new(self.kind, &first, &self.result)?;
            let kind = RowsKind::Aggregate(Box::new(SingleGroup(inner)));
            return Ok(Box::new(RowsAccumulator::new(kind, vec![first], true)));
        }
        Ok(Box::new(SingleGroup(Totals::new(
            self.kind,
            &first,
            &self.result,
        )?)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        if self.kind == AggregateKind::Concat || args.is_distinct {
            return Ok(args
                .input_fields
                .iter()
                .enumerate()
                .map(|(index, field)| {
                    let item = Field::new_list_field(field.data_type().clone(), true);
                    let name = format_state_name(args.name, &format!("rows{index}"));
                    Arc::new(Field::new(name, DataType::List(Arc::new(item)), true))
                })
                .collect());
        }
        let input = args
            .input_fields
            .first()
            .map_or(&DataType::Null, |field| field.data_type());
        let total = total_type(input, self.kind);
        let mut fields = vec![
            Field::new(format_state_name(args.name, "count"), DataType::Int64, true),
            Field::new(format_state_name(args.name, "total"), total.clone(), true),
        ];
        if self.kind.squares() {
            let squares = match total {
                DataType::Float64 => DataType::Float64,
                _ => DataType::LargeBinary,
            };
            fields.push(Field::new(
                format_state_name(args.name, "squares"),
                squares,
                true,
            ));
        }
        Ok(fields.into_iter().map(Arc::new).collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.kind != AggregateKind::Concat && !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        let input = args
            .expr_fields
            .first()
            .map_or(&DataType::Null, |field| field.data_type());
        Ok(Box::new(Totals::new(self.kind, input, &self.result)?))
    }
}

/// How the total of an input travels between the phases of an aggregation.
fn total_type(input: &DataType, kind: AggregateKind) -> DataType {
    match input {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Decimal128(38, 0),
        DataType::Decimal128(precision, scale) if *precision <= 27 => {
            DataType::Decimal128(38, *scale)
        }
        DataType::Float32 if kind == AggregateKind::Sum => DataType::Float32,
        DataType::Float32 | DataType::Float64 => DataType::Float64,
        _ => DataType::LargeBinary,
    }
}

/// The totals of all groups.
#[derive(Debug)]
enum Sums {
    /// Units of `10^-scale`; [`DECIMAL_NAN`] once a NaN was added.
    Integer(Vec<i128>, i8),
    Numeric(Vec<Option<Numeric>>),
    Float4(Vec<f32>),
    Float8(Vec<f64>),
}

/// An aggregate over groups.
#[derive(Debug)]
struct Totals {
    kind: AggregateKind,
    result: DataType,
    counts: Vec<i64>,
    sums: Sums,
    /// Sum of squares for numerics; for floats the sum of squared deviations that Youngs and
    /// Cramer's method keeps (`float8_accum`).
    numeric_squares: Vec<Option<Numeric>>,
    float_squares: Vec<f64>,
}

fn unexpected(array: &ArrayRef) -> QueryError {
    QueryError::internal(format!("an aggregate cannot take {}", array.data_type()))
}

impl Totals {
    fn new(kind: AggregateKind, input: &DataType, result: &DataType) -> Result<Self, QueryError> {
        let sums = match total_type(input, kind) {
            DataType::Decimal128(_, scale) => Sums::Integer(Vec::new(), scale),
            DataType::Float32 => Sums::Float4(Vec::new()),
            DataType::Float64 => Sums::Float8(Vec::new()),
            _ => Sums::Numeric(Vec::new()),
        };
        Ok(Self {
            kind,
            result: result.clone(),
            counts: Vec::new(),
            sums,
            numeric_squares: Vec::new(),
            float_squares: Vec::new(),
        })
    }

    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        match &mut self.sums {
            Sums::Integer(sums, _) => sums.resize(groups, 0),
            Sums::Numeric(sums) => sums.resize(groups, None),
            Sums::Float4(sums) => sums.resize(groups, 0.0),
            Sums::Float8(sums) => sums.resize(groups, 0.0),
        }
        if self.kind.squares() {
            match &self.sums {
                Sums::Float4(_) | Sums::Float8(_) => self.float_squares.resize(groups, 0.0),
                _ => self.numeric_squares.resize(groups, None),
            }
        }
    }

    fn add_integers<T: ArrowPrimitiveType>(
        &mut self,
        array: &ArrayRef,
        groups: &[usize],
        chosen: impl Fn(usize) -> bool,
        widen: impl Fn(T::Native) -> i128,
    ) -> Result<(), QueryError> {
        let Sums::Integer(sums, _) = &mut self.sums else {
            return Err(unexpected(array));
        };
        let values = array.as_primitive::<T>();
        let squares = self.kind.squares();
        let no_nulls = values.null_count() == 0;
        for (row, (value, group)) in values.values().iter().zip(groups).enumerate() {
            if !(no_nulls || values.is_valid(row)) || !chosen(row) {
                continue;
            }
            let value = widen(*value);
            self.counts[*group] += 1;
            let sum = &mut sums[*group];
            *sum = if value == DECIMAL_NAN || *sum == DECIMAL_NAN {
                DECIMAL_NAN
            } else {
                sum.checked_add(value).ok_or_else(|| {
                    QueryError::new(
                        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                        "value overflows numeric format",
                    )
                })?
            };
            if squares {
                let scale = match &self.result {
                    _ if value == DECIMAL_NAN => 0,
                    _ => scale_of(array.data_type()),
                };
                let value = if value == DECIMAL_NAN {
                    Numeric::NAN
                } else {
                    Numeric::from_i128(value, scale)
                };
                add_numeric(&mut self.numeric_squares[*group], &value.mul(&value)?)?;
            }
        }
        Ok(())
    }

    fn add_numerics(
        &mut self,
        array: &ArrayRef,
        groups: &[usize],
        chosen: impl Fn(usize) -> bool,
    ) -> Result<(), QueryError> {
        let Sums::Numeric(sums) = &mut self.sums else {
            return Err(unexpected(array));
        };
        for (row, group) in groups.iter().enumerate() {
            if !chosen(row) {
                continue;
            }
            let Value::Numeric(value) = value_at(array, row)? else {
                continue;
            };
            self.counts[*group] += 1;
            if self.kind.squares() {
                add_numeric(&mut self.numeric_squares[*group], &value.mul(&value)?)?;
            }
            add_numeric(&mut sums[*group], &value)?;
        }
        Ok(())
    }

    fn add_floats(
        &mut self,
        array: &ArrayRef,
        groups: &[usize],
        chosen: impl Fn(usize) -> bool,
    ) -> Result<(), QueryError> {
        for (row, group) in groups.iter().enumerate() {
            if array.is_null(row) || !chosen(row) {
                continue;
            }
            let count = &mut self.counts[*group];
            *count += 1;
            match &mut self.sums {
                Sums::Float4(sums) => {
                    let value = array.as_primitive::<Float32Type>().value(row);
                    let sum = sums[*group] + value;
                    if sum.is_infinite() && value.is_finite() && sums[*group].is_finite() {
                        return Err(float_overflow());
                    }
                    sums[*group] = sum;
                }
                Sums::Float8(sums) => {
                    let value = match array.data_type() {
                        DataType::Float32 => {
                            f64::from(array.as_primitive::<Float32Type>().value(row))
                        }
                        _ => array.as_primitive::<Float64Type>().value(row),
                    };
                    let before = sums[*group];
                    let sum = before + value;
                    if sum.is_infinite() && value.is_finite() && before.is_finite() {
                        return Err(float_overflow());
                    }
                    sums[*group] = sum;
                    if self.kind.squares() {
                        let squares = &mut self.float_squares[*group];
                        accumulate_square(squares, *count as f64, before, value);
                    }
                }
                _ => return Err(unexpected(array)),
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        array: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) -> Result<(), QueryError> {
        let chosen = |row: usize| match filter {
            None => true,
            Some(filter) => filter.is_valid(row) && filter.value(row),
        };
        match (array.data_type(), &self.sums) {
            (DataType::Int16, _) => {
                self.add_integers::<Int16Type>(array, groups, chosen, i128::from)
            }
            (DataType::Int32, _) => {
                self.add_integers::<Int32Type>(array, groups, chosen, i128::from)
            }
            (DataType::Int64, _) => {
                self.add_integers::<Int64Type>(array, groups, chosen, i128::from)
            }
            (DataType::Decimal128(..), Sums::Integer(..)) => {
                self.add_integers::<Decimal128Type>(array, groups, chosen, |value| value)
            }
            (DataType::Decimal128(..) | DataType::LargeBinary, _) => {
                self.add_numerics(array, groups, chosen)
            }
            (DataType::Float32 | DataType::Float64, _) => self.add_floats(array, groups, chosen),
            _ => Err(unexpected(array)),
        }
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<(), QueryError> {
        let [counts, totals, squares @ ..] = states else {
            return Err(QueryError::internal(
                "an aggregate's state has a count and a total",
            ));
        };
        let counts = counts.as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            let count = if counts.is_valid(row) {
                counts.value(row)
            } else {
                0
            };
            if count == 0 {
                continue;
            }
            let before = self.counts[*group];
            self.counts[*group] += count;
            match &mut self.sums {
                Sums::Integer(sums, _) => {
                    let value = totals.as_primitive::<Decimal128Type>().value(row);
                    let sum = &mut sums[*group];
                    *sum = if value == DECIMAL_NAN || *sum == DECIMAL_NAN {
                        DECIMAL_NAN
                    } else {
                        sum.checked_add(value).ok_or_else(|| {
                            QueryError::new(
                                sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                                "value overflows numeric format",
                            )
                        })?
                    };
                }
                Sums::Numeric(sums) => {
                    let value = decode_numeric(totals.as_binary::<i64>().value(row))?;
                    add_numeric(&mut sums[*group], &value)?;
                }
                Sums::Float4(sums) => {
                    sums[*group] += totals.as_primitive::<Float32Type>().value(row);
                }
                Sums::Float8(sums) => {
                    let value = totals.as_primitive::<Float64Type>().value(row);
                    if let [squares] = squares {
                        let other = squares.as_primitive::<Float64Type>().value(row);
                        let mine = &mut self.float_squares[*group];
                        // float8_combine
                        if before == 0 {
                            *mine = other;
                        } else {
                            let (n1, n2) = (before as f64, count as f64);
                            let difference = sums[*group] / n1 - value / n2;
                            *mine += other + n1 * n2 * difference * difference / (n1 + n2);
                        }
                    }
                    sums[*group] += value;
                }
            }
            if let (true, [squares]) = (squares_are_numeric(&self.sums), squares) {
                let value = decode_numeric(squares.as_binary::<i64>().value(row))?;
                add_numeric(&mut self.numeric_squares[*group], &value)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Self {
        Self {
            kind: self.kind,
            result: self.result.clone(),
            counts: emit_to.take_needed(&mut self.counts),
            sums: match &mut self.sums {
                Sums::Integer(sums, scale) => Sums::Integer(emit_to.take_needed(sums), *scale),
                Sums::Numeric(sums) => Sums::Numeric(emit_to.take_needed(sums)),
                Sums::Float4(sums) => Sums::Float4(emit_to.take_needed(sums)),
                Sums::Float8(sums) => Sums::Float8(emit_to.take_needed(sums)),
            },
            numeric_squares: if self.numeric_squares.is_empty() {
                Vec::new()
            } else {
                emit_to.take_needed(&mut self.numeric_squares)
            },
            float_squares: if self.float_squares.is_empty() {
                Vec::new()
            } else {
                emit_to.take_needed(&mut self.float_squares)
            },
        }
    }

    fn valid(&self) -> impl Iterator<Item = bool> + '_ {
        self.counts.iter().map(|count| *count > 0)
    }

    fn into_state(self) -> Result<Vec<ArrayRef>, QueryError> {
        let mut state: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(self.counts.clone()))];
        let squares: Option<ArrayRef> = match (self.kind.squares(), &self.sums) {
            (false, _) => None,
            (true, Sums::Float4(_) | Sums::Float8(_)) => {
                Some(Arc::new(PrimitiveArray::<Float64Type>::from(
                    self.float_squares.clone(),
                )))
            }
            (true, _) => Some(Arc::new(numeric_array(&self.numeric_squares)?)),
        };
        state.push(match self.sums {
            Sums::Integer(sums, scale) => {
                Arc::new(Decimal128Array::from(sums).with_precision_and_scale(38, scale)?)
            }
            Sums::Numeric(sums) => Arc::new(numeric_array(&sums)?),
            Sums::Float4(sums) => Arc::new(PrimitiveArray::<Float32Type>::from(sums)),
            Sums::Float8(sums) => Arc::new(PrimitiveArray::<Float64Type>::from(sums)),
        });
        state.extend(squares);
        Ok(state)
    }

    fn into_result(self) -> Result<ArrayRef, QueryError> {
        if self.kind == AggregateKind::Sum {
            return self.sum_result();
        }
        match &self.sums {
            Sums::Float4(_) => Err(QueryError::internal(
                "averages of floats are kept as float8",
            )),
            Sums::Float8(sums) => {
                let results = self
                    .counts
                    .iter()
                    .zip(sums)
                    .enumerate()
                    .map(|(group, (count, sum))| self.float_result(*count as f64, *sum, group));
                Ok(Arc::new(PrimitiveArray::<Float64Type>::from_iter(results)))
            }
            _ => {
                let mut builder = LargeBinaryBuilder::new();
                for group in 0..self.counts.len() {
                    match self.numeric_result(group)? {
                        Some(value) => builder.append_value(encode_numeric(&value)?),
                        None => builder.append_null(),
                    }
                }
                Ok(Arc::new(builder.finish()))
            }
        }
    }

    fn sum_result(self) -> Result<ArrayRef, QueryError> {
        let valid: Vec<bool> = self.valid().collect();
        let some = |group: usize| valid[group];
        Ok(match (self.sums, &self.result) {
            (Sums::Integer(sums, _), DataType::Int64) => {
                let mut out = Vec::with_capacity(sums.len());
                for (group, sum) in sums.into_iter().enumerate() {
                    let sum = i64::try_from(sum).map_err(|_| {
                        QueryError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range")
                    })?;
                    out.push(some(group).then_some(sum));
                }
                Arc::new(Int64Array::from(out))
            }
            (Sums::Integer(sums, scale), DataType::Decimal128(precision, _)) => {
                let sums = sums.into_iter().enumerate();
                let array: Decimal128Array = sums
                    .map(|(group, sum)| some(group).then_some(sum))
                    .collect();
                Arc::new(array.with_precision_and_scale(*precision, scale)?)
            }
            (Sums::Integer(sums, scale), _) => {
                let mut builder = LargeBinaryBuilder::new();
                for (group, sum) in sums.into_iter().enumerate() {
                    if some(group) {
                        let mut encoded = Vec::new();
                        encode_decimal(sum, scale, &mut encoded)?;
                        builder.append_value(encoded);
                    } else {
                        builder.append_null();
                    }
                }
                Arc::new(builder.finish())
            }
            (Sums::Numeric(sums), _) => Arc::new(numeric_array(&sums)?),
            (Sums::Float4(sums), _) => {
                let sums = sums.into_iter().enumerate();
                let array: PrimitiveArray<Float32Type> = sums
                    .map(|(group, sum)| some(group).then_some(sum))
                    .collect();
                Arc::new(array)
            }
            (Sums::Float8(sums), _) => {
                let sums = sums.into_iter().enumerate();
                let array: PrimitiveArray<Float64Type> = sums
                    .map(|(group, sum)| some(group).then_some(sum))
                    .collect();
                Arc::new(array)
            }
        })
    }

    fn float_result(&self, count: f64, sum: f64, group: usize) -> Option<f64> {
        let needed = match self.kind {
            AggregateKind::StddevSample | AggregateKind::VarianceSample => 2.0,
            _ => 1.0,
        };
        if count < needed {
            return None;
        }
        let squares = || self.float_squares[group];
        Some(match self.kind {
            AggregateKind::VariancePopulation => squares() / count,
            AggregateKind::VarianceSample => squares() / (count - 1.0),
            AggregateKind::StddevPopulation => (squares() / count).sqrt(),
            AggregateKind::StddevSample => (squares() / (count - 1.0)).sqrt(),
            _ => sum / count,
        })
    }

    fn numeric_sum(&self, group: usize) -> Option<Numeric> {
        if self.counts[group] == 0 {
            return None;
        }
        match &self.sums {
            Sums::Integer(sums, scale) => Some(if sums[group] == DECIMAL_NAN {
                Numeric::NAN
            } else {
                Numeric::from_i128(sums[group], *scale as u32)
            }),
            Sums::Numeric(sums) => sums[group].clone(),
            _ => None,
        }
    }

    /// Averages, and `numeric_stddev_internal`.
    fn numeric_result(&self, group: usize) -> Result<Option<Numeric>, QueryError> {
        let Some(sum) = self.numeric_sum(group) else {
            return Ok(None);
        };
        let count = self.counts[group];
        let n = Numeric::from(count);
        if !self.kind.squares() {
            return Ok(Some(sum.div(&n)?));
        }
        let sample = matches!(
            self.kind,
            AggregateKind::StddevSample | AggregateKind::VarianceSample
        );
        if sample && count < 2 {
            return Ok(None);
        }
        if !sum.is_finite() {
            return Ok(Some(Numeric::NAN));
        }
        let Some(squares) = &self.numeric_squares[group] else {
            return Ok(None);
        };
        let spread = n.mul(squares)?.sub(&sum.mul(&sum)?)?;
        if spread <= Numeric::ZERO {
            return Ok(Some(Numeric::ZERO));
        }
        let divisor = if sample {
            n.mul(&Numeric::from(count - 1))?
        } else {
            n.mul(&n)?
        };
        let variance = spread.div(&divisor)?;
        Ok(Some(match self.kind {
            AggregateKind::StddevSample | AggregateKind::StddevPopulation => variance.sqrt()?,
            _ => variance,
        }))
    }
}

fn squares_are_numeric(sums: &Sums) -> bool {
    matches!(sums, Sums::Integer(..) | Sums::Numeric(_))
}

fn scale_of(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale as u32,
        _ => 0,
    }
}

fn add_numeric(sum: &mut Option<Numeric>, value: &Numeric) -> Result<(), QueryError> {
    *sum = Some(match sum.take() {
        Some(sum) => sum.add(value)?,
        None => value.clone(),
    });
    Ok(())
}

/// One step of Youngs and Cramer's method: `count` and `before` are the number of values with
/// and their sum without the new one.
fn accumulate_square(squares: &mut f64, count: f64, before: f64, value: f64) {
    if count > 1.0 {
        let deviation = value * count - (before + value);
        *squares += deviation * deviation / (count * (count - 1.0));
    } else if !value.is_finite() {
        *squares = f64::NAN;
    }
}

fn numeric_array(values: &[Option<Numeric>]) -> Result<LargeBinaryArray, QueryError> {
    let mut builder = LargeBinaryBuilder::with_capacity(values.len(), values.len() * 16);
    for value in values {
        match value {
            Some(value) => builder.append_value(encode_numeric(value)?),
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.resize(total_num_groups);
        if let Some(array) = values.first() {
            self.update(array, group_indices, opt_filter)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        Ok(self.take(emit_to).into_result()?)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        Ok(self.take(emit_to).into_state()?)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.resize(total_num_groups);
        self.merge(values, group_indices)?;
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |array| array.len());
        let groups: Vec<usize> = (0..rows).collect();
        let input = values
            .first()
            .map_or(&DataType::Null, |array| array.data_type());
        let mut each = Totals::new(self.kind, input, &self.result)?;
        each.update_batch(values, &groups, opt_filter, rows)?;
        Ok(each.into_state()?)
    }

    fn size(&self) -> usize {
        let numerics: usize = match &self.sums {
            Sums::Numeric(sums) => sums.capacity() * (size_of::<Numeric>() + 16),
            Sums::Integer(sums, _) => sums.capacity() * 16,
            Sums::Float4(sums) => sums.capacity() * 4,
            Sums::Float8(sums) => sums.capacity() * 8,
        };
        self.counts.capacity() * 8
            + numerics
            + self.numeric_squares.capacity() * (size_of::<Numeric>() + 16)
            + self.float_squares.capacity() * 8
    }
}

/// The same aggregate over all rows.
#[derive(Debug)]
struct SingleGroup(Totals);

impl Accumulator for SingleGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let rows = values.first().map_or(0, |array| array.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.0.resize(1);
        let array = GroupsAccumulator::evaluate(&mut self.0, EmitTo::All)?;
        ScalarValue::try_from_array(&array, 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.0.resize(1);
        let arrays = GroupsAccumulator::state(&mut self.0, EmitTo::All)?;
        arrays
            .iter()
            .map(|array| ScalarValue::try_from_array(array, 0))
            .collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let rows = states.first().map_or(0, |array| array.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }
}
