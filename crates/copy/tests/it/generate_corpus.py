#!/usr/bin/env python3
"""Writes corpus.txt: what PostgreSQL 18 makes of many COPY statements, good and bad.

usage: generate_corpus.py CONNINFO > corpus.txt      (needs psycopg2)

Each case is a block of `key value` lines that ends with an empty line:

  from NAME | to NAME     the direction
  table COLUMNS           a int4, b varchar(3) default 'd', ...
  columns NAMES           the COPY's column list, if it has one
  query                   COPY (SELECT * FROM the table) TO
  option NAME KIND VALUE  string, integer, float, star, list (separated by commas) or none
  data BYTES              the input, or the output
  row CELLS               rows after COPY FROM, or before COPY TO: |-separated texts, \\N is null
  notice TEXT             message, then context after \\n
  error SQLSTATE, message, detail, hint, context, option_index

Values are escaped: backslash as \\\\, any byte outside printable ASCII and `|` as \\xHH.
"""
import io
import random
import struct
import sys

import psycopg2

connection = psycopg2.connect(sys.argv[1])
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("SET timezone = 'UTC'")
cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
assert cursor.fetchone()[0] == 18, "expected values are those of PostgreSQL 18"
cursor.execute("SHOW server_encoding")
assert cursor.fetchone()[0] == "UTF8"

AB = "a int4, b text"
TT = "a text, b text"
names = set()


def escape(value):
    if isinstance(value, str):
        value = value.encode()
    out = []
    for byte in value:
        if byte == 0x5C:
            out.append("\\\\")
        elif 0x20 <= byte < 0x7F and byte != 0x7C:
            out.append(chr(byte))
        else:
            out.append("\\x%02x" % byte)
    return "".join(out)


def emit(key, value=""):
    print((key + " " + value).rstrip(" ") if value == "" else key + " " + value)


def quoted(text):
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def render(option):
    name, kind = option[0], option[1]
    if kind == "none":
        return name, name
    value = option[2] if len(option) > 2 else ""
    shown = {
        "string": lambda: quoted(value),
        "integer": lambda: str(value),
        "float": lambda: value,
        "star": lambda: "*",
        "list": lambda: "(" + ", ".join(value) + ")",
    }[kind]()
    return name, name + " " + shown


def begin(direction, name, table, options, columns, query=False):
    assert (direction, name) not in names, name
    names.add((direction, name))
    emit(direction, name)
    emit("table", escape(table))
    if columns:
        emit("columns", ",".join(columns))
    if query:
        emit("query")
    for option in options:
        value = option[2] if len(option) > 2 else ""
        if option[1] == "list":
            value = ",".join(value)
        emit("option", " ".join([option[0], option[1], escape(str(value))]).rstrip(" "))


def statement(what, columns, direction, options):
    sql = "COPY " + what
    if columns:
        sql += " (" + ", ".join(columns) + ")"
    sql += " FROM STDIN" if direction == "from" else " TO STDOUT"
    positions = []
    if options:
        sql += " ("
        for index, option in enumerate(options):
            if index:
                sql += ", "
            positions.append(len(sql) + 1)
            sql += render(option)[1]
        sql += ")"
    return sql, positions


def emit_error(error, positions):
    emit("error", error.pgcode)
    emit("message", escape(error.diag.message_primary))
    if error.diag.message_detail:
        emit("detail", escape(error.diag.message_detail))
    if error.diag.message_hint:
        emit("hint", escape(error.diag.message_hint))
    if error.diag.context:
        emit("context", escape(error.diag.context))
    if error.diag.statement_position:
        emit("option_index", str(positions.index(int(error.diag.statement_position))))


def emit_row(row):
    emit("row", "|".join("\\N" if cell is None else escape(cell) for cell in row))


def create(table):
    cursor.execute("DROP TABLE IF EXISTS t")
    cursor.execute("CREATE TABLE t (" + table + ")")
    cursor.execute(
        "SELECT string_agg(format('CASE WHEN %1$I IS NOT NULL THEN format(''%%s'', %1$I) END', attname)"
        ", ', ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum > 0"
    )
    return cursor.fetchone()[0]


def copy_from(name, data, table=AB, options=(), columns=()):
    if isinstance(data, str):
        data = data.encode()
    begin("from", name, table, options, columns)
    emit("data", escape(data))
    cells = create(table)
    del connection.notices[:]
    sql, positions = statement("t", columns, "from", options)
    try:
        cursor.copy_expert(sql, io.BytesIO(data))
    except psycopg2.Error as error:
        emit_error(error, positions)
    if cells is not None:
        cursor.execute("SELECT " + cells + " FROM t ORDER BY ctid")
        for row in cursor.fetchall():
            emit_row(row)
    else:
        cursor.execute("SELECT")
    # The client library hands notices out with the next statement.
    for notice in connection.notices:
        head, _, context = notice.rstrip("\n").partition("\nCONTEXT:  ")
        assert head.startswith("NOTICE:  "), notice
        text = head[len("NOTICE:  "):] + ("\n" + context if context else "")
        emit("notice", escape(text))
    print()


def copy_to(name, rows, table=AB, options=(), columns=(), query=False):
    begin("to", name, table, options, columns, query)
    cells = create(table)
    for row in rows:
        cursor.execute("INSERT INTO t VALUES (" + ", ".join(["%s"] * len(row)) + ")", row)
    cursor.execute("SELECT " + cells + " FROM t ORDER BY ctid")
    for row in cursor.fetchall():
        emit_row(row)
    what = "(SELECT * FROM t)" if query else "t"
    sql, positions = statement(what, columns, "to", options)
    out = io.BytesIO()
    try:
        cursor.copy_expert(sql, out)
        emit("data", escape(out.getvalue()))
    except psycopg2.Error as error:
        emit_error(error, positions)
    print()


def s(name, value):
    return (name, "string", value)


def i(name, value):
    return (name, "integer", value)


def cols(name, *columns):
    return (name, "list", list(columns)) if columns else (name, "star")


CSV = s("format", "csv")
BINARY = s("format", "binary")
TEXT = s("format", "text")

# ---- text ----
copy_from("text-plain", "1\tx\n2\ty\n")
copy_from("text-empty", "")
copy_from("text-no-last-newline", "1\tx\n2\ty")
copy_from("text-null", "\\N\t\\N\n1\t\n")
copy_from("text-crlf", "1\tx\r\n2\ty\r\n")
copy_from("text-cr", "1\tx\r2\ty\r")
copy_from("text-cr-at-end", "1\tx\r")
copy_from("text-crlf-then-cr-at-end", "1\tx\r\n2\ty\r")
copy_from("text-lf-then-cr", "1\tx\n2\ty\r\n")
copy_from("text-crlf-then-lf", "1\tx\r\n2\ty\n")
copy_from("text-crlf-then-cr", "1\tx\r\n2\ty\r3\tz\r\n")
copy_from("text-cr-then-lf", "1\tx\r2\ty\n")
copy_from("text-escapes", "1\ta\\bb\\ff\\nn\\rr\\tt\\vv\\\\\\q\\é\n")
copy_from("text-octal", "1\t\\1\\12\\101\\1012\\18\\7\\60\n")
copy_from("text-hex", "1\t\\x41\\x4\\x4g\\xg\\x\\x41b\n")
copy_from("text-octal-utf8", "1\t\\303\\251\n")
copy_from("text-octal-bad-utf8", "1\tx\n2\tab\\303\n")
copy_from("text-hex-nul", "1\ta\\x00b\n")
copy_from("text-octal-overflow", "1\t\\501\\777\n")
copy_from("text-escaped-newline", "1\ta\\\nb\n2\tc\n3\n")
copy_from("text-escaped-delimiter", "1\ta\\\tb\n")
copy_from("text-backslash-at-end", "1\tab\\")
copy_from("text-null-backslash-at-end", "1\t\\N\\")
copy_from("text-null-with-more", "1\t\\Nx\n")
copy_from("text-missing", "1\tx\n2\n")
copy_from("text-missing-empty-line", "1\tx\n\n")
copy_from("text-extra", "1\tx\n2\ty\tz\n")
copy_from("text-bad-int", "1\tx\nfoo\ty\n")
copy_from("text-bad-int-empty", "\ty\n")
copy_from("text-bad-int-before-missing", "foo\n")
copy_from("text-bad-int-and-extra", "foo\ta\tb\n")
copy_from("text-long-value", "1\tx\n" + "z" * 150 + "\ty\n")
copy_from("text-long-value-multibyte", "1\tx\n" + "z" * 99 + "é" * 20 + "\ty\n")
copy_from("text-long-line", "1\t" + "z" * 200 + "\t3\n")
copy_from("text-hundred", "z" * 100 + "\ty\n")
copy_from("text-out-of-range", "99999999999\ty\n")
copy_from("text-varchar-too-long", "1\tabcd\n", "a int4, b varchar(3)")
copy_from("text-char-padded", "1\tab\n", "a int4, b char(5)")
copy_from("text-bad-utf8", b"1\tx\n2\ty\xff\xfez\n3\tz\n")
copy_from("text-bad-utf8-three", b"1\tx\n2\ty\xe2\x28\xa1z\n3\tz\n")
copy_from("text-bad-utf8-four", b"1\tx\n2\ty\xf0\x28\x8c\x28z\n3\tz\n")
copy_from("text-bad-utf8-short", b"1\tx\n2\ty\xe2\x82")
copy_from("text-bad-utf8-short-line", b"1\tx\n2\ty\xe2\x82\n")
copy_from("text-bad-utf8-overlong", b"1\t\xc0\x80\n")
copy_from("text-bad-utf8-surrogate", b"1\t\xed\xa0\x80\n")
copy_from("text-bad-utf8-high", b"1\t\xf4\x90\x80\x80\n")
copy_from("text-bad-utf8-f8", b"1\t\xf8\x88\x80\x80\x80\n")
copy_from("text-nul", b"1\ta\x00b\n")
copy_from("text-bad-utf8-after-bad-value", b"foo\tx\n2\t\xff\n")
copy_from("text-bad-utf8-before-bad-newline", b"1\tx\n2\t\xff\r\n")
copy_from("text-bad-newline-before-bad-utf8", b"1\tx\n2\ty\r\xff\n")
copy_from("text-bad-utf8-after-end-marker", b"1\tx\n\\.\n\xff\xff\xff\xff\xff\n")
copy_from("text-end-marker", "1\tx\n\\.\n2\ty\n")
copy_from("text-end-marker-first", "\\.\n2\ty\n")
copy_from("text-end-marker-crlf", "1\tx\r\n\\.\r\n2\ty\r\n")
copy_from("text-end-marker-cr", "1\tx\r\\.\r2\ty\r")
copy_from("text-end-marker-first-crlf", "\\.\r\n2\ty\r\n")
copy_from("text-end-marker-no-newline", "1\tx\n\\.")
copy_from("text-end-marker-with-more", "1\tx\n\\.x\n")
copy_from("text-end-marker-after-data", "1\tx\n2\ty\\.\n")
copy_from("text-end-marker-wrong-style", "1\tx\r\n\\.\n")
copy_from("text-end-marker-wrong-style-cr", "1\tx\r\\.\n")
copy_from("text-end-marker-wrong-style-lf", "1\tx\n\\.\r\n")
copy_from("text-end-marker-crlf-corrupt", "1\tx\r\n\\.x\r\n")
copy_from("text-end-marker-crlf-half", "1\tx\r\n\\.\rx")
copy_from("text-end-marker-crlf-end", "1\tx\r\n\\.\r")
copy_from("text-escaped-end-marker", "1\t\\\\.\n")
copy_from("text-delimiter", "1|a\\|b\n", options=[s("delimiter", "|")])
copy_from("text-null-option", "NULL\tNULL\n\\N\tx\n", TT, [s("null", "NULL")])
copy_from("text-null-empty", "\t\n1\tx\n", options=[s("null", "")])
copy_from("text-null-backslash", "\\\tx\n1\t\\\n", TT, [s("null", "\\")])
copy_from("text-null-long-backslashes", "a\\\tb\tc\n", TT, [s("null", "a\\")])
copy_from("text-default", "\\D\t\\D\n1\tx\\D\n", "a int4 default 7, b text default 'dd'",
          [s("default", "\\D")])
copy_from("text-default-none", "1\tx\n1\t\\D\n", "a int4 default 7, b text", [s("default", "\\D")])
copy_from("text-default-extra", "1\tx\t\\D\n", "a int4 default 7, b text", [s("default", "\\D")])
copy_from("text-header", "anything\n1\tx\n", options=[("header", "none")])
copy_from("text-header-only", "a\tb\n", options=[s("header", "true")])
copy_from("text-header-empty", "", options=[s("header", "true")])
copy_from("text-header-match", "a\tb\n1\tx\n", options=[s("header", "match")])
copy_from("text-header-match-empty", "", options=[s("header", "match")])
copy_from("text-header-match-wrong", "a\tc\n1\tx\n", options=[s("header", "match")])
copy_from("text-header-match-count", "a\n1\tx\n", options=[s("header", "match")])
copy_from("text-header-match-more", "a\tb\tc\n1\tx\n", options=[s("header", "match")])
copy_from("text-header-match-null", "\\N\tb\n1\tx\n", options=[s("header", "match")])
copy_from("text-header-match-escape", "\\x61\tb\n1\tx\n", options=[s("header", "match")])
copy_from("text-header-match-default", "a\tb\n1\tx\n", "a int4 default 1, b text",
          [s("header", "match"), s("default", "a")])
copy_from("text-header-end-marker", "\\.\n1\tx\n", options=[s("header", "match")])
copy_from("text-header-bad-row", "a\tb\nfoo\tx\n", options=[i("header", 1)])
copy_from("text-columns", "x\t1\n", columns=["b", "a"])
copy_from("text-columns-one", "x\ny\n", columns=["b"])
copy_from("text-columns-missing", "x\n", columns=["b", "a"])
copy_from("text-columns-unknown", "x\n", columns=["b", "z"])
copy_from("text-columns-twice", "x\n", columns=["b", "b"])
copy_from("text-no-columns", "\n\n", "")
copy_from("text-no-columns-data", "\nx\n", "")
copy_from("csv-no-columns-data", "\nx\n", "", [CSV])
copy_from("text-ignore", "1\tx\nfoo\ty\n3\tz\nbar\tw\n", options=[s("on_error", "ignore")])
copy_from("text-ignore-one", "1\tx\nfoo\ty\n", options=[s("on_error", "IGNORE")])
copy_from("text-ignore-none", "1\tx\n", options=[s("on_error", "ignore")])
copy_from("text-ignore-silent", "1\tx\nfoo\ty\n",
          options=[s("on_error", "ignore"), s("log_verbosity", "silent")])
copy_from("text-ignore-verbose", "1\tx\nfoo\ty\n" + "b" * 120 + "\tz\n",
          options=[s("on_error", "ignore"), s("log_verbosity", "verbose")])
copy_from("text-ignore-limit", "1\tx\nfoo\ty\nbar\tz\n4\tw\n",
          options=[s("on_error", "ignore"), i("reject_limit", 1)])
copy_from("text-ignore-limit-verbose", "1\tx\nfoo\ty\nbar\tz\n4\tw\n",
          options=[s("on_error", "ignore"), i("reject_limit", 1), s("log_verbosity", "verbose")])
copy_from("text-ignore-limit-kept", "1\tx\nfoo\ty\nbar\tz\n4\tw\n",
          options=[s("on_error", "ignore"), s("reject_limit", "2")])
copy_from("text-ignore-missing", "1\tx\nfoo\n", options=[s("on_error", "ignore")])
copy_from("text-ignore-missing-first", "1\tx\n2\n", options=[s("on_error", "ignore")])
copy_from("text-ignore-second-column", "1\tabcd\n2\tx\n", "a int4, b varchar(3)",
          [s("on_error", "ignore")])

# ---- csv ----
copy_from("csv-plain", "1,x\n2,y\n", options=[CSV])
copy_from("csv-quotes", '1,"x,y"\n2,"a ""b"" c"\n3,""\n4,\n', options=[CSV])
copy_from("csv-quotes-inside", '1,a"b,c"d\n2,"x"y"z"\n', options=[CSV])
copy_from("csv-newlines", '1,"x\ny"\n2,"z\n\nw"\nfoo,z\n', options=[CSV])
copy_from("csv-newlines-crlf", '1,"x\r\ny"\r\n2,"z\nw"\r\nfoo,z\r\n', options=[CSV])
copy_from("csv-newlines-first-line", '1,"x\ny\r\nz"\n2,"z\nw"\nfoo,z\n', options=[CSV])
copy_from("csv-newlines-cr", '1,"x\ry"\r2,"z\nw\r"\rfoo,z\r', options=[CSV])
copy_from("csv-unterminated", '1,x\n2,"y\n3,z\n', options=[CSV])
copy_from("csv-unterminated-extra", '1,x,y,z,"y\n', options=[CSV])
copy_from("csv-unterminated-escape", '1,"x\\"\n2,y\n', options=[CSV, s("escape", "\\")])
copy_from("csv-escape", '1,"a\\"b\\\\c\\d"\n2,a\\b\n', options=[CSV, s("escape", "\\")])
copy_from("csv-escape-is-delimiter", '1,"a,"b"\n', options=[CSV, s("escape", ",")])
copy_from("csv-quote", "1,'a''b,'\n2,\"x\n", options=[CSV, s("quote", "'")])
copy_from("csv-quote-cr", "1,x\n2,\ry\r\n", options=[CSV, s("quote", "\r")])
copy_from("csv-quote-lf", "1,x\r2,\ny\n\r", options=[CSV, s("quote", "\n")])
copy_from("csv-escape-lf", '1,"x\n"\n"\n2,y\n', options=[CSV, s("escape", "\n")])
copy_from("csv-delimiter", "1;x,y\n", options=[CSV, s("delimiter", ";")])
copy_from("csv-delimiter-tab", "1\tx\n", options=[CSV, s("delimiter", "\t")])
copy_from("csv-nulls", '1,\n2,""\n,x\n', options=[CSV])
copy_from("csv-null-option", '1,NA\n2,"NA"\n3,\n', options=[CSV, s("null", "NA")])
copy_from("csv-quoted-empty-int", '"",x\n', options=[CSV])
copy_from("csv-force-null", '1,""\n2,"NA"\n', TT, [CSV, cols("force_null", "b")])
copy_from("csv-force-null-all", '"NA","NA"\n', TT,
          [CSV, s("null", "NA"), cols("force_null")])
copy_from("csv-force-not-null", "1,\n,\n", TT, [CSV, cols("force_not_null", "b")])
copy_from("csv-force-not-null-all", ",\n", TT, [CSV, cols("force_not_null")])
copy_from("csv-force-not-null-int", ",x\n", AB, [CSV, cols("force_not_null", "a")])
copy_from("csv-force-both", '"",\n,""\n', TT,
          [CSV, cols("force_not_null"), cols("force_null")])
copy_from("csv-force-null-unknown", "1,x\n", AB, [CSV, cols("force_null", "z")])
copy_from("csv-force-null-uncopied", "1\n", AB, [CSV, cols("force_null", "b")], ["a"])
copy_from("csv-force-not-null-uncopied", "1\n", AB, [CSV, cols("force_not_null", "b")], ["a"])
copy_from("csv-force-null-twice", "1\n", AB, [CSV, cols("force_null", "b", "b")])
copy_from("csv-default", '\\D,"\\D"\n', "a int4 default 7, b text default 'dd'",
          [CSV, s("default", "\\D")])
copy_from("csv-default-none", "1,\\D\n", AB, [CSV, s("default", "\\D")])
copy_from("csv-end-marker", "1,x\n\\.\n2,y\n", options=[CSV])
copy_from("csv-end-marker-one", "x\n\\.\ny\n", "b text", [CSV])
copy_from("csv-end-marker-quoted", 'x\n"\\."\ny\n', "b text", [CSV])
copy_from("csv-backslashes", "1,\\N\n2,a\\tb\\\n", options=[CSV])
copy_from("csv-crlf", "1,x\r\n2,y\r\n", options=[CSV])
copy_from("csv-cr", "1,x\r2,y\r", options=[CSV])
copy_from("csv-lf-then-cr", "1,x\n2,y\r\n", options=[CSV])
copy_from("csv-crlf-then-lf", "1,x\r\n2,y\n", options=[CSV])
copy_from("csv-crlf-then-cr", "1,x\r\n2,y\r3,z\r\n", options=[CSV])
copy_from("csv-header", "a,b\n1,x\n", options=[CSV, ("header", "none")])
copy_from("csv-header-newline", '"a\nx",b\n1,x\nfoo,y\n', options=[CSV, ("header", "none")])
copy_from("csv-header-match", '"a",b\n1,x\n', options=[CSV, s("header", "match")])
copy_from("csv-header-match-wrong", "b,a\n1,x\n", options=[CSV, s("header", "match")])
copy_from("csv-header-match-null", ",b\n1,x\n", options=[CSV, s("header", "match")])
copy_from("csv-header-match-columns", "b,a\nx,1\n", options=[CSV, s("header", "match")],
          columns=["b", "a"])
copy_from("csv-header-match-unterminated", 'a,"b\n1,x\n', options=[CSV, s("header", "match")])
copy_from("csv-missing", "1,x\n2\n", options=[CSV])
copy_from("csv-extra", "1,x\n2,y,\n", options=[CSV])
copy_from("csv-bad-int", '1,x\n"f""oo",y\n', options=[CSV])
copy_from("csv-bad-utf8", b'1,x\n2,"a\n\xff\xffb"\n', options=[CSV])
copy_from("csv-bad-utf8-in-header", b"a,\xffbcd\n1,x\n", options=[CSV, s("header", "true")])
copy_from("csv-empty-line", "1,x\n\n", options=[CSV])
copy_from("csv-empty-line-one", "x\n\ny\n", "b text", [CSV])
copy_from("csv-bom", "\ufeff1,x\n", options=[CSV])
copy_from("csv-spaces", ' 1 , "x" \n', options=[CSV])

# ---- binary ----
SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER = SIGNATURE + struct.pack("!ii", 0, 0)
END = struct.pack("!h", -1)


def brow(*fields):
    out = struct.pack("!h", len(fields))
    for field in fields:
        out += struct.pack("!i", -1) if field is None else struct.pack("!i", len(field)) + field
    return out


def int4(number):
    return struct.pack("!i", number)


GOOD = HEADER + brow(int4(1), b"x") + brow(None, "é".encode()) + brow(int4(-5), None) + END


def binary(name, data, table=AB, columns=()):
    copy_from("binary-" + name, data, table, [BINARY], columns)


binary("good", GOOD)
binary("columns", HEADER + brow(b"x", int4(3)) + END, columns=["b", "a"])
binary("no-rows", HEADER + END)
binary("no-trailer", HEADER + brow(int4(1), b"x"))
binary("half-count", HEADER + brow(int4(1), b"x") + b"\0")
binary("half-length", HEADER + brow(int4(1), b"x") + b"\0\x02\0\0")
binary("no-length", HEADER + brow(int4(1), b"x") + b"\0\x02")
binary("half-field", HEADER + brow(int4(1), b"xyz")[:-1])
binary("missing-second", HEADER + brow(int4(1), b"xyz")[:10])
binary("after-trailer", GOOD + b"x")
binary("two-trailers", GOOD + END)
binary("count-more", HEADER + brow(int4(1), b"x", b"y") + END)
binary("count-less", HEADER + brow(int4(1), b"x") + brow(int4(1)) + END)
binary("count-negative", HEADER + struct.pack("!h", -2))
binary("empty", b"")
binary("signature-short", SIGNATURE[:7])
binary("signature-wrong", b"PGCOPY\n\xfe\r\n\0" + HEADER[11:] + END)
binary("signature-crlf", b"PGCOPY\r\n\xff\r\n\0" + HEADER[11:] + END)
binary("signature-only", SIGNATURE)
binary("flags-half", SIGNATURE + b"\0\0")
binary("flags-oids", SIGNATURE + struct.pack("!ii", 1 << 16, 0) + END)
binary("flags-critical", SIGNATURE + struct.pack("!ii", 1 << 17, 0) + END)
binary("flags-negative", SIGNATURE + struct.pack("!iI", -1, 0) + END)
binary("flags-low", SIGNATURE + struct.pack("!ii", 0xFFFF, 0) + brow(int4(1), b"x") + END)
binary("extension-none", SIGNATURE + struct.pack("!i", 0))
binary("extension-half", SIGNATURE + struct.pack("!i", 0) + b"\0\0")
binary("extension-negative", SIGNATURE + struct.pack("!ii", 0, -1))
binary("extension-short", SIGNATURE + struct.pack("!ii", 0, 10) + b"abc")
binary("extension", SIGNATURE + struct.pack("!ii", 0, 5) + b"abcde" + brow(int4(1), b"x") + END)
binary("header-only", HEADER)
binary("field-size", HEADER + struct.pack("!hi", 2, -2))
binary("field-size-second", HEADER + struct.pack("!hi", 2, 4) + int4(1) + struct.pack("!i", -7))
binary("bad-then-field-size", HEADER + struct.pack("!hi", 2, 3) + b"abc" + struct.pack("!i", -7))
binary("field-size-huge", HEADER + struct.pack("!hi", 2, 0x7FFFFFFF) + b"abc")
binary("field-size-limit", HEADER + struct.pack("!hi", 2, 0x3FFFFFFF) + b"abc")
binary("int-short", HEADER + brow(int4(1), b"x") + brow(b"\0\0\0", b"x") + END)
binary("int-long", HEADER + brow(b"\0\0\0\0\0", b"x") + END)
binary("int-empty", HEADER + brow(b"", b"x") + END)
binary("text-bad-utf8", HEADER + brow(int4(1), b"a\xe2\x28\xa1") + END)
binary("text-nul", HEADER + brow(int4(1), b"a\0b") + END)
binary("varchar-too-long", HEADER + brow(int4(1), b"abcd") + END, "a int4, b varchar(3)")
binary("no-columns", HEADER + b"\0\0\0\0" + END, "")
binary("long-text", HEADER + brow(int4(1), b"y" * 500) + END)

# ---- options ----
def option(name, *options, direction="from"):
    name = "option-" + name
    if direction == "from":
        copy_from(name, "", AB, list(options))
    else:
        copy_to(name, [], AB, list(options))


option("unknown", s("nonsense", "x"))
option("unknown-second", CSV, i("nonsense", 3))
option("format-unknown", s("format", "xml"))
option("format-upper", s("format", "CSV"))
option("format-none", ("format", "none"))
option("format-number", i("format", 3))
option("format-star", ("format", "star"))
option("format-list", ("format", "list", ["text"]))
option("format-twice", CSV, TEXT)
option("format-twice-unknown", CSV, s("format", "xml"))
for name, value in [("delimiter", ","), ("null", "x"), ("default", "d"), ("quote", "'"),
                    ("escape", "'"), ("header", "true"), ("freeze", "false"),
                    ("encoding", "utf8"), ("on_error", "stop"), ("log_verbosity", "default")]:
    option(name + "-twice", CSV, s(name, value), s(name, value))
    direction = "to" if name == "freeze" else "from"
    option(name + "-none", CSV, (name, "none"), direction=direction)
    option(name + "-star", CSV, (name, "star"))
option("reject_limit-twice", i("reject_limit", 1), i("reject_limit", 1))
for name in ["force_quote", "force_null", "force_not_null"]:
    option(name + "-twice", CSV, cols(name), cols(name, "a"))
    option(name + "-none", CSV, (name, "none"))
    option(name + "-word", CSV, s(name, "a"))
    option(name + "-text", cols(name))
    option(name + "-from", CSV, cols(name))
    option(name + "-to", CSV, cols(name), direction="to")
    option(name + "-text-to", cols(name), direction="to")
    option(name + "-binary", BINARY, cols(name))
for name, value in [("delimiter", ","), ("null", "x"), ("default", "d"), ("quote", "'"),
                    ("escape", "'"), ("header", "true"), ("header", "false"), ("freeze", "false"),
                    ("encoding", "utf8"), ("on_error", "ignore"), ("on_error", "stop"),
                    ("log_verbosity", "verbose")]:
    option("binary-" + name + "-" + value, BINARY, s(name, value), direction="to"
           if name not in ("on_error", "default") else "from")
option("delimiter-two", s("delimiter", ",,"))
option("delimiter-empty", s("delimiter", ""))
option("delimiter-wide", s("delimiter", "é"))
option("delimiter-newline", s("delimiter", "\n"))
option("delimiter-cr", s("delimiter", "\r"))
option("delimiter-number", i("delimiter", 5), CSV)
for byte in "\\.az09":
    option("delimiter-text-" + byte, s("delimiter", byte))
    option("delimiter-csv-" + byte, CSV, s("delimiter", byte))
option("delimiter-upper", s("delimiter", "A"))
option("null-newline", s("null", "a\nb"))
option("null-cr", s("null", "a\rb"))
option("null-delimiter", s("null", "a\tb"))
option("null-delimiter-csv", CSV, s("null", "a,b"))
option("null-quote", CSV, s("null", 'a"b'))
option("null-quote-text", s("null", 'a"b'))
option("null-number", i("null", 0))
option("null-float", ("null", "float", "1.5"))
option("default-newline", s("default", "a\nb"))
option("default-delimiter", s("default", "a\tb"))
option("default-quote", CSV, s("default", 'a"b'))
option("default-null", s("default", "\\N"))
option("default-to", s("default", "d"), direction="to")
option("quote-text", s("quote", "'"))
option("quote-two", CSV, s("quote", "''"))
option("quote-delimiter", CSV, s("quote", ","))
option("quote-wide", CSV, s("quote", "é"))
option("escape-text", s("escape", "'"))
option("escape-two", CSV, s("escape", "''"))
option("escape-empty", CSV, s("escape", ""))
for value in ["true", "FALSE", "On", "off", "Match", "maybe", "1"]:
    option("header-" + value, s("header", value))
    option("header-to-" + value, s("header", value), direction="to")
option("header-number-0", i("header", 0))
option("header-number-2", i("header", 2))
option("header-list", ("header", "list", ["true"]))
option("header-float", ("header", "float", "1.0"))
option("freeze-to", s("freeze", "true"), direction="to")
option("freeze-false-to", s("freeze", "false"), direction="to")
option("freeze-maybe", s("freeze", "maybe"))
option("freeze-number-2", i("freeze", 2))
option("encoding-dash", s("encoding", "UTF-8"))
option("encoding-unknown", s("encoding", "klingon"))
option("encoding-empty", s("encoding", ""))
option("encoding-number", i("encoding", 8))
option("on_error-to", s("on_error", "stop"), direction="to")
option("on_error-unknown", s("on_error", "maybe"))
option("log_verbosity-unknown", s("log_verbosity", "maybe"))
option("log_verbosity-to", s("log_verbosity", "verbose"), direction="to")
option("reject_limit-alone", i("reject_limit", 1))
option("reject_limit-stop", s("on_error", "stop"), i("reject_limit", 1))
option("reject_limit-zero", s("on_error", "ignore"), i("reject_limit", 0))
option("reject_limit-negative", s("on_error", "ignore"), i("reject_limit", -3))
option("reject_limit-text", s("on_error", "ignore"), s("reject_limit", "x"))
option("reject_limit-float", s("on_error", "ignore"), ("reject_limit", "float", "1.5"))
option("reject_limit-big", s("on_error", "ignore"), ("reject_limit", "float", "3000000000"))
option("reject_limit-bigger", s("on_error", "ignore"),
       ("reject_limit", "float", "30000000000000000000"))
option("reject_limit-none", s("on_error", "ignore"), ("reject_limit", "none"))
option("reject_limit-star", s("on_error", "ignore"), ("reject_limit", "star"))

# ---- output ----
ROWS = [
    (1, "plain"),
    (None, None),
    (2, ""),
    (3, "tab\tnewline\ncr\rbs\bff\fvt\vbackslash\\ctl\x01del\x7f"),
    (4, "comma, quote\" apostrophe' semicolon; pipe|"),
    (5, "\\N"),
    (6, "\\."),
    (7, "é€😀"),
    (8, " spaces "),
    (9, "NULL"),
]
copy_to("text", ROWS)
copy_to("text-header", ROWS[:1], options=[("header", "none")])
copy_to("text-delimiter", ROWS, options=[s("delimiter", "|")])
copy_to("text-delimiter-control", ROWS, options=[s("delimiter", "\x01")])
copy_to("text-delimiter-backspace", ROWS, options=[s("delimiter", "\b")])
copy_to("text-delimiter-upper", ROWS, options=[s("delimiter", "N")])
copy_to("text-null", ROWS, options=[s("null", "NULL")])
copy_to("text-columns", ROWS, columns=["b", "a"])
copy_to("text-columns-unknown", ROWS[:1], columns=["z"])
copy_to("text-header-odd-names", [(1, "x")], 'a int4, "b\t\\\\c" text', [("header", "none")])
copy_to("csv", ROWS, options=[CSV])
copy_to("csv-header", ROWS[:1], options=[CSV, s("header", "true")])
copy_to("csv-header-odd-names", [(1, "x")], 'a int4, "b "",c" text', [CSV, ("header", "none")])
copy_to("csv-header-null-name", [(1, "x")], options=[CSV, ("header", "none"), s("null", "a")])
copy_to("csv-header-forced", ROWS[:1], options=[CSV, ("header", "none"), cols("force_quote")])
copy_to("csv-delimiter", ROWS, options=[CSV, s("delimiter", ";")])
copy_to("csv-quote", ROWS, options=[CSV, s("quote", "'")])
copy_to("csv-escape", ROWS, options=[CSV, s("escape", "\\")])
copy_to("csv-null", ROWS, options=[CSV, s("null", "NULL")])
copy_to("csv-force", ROWS, options=[CSV, cols("force_quote", "b")])
copy_to("csv-force-all", ROWS, options=[CSV, cols("force_quote")])
copy_to("csv-force-unknown", ROWS[:1], options=[CSV, cols("force_quote", "z")])
copy_to("csv-force-uncopied", ROWS[:1], options=[CSV, cols("force_quote", "b")], columns=["a"])
copy_to("csv-query", ROWS[:2], options=[CSV], query=True)
copy_to("csv-query-force-unknown", ROWS[:1], options=[CSV, cols("force_quote", "z")], query=True)
copy_to("csv-one-column", [("\\.",), ("",), (None,), ("x",)], "b text", [CSV])
copy_to("binary", ROWS, options=[BINARY])
copy_to("binary-empty", [], options=[BINARY])
copy_to("text-empty", [])
copy_to("csv-empty-header", [], options=[CSV, ("header", "none")])

# ---- every type: rows out of PostgreSQL and in again, and values refused ----
TYPES = [
    ("bool", ["true", "false"], ["maybe"]),
    ("int2", ["-32768", "32767", "0"], ["32768", "1.5"]),
    ("int4", ["-2147483648", "2147483647"], ["0x", "2147483648"]),
    ("int8", ["-9223372036854775808", "9223372036854775807"], ["9223372036854775808"]),
    ("float4", ["1.5", "-0", "NaN", "Infinity", "1e-45", "3.4028235e38"], ["1e50", "x"]),
    ("float8", ["0.1", "1e300", "-Infinity", "4.9e-324"], ["1e500", ""]),
    ("numeric", ["0", "-12345.67890", "1e20", "NaN", "0.00000001"], ["1.2.3"]),
    ("numeric(15,2)", ["123.456", "-0.005", "9999999999999.99"], ["1e14"]),
    ("text", ["", "a b", "é"], []),
    ("varchar(5)", ["abcde", "abc     "], ["abcdef"]),
    ("char(5)", ["abc", ""], ["abcdef"]),
    ("bytea", ["\\x00ff5c", "a\\\\b", ""], ["\\xabc", "\\x0g"]),
    ("date", ["2000-01-01", "infinity", "0044-03-15 BC", "5874897-12-31"],
     ["2001-02-29", "x", "2001-13-01"]),
    ("timestamp", ["2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "-infinity"],
     ["2000-01-01 25:00:00", "nonsense"]),
    ("timestamptz", ["2000-01-01 00:00:00+00", "2024-02-29 12:34:56.789+05:30", "infinity"],
     ["2000-01-01 00:00:00 Nowhere/Zone"]),
    ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], ["a0eebc99", ""]),
]
for type_name, good, bad in TYPES:
    table = "a %s, b %s" % (type_name, type_name)
    rows = [(value, value) for value in good] + [(None, good[0])]
    for format_options in ([TEXT], [CSV], [BINARY]):
        name = "type-%s-%s" % (type_name, format_options[0][2])
        copy_to(name, rows, table, format_options)
        out = io.BytesIO()
        cursor.copy_expert(statement("t", (), "to", format_options)[0], out)
        copy_from(name, out.getvalue(), table, format_options)
    for number, value in enumerate(bad):
        name = "type-%s-bad-%d" % (type_name, number)
        copy_from(name, "\n".join([good[0] + ";" + good[0], good[0] + ";" + value]),
                  table, [CSV, s("delimiter", ";")])
    for number, value in enumerate([b"", b"\x01", b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\xff"]):
        binary("type-%s-%d" % (type_name, number), HEADER + brow(None, value) + END, table)

# ---- random input: short lines of special characters ----
random.seed(18)


def pieces(alphabet, count):
    return "".join(random.choice(alphabet) for _ in range(count))


def lines(alphabet, delimiter, width):
    """Lines with the right number of fields, unless the pieces say otherwise."""
    calm = [piece for piece in alphabet if delimiter not in piece and "\n" not in piece[-1:]]
    rows = range(random.randint(1, 4))
    fields = [[pieces(calm, random.randint(0, 5)) for _ in range(width)] for _ in rows]
    return "\n".join(delimiter.join(row) for row in fields) + random.choice(["\n", ""])


def random_text(alphabet, delimiter):
    width = random.choice([1, 2])
    if random.random() < 0.65:
        text = lines(alphabet, delimiter, width)
    else:
        text = pieces(alphabet, random.randint(1, 14))
    if random.random() < 0.8:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = text.replace("\n", random.choice(["\n", "\r\n", "\r"]))
    return text, TT if width == 2 else "b text"


TEXT_ALPHABET = ["a", "1", "\t", "\t", "\\", "\\N", "\n", "\n", "\r\n", "\r", ".", "\\.", "x", "7",
                 "é", "b", "\\\\", "1\tx\n", "2\ty\n"]
CSV_ALPHABET = ["a", "1", ",", ",", '"', '"', "\n", "\n", "\r\n", "\r", "\\", "'", "é", '""',
                "1,x\n", '"q"', "\\.\n"]
for number in range(260):
    text, table = random_text(TEXT_ALPHABET, "\t")
    options = []
    if random.random() < 0.15:
        options.append(s("null", random.choice(["", "a", "1\\", "\\", "\\."])))
    if random.random() < 0.1:
        options.append(s("header", random.choice(["true", "match"])))
    copy_from("random-text-%d" % number, text, table, options)
for number in range(420):
    text, table = random_text(CSV_ALPHABET, ",")
    options = [CSV]
    if random.random() < 0.4:
        options.append(s("escape", random.choice(["\\", "'", "a", ","])))
    if random.random() < 0.2:
        options.append(s("quote", random.choice(["'", "a", "\\"])))
    if random.random() < 0.15:
        options.append(s("null", random.choice(["a", "1", "\\"])))
    if random.random() < 0.2:
        options.append(cols(random.choice(["force_null", "force_not_null"])))
    if random.random() < 0.1:
        options.append(s("header", random.choice(["true", "match"])))
    copy_from("random-csv-%d" % number, text, table, options)
for number in range(150):
    data = bytearray(GOOD)
    for _ in range(random.randint(1, 3)):
        if random.random() < 0.5:
            data[random.randrange(11, len(data))] = random.choice([0, 1, 2, 3, 4, 255, 120])
        elif random.random() < 0.5:
            del data[random.randrange(len(data)):]
            if not data:
                data = bytearray(b"P")
        else:
            at = random.randrange(19, max(20, len(data)))
            data[at:at] = bytes([random.choice([0, 0, 1, 4, 255])])
        if len(data) < 12:
            break
    binary("random-%d" % number, bytes(data))
for number in range(60):
    data = bytearray(pieces(["a", "é", "\t", "\n", "€", "1\tx\n", "😀", "b"], 12).encode())
    for _ in range(random.randint(1, 2)):
        data[random.randrange(len(data))] = random.choice([0xFF, 0xC3, 0xE2, 0xF0, 0x80, 0, 10])
    copy_from("random-utf8-%d" % number, bytes(data), TT)
