//! The functions that plans are made of.

pub(crate) mod aggregate;
pub(crate) mod alias;
pub(crate) mod arithmetic;
pub(crate) mod arrays;
pub(crate) mod cast;
mod catalogs;
pub(crate) mod collect;
pub(crate) mod external;
pub(crate) mod float_order;
pub(crate) mod key;
pub(crate) mod log;
mod lsn;
mod mathematics;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod session;
mod strings;
pub(crate) mod subplan;
mod times;
