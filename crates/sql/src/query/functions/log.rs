//! Where the write-ahead log is (`xlogfuncs.c`): asked anew for every batch of rows.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::analyze::Typed;
use crate::query::session::{LogPosition, SessionFunctions};
use crate::query::value::{Value, map_rows};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Question {
    Position(LogPosition),
    FileName,
}

struct LogFunction {
    question: Question,
    session: Arc<dyn SessionFunctions>,
    signature: Signature,
}

impl std::fmt::Debug for LogFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogFunction").field(&self.question).finish()
    }
}

impl PartialEq for LogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.question == other.question
    }
}

impl Eq for LogFunction {}

impl Hash for LogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.question.hash(state);
    }
}

/// The position that a function without arguments is called for, if one is of this name.
pub(crate) fn position_by_function(name: &str) -> Option<LogPosition> {
    Some(match name {
        "pg_current_wal_lsn" => LogPosition::Written,
        "pg_current_wal_flush_lsn" => LogPosition::Flushed,
        "pg_current_wal_insert_lsn" => LogPosition::Inserted,
        _ => return None,
    })
}

/// The call of one of those functions.
pub(crate) fn position_call(session: Arc<dyn SessionFunctions>, position: LogPosition) -> Expr {
    ScalarUDF::new_from_impl(LogFunction {
        question: Question::Position(position),
        session,
        signature: Signature::nullary(Volatility::Volatile),
    })
    .call(Vec::new())
}

/// `pg_walfile_name(lsn)`.
pub(crate) fn file_name_call(session: Arc<dyn SessionFunctions>, lsn: Typed) -> Expr {
    ScalarUDF::new_from_impl(LogFunction {
        question: Question::FileName,
        session,
        signature: Signature::any(1, Volatility::Stable),
    })
    .call(vec![lsn.expr])
}

impl ScalarUDFImpl for LogFunction {
    fn name(&self) -> &str {
        match self.question {
            Question::Position(LogPosition::Written) => "pg_current_wal_lsn",
            Question::Position(LogPosition::Flushed) => "pg_current_wal_flush_lsn",
            Question::Position(LogPosition::Inserted) => "pg_current_wal_insert_lsn",
            Question::FileName => "pg_walfile_name",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(match self.question {
            Question::Position(_) => DataType::UInt64,
            Question::FileName => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match self.question {
            Question::Position(position) => {
                let lsn = self.session.log_position(position);
                Ok(ColumnarValue::Scalar(ScalarValue::UInt64(Some(lsn.0))))
            }
            Question::FileName => Ok(map_rows(
                &args.args,
                args.number_rows,
                &DataType::Utf8,
                true,
                |values| {
                    let lsn = trunkline_pgformat::Lsn(values[0].as_int()?.cast_unsigned());
                    Ok(Value::text(self.session.log_file_name(lsn)))
                },
            )?),
        }
    }
}
