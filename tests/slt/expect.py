#!/usr/bin/env python3
"""Rewrites the expected results of *.slt files with what a PostgreSQL server answers.

    expect.py [--host HOST] [--port PORT] [--user USER] [--database DB] FILE...

HOST is a name or the directory of a Unix socket. Each `query` or `statement` record keeps its
SQL; its kind, its `# columns` line and what follows `----` are replaced. PostgreSQL 18 is the
judge of this project's results: run this against one, never against Trunkline.
"""

import argparse
import socket
import struct
import sys


class ServerError(Exception):
    def __init__(self, fields):
        super().__init__(fields.get("M"))
        self.fields = fields


class Connection:
    """As much of the frontend/backend protocol as a simple query needs."""

    def __init__(self, host, port, user, database):
        if host.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(f"{host}/.s.PGSQL.{port}")
        else:
            self.socket = socket.create_connection((host, port))
        self.file = self.socket.makefile("rb")
        settings = {
            "user": user,
            "database": database,
            "client_encoding": "UTF8",
            "DateStyle": "ISO, MDY",
            "TimeZone": "UTC",
            "application_name": "slt",
        }
        body = struct.pack("!i", 196608)
        body += b"".join(f"{k}\0{v}\0".encode() for k, v in settings.items()) + b"\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.finish()

    def message(self):
        kind = self.file.read(1)
        (length,) = struct.unpack("!i", self.file.read(4))
        return kind, self.file.read(length - 4)

    def finish(self):
        columns, rows, error = None, [], None
        while True:
            kind, body = self.message()
            if kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
                raise SystemExit("the judge must trust this connection")
            if kind == b"T":
                columns, at = [], 2
                for _ in range(struct.unpack("!h", body[:2])[0]):
                    end = body.index(b"\0", at)
                    name = body[at:end].decode()
                    oid, _, typmod = struct.unpack("!ihi", body[end + 7 : end + 17])
                    columns.append((name, oid, typmod))
                    at = end + 19
            elif kind == b"D":
                row, at = [], 2
                for _ in range(struct.unpack("!h", body[:2])[0]):
                    (length,) = struct.unpack("!i", body[at : at + 4])
                    at += 4
                    if length < 0:
                        row.append(None)
                    else:
                        row.append(body[at : at + length].decode())
                        at += length
                rows.append(row)
            elif kind == b"E":
                error = {p[:1].decode(): p[1:].decode() for p in body.split(b"\0") if p}
            elif kind == b"Z":
                if error:
                    raise ServerError(error)
                return columns, rows

    def query(self, sql):
        body = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
        return self.finish()


def shown(value):
    if value is None:
        return "NULL"
    return value.replace("\n", "\\n") if value else "(empty)"


def records(text):
    """Blocks of lines between blank lines."""
    block = []
    for line in text.splitlines() + [""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def type_names(judge, columns):
    calls = ", ".join(f"format_type({oid}, {typmod})" for _, oid, typmod in columns)
    _, rows = judge.query(f"SELECT {calls}")
    return rows[0]


def answer(judge, block):
    ahead = ("#", "skipif ", "onlyif ")
    comments = [
        line for line in block if line.startswith(ahead) and not line.startswith("# columns")
    ]
    lines = [line for line in block if not line.startswith(ahead)]
    if not lines:
        return comments
    head, body = lines[0].split(), lines[1:]
    if head[0] not in ("query", "statement"):
        raise SystemExit(f"unknown record: {lines[0]}")
    if "----" in body:
        body = body[: body.index("----")]
    sort = "rowsort" in head
    try:
        columns, rows = judge.query("\n".join(body))
    except ServerError as error:
        fields = error.fields
        out = comments + ["query error"] + body + ["----", f"{fields['C']}: {fields['M']}"]
        out += [f"DETAIL: {fields['D']}"] if "D" in fields else []
        out += [f"HINT: {fields['H']}"] if "H" in fields else []
        out += [f"POSITION: {fields['P']}"] if "P" in fields else []
        return out
    if columns is None:
        return comments + ["statement ok"] + body
    described = ", ".join(
        f"{name} {ty}" for (name, _, _), ty in zip(columns, type_names(judge, columns) if columns else [])
    )
    printed = [" ".join(shown(value) for value in row) for row in rows]
    if sort:
        printed.sort()
    kind = "query " + "T" * len(columns) + (" rowsort" if sort else "")
    return comments + [f"# columns {described}", kind] + body + ["----"] + printed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5432)
    parser.add_argument("--user", default="postgres")
    parser.add_argument("--database", default="postgres")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    judge = Connection(options.host, options.port, options.user, options.database)
    _, rows = judge.query("SHOW server_version_num")
    if not rows[0][0].startswith("18"):
        sys.exit(f"the judge must be PostgreSQL 18, not {rows[0][0]}")
    for path in options.files:
        with open(path, encoding="utf-8") as file:
            blocks = [answer(judge, block) for block in records(file.read())]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n\n".join("\n".join(block) for block in blocks) + "\n")


if __name__ == "__main__":
    main()
