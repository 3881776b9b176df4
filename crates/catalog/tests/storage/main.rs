//! The catalogs in real files: what is written is read back, by the right transactions, through
//! every I/O method; and PostgreSQL's pageinspect reads the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cache;
mod cluster;
mod ddl;
mod new_cluster;
mod pageinspect;
