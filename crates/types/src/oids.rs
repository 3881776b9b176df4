//! The OIDs of the types known here, as PostgreSQL's `pg_type.dat` assigns them.

use trunkline_pgformat::Oid;

/// `boolean`
pub const BOOL: Oid = Oid(16);
/// `bytea`
pub const BYTEA: Oid = Oid(17);
/// `"char"`
pub const CHAR: Oid = Oid(18);
/// `name`
pub const NAME: Oid = Oid(19);
/// `bigint`
pub const INT8: Oid = Oid(20);
/// `smallint`
pub const INT2: Oid = Oid(21);
/// `int2vector`
pub const INT2VECTOR: Oid = Oid(22);
/// `integer`
pub const INT4: Oid = Oid(23);
/// `regproc`
pub const REGPROC: Oid = Oid(24);
/// `text`
pub const TEXT: Oid = Oid(25);
/// `oid`
pub const OID: Oid = Oid(26);
/// `tid`
pub const TID: Oid = Oid(27);
/// `xid`
pub const XID: Oid = Oid(28);
/// `cid`
pub const CID: Oid = Oid(29);
/// `oidvector`
pub const OIDVECTOR: Oid = Oid(30);
/// `pg_node_tree`
pub const PG_NODE_TREE: Oid = Oid(194);
/// `xid8[]`
pub const XID8_ARRAY: Oid = Oid(271);
/// `real`
pub const FLOAT4: Oid = Oid(700);
/// `double precision`
pub const FLOAT8: Oid = Oid(701);
/// `unknown`
pub const UNKNOWN: Oid = Oid(705);
/// `boolean[]`
pub const BOOL_ARRAY: Oid = Oid(1000);
/// `bytea[]`
pub const BYTEA_ARRAY: Oid = Oid(1001);
/// `"char"[]`
pub const CHAR_ARRAY: Oid = Oid(1002);
/// `name[]`
pub const NAME_ARRAY: Oid = Oid(1003);
/// `smallint[]`
pub const INT2_ARRAY: Oid = Oid(1005);
/// `int2vector[]`
pub const INT2VECTOR_ARRAY: Oid = Oid(1006);
/// `integer[]`
pub const INT4_ARRAY: Oid = Oid(1007);
/// `regproc[]`
pub const REGPROC_ARRAY: Oid = Oid(1008);
/// `text[]`
pub const TEXT_ARRAY: Oid = Oid(1009);
/// `tid[]`
pub const TID_ARRAY: Oid = Oid(1010);
/// `xid[]`
pub const XID_ARRAY: Oid = Oid(1011);
/// `cid[]`
pub const CID_ARRAY: Oid = Oid(1012);
/// `oidvector[]`
pub const OIDVECTOR_ARRAY: Oid = Oid(1013);
/// `character[]`
pub const BPCHAR_ARRAY: Oid = Oid(1014);
/// `character varying[]`
pub const VARCHAR_ARRAY: Oid = Oid(1015);
/// `bigint[]`
pub const INT8_ARRAY: Oid = Oid(1016);
/// `real[]`
pub const FLOAT4_ARRAY: Oid = Oid(1021);
/// `double precision[]`
pub const FLOAT8_ARRAY: Oid = Oid(1022);
/// `oid[]`
pub const OID_ARRAY: Oid = Oid(1028);
/// `aclitem`
pub const ACLITEM: Oid = Oid(1033);
/// `aclitem[]`
pub const ACLITEM_ARRAY: Oid = Oid(1034);
/// `character`
pub const BPCHAR: Oid = Oid(1042);
/// `character varying`
pub const VARCHAR: Oid = Oid(1043);
/// `date`
pub const DATE: Oid = Oid(1082);
/// `timestamp without time zone`
pub const TIMESTAMP: Oid = Oid(1114);
/// `timestamp without time zone[]`
pub const TIMESTAMP_ARRAY: Oid = Oid(1115);
/// `date[]`
pub const DATE_ARRAY: Oid = Oid(1182);
/// `timestamp with time zone`
pub const TIMESTAMPTZ: Oid = Oid(1184);
/// `timestamp with time zone[]`
pub const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);
/// `numeric[]`
pub const NUMERIC_ARRAY: Oid = Oid(1231);
/// `cstring[]`
pub const CSTRING_ARRAY: Oid = Oid(1263);
/// `numeric`
pub const NUMERIC: Oid = Oid(1700);
/// `regclass`
pub const REGCLASS: Oid = Oid(2205);
/// `regtype`
pub const REGTYPE: Oid = Oid(2206);
/// `regclass[]`
pub const REGCLASS_ARRAY: Oid = Oid(2210);
/// `regtype[]`
pub const REGTYPE_ARRAY: Oid = Oid(2211);
/// `cstring`
pub const CSTRING: Oid = Oid(2275);
/// `anyarray`
pub const ANYARRAY: Oid = Oid(2277);
/// `void`
pub const VOID: Oid = Oid(2278);
/// `uuid`
pub const UUID: Oid = Oid(2950);
/// `uuid[]`
pub const UUID_ARRAY: Oid = Oid(2951);
/// `pg_lsn`
pub const PG_LSN: Oid = Oid(3220);
/// `pg_lsn[]`
pub const PG_LSN_ARRAY: Oid = Oid(3221);
/// `pg_ndistinct`
pub const PG_NDISTINCT: Oid = Oid(3361);
/// `pg_dependencies`
pub const PG_DEPENDENCIES: Oid = Oid(3402);
/// `regnamespace`
pub const REGNAMESPACE: Oid = Oid(4089);
/// `regnamespace[]`
pub const REGNAMESPACE_ARRAY: Oid = Oid(4090);
/// `regrole`
pub const REGROLE: Oid = Oid(4096);
/// `regrole[]`
pub const REGROLE_ARRAY: Oid = Oid(4097);
/// `pg_mcv_list`
pub const PG_MCV_LIST: Oid = Oid(5017);
/// `xid8`
pub const XID8: Oid = Oid(5069);
