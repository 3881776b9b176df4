//! Functions that compute one value from one row's values, and the table of them: name, argument
//! types, result type, body.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::{arrays, catalogs, lsn, mathematics, strings, times};
use crate::query::analyze::{Typed, accepts};
use crate::query::error::QueryError;
use crate::query::names::NamesPart;
use crate::query::pgtype::PgType;
use crate::query::value::{Styles, Value, map_rows};

/// A function's body. It never sees NULL if the function is strict.
pub(crate) type Body = fn(&[Value<'_>], &Styles) -> Result<Value<'static>, QueryError>;

/// An entry of the table.
pub(crate) struct RowFunction {
    pub name: &'static str,
    pub args: &'static [Oid],
    pub result: Oid,
    /// A NULL argument makes the result NULL.
    pub strict: bool,
    /// Further arguments like the last may follow.
    pub variadic: bool,
    /// What it asks the catalogs.
    pub needs: &'static [NamesPart],
    pub body: Body,
}

impl RowFunction {
    pub(crate) const fn new(
        name: &'static str,
        args: &'static [Oid],
        result: Oid,
        body: Body,
    ) -> Self {
        Self {
            name,
            args,
            result,
            strict: true,
            variadic: false,
            needs: &[],
            body,
        }
    }

    /// Is called with NULL arguments too.
    pub(crate) const fn called_with_null(mut self) -> Self {
        self.strict = false;
        self
    }

    /// Asks the catalogs for names.
    pub(crate) const fn needs(mut self, parts: &'static [NamesPart]) -> Self {
        self.needs = parts;
        self
    }

    /// Takes any number of arguments, NULLs among them.
    pub(crate) const fn variadic(mut self) -> Self {
        self.strict = false;
        self.variadic = true;
        self
    }

    fn signature(&self, count: usize) -> Option<Vec<Oid>> {
        if self.args.len() == count {
            return Some(self.args.to_vec());
        }
        if !self.variadic || count < self.args.len() {
            return None;
        }
        let last = *self.args.last()?;
        let mut args = self.args.to_vec();
        args.resize(count, last);
        Some(args)
    }
}

fn table() -> impl Iterator<Item = &'static RowFunction> {
    strings::FUNCTIONS
        .iter()
        .chain(mathematics::FUNCTIONS)
        .chain(times::FUNCTIONS)
        .chain(catalogs::FUNCTIONS)
        .chain(arrays::FUNCTIONS)
        .chain(lsn::FUNCTIONS)
}

/// Names that operators use; SQL can't call them.
const INTERNAL: [&str; 14] = [
    "uminus",
    "uplus",
    "bitnot",
    "bitand",
    "bitor",
    "bitxor",
    "shiftleft",
    "shiftright",
    "textcat",
    "byteacat",
    "ilike",
    "notilike",
    "notlike",
    "like",
];

/// Whether a name is an operator's function only.
pub(crate) fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// A function as a call may mean it.
pub(crate) struct Overload {
    pub args: Vec<Oid>,
    pub result: Oid,
    pub needs: &'static [NamesPart],
}

/// The overloads of a name for a number of arguments.
pub(crate) fn candidates(name: &str, count: usize) -> Vec<Overload> {
    table()
        .filter(|function| function.name == name)
        .filter_map(|function| {
            Some(Overload {
                args: function.signature(count)?,
                result: function.result,
                needs: function.needs,
            })
        })
        .collect()
}

struct RowCall {
    function: &'static RowFunction,
    arrow: DataType,
    styles: Arc<Styles>,
    signature: Signature,
}

impl std::fmt::Debug for RowCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowCall")
            .field("name", &self.function.name)
            .finish()
    }
}

impl PartialEq for RowCall {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.function, other.function) && self.arrow == other.arrow
    }
}

impl Eq for RowCall {}

impl Hash for RowCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
        self.function.args.hash(state);
        self.arrow.hash(state);
    }
}

/// The call of a function over arguments that have its types already.
pub(crate) fn row_function(
    name: &str,
    args: Vec<Typed>,
    result: PgType,
    styles: &Arc<Styles>,
) -> Result<Typed, QueryError> {
    let fits = |function: &&RowFunction| {
        function.name == name
            && function.result == result.oid
            && function.signature(args.len()).is_some_and(|wanted| {
                wanted
                    .iter()
                    .zip(&args)
                    .all(|(want, arg)| accepts(*want, arg.ty.oid))
            })
    };
    let function = table()
        .find(fits)
        .ok_or_else(|| QueryError::internal(format!("no function {name} of these types")))?;
    let keeps_shape = matches!(name, "uminus" | "uplus" | "abs") && result.oid == oids::NUMERIC;
    let arrow = match args.first() {
        Some(arg) if keeps_shape => arg.arrow.clone(),
        _ => crate::query::pgtype::arrow_type(result),
    };
    let volatility = if matches!(name, "random" | "gen_random_uuid") {
        Volatility::Volatile
    } else {
        Volatility::Immutable
    };
    let call = RowCall {
        function,
        arrow: arrow.clone(),
        styles: Arc::clone(styles),
        signature: if args.is_empty() {
            Signature::nullary(volatility)
        } else {
            Signature::any(args.len(), volatility)
        },
    };
    let exprs: Vec<Expr> = args.into_iter().map(|arg| arg.expr).collect();
    Ok(Typed::new(
        ScalarUDF::new_from_impl(call).call(exprs),
        result,
        arrow,
    ))
}

impl ScalarUDFImpl for RowCall {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.arrow.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let strict = self.function.strict;
        let result = map_rows(
            &args.args,
            args.number_rows,
            &self.arrow,
            strict,
            |values| (self.function.body)(values, &self.styles),
        )?;
        Ok(result)
    }
}
