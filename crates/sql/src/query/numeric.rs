//! PostgreSQL's numeric as the query layer computes with it: [`trunkline_types`]' `Numeric`,
//! with the payload forms that may fail on damaged data only.

pub(crate) use trunkline_types::numeric::Numeric;

use super::error::QueryError;

/// A numeric of its NumericData payload.
pub(crate) fn from_payload(payload: &[u8]) -> Result<Numeric, QueryError> {
    Numeric::decode(payload)
        .ok_or_else(|| QueryError::new("XX001", "invalid numeric value in storage"))
}
