//! Functions that the storage side provides: a call leaves the plan as datum payloads and comes
//! back as one. They are asynchronous, so that their I/O holds up no executor thread.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::analyze::Typed;
use crate::query::column::{ColumnBuilder, ColumnReader};
use crate::query::error::QueryError;
use crate::query::functions::record::record_type;
use crate::query::pgtype::{PgType, arrow_type};
use crate::query::session::{ExternalFunction, ExternalFunctions, ExternalResult};

struct ExternalCall {
    provider: Arc<dyn ExternalFunctions>,
    function: ExternalFunction,
    args: Vec<PgType>,
    signature: Signature,
}

impl std::fmt::Debug for ExternalCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalCall")
            .field("function", &self.function)
            .finish()
    }
}

impl PartialEq for ExternalCall {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function && self.args == other.args
    }
}

impl Eq for ExternalCall {}

impl Hash for ExternalCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
        self.args.hash(state);
    }
}

/// The call of a provided function over arguments of its types.
pub(crate) fn external_call(
    provider: Arc<dyn ExternalFunctions>,
    function: &ExternalFunction,
    args: Vec<Typed>,
) -> Expr {
    let call = ExternalCall {
        provider,
        function: function.clone(),
        args: args.iter().map(|arg| arg.ty).collect(),
        signature: match args.len() {
            0 => Signature::nullary(Volatility::Volatile),
            count => Signature::any(count, Volatility::Volatile),
        },
    };
    let exprs = args.into_iter().map(|arg| arg.expr).collect();
    AsyncScalarUDF::new(Arc::new(call))
        .into_scalar_udf()
        .call(exprs)
}

impl ScalarUDFImpl for ExternalCall {
    fn name(&self) -> &str {
        &self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(match &self.function.returns {
            ExternalResult::Value(oid) => arrow_type(PgType::new(*oid)),
            ExternalResult::Record(columns) => record_type(columns),
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(QueryError::internal("an asynchronous function was called synchronously").into())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for ExternalCall {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let mut arrays = Vec::with_capacity(args.args.len());
        for arg in &args.args {
            arrays.push(arg.clone().into_array(rows)?);
        }
        let types: Vec<PgType> = match &self.function.returns {
            ExternalResult::Value(oid) => vec![PgType::new(*oid)],
            ExternalResult::Record(columns) => {
                columns.iter().map(|(_, oid)| PgType::new(*oid)).collect()
            }
        };
        let mut builders: Vec<ColumnBuilder> = types
            .iter()
            .map(|ty| ColumnBuilder::new(*ty, rows))
            .collect();
        let mut called = Vec::with_capacity(rows);
        for row in 0..rows {
            let mut datums = Vec::with_capacity(arrays.len());
            for (array, ty) in arrays.iter().zip(&self.args) {
                let mut payload = Vec::new();
                let present = ColumnReader::new(*ty, array)?.append(row, &mut payload)?;
                datums.push(present.then_some(payload));
            }
            let calls = !(self.function.strict && datums.iter().any(Option::is_none));
            let result = if calls {
                self.provider.call(&self.function, datums).await?
            } else {
                vec![None; builders.len()]
            };
            called.push(calls);
            if result.len() != builders.len() {
                return Err(QueryError::internal("a function gave too few values").into());
            }
            for (builder, value) in builders.iter_mut().zip(&result) {
                builder.push(value.as_deref())?;
            }
        }
        let mut columns: Vec<ArrayRef> = builders
            .into_iter()
            .map(|mut builder| builder.finish())
            .collect();
        let array = match record_fields(&self.function.returns) {
            Some(DataType::Struct(fields)) => {
                let nulls = Some(NullBuffer::from(called));
                Arc::new(StructArray::try_new(fields, columns, nulls)?)
            }
            _ => columns.swap_remove(0),
        };
        Ok(ColumnarValue::Array(array))
    }
}

fn record_fields(returns: &ExternalResult) -> Option<DataType> {
    match returns {
        ExternalResult::Value(_) => None,
        ExternalResult::Record(columns) => Some(record_type(columns)),
    }
}
