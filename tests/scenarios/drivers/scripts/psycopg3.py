"""psycopg 3: parameters, types, cursors, COPY, pipelines, transactions, errors. Connects by PG* variables."""
import asyncio
import datetime as dt
import decimal
import uuid

import psycopg
import psycopg_pool
from psycopg import sql
from psycopg.rows import dict_row, namedtuple_row

VALUES = [
    7, 1 << 40, -5, 2.5, decimal.Decimal("12.340"), "text", b"\x00\xff", True, None, dt.date(2024, 2, 29),
    dt.time(12, 30, 1, 5), dt.datetime(2024, 2, 29, 12, 30), dt.timedelta(days=1, seconds=5),
    dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc), uuid.UUID(int=5), [1, 2, 3], ["a", None, "b,c"],
]

conn = psycopg.connect("", autocommit=True)
print("server", conn.info.server_version // 10000, conn.info.encoding, conn.info.transaction_status.name)
conn.execute("set time zone 'UTC'")
conn.execute("drop table if exists p3")
conn.execute("create table p3 (id serial primary key, name text, at timestamptz, amount numeric(10, 2), tags text[])")

for value in VALUES:
    for binary in (False, True):
        shown = conn.execute("select %s", [value], binary=binary).fetchone() if value is not None else None
        print("value", repr(value), binary, shown)
cur = conn.execute("insert into p3 (name, at, amount, tags) values (%s, %s, %s, %s) returning id",
                   ["ann", dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), decimal.Decimal("1.5"), ["x", "y"]])
print("id", cur.fetchone(), cur.rowcount, cur.statusmessage)
with conn.cursor() as cur:
    cur.executemany("insert into p3 (name) values (%s)", [("bea",), ("cid",), ("dan",)])
    print("many", cur.rowcount)
    cur.executemany("insert into p3 (name) values (%s) returning id", [("eve",), ("fay",)], returning=True)
    print("returning", cur.fetchone(), cur.nextset(), cur.fetchone())
for factory in (dict_row, namedtuple_row):
    with conn.cursor(row_factory=factory) as cur:
        print("row", cur.execute("select id, name from p3 order by id").fetchone())
print("description", [(c.name, c.type_code, c.precision, c.scale) for c in conn.execute("select * from p3 limit 0").description])
print("composed", conn.execute(sql.SQL("select count(*) from {} where {} = %s").format(
    sql.Identifier("p3"), sql.Identifier("name")), ["bea"]).fetchone())

with conn.transaction():
    with conn.cursor(name="server_side") as cur:
        cur.execute("select id from p3 order by id")
        print("cursor", cur.fetchmany(2), cur.fetchone(), cur.description[0].name)
        cur.scroll(1)
        print("rest", cur.fetchall())
with conn.transaction():
    with conn.cursor(name="binary_one", binary=True) as cur:
        print("binary cursor", cur.execute("select id, name from p3 order by id limit %s", [2]).fetchall())

with conn.cursor() as cur:
    with cur.copy("copy p3 (name, amount) from stdin") as copy:
        for row in [("gil", 3), ("hal", None)]:
            copy.write_row(row)
    print("copied", cur.rowcount)
    with cur.copy("copy p3 (id, name) from stdin (format binary)") as copy:
        copy.set_types(["int4", "text"])
        copy.write_row((100, "binary"))
    with cur.copy("copy (select id, name from p3 where id >= 7 order by id) to stdout") as copy:
        print("out", [row for row in copy.rows()])
    with cur.copy("copy (select id, name, amount from p3 where id >= 7 order by id) to stdout binary") as copy:
        copy.set_types(["int4", "text", "numeric"])
        print("out binary", [row for row in copy.rows()])

with conn.pipeline() as pipeline:
    one = conn.execute("select 1")
    two = conn.execute("select count(*) from p3 where id > %s", [3])
    pipeline.sync()
    print("pipeline", one.fetchone(), two.fetchone())
try:
    with conn.pipeline():
        conn.execute("insert into p3 (id, name) values (200, 'lost')")
        conn.execute("select 1/0")
        conn.execute("insert into p3 (id, name) values (201, 'lost')")
except psycopg.Error as error:
    print("pipeline error", type(error).__name__, error.sqlstate)
print("after", conn.execute("select count(*) from p3 where id >= 200").fetchone())

for index in range(7):
    conn.execute("select id from p3 where name = %s", ["bea"], prepare=True)
print("prepared", conn.execute("select count(*) > 0 from pg_prepared_statements").fetchone())

for statement, parameters in [
    ("selec", []), ("select * from nosuch", []), ("select %s::int", ["x"]), ("select nosuch(1)", []),
    ("insert into p3 (id, name) values (1, 'twice')", []), ("select 1/%s", [0]),
    ("select %s + %s", [dt.date(2024, 1, 1), "x"]),
]:
    try:
        conn.execute(statement, parameters)
        print("no error", statement)
    except psycopg.Error as error:
        print("error", type(error).__name__, error.sqlstate, error.diag.constraint_name, error.diag.table_name)

with psycopg.connect("") as other:
    other.execute("insert into p3 (id, name) values (300, 'in')")
    try:
        with other.transaction():
            other.execute("insert into p3 (id, name) values (301, 'out')")
            raise psycopg.Rollback()
    except psycopg.Rollback:
        pass
    with other.transaction():
        other.execute("insert into p3 (id, name) values (302, 'in')")
print("savepoints", conn.execute("select id from p3 where id >= 300 order by id").fetchall())
conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
conn.read_only = True
with conn.transaction():
    print("levels", conn.execute("show transaction_isolation").fetchone(), conn.execute("show transaction_read_only").fetchone())
    try:
        conn.execute("delete from p3")
    except psycopg.Error as error:
        print("read only", error.sqlstate)
conn.isolation_level = conn.read_only = None
notices = []
conn.add_notice_handler(lambda diag: notices.append((diag.severity, diag.sqlstate)))
conn.execute("drop table if exists nosuch")
print("notices", notices)
for name in ["int4", "text", "timestamptz", "nosuch"]:
    info = psycopg.types.TypeInfo.fetch(conn, name)
    print("type", name, info and (info.name, info.oid, info.array_oid))
print("enum", psycopg.types.enum.EnumInfo.fetch(conn, "nosuch"), psycopg.types.composite.CompositeInfo.fetch(conn, "nosuch"),
      psycopg.types.range.RangeInfo.fetch(conn, "nosuch"))


async def others():
    async with await psycopg.AsyncConnection.connect("", autocommit=True) as async_conn:
        cur = await async_conn.execute("select count(*) from p3")
        print("async", await cur.fetchone())


asyncio.run(others())
with psycopg_pool.ConnectionPool("", min_size=1, max_size=2) as pool:
    for _ in range(3):
        with pool.connection() as pooled:
            print("pool", pooled.execute("select 1").fetchone())
with psycopg.ClientCursor(psycopg.connect("", autocommit=True)) as client:
    print("client side", client.execute("select %s, %s, %s", ["it's", 5, None]).fetchone())
conn.execute("drop table p3")
