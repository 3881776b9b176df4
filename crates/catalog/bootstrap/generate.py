#!/usr/bin/env python3
"""Writes the facts that `init` needs about PostgreSQL's system tables, taken from a live server.

Usage: generate.py CONNECTION_STRING

The server must be a PostgreSQL 18 fresh from `initdb --locale=C --encoding=UTF8
--username=postgres`; a connection string is libpq's, for instance "host=/tmp user=postgres".
Needs psycopg2. Nothing outside this directory and ../tests/fixtures is written, and the server is
left as it was. Run against the same minor version it writes the same files, except that the
fixture's tables get higher OIDs if the server has handed out some already.

Files, all in COPY's text format with the column names in the first line:

  tables.tsv        the system tables that exist here: oid, name, whether shared, whether found
                    through pg_filenode.map, the oids of the row type and its array type, and privileges
  columns.tsv       their columns in order: table, column, type, whether NOT NULL
  rows/TABLE.tsv    initial rows. pg_class, pg_attribute and the pg_type rows of the tables'
                    own row types are not here: they follow from the two files above
  ../tests/fixtures/create_table.tsv
                    what PostgreSQL writes to its catalogs for some CREATE TABLE statements
  ../tests/fixtures/system_tables.tsv
                    the rows that describe some of the system tables themselves

regproc columns are written as oids. pg_node_tree columns hold SQL text instead of a node tree,
which is what they hold in our clusters.
"""

import io
import os
import sys

import psycopg2

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "tests", "fixtures")

# The tables that clients look at (psql's backslash commands, the drivers' type look-ups and
# metadata queries) and that hold what CREATE TABLE writes.
TABLES = """
    pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_authid pg_cast pg_class
    pg_collation pg_constraint pg_conversion pg_database pg_db_role_setting pg_default_acl
    pg_depend pg_description pg_enum pg_event_trigger pg_extension pg_foreign_data_wrapper
    pg_foreign_server pg_foreign_table pg_index pg_inherits pg_language pg_namespace pg_opclass
    pg_operator pg_opfamily pg_partitioned_table pg_policy pg_proc pg_publication
    pg_publication_namespace pg_publication_rel pg_range pg_rewrite pg_seclabel pg_sequence
    pg_shdepend pg_shdescription pg_shseclabel pg_statistic_ext pg_tablespace pg_trigger pg_type
""".split()

# Types that the engine stores or that a column of a system table has; their array types follow.
TYPES = """
    bool bytea char name int8 int2 int2vector int4 regproc text oid tid xid cid oidvector
    pg_node_tree float4 float8 unknown aclitem bpchar varchar date timestamp timestamptz numeric
    uuid regclass regtype cstring regnamespace regrole pg_lsn xid8
""".split()

# Pseudo-types that signatures in pg_proc name.
PSEUDO_TYPES = """
    any anyarray anyelement internal record _record void trigger event_trigger language_handler
    table_am_handler index_am_handler
""".split()

# Functions offered to SQL. Overloads with a type that is not in the lists above are left out.
FUNCTIONS = """
    count sum avg min max generate_series
    abs ceil ceiling floor mod power random round sign sqrt trunc
    btrim char_length character_length length lower ltrim md5 octet_length replace rtrim strpos
    substr substring upper
    now statement_timestamp transaction_timestamp clock_timestamp date_part date_trunc extract
    gen_random_uuid version
    current_database current_schema current_schemas current_setting set_config
    pg_backend_pid pg_is_in_recovery pg_postmaster_start_time pg_cancel_backend
    pg_terminate_backend pg_typeof
    pg_relation_size pg_table_size pg_total_relation_size pg_relation_filepath
    pg_relation_filenode pg_size_pretty pg_database_size
    array_to_string format_type pg_get_expr pg_get_userbyid pg_get_indexdef pg_get_constraintdef
    pg_table_is_visible pg_type_is_visible pg_function_is_visible pg_encoding_to_char
    obj_description col_description shobj_description quote_ident quote_literal quote_nullable
    array_length array_lower array_ndims array_upper array_to_string cardinality pg_sleep
    pg_get_function_arguments pg_get_function_result pg_operator_is_visible pg_tablespace_location
    pg_tablespace_size pg_relation_is_publishable pg_has_role has_database_privilege
    pg_current_wal_lsn pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_walfile_name
    pg_walfile_name_offset pg_wal_lsn_diff pg_lsn pg_lsn_mi pg_lsn_pli pg_lsn_mii numeric_pl_pg_lsn
""".split()

# Functions of extensions that are built in here, with the OIDs that they get: PostgreSQL leaves
# 9000 and up to forks like this one (`transam.h`, "OIDs 8000-9999 are reserved for development").
EXTENSION_FUNCTIONS = {
    "pg_prewarm": ("pg_prewarm", 9000),
    "pg_buffercache_evict_relation": ("pg_buffercache", 9001),
}

INCLUDED_TYPES = f"""
    select t.oid from pg_type t left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
     where t.typnamespace = 11
       and (t.typname = any(array{TYPES + PSEUDO_TYPES}::name[])
            or t.oid in (select typarray from pg_type where typname = any(array{TYPES}::name[])
                            and typnamespace = 11))
"""

TYPE_FUNCTIONS = " union ".join(
    f"select {column}::oid from pg_type where oid in ({INCLUDED_TYPES}) or oid in (2249)"
    for column in ("typinput", "typoutput", "typreceive", "typsend", "typmodin", "typmodout",
                   "typanalyze", "typsubscript")
)

INCLUDED_LANGUAGES = "select oid from pg_language where lanname in ('internal', 'c', 'sql')"

INCLUDED_FUNCTIONS = f"""
    select p.oid from pg_proc p where p.pronamespace = 11 and (
        p.oid in ({TYPE_FUNCTIONS})
        or p.oid in (select amhandler from pg_am where amname in ('heap', 'btree'))
        or p.oid in (select lanvalidator from pg_language where oid in ({INCLUDED_LANGUAGES}))
        or (p.proname = any(array{FUNCTIONS}::name[])
            and p.prorettype in ({INCLUDED_TYPES})
            and not exists (select from unnest(p.proargtypes) a where a not in ({INCLUDED_TYPES}))))
"""

DESCRIBED = f"""
    (classoid = 'pg_type'::regclass and objoid in ({INCLUDED_TYPES}))
    or (classoid = 'pg_proc'::regclass and objoid in ({INCLUDED_FUNCTIONS}))
    or (classoid = 'pg_language'::regclass and objoid in ({INCLUDED_LANGUAGES}))
    or (classoid = 'pg_namespace'::regclass
        and objoid in (select oid from pg_namespace where nspname <> 'information_schema'))
    or (classoid = 'pg_am'::regclass
        and objoid in (select oid from pg_am where amname in ('heap', 'btree')))
    or (classoid = 'pg_collation'::regclass
        and objoid in (select oid from pg_collation where collname in ('default', 'C', 'POSIX')))
"""

# Table -> (condition, order). Tables not named here start empty.
ROWS = {
    "pg_am": ("amname in ('heap', 'btree')", "oid"),
    "pg_auth_members": ("true", "oid"),
    "pg_authid": ("true", "oid"),
    "pg_collation": ("collname in ('default', 'C', 'POSIX')", "oid"),
    # The template databases have no directories here, so they are none.
    "pg_database": ("datname = 'postgres'", "oid"),
    "pg_description": (DESCRIBED, "classoid, objoid, objsubid"),
    "pg_language": (f"oid in ({INCLUDED_LANGUAGES})", "oid"),
    "pg_namespace": ("nspname <> 'information_schema'", "oid"),
    "pg_proc": (f"oid in ({INCLUDED_FUNCTIONS})", "oid"),
    "pg_shdescription": ("classoid <> 'pg_database'::regclass or objoid in "
                         "(select oid from pg_database where datname = 'postgres')",
                         "classoid, objoid"),
    "pg_tablespace": ("true", "oid"),
    "pg_type": (f"oid in ({INCLUDED_TYPES})", "oid"),
}

# Columns whose value in a new cluster of ours is not what the queried server shows.
REPLACED = {
    # Rows of a new cluster are written by the bootstrap transaction, so nothing older than the
    # first normal xid and multixact is anywhere.
    ("pg_database", "datfrozenxid"): "'3'::xid",
    ("pg_database", "datminmxid"): "'1'::xid",
    ("pg_class", "relfrozenxid"): "'3'::xid",
    ("pg_class", "relminmxid"): "'1'::xid",
    # There are no TOAST tables and no indexes, and nothing has counted pages and rows.
    ("pg_class", "reltoastrelid"): "0",
    ("pg_class", "relhasindex"): "false",
    ("pg_class", "relpages"): "0",
    ("pg_class", "reltuples"): "-1",
    ("pg_class", "relallvisible"): "0",
    ("pg_class", "relallfrozen"): "0",
    ("pg_attrdef", "adbin"): "pg_get_expr(adbin, adrelid)",
    ("pg_database", "dathasloginevt"): "false",
    ("pg_proc", "proargdefaults"): "pg_get_expr(proargdefaults, 0)",
    ("pg_proc", "prosqlbody"): "pg_get_function_sqlbody(oid)",
}

# What CREATE TABLE writes, for the tests: one table with every type, others for names and
# defaults. Their oids are consecutive from the table's on.
CREATE_TABLES = [
    ("every_type", """
        create table every_type (
            c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8, c_float4 float4, c_float8 float8,
            c_numeric numeric, c_numeric_ps numeric(15,2), c_text text, c_varchar varchar,
            c_varchar_n varchar(10), c_bpchar bpchar, c_char_n char(3), c_bytea bytea, c_date date,
            c_timestamp timestamp, c_timestamptz timestamptz, c_timestamptz_p timestamptz(3),
            c_uuid uuid, c_name name, c_char "char", c_oid oid, c_xid xid, c_tid tid)"""),
    ("with_defaults", """
        create table with_defaults (
            a int not null default 42, b text default 'x', c timestamptz not null default now(),
            d int, e varchar(5) constraint e_is_there not null, "a_not" int not null)"""),
    ("a_table_with_a_name_that_is_as_long_as_a_name_can_possibly_get1", """
        create table a_table_with_a_name_that_is_as_long_as_a_name_can_possibly_get1 (
            another_name_that_is_as_long_as_a_name_can_possibly_get_here_12 int not null,
            another_name_that_is_as_long_as_a_name_can_possibly_get_here_13 int not null, short int)"""),
    ("no_columns", "create table no_columns ()"),
]


def copy(cursor, query):
    out = io.StringIO()
    cursor.copy_expert(f"copy ({query}) to stdout", out)
    return out.getvalue()


def write(path, header, body):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\t".join(header) + "\n" + body)


def columns(cursor, table):
    cursor.execute("select attname, atttypid::regtype::text from pg_attribute "
                   "where attrelid = %s::regclass and attnum > 0 order by attnum", (table,))
    return cursor.fetchall()


def select_list(cursor, table):
    items = []
    for name, type_name in columns(cursor, table):
        replacement = REPLACED.get((table, name))
        if replacement:
            items.append(f"{replacement} as {name}")
        elif type_name == "regproc":
            items.append(f"{name}::oid")
        else:
            items.append(name)
    return ", ".join(items)


def dump_tables(cursor):
    write(os.path.join(HERE, "tables.tsv"),
          ["oid", "relname", "shared", "mapped", "row_type", "array_type", "acl"],
          copy(cursor, f"""
            select c.oid, relname, relisshared, relfilenode = 0, reltype, typarray, relacl
              from pg_class c join pg_type t on t.oid = c.reltype
             where relnamespace = 11 and relname = any(array{TABLES}::name[]) order by c.oid"""))
    write(os.path.join(HERE, "columns.tsv"),
          ["relname", "attname", "type", "not_null"],
          copy(cursor, f"""
            select relname, attname, atttypid, attnotnull
              from pg_attribute a join pg_class c on c.oid = a.attrelid
             where relnamespace = 11 and relname = any(array{TABLES}::name[]) and attnum > 0
             order by c.oid, attnum"""))


def dump_rows(cursor):
    for table, (condition, order) in ROWS.items():
        names = [name for name, _ in columns(cursor, table)]
        write(os.path.join(HERE, "rows", table + ".tsv"), names,
              copy(cursor, f"select {select_list(cursor, table)} from {table} "
                           f"where {condition} order by {order}"))


def dump_extension_functions(cursor):
    """Appends to rows/pg_proc.tsv."""
    with open(os.path.join(HERE, "rows", "pg_proc.tsv"), "a", encoding="utf-8") as file:
        for name, (extension, oid) in EXTENSION_FUNCTIONS.items():
            cursor.execute(f"create extension if not exists {extension}")
            items = select_list(cursor, "pg_proc")
            for column, value in [("oid", oid), ("pronamespace", 11), ("prolang", 12),
                                  ("probin", "null")]:
                items = ", ".join(f"{value} as {column}" if item == column else item
                                  for item in items.replace("prolang::oid", "prolang").split(", "))
            file.write(copy(cursor, f"select {items} from pg_proc where proname = '{name}'"))


def dump_create_table_fixture(cursor):
    """Lines: the case's table name, the catalog's name, the row in COPY's text format."""
    lines = []
    for name, statement in CREATE_TABLES:
        cursor.execute(statement)
        queries = {
            "pg_class": "oid = %(t)s",
            "pg_attribute": "attrelid = %(t)s",
            "pg_type": "typrelid = %(t)s or typelem = (select reltype from pg_class where oid = %(t)s)",
            "pg_attrdef": "adrelid = %(t)s",
            "pg_constraint": "conrelid = %(t)s",
        }
        orders = {"pg_attribute": "attnum", "pg_type": "oid", "pg_attrdef": "oid",
                  "pg_constraint": "oid", "pg_class": "oid"}
        cursor.execute("select %s::regclass::oid", (f'"{name}"',))
        oid = cursor.fetchone()[0]
        for catalog, condition in queries.items():
            condition = condition % {"t": oid}
            body = copy(cursor, f"select {select_list(cursor, catalog)} from {catalog} "
                                f"where {condition} order by {orders[catalog]}")
            lines += [f"{name}\t{catalog}\t{row}" for row in body.splitlines()]
        # The TOAST table's dependency is the only one left out: there are no TOAST tables here.
        body = copy(cursor, f"""
            select classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype
              from pg_depend
             where (classid = 1259 and objid = {oid})
                or (classid = 1247 and (objid in (select reltype from pg_class where oid = {oid})
                    or refobjid in (select reltype from pg_class where oid = {oid})))
                or (classid = 2604 and objid in (select oid from pg_attrdef where adrelid = {oid}))
                or (classid = 2606 and objid in (select oid from pg_constraint where conrelid = {oid}))
             order by classid, objid, refclassid, refobjid, refobjsubid""")
        lines += [f"{name}\tpg_depend\t{row}" for row in body.splitlines()]
    os.makedirs(FIXTURES, exist_ok=True)
    with open(os.path.join(FIXTURES, "create_table.tsv"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def dump_system_tables_fixture(cursor):
    """Lines: the catalog's name, the row in COPY's text format."""
    lines = []
    described = "array['pg_authid', 'pg_class', 'pg_depend', 'pg_index', 'pg_proc', 'pg_type']"
    for catalog, condition, order in [
            ("pg_class", f"relname = any({described}) and relnamespace = 11", "oid"),
            ("pg_attribute", f"attrelid = any({described}::regclass[])", "attrelid, attnum"),
            ("pg_type", f"ltrim(typname, '_') = any({described}) and typnamespace = 11", "oid")]:
        body = copy(cursor, f"select {select_list(cursor, catalog)} from {catalog} "
                            f"where {condition} order by {order}")
        lines += [f"{catalog}\t{row}" for row in body.splitlines()]
    with open(os.path.join(FIXTURES, "system_tables.tsv"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    connection = psycopg2.connect(sys.argv[1])
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('server_version_num')::int / 10000")
        if cursor.fetchone()[0] != 18:
            sys.exit("the server must be PostgreSQL 18")
        dump_tables(cursor)
        dump_rows(cursor)
        dump_create_table_fixture(cursor)
        dump_system_tables_fixture(cursor)
        # Last, for what it creates takes oids.
        dump_extension_functions(cursor)
    connection.rollback()


if __name__ == "__main__":
    main()
