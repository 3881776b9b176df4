#!/usr/bin/env python3
"""Asks a PostgreSQL 18 what it makes of many values and stores its answers.

    generate.py CONNINFO

CONNINFO is a psql connection string of a superuser whose database allows CREATE EXTENSION
pageinspect; encoding UTF8. `psql` is found through PATH, or named by the variable PSQL. The files
beside this script are rewritten; the test `corpus` replays them. Columns are separated by tabs,
with backslash escapes for backslash, tab, newline and carriage return; \\N is NULL.
"""

import json
import os
import random
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PSQL = os.environ.get("PSQL", "psql")
RANDOM = random.Random(20260101)

SETUP = r"""
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pageinspect;
CREATE FUNCTION pg_temp.failure(state text, message text, detail text, hint text) RETURNS json
  LANGUAGE sql AS $$ SELECT json_build_array('error', state, message, detail, hint) $$;
CREATE FUNCTION pg_temp.try_sql(command text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE result text; state text; message text; detail text; hint text;
BEGIN
  EXECUTE command INTO result;
  RETURN json_build_array('ok', result);
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
    detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN pg_temp.failure(state, message, detail, hint);
END $$;
CREATE FUNCTION pg_temp.try_input(type oid, typmod int, input text) RETURNS json
  LANGUAGE plpgsql AS $$
DECLARE
  t pg_type; arguments text; command text; shown text; sent text;
  state text; message text; detail text; hint text;
BEGIN
  SELECT * INTO t FROM pg_type WHERE oid = type;
  arguments := CASE WHEN (SELECT pronargs FROM pg_proc WHERE oid = t.typinput) = 3
    THEN format('%L::cstring, %s::oid, %s', input,
                CASE WHEN t.typelem <> 0 THEN t.typelem ELSE t.oid END, typmod)
    ELSE format('%L::cstring', input) END;
  command := format('SELECT %s(v)::text, %s FROM (SELECT %s(%s) AS v) AS x',
    t.typoutput,
    CASE WHEN t.typsend <> 0 AND t.typelem <> 1033 THEN format('encode(%s(v), ''hex'')', t.typsend) ELSE 'NULL' END,
    t.typinput, arguments);
  EXECUTE command INTO shown, sent;
  RETURN json_build_array('ok', shown, sent);
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
    detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN pg_temp.failure(state, message, detail, hint);
END $$;
"""

TYPES = {
    "bool": 16, "bytea": 17, "char": 18, "name": 19, "int8": 20, "int2": 21, "int2vector": 22,
    "int4": 23, "text": 25, "oid": 26, "tid": 27, "xid": 28, "cid": 29, "oidvector": 30,
    "float4": 700, "float8": 701, "aclitem": 1033, "aclitem[]": 1034, "bpchar": 1042,
    "varchar": 1043, "date": 1082, "timestamp": 1114, "timestamptz": 1184, "numeric": 1700,
    "uuid": 2950, "pg_lsn": 3220, "xid8": 5069, "regproc": 24, "regtype": 2206,
    "bool[]": 1000, "char[]": 1002, "int2[]": 1005, "int4[]": 1007, "text[]": 1009,
    "int8[]": 1016, "float4[]": 1021, "oid[]": 1028, "numeric[]": 1231, "timestamptz[]": 1185,
    "name[]": 1003, "pg_node_tree": 194,
}


def numeric(precision, scale):
    return ((precision << 16) | (scale & 0x7FF)) + 4


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def psql(script, conninfo):
    done = subprocess.run(
        [PSQL, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", conninfo],
        input=SETUP + script, capture_output=True, text=True,
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout.splitlines()


def escape(field):
    if field is None:
        return "\\N"
    field = str(field)
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        field = field.replace(plain, escaped)
    return field


def write(name, columns, rows):
    with open(os.path.join(HERE, name), "w", encoding="utf-8", newline="\n") as file:
        file.write("# " + "\t".join(columns) + "\n")
        for row in rows:
            file.write("\t".join(escape(field) for field in row) + "\n")
    print(f"{name}: {len(rows)}")


def outcome(answer, width):
    """ok and `width` values, or error and four."""
    answer = json.loads(answer)
    return answer + [None] * (1 + max(width, 4) - len(answer))


# ---------------------------------------------------------------- text input

def integers():
    shared = ["", " ", "0", "-0", "+1", " 7 ", "\t8\n", "1_000", "1__0", "_1", "1_", "0x1F", "0X_ff",
              "0x", "-0x80", "0o17", "0O_7", "0b101", "0b2", "0b_1", "1.5", "1e3", "abc", "1 2", "--1", "+",
              "-", "12a", "٣", "0x1g", "1_000_000", "00012", "\u00a01", "1\x0b"]
    for type, bits in (("int2", 16), ("int4", 32), ("int8", 64)):
        high = 2 ** (bits - 1)
        for value in (high, high - 1, -high, -high - 1, high * 10, high * 2):
            for form in ("{}", "{}x", " {} "):
                yield type, -1, form.format(value)
        yield from ((type, -1, hex(high - 1)), (type, -1, hex(high)), (type, -1, "-" + hex(high)),
                    (type, -1, oct(high - 1)), (type, -1, bin(high)), (type, -1, "0b" + "1" * (bits - 1)))
        for text in shared:
            yield type, -1, text
        for _ in range(20):
            yield type, -1, str(RANDOM.randrange(-high, high) >> RANDOM.randrange(bits))
    for type in ("oid", "xid", "cid", "xid8"):
        for text in ["", "0", "1", "4294967295", "4294967296", "-1", "-2147483648", "-2147483649",
                     "0x10", "010", "08", " 5 ", "5x", "x", "18446744073709551615",
                     "18446744073709551616", "0x", "+3", "1_0"]:
            yield type, -1, text


def floats():
    texts = ["", " ", "0", "-0", "1", "1.", ".5", ".", "1e", "1e+", "1e5", "1E-5", "abc", "NaN", "nan",
             "+nan", "-nan", "Infinity", "-infinity", "+Infinity", "inf", "-inf", "+inf", "infin", "infinityx", " 1.5 ",
             "1 2", "1e400", "-1e400", "1e-400", "1e39", "1e-46", "1e-45", "3.4028235e38",
             "3.4028236e38", "1.7976931348623157e308", "1.7976931348623159e308", "5e-324", "2e-324",
             "2.2250738585072014e-308", "1.1754944e-38", "0x1F", "0x1p4", "0x1.8p1", "0x", "1_0",
             "0.1", "0.3", "1e15", "123456789012345", "1234567890123456", "999999999999999.9",
             "1e14", "1e-4", "0.00001", "0.0001234", "100000", "1000000", "123456.7", "1234567",
             "9007199254740993", "9007199254740992", "1e22", "1e23", "8.5e22", "16777217",
             "16777216", "33554432.5", "5e22", "18014398509481984", "36028797018963968", "4503599627370496.5",
             "9.5367431640625e-07", "1.5e-9", "67108864", "134217728", "1e10", "2e9", "4294967296", "1.0e-5x",
             "1.9999999999999998", "2.5e15", "1e300", "1.2345678e-30"]
    for type in ("float4", "float8"):
        for text in texts:
            yield type, -1, text
        for _ in range(60):
            if type == "float8":
                value = struct.unpack("<d", struct.pack("<Q", RANDOM.getrandbits(64)))[0]
            else:
                value = struct.unpack("<f", struct.pack("<I", RANDOM.getrandbits(32)))[0]
            yield type, -1, repr(value)
        for exponent in range(-30, 90, 3):
            yield type, -1, repr(float(2 ** exponent if exponent >= 0 else 2.0 ** exponent))
            yield type, -1, f"{RANDOM.randrange(1, 99)}e{exponent // 3}"


def numerics():
    texts = ["", " ", "0", "-0", "0.0", "0.000", ".5", "5.", ".", "-.5", "+.5", "1e5", "1E-5", "1.5e3", "1e", "1e+",
             "1_000.000_1", "1_.0", "1._0", "_1", "1_", "1__0", "0x1F", "0X_ff", "0x", "0o17", "0b101", "-0xff",
             "0b102", "0xffffffffffffffffffffffffffffffff", "NaN", "nan", "-NaN", "+NaN", "Infinity", "-inf", "+inf",
             "infinit", "NaN x", "abc", "1 2", " 12.5 ", "1.2.3", "12,5", "1e1_0", "1e1000000000", "1e2147483648",
             "1e131071", "1e131072", "1e-16383", "1e-16384", "9" * 40, "0." + "9" * 40, "123456789.123456789",
             "10000", "9999", "99999999", "100000000", "0.0001", "0.00001", "1e-8", "1.00000000", "100.0100",
             "0.00000000000000000001", "1e40", "000123.4500", "-1234567890123456.78", "12345678901234567.8",
             "123456789012345678901", "1e-70", "1e64", "1e256", "5e-65", "1.5e260", "--1", "1-", "0x1.5", "1e-2147483648"]
    for text in texts:
        yield "numeric", -1, text
    typmods = [(15, 2), (5, 0), (3, 3), (2, 5), (4, -2), (38, 10), (38, 20), (1000, 0), (18, 18), (20, 19), (10, 4)]
    values = ["0", "1", "-1", "0.005", "0.004999", "0.015", "9.995", "99.995", "999.5", "99999", "99999.4", "99999.5",
              "-99999.5", "123456789012.995", "9999999999999.994", "9999999999999.995", "12345678901234.5", "1e5", "0.0005",
              "0.00099", "0.0009999", "0.1", "1234", "1250", "1249.999", "999949", "999950", "NaN", "Infinity",
              "-Infinity", "0.999999999999999999", "0.9999999999999999995", "12345678901234567.89", "1e20",
              "99999999999999999999999999.99", "123456789012345678", "1.23456789012345678", "   42.5", "7.", ".7"]
    for precision, scale in typmods:
        for text in values:
            yield "numeric", numeric(precision, scale), text
    for _ in range(150):
        digits = "".join(RANDOM.choice("0012345678999") for _ in range(RANDOM.randrange(1, 24)))
        point = RANDOM.randrange(len(digits) + 1)
        text = RANDOM.choice(["", "-"]) + digits[:point] + "." + digits[point:]
        if point == len(digits):
            text = text[:-1]
        yield "numeric", RANDOM.choice([-1, numeric(15, 2), numeric(30, 6), numeric(12, 0)]), text


def strings():
    for type in ("varchar", "bpchar"):
        for typmod in (-1, 5, 7, 14):
            for text in ["", " ", "a", "abc", "abc ", "abcd", "abcd   ", "ab    ", "äöü", "äöü ", "äöüß", "€😀x", "€😀xy",
                         "0123456789", "0123456789 ", "01234567890", "tab\tx"]:
                yield type, typmod, text
    for text in ["", "x", "a\\b", "line\nbreak", "ä€😀"]:
        yield "text", -1, text
    for text in ["", "pg_class", "x" * 63, "x" * 64, "ä" * 40, "€" * 30]:
        yield "name", -1, text
    for text in ["", "a", "ab", "\\101", "\\377", "\\400", "\\1", "ä", "\\000"]:
        yield "char", -1, text
    for text in ["t", "true", "TRUE", "tr", "yes", "y", "on", "1", "f", "false", "no", "n", "off", "of", "o", "0", "", " ",
                 " true ", "2", "truex", "onn", "10", "tRuE\n"]:
        yield "bool", -1, text
    for text in ["", "abc", "\\x", "\\x00ff", "\\xAbCd", "\\x 01 02\n03", "\\x0", "\\x0g", "\\xzz", "\\x€", "\\x0 1", "a\\\\b",
                 "\\000\\377", "\\400", "\\", "a\\1", "\\12", "ä", "\\X01", "\\x01\t02", "\\x010"]:
        yield "bytea", -1, text
    good = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    for text in [good, good.upper(), good.replace("-", ""), "{" + good + "}", "{" + good, good + "}", good[:-1], good + "0",
                 "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", "a0-eebc999c0b4ef8bb6d6bb9bd380a11", "", "x" * 36,
                 " " + good, good + " ", good.replace("a", "g"), "{}", "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11"]:
        yield "uuid", -1, text


def systems():
    for text in ["(0,1)", "(4294967295,65535)", "(1,65536)", "(4294967296,1)", "(-1,1)", "1,2", "(1,2", "( 1, 2)", "(1 ,2)", "(1,2)x",
                 "", "(,)"]:
        yield "tid", -1, text
    for text in ["0/0", "16/B374D848", "ffffffff/ffffffff", "100000000/0", "1", "/", "1/", "g/0", "0/12345678", " 0/0"]:
        yield "pg_lsn", -1, text
    for type in ("int2vector", "oidvector"):
        for text in ["", "1", "1 2 3", "  4   5 ", "-1 2", "1 x", "70000", "99999999999", "1,2"]:
            yield type, -1, text
    for text in ["=r/postgres", "postgres=arwdDxtm/postgres", "postgres=r*w/postgres", "postgres=X/postgres"]:
        yield "aclitem", -1, text
    yield "aclitem[]", -1, "{=r/postgres,postgres=arwdDxtm/postgres}"
    for text in ["-", "0", "23", "99999999"]:
        yield "regproc", -1, text if text != "23" else "99999998"
    for text in ["-", "23", "integer", "int4", "double precision", "text[]", "timestamp with time zone", "no_such_type",
                 "character varying", "_int4", "99999999"]:
        yield "regtype", -1, text
    yield "pg_node_tree", -1, "{CONST}"
    arrays = {
        "int4[]": ["{}", " { } ", "{1}", "{1,2,3}", "{ 1 , 2 }", "{NULL,1,null}", "{{1,2},{3,4}}", "{{1,2},{3}}", "{{},{}}", "{1,{2}}",
                   "{{1},2}", "{1,}", "{,1}", "{1 2}", "{1", "1", "", "{1}}", "{1}x", "{x}", '{"1"}', '{"1}', "{{{{{{1}}}}}}",
                   "{{{{{{{1}}}}}}}", "{99999999999}", '{1"2"}', "{\\1}", "{{1,NULL},{NULL,4}}"],
        "text[]": ["{}", "{a,b}", "{a b , c }", '{"a,b","c\\"d","e\\\\f"}', '{"",NULL,"NULL",null}', "{a\\,b}", "{ä,€}", '{" x "}',
                   "{\\ x}", '{a"b"}', '{"a"b}', "{a{b}", "{nullx}", "{\\null}", '{"{}"}', "{a\tb}", '{{"a","b"},{"c","d"}}', "{a\\}",
                   '{"a\\'],
        "int8[]": ["{1,-9223372036854775808}", "{NULL,5}"], "int2[]": ["{1,2,3}", "{70000}"], "bool[]": ["{t,f,NULL}"],
        "float4[]": ["{1.5,NaN,1e10}"], "oid[]": ["{1,4294967295}"], "char[]": ["{a,b,\"\"}"], "name[]": ["{a,pg_class}"],
        "numeric[]": ["{1.50,NaN,-3e5}"], "timestamptz[]": ['{"2024-01-01 00:00:00+00",infinity}'],
    }
    for type, texts in arrays.items():
        for text in texts:
            yield type, -1, text


DATES = """
2000-01-01|1999-12-31|2024-02-29|2023-02-29|2024-02-30|2000-00-10|2000-13-01|2000-01-32|2000-1-1|00-1-1|0-1-1|99-12-31|70-1-1|69-1-1
0001-01-01|0000-01-01|0001-01-01 BC|4714-11-24 BC|4714-11-23 BC|4713-01-01 BC|5874897-12-31|5874898-01-01|294276-12-31|294277-01-01
10000-01-01|99999-12-31|100000-01-01|20240102|240102|2024010|020304|1|12|123|1234|12345|1/2/3|01/02/2003|13/02/2003|02/13/2003|1.2.2003
13.2.2003|2003.045|2003-045|2003.366|2004.366|2003.001|2004-366|jan 5 2004|5 jan 2004|january 5, 2004|5-jan-04|jan-5-2004|2004-jan-5
04-jan-05|05-JAN-1999|JAN 99 05|sept 3 2001|mon jan 5 2004|Monday, January 5, 2004|foo|jan|5 2004|J2451187|J 2451187|julian 2451187|JD2451187
J2451187.5|J-1|J2147483647|J2147483648|J0|infinity|-infinity|+infinity| infinity |INFINITY|inf|epoch|EPOCH|today x|2000-01-01 x||  |-|2000-01-01-|2000--01-01|2000-01-01 BC
2000-01-01 AD|0-01-01 BC|1 BC|2000/01/01|2000.01.01|2000-01/01|2000 01 01|2000 jan 01|2000-01-01 12:34:56|2000-01-01T12:34|2000-01-01 25:00
2000-01-01 24:00:00|2000-01-01 24:00:01|2000-01-01 12:60|2000-01-01 12:59:60|2000-01-01 12:59:61|2000-01-01 12:34:56.789|2000-01-01 12:34:56.1234567
2000-01-01 12:34:56.9999995|2000-01-01 12:34:56.9999994|2000-01-01 23:59:59.9999999|2000-01-01 12:34:56.|2000-01-01 12:34.5|2000-01-01 12:|2000-01-01 :12
2000-01-01 1:2:3|2000-01-01 12:34:56 pm|2000-01-01 12:34 am|2000-01-01 13:34 pm|2000-01-01 11:34PM|2000-01-01 0:34 am|2000-01-01 12:34:56Z|2000-01-01 12:34:56 z
2000-01-01 12:34:56+00|2000-01-01 12:34:56+01|2000-01-01 12:34:56-03:30|2000-01-01 12:34:56+0530|2000-01-01 12:34:56 +5:45:10|2000-01-01 12:34:56+16
2000-01-01 12:34:56+15:59:59|2000-01-01 12:34:56+15:60|2000-01-01 12:34:56+99|2000-01-01 12:34:56+123|2000-01-01 12:34:56+1234|2000-01-01 12:34:56+12345|2000-01-01 12:34:56+1:
2000-01-01 12:34:56 UTC|2000-01-01 12:34:56 utc|2000-01-01 12:34:56 GMT|2000-01-01 12:34:56 EST|2000-07-01 12:34:56 EDT|2000-07-01 12:34:56 CET|2000-07-01 12:34:56 CEST
2000-07-01 12:34:56 PST|2000-07-01 12:34:56 MSK|2012-07-01 12:34:56 MSK|2000-07-01 12:34:56 MET DST|2000-07-01 12:34:56 PDT DST|2000-07-01 12:34:56 IST|2000-07-01 12:34:56 LMT
2000-07-01 12:34:56 America/New_York|2000-01-01 12:34:56 america/new_york|2000-01-01 12:34:56 Nowhere/City|2000-01-01 12:34:56 EST5EDT|2000-07-01 12:34:56 Asia/Kolkata
2000-07-01 12:34:56 FOO+3|2000-07-01 12:34:56 <xyz>-7|2000-07-01 12:34:56 foo|2000-07-01 12:34:56 Etc/GMT+5|2000-07-01 12:34:56 zulu|2000-07-01 America/New_York 12:34:56
20000101T123456|20000101 123456|20000101T1234|20000101t123456.789|20000101 123456-05|20000101T123456+0530|2000-01-01 123456|2000-01-01 1234|2000-01-01 12|2000-01-01 123
2000-01-01 T 12:34|12:34:56 2000-01-01|12:34 jan 5 2004|2000-01-01 allballs|allballs 2000-01-01|12:34:56|2000-01-01 12:34 12:35|2000-01-01 2000-01-02|on 2000-01-01 at 12:34
Wed Jan 05 12:34:56 2005|Wed Jan 05 12:34:56 2005 PST|Wed Jan 05 12:34:56 PST 2005|Wed 05 Jan 12:34:56 2005|Jan 05 12:34:56.5 2005|2005.01.05 12:34|12.34.2000|01.02.03
2000-01-01 12:34:56.123456+05:30|2000-01-01 12:34:56 dst|0001-01-01 00:00:00|0044-03-15 BC|4714-11-24 00:00:00 BC|4714-11-23 23:59:59 BC|294276-12-31 23:59:59.999999
294277-01-01 00:00:00|290000-01-01|4714-11-24 00:00:00+00 BC|4714-11-24 00:00:00+01 BC|294276-12-31 23:59:59.999999-01|2000-01-01 00:00:00 +0|1999-02-31|1999-04-31|99990101
2024-03-31 02:30:00|2024-10-27 02:30:00|2024-03-10 02:30:00|2024-11-03 01:30:00|2011-03-27 02:30:00|1880-01-01 00:00:00|1890-06-01 12:00|1945-08-15 12:00|2050-07-01 12:00|2500-07-01 12:00
2037-12-31 23:59|2040-03-25 03:00|2099-07-01|2100-07-01|2101-01-01 00:00|9999-12-31 23:59:59|200000-06-15 12:00|1-1-1|2000-366|20001|999999|1e5|2000-01-01 1e5|2000,01,01|(2000-01-01)
2000-01-01 12:34:56,789|١|2000-01-01 12:34:56 ä|2000_01_01|2000-01-01 12-34-56|jan 2000|jan 1|1 jan|2000-jan|5 jan 4|4 jan 5 12:00|99 jan 5|5 jan 99|2000-w01|y2000|m1|d 5|2000-01-01 j|j|t|at
2000-01-01 abc/def|2000-01-01 +foo|2000-01-01 -infinity|infinity 2000|epoch 12:00|20000101 12:34|2000-01-01 1:1|2000-01-01 12:34:56 12345|00000101|0000101|1000101|2147483648-01-01
2000-01-2147483648|2000-01-01 2147483648:00|2000-01-01 12:34:56 EST EDT|2000-01-01 12:34 +01 UTC|20000101 996060|20000101 246060|20000101 240000|2000-01-01 246101|2000-01-01T
2000-01-01 00:00:00.0000005|2000-01-01 00:00:00.0000015|2000-01-01 00:00:00.5|1999-12-31 23:59:59.5|2000-01-01 12:34:56.000001|1234-5-6|31-12-1999|12-31-1999|1999-31-12
""".replace("\n", "|").strip("|").split("|")


def some_dates():
    """Enough for another zone and style."""
    return [case for case in dates() if RANDOM.random() < 0.3]


def dates():
    for type in ("date", "timestamp", "timestamptz"):
        for text in DATES:
            yield type, -1, text
    for typmod in range(7):
        for text in ["2000-01-01 12:34:56.123456", "1999-12-31 23:59:59.987654", "1999-12-31 23:59:59.5", "2000-01-01 00:00:00.5",
                     "infinity", "1990-01-01 00:00:00.000005"]:
            yield "timestamp", typmod, text
            yield "timestamptz", typmod, text
    for _ in range(60):
        stamp = "%04d-%02d-%02d %02d:%02d:%02d" % (
            RANDOM.randrange(1800, 2300), RANDOM.randrange(1, 13), RANDOM.randrange(1, 29),
            RANDOM.randrange(24), RANDOM.randrange(60), RANDOM.randrange(60))
        yield "timestamp", -1, stamp + "." + str(RANDOM.randrange(1000000))
        yield "timestamptz", -1, stamp
        yield "timestamptz", -1, stamp + RANDOM.choice(["+02", "-08", "+05:45", "-00:30"])


SETTINGS = [
    ("", lambda: [*integers(), *floats(), *numerics(), *strings(), *systems(), *dates()]),
    ("TimeZone=Europe/Berlin", dates),
    ("TimeZone=America/New_York;DateStyle=SQL, DMY", some_dates),
    ("TimeZone=America/St_Johns;DateStyle=Postgres, MDY", some_dates),
    ("TimeZone=Asia/Kolkata;DateStyle=German, DMY", some_dates),
    ("TimeZone=America/Sao_Paulo;DateStyle=Postgres, DMY", some_dates),
    ("TimeZone=EST5EDT,M3.2.0,M11.1.0;DateStyle=ISO, YMD", some_dates),
    ("TimeZone=-7;DateStyle=SQL, YMD", some_dates),
    ("TimeZone=Europe/Moscow;DateStyle=SQL, MDY", some_dates),
    ("TimeZone=Australia/Lord_Howe", some_dates),
    ("TimeZone=<xyz>-3:30", some_dates),
    ("extra_float_digits=0", floats),
    ("extra_float_digits=-5", floats),
    ("extra_float_digits=-15", floats),
    ("extra_float_digits=3", floats),
    ("bytea_output=escape", strings),
]


def text_cases(conninfo):
    script, keys = [], []
    for settings, cases in SETTINGS:
        script.append("RESET ALL; SET client_min_messages = error; SET TimeZone = 'UTC';")
        for setting in filter(None, settings.split(";")):
            name, value = setting.split("=", 1)
            script.append(f"SET {name} = {quote(value)};")
        seen = set()
        for type, typmod, text in cases():
            if settings and type not in ("date", "timestamp", "timestamptz", "float4", "float8", "bytea"):
                continue
            if (type, typmod, text) in seen:
                continue
            seen.add((type, typmod, text))
            keys.append((settings, TYPES[type], typmod, text))
            script.append(f"SELECT pg_temp.try_input({TYPES[type]}, {typmod}, {quote(text)});")
    answers = psql("\n".join(script), conninfo)
    assert len(answers) == len(keys), (len(answers), len(keys))
    columns = ["settings", "type", "typmod", "input", "ok", "text", "binary", "-", "-",
               "| error", "sqlstate", "message", "detail", "hint"]
    write("text.tsv", columns, [(*key, *outcome(answer, 2)) for key, answer in zip(keys, answers)])


# -------------------------------------------------------------- binary input

def binary_values():
    def number(digits, weight, sign, dscale, count=None):
        count = len(digits) if count is None else count
        return struct.pack(">HhHH", count, weight, sign, dscale) + b"".join(struct.pack(">h", d) for d in digits)

    fixed = {"bool": 1, "int2": 2, "int4": 4, "int8": 8, "float4": 4, "float8": 8, "date": 4, "timestamp": 8,
             "timestamptz": 8, "uuid": 16, "oid": 4, "xid": 4, "char": 1, "pg_lsn": 8, "tid": 6}
    for type, size in fixed.items():
        yield type, -1, bytes(range(1, size + 1))
        yield type, -1, bytes(size)
        yield type, -1, bytes(size - 1)
        yield type, -1, bytes(size + 1)
        yield type, -1, b"\x7f" + b"\xff" * (size - 1)
        yield type, -1, b"\x80" + b"\x00" * (size - 1)
        yield type, -1, b"\xff" * size
    for value in (-2451545, -2451546, 2145031948, 2145031949):
        yield "date", -1, struct.pack(">i", value)
    for value in (-211813488000000000, -211813488000000001, 9223371331199999999, 9223371331200000000, 123456789):
        yield "timestamp", -1, struct.pack(">q", value)
        yield "timestamptz", 2, struct.pack(">q", value)
    for typmod in (-1, 7):
        for type in ("text", "varchar", "bpchar"):
            if type == "text" and typmod != -1:
                continue
            for raw in (b"", b"abc", b"abcd", b"abc   ", "äöü".encode(), b"\xff", b"a\x00b", b"\xe2\x28\xa1", b"\xc3", b"\xed\xa0\x80",
                        b"\xf4\x90\x80\x80", b"\xc0\x80", b"ab\xf0\x9f\x98"):
                yield type, typmod, raw
    for raw in (b"", b"x" * 63, b"x" * 64):
        yield "name", -1, raw
    for raw in (b"", b"\x00\xff"):
        yield "bytea", -1, raw
    for typmod in (-1, numeric(15, 2), numeric(5, 0), numeric(38, 10), numeric(3, 3), numeric(4, -2)):
        for value in (number([], 0, 0, 0), number([], 0, 0, 2), number([], 0, 0xC000, 0), number([], 0, 0xD000, 0),
                      number([], 0, 0xF000, 0), number([1], 0, 0, 0), number([1, 2345], 0, 0x4000, 4), number([1, 2345], 0, 0, 2),
                      number([1, 2350], 0, 0, 1), number([0, 1, 0], 1, 0, 0), number([0, 0], 5, 0x4000, 3), number([9999, 9950], 0, 0, 3),
                      number([9999, 9999], 0, 0, 4), number([1], 3, 0, 0), number([5], -1, 0, 4), number([50], -1, 0, 4),
                      number([1], 100, 0, 0), number([1], -100, 0, 404), number([1], 0, 0, 100), number([12, 3456, 7800], 0, 0, 6),
                      number([9999, 9999, 9999, 9900], 2, 0, 2), number([1], 0, 0, 0x4000), number([1], 0, 0x1234, 0),
                      number([10000], 0, 0, 0), number([-1], 0, 0, 0), number([1], 0, 0, 0, 2), number([1, 2], 0, 0, 0, 1),
                      b"", b"\x00", b"\x00\x01\x00\x00\x00\x00\x00", number([1], 32767, 0, 0), number([7], -32768, 0, 0)):
            yield "numeric", typmod, value
    for type, value in (
        ("int4[]", struct.pack(">iiI", 0, 0, 23)),
        ("int4[]", struct.pack(">iiIiiiiii", 1, 0, 23, 2, 1, 4, 7, 4, 8)),
        ("int4[]", struct.pack(">iiIiiiii", 1, 1, 23, 2, 5, 4, 7, -1)),
        ("int4[]", struct.pack(">iiIiiii", 1, 0, 25, 1, 1, 4, 7)),
        ("int4[]", struct.pack(">iiIiiii", 1, 2, 23, 1, 1, 4, 7)),
        ("int4[]", struct.pack(">iiI", 7, 0, 23)),
        ("int4[]", struct.pack(">iiIii", 1, 0, 23, 2, 1)),
        ("text[]", struct.pack(">iiIii", 1, 0, 25, 1, 1) + struct.pack(">i", 3) + b"a b"),
        ("int2vector", struct.pack(">iiIiiihih", 1, 0, 21, 2, 0, 2, 5, 2, 6)),
        ("int2vector", struct.pack(">iiIiiih", 1, 0, 21, 1, 1, 2, 5)),
        ("oidvector", struct.pack(">iiIiiiI", 1, 0, 26, 1, 0, 4, 99)),
    ):
        yield type, -1, value


# Where the cast to text does not print what the type's output function does.
TYPE_OUTPUT = {"bpchar": "bpcharout", "bool": "boolout"}


def binary_cases(conninfo):
    cases = list(dict.fromkeys(binary_values()))
    names = psql("\n".join(f"SELECT format_type({TYPES[t]}, {m});" for t, m, _ in cases), conninfo)
    rows = []
    for (type, typmod, raw), name in zip(cases, names):
        header = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
        data = header + struct.pack(">hi", 1, len(raw)) + raw + struct.pack(">h", -1)
        path = os.path.join(HERE, ".binary.tmp")
        with open(path, "wb") as file:
            file.write(data)
        commands = ["\\set VERBOSITY verbose", "SET TimeZone = 'UTC'", f"CREATE TEMP TABLE t (v {name})",
                    f"\\copy t FROM {quote(path)} (FORMAT binary)",
                    f"SELECT {TYPE_OUTPUT.get(type, '')}(v)::text FROM t"]
        done = subprocess.run([PSQL, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", conninfo]
                              + [part for command in commands for part in ("-c", command)],
                              capture_output=True, text=True)
        if done.returncode == 0:
            rows.append((TYPES[type], typmod, raw.hex(), "ok", done.stdout[:-1]))
        else:
            first = next(line for line in done.stderr.splitlines() if "ERROR:" in line)
            state, message = first.split("ERROR:", 1)[1].strip().split(": ", 1)
            rows.append((TYPES[type], typmod, raw.hex(), "error", state, message))
    os.remove(path)
    write("binary.tsv", ["type", "typmod", "binary", "ok", "text", "| error", "sqlstate", "message"], rows)


# ------------------------------------------------------------- arithmetic

def arithmetic_cases(conninfo):
    values = ["0", "0.00", "1", "-1", "2", "3", "7", "10", "-10", "0.1", "0.3333", "1.50", "-2.5", "2.5", "99.99", "100", "9999", "10000",
              "0.0001", "0.00000001", "123456789", "123456789.987654321", "-98765432109876543210.5", "1e20", "1e-20", "1e100",
              "9999999999999999999999999999.9999", "170141183460469231731687303715884105727", "NaN", "Infinity", "-Infinity"]
    rows = []

    def ask(kind, cases):
        answers = psql("\n".join(f"SELECT pg_temp.try_sql({quote(sql)});" for sql, *_ in cases), conninfo)
        assert len(answers) == len(cases)
        for (_, *key), answer in zip(cases, answers):
            answer = json.loads(answer)
            rows.append((kind, *key, *answer[:3]))

    pairs = [(a, b) for a in values for b in values]
    for _ in range(120):
        make = lambda: f"{RANDOM.randrange(-10 ** RANDOM.randrange(1, 40), 10 ** RANDOM.randrange(1, 40))}e-{RANDOM.randrange(0, 20)}"
        pairs.append((make(), make()))
    chosen = [pair for pair in pairs if RANDOM.random() < 0.35] + pairs[-120:]
    for name, form in (("add", "{}::numeric + {}::numeric"), ("sub", "{}::numeric - {}::numeric"), ("mul", "{}::numeric * {}::numeric"),
                       ("div", "{}::numeric / {}::numeric"), ("rem", "{}::numeric % {}::numeric"), ("div_trunc", "div({}::numeric, {}::numeric)"),
                       ("cmp", "numeric_cmp({}::numeric, {}::numeric)")):
        ask(name, [("SELECT " + form.format(quote(a), quote(b)), a, b) for a, b in dict.fromkeys(chosen)])
    for name, form in (("round", "round({}::numeric, {})"), ("trunc", "trunc({}::numeric, {})")):
        ask(name, [("SELECT " + form.format(quote(a), n), a, n) for a in values for n in (-5, -1, 0, 1, 3, 30)])
    for name, form in (("neg", "-{}::numeric"), ("abs", "abs({}::numeric)"), ("ceil", "ceil({}::numeric)"), ("floor", "floor({}::numeric)"),
                       ("sqrt", "sqrt({}::numeric)"), ("int8", "({}::numeric)::int8"), ("int4", "({}::numeric)::int4"),
                       ("float8", "({}::numeric)::float8")):
        more = ["9223372036854775807.4", "9223372036854775807.5", "-9223372036854775808.5", "2147483647.5", "0.5", "-0.5", "1e300", "1e-300",
                "16", "1000000", "0.0625", "12345678901234567890123456789", "1e-7"]
        ask(name, [("SELECT " + form.format(quote(a)), a, None) for a in values + more])
    for name, type in (("from_float8", "float8"), ("from_float4", "float4")):
        texts = ["0", "-0", "1", "0.1", "1.5", "123456789", "123456789012345678", "1e20", "1e-10", "3.14159265358979", "NaN", "Infinity", "-Infinity",
                 "1e30", "-2.5e-7", "0.30000000000000004", "16777217"]
        ask(name, [(f"SELECT {quote(a)}::{type}::numeric", a, None) for a in texts])
    write("arithmetic.tsv", ["operation", "left", "right", "ok", "result", "| error", "sqlstate", "message"], rows)


# ------------------------------------------------------------------ tuples

def tuple_cases(conninfo):
    tables = [
        ["int4", "int8", "text", "timestamptz"],
        ["bool", "int2", "bool", "int4", "bool", "int8", "char(1)", "float8"],
        ["text", "int4", "text", "int8", "numeric(15,2)", "date", "varchar(10)", "char(10)", "bytea", "uuid"],
        ["text plain", "text plain", "int2", "numeric plain", "int8"],
        ["\"char\"", "name", "oid", "int2vector", "oidvector", "text[]", "\"char\"[]", "oid[]", "pg_node_tree", "xid", "tid", "aclitem[]"],
        ["int4"] * 9,
        ["bool"] * 8,
        ["int8 not null", "text", "float4", "bool", "timestamp", "numeric", "int2", "text", "int8", "date"] * 2,
        ["int4[]", "int8", "int8[]", "bool", "float4[]", "numeric[]"],
    ]
    samples = {
        "int4": ["1", "-1", "2147483647"], "int8": ["1", "-9223372036854775808"], "int2": ["-5", "300"], "bool": ["t", "f"],
        "text": ["", "x", "hello", "y" * 125, "y" * 126, "y" * 127, "y" * 300, "äöü€"], "timestamptz": ["2024-05-06 07:08:09.123456+00", "infinity"],
        "timestamp": ["1999-01-01 00:00:00"], "char(1)": ["a", "ä"], "float8": ["1.5", "NaN"], "float4": ["-0.25"],
        "numeric(15,2)": ["1.5", "-123456789.99", "0", "NaN"], "numeric": ["1e200", "0.000001", "-7", "1e-70"], "date": ["2024-05-06", "-infinity"],
        "varchar(10)": ["", "abc"], "char(10)": ["abc", ""], "bytea": ["\\x00ff", "\\x"], "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
        "\"char\"": ["a", ""], "name": ["pg_class"], "oid": ["4294967295"], "int2vector": ["", "1 2 3"], "oidvector": ["", "23 25"],
        "text[]": ["{}", "{a,NULL,ccc}", "{{x,y},{z,w}}"], "\"char\"[]": ["{i,o}"], "oid[]": ["{1,2}"], "xid": ["77"], "tid": ["(65537,3)"],
        "aclitem[]": ["{=r/postgres,postgres=arw*/postgres}"], "int4[]": ["{1,2,3}", "{NULL}"], "int8[]": ["{1,2}", "{NULL,3}"],
        "float4[]": ["{1,NaN}"], "numeric[]": ["{1.5,2,30000}"], "pg_node_tree": [None],
    }
    rows = []
    for number, columns in enumerate(tables):
        bases = [column.replace(" plain", "").replace(" not null", "") for column in columns]
        script = [f"CREATE TEMP TABLE t{number} ({', '.join(f'c{i} {base}' for i, base in enumerate(bases))});"]
        script += [f"ALTER TABLE t{number} ALTER c{i} SET STORAGE plain;" for i, column in enumerate(columns) if column.endswith(" plain")]
        # INSERT would form the tuples by the types' storage, COPY does by the columns'.
        script.append(f"COPY t{number} FROM STDIN;")
        inserted = []
        for _ in range(24):
            share = RANDOM.choice([0, 0, 0.2, 0.6, 1])
            row = [None if RANDOM.random() < share and "not null" not in column else RANDOM.choice(samples[base])
                   for base, column in zip(bases, columns)]
            inserted.append(row)
            script.append("\t".join(escape(value) for value in row))
        script.append("\\.")
        script.append(f"SELECT json_agg(json_build_array(atttypid, atttypmod, attstorage) ORDER BY attnum) FROM pg_attribute "
                      f"WHERE attrelid = 't{number}'::regclass AND attnum > 0;")
        script.append(f"SELECT json_build_array(t_infomask2, t_infomask & 7, t_hoff, t_bits, encode(t_data, 'hex')) FROM "
                      f"generate_series(0, pg_relation_size('t{number}') / 8192 - 1) AS b, "
                      f"heap_page_items(get_raw_page('t{number}', b::int)) ORDER BY b, lp;")
        answers = psql("\n".join(script), conninfo)
        shape = json.loads(answers[0])
        assert len(answers) == 1 + len(inserted)
        for row, answer in zip(inserted, answers[1:]):
            mask2, mask, hoff, bits, data = json.loads(answer)
            rows.append((" ".join(f"{t}:{m}:{s}" for t, m, s in shape), mask2, mask, hoff, bits, data, *row))
    write("tuples.tsv", ["columns type:typmod:storage", "infomask2", "infomask", "hoff", "bits", "data", "values..."], rows)


# ------------------------------------------------------------------- types

def type_cases(conninfo):
    answers = psql("SELECT json_build_array(oid, typname, format_type(oid, NULL), typlen, typalign, typbyval, typstorage, typcategory, "
                   "typispreferred, typelem, typarray) FROM pg_type WHERE oid < 10000 AND typtype IN ('b', 'p') ORDER BY oid;", conninfo)
    rows = [[{True: "t", False: "f"}.get(field, field) if isinstance(field, bool) else field for field in json.loads(answer)] for answer in answers]
    write("types.tsv", ["oid", "typname", "sql name", "typlen", "typalign", "typbyval", "typstorage", "typcategory", "typispreferred", "typelem",
                        "typarray"], rows)
    cases = [(oid, typmod) for oid in (16, 20, 23, 25, 1042, 1043, 1700, 1114, 1184, 1009, 1015, 1231, 1082, 18, 0, 1014)
             for typmod in (-1, 0, 4, 5, 7, 19, numeric(15, 2), numeric(4, -2), numeric(1000, 1000))]
    answers = psql("\n".join(f"SELECT json_build_array(format_type({oid}, {typmod}));" for oid, typmod in cases), conninfo)
    write("format_type.tsv", ["oid", "typmod", "text"], [(*case, json.loads(answer)[0]) for case, answer in zip(cases, answers)])
    modifiers = ["0", "1", "3", "-1", "10485760", "10485761", "15,2", "0,0", "1001", "5,1000", "5,1001", "5,-1000", "5,-1001", "1,2,3", "6", "7"]
    cases = [(name, some, f"SELECT {name}typmodin({quote('{' + some + '}')}::cstring[])")
             for name in ("varchar", "bpchar", "numeric", "timestamp", "timestamptz") for some in modifiers]
    cases += [(name, "3", f"SELECT NULL::{name}(3)") for name in ("int4", "text", "date", "uuid")]
    answers = psql("\n".join(f"SELECT pg_temp.try_sql({quote(sql)});" for _, _, sql in cases), conninfo)
    rows = [(TYPES[name], some, *json.loads(answer)[:3]) for (name, some, _), answer in zip(cases, answers)]
    write("typmod.tsv", ["oid", "modifiers", "ok", "typmod", "| error", "sqlstate", "message"], rows)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for part in (type_cases, text_cases, arithmetic_cases, tuple_cases, binary_cases):
        part(sys.argv[1])


main()
