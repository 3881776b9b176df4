//! OIDs that PostgreSQL fixes: system tables, namespaces, roles, databases, and the functions
//! that rows of `pg_type` name.

use trunkline_pgformat::Oid;

/// `pg_type`
pub const PG_TYPE: Oid = Oid(1247);
/// `pg_attribute`
pub const PG_ATTRIBUTE: Oid = Oid(1249);
/// `pg_proc`
pub const PG_PROC: Oid = Oid(1255);
/// `pg_class`
pub const PG_CLASS: Oid = Oid(1259);
/// `pg_authid`
pub const PG_AUTHID: Oid = Oid(1260);
/// `pg_database`
pub const PG_DATABASE: Oid = Oid(1262);
/// `pg_attrdef`
pub const PG_ATTRDEF: Oid = Oid(2604);
/// `pg_constraint`
pub const PG_CONSTRAINT: Oid = Oid(2606);
/// `pg_depend`
pub const PG_DEPEND: Oid = Oid(2608);
/// `pg_namespace`
pub const PG_NAMESPACE: Oid = Oid(2615);

/// The namespace `pg_catalog`.
pub const PG_CATALOG_NAMESPACE: Oid = Oid(11);
/// The namespace `pg_toast`.
pub const PG_TOAST_NAMESPACE: Oid = Oid(99);
/// The namespace `public`.
pub const PG_PUBLIC_NAMESPACE: Oid = Oid(2200);

/// The superuser that `init` creates.
pub const BOOTSTRAP_SUPERUSER: Oid = Oid(10);

/// The database `postgres`.
pub const POSTGRES_DATABASE: Oid = Oid(5);

/// The table access method `heap`.
pub const HEAP_TABLE_AM: Oid = Oid(2);

/// The collation `default`, that of user columns of collatable types.
pub const DEFAULT_COLLATION: Oid = Oid(100);
/// The collation `C`, that of system tables' columns.
pub const C_COLLATION: Oid = Oid(950);

/// OIDs below are part of every cluster and need no entry in `pg_depend`
/// (`FirstUnpinnedObjectId`).
pub const FIRST_UNPINNED_OBJECT: Oid = Oid(12000);
/// The first OID that a new cluster hands out (`FirstNormalObjectId`).
pub const FIRST_NORMAL_OBJECT: Oid = Oid(16384);

pub(crate) const RECORD_IN: Oid = Oid(2290);
pub(crate) const RECORD_OUT: Oid = Oid(2291);
pub(crate) const RECORD_RECV: Oid = Oid(2402);
pub(crate) const RECORD_SEND: Oid = Oid(2403);
pub(crate) const ARRAY_IN: Oid = Oid(750);
pub(crate) const ARRAY_OUT: Oid = Oid(751);
pub(crate) const ARRAY_RECV: Oid = Oid(2400);
pub(crate) const ARRAY_SEND: Oid = Oid(2401);
pub(crate) const ARRAY_TYPANALYZE: Oid = Oid(3816);
pub(crate) const ARRAY_SUBSCRIPT_HANDLER: Oid = Oid(6179);
