//! Relations as the query layer sees them.
//!
//! - [`resolver`]: names to locked tables and to views
//! - [`table`]: a table's rows as batches, one engine thread a partition
//! - [`scan_group`]: which scans run for a transaction, which must not end before them
//! - [`materialised`]: rows that are there already, for views

mod materialised;
mod resolver;
mod scan_group;
mod table;

pub(crate) use materialised::{MaterialisedRows, RowsBuilder};
pub(crate) use resolver::{Resolver, SessionRef, SharedSession, lock_session};
pub(crate) use scan_group::{ExecutingQuery, OpenResult, ScanGroup};
pub(crate) use table::cleared;
