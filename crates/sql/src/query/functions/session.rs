//! `current_setting`, the one session function whose argument may be computed.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::analyze::Typed;
use crate::query::session::SessionFunctions;
use crate::query::value::{Value, map_rows};

struct CurrentSetting {
    session: Arc<dyn SessionFunctions>,
    signature: Signature,
}

impl std::fmt::Debug for CurrentSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CurrentSetting")
    }
}

impl PartialEq for CurrentSetting {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl Eq for CurrentSetting {}

impl Hash for CurrentSetting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

/// `current_setting(name [, missing_ok])`.
pub(crate) fn setting_call(session: Arc<dyn SessionFunctions>, args: Vec<Typed>) -> Expr {
    let function = CurrentSetting {
        session,
        signature: Signature::any(args.len(), Volatility::Stable),
    };
    ScalarUDF::new_from_impl(function).call(args.into_iter().map(|arg| arg.expr).collect())
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let result = map_rows(
            &args.args,
            args.number_rows,
            &DataType::Utf8,
            true,
            |values| {
                let missing_ok = match values.get(1) {
                    Some(value) => value.as_bool()?,
                    None => false,
                };
                let setting = self.session.setting(values[0].as_text()?, missing_ok)?;
                Ok(setting.map_or(Value::Null, Value::text))
            },
        )?;
        Ok(result)
    }
}
