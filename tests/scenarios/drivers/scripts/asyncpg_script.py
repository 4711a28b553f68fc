"""asyncpg: types, prepared statements, cursors, pool, binary COPY, errors. Connects by PG* variables.

Arrays are a script of their own (asyncpg_arrays.py): asyncpg asks for their types by a recursive query."""
import asyncio
import datetime as dt
import decimal
import io
import uuid

import asyncpg


async def main():
    conn = await asyncpg.connect()
    print("server", conn.get_server_version().major, conn.get_settings().server_encoding)
    await conn.execute("set time zone 'UTC'")
    await conn.execute("create table a (id serial primary key, name text, at timestamptz, amount numeric)")
    for sql, value in [
        ("int2", 7), ("int4", -7), ("int8", 1 << 40), ("float4", 0.5), ("float8", 2.5), ("numeric", decimal.Decimal("12.340")),
        ("text", "it's"), ("varchar(3)", "abc"), ("char(5)", "ab"), ("bytea", b"\x00\xff"), ("bool", True),
        ("date", dt.date(2024, 2, 29)), ("time", dt.time(12, 30)), ("timestamp", dt.datetime(2024, 2, 29, 12)),
        ("timestamptz", dt.datetime(2024, 2, 29, tzinfo=dt.timezone.utc)), ("interval", dt.timedelta(1, 5)),
        ("uuid", uuid.UUID(int=5)),
        ("oid", 26), ("name", "n"), ('"char"', b"c"), ("inet", None), ("int4", None),
    ]:
        print("value", sql, repr(await conn.fetchval(f"select $1::{sql}", value)))
    print("insert", await conn.execute("insert into a (name, amount) values ($1, $2)", "ann", decimal.Decimal("2.5")))
    await conn.executemany("insert into a (name) values ($1)", [("bea",), ("cid",), ("dan",)])
    print("rows", [dict(row) for row in await conn.fetch("select id, name, amount from a order by id")])
    statement = await conn.prepare("select id, name from a where id > $1 order by id")
    print("statement", [(p.name, p.oid) for p in statement.get_parameters()],
          [(a.name, a.type.name) for a in statement.get_attributes()], statement.get_statusmsg())
    print("fetchrow", tuple(await statement.fetchrow(1)), await statement.fetchval(2, column=1))
    async with conn.transaction():
        cursor = await conn.cursor("select id from a order by id")
        print("cursor", [r[0] for r in await cursor.fetch(2)], (await cursor.fetchrow())[0])
        print("forward", await cursor.forward(5), await cursor.fetchrow())
        print("iterated", [row[0] async for row in conn.cursor("select id from a order by id", prefetch=2)])
    for sql, arguments in [
        ("selec", []), ("select * from nosuch", []), ("select $1::int", ["x"]), ("select nosuch(1)", []), ("select 1/$1", [0]),
        ("insert into a (id) values (1)", []), ("select 'x'::int", []), ("select $1::nosuch", [1]), ("select 1 +", []),
    ]:
        try:
            await asyncio.wait_for(conn.fetch(sql, *arguments), 5)
            print("no error", sql)
        except Exception as error:
            print("error", sql, type(error).__name__, getattr(error, "sqlstate", None))
    try:
        async with conn.transaction():
            await conn.execute("insert into a (id, name) values (50, 'outer')")
            try:
                async with conn.transaction():
                    await conn.execute("select 1/0")
            except asyncpg.DivisionByZeroError:
                print("inner rolled back")
            print("outer goes on", await conn.fetchval("select count(*) from a where id = 50"))
            raise KeyError
    except KeyError:
        print("outer rolled back", await conn.fetchval("select count(*) from a where id = 50"))
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        print("level", await conn.fetchval("show transaction_isolation"))
    records = [(100, "r1", decimal.Decimal("1.5")), (101, None, None)]
    print("copy records", await conn.copy_records_to_table("a", records=records, columns=["id", "name", "amount"]))
    out = io.BytesIO()
    print("copy out", await conn.copy_from_query("select id, name, amount from a where id >= 100 order by id", output=out, format="binary"))
    print("bytes", out.getvalue())
    out.seek(0)
    await conn.execute("delete from a where id >= 100")
    print("copy in", await conn.copy_to_table("a", source=out, columns=["id", "name", "amount"], format="binary"))
    out = io.BytesIO()
    print("copy table", await conn.copy_from_table("a", output=out, columns=["id", "name"], format="csv", header=True), out.getvalue())
    await conn.set_type_codec("numeric", encoder=str, decoder=float, schema="pg_catalog", format="text")
    print("codec", await conn.fetchval("select 1.5::numeric"))
    await conn.reset_type_codec("numeric", schema="pg_catalog")
    print("sum", await conn.fetchval("select sum(amount) from a"))
    try:
        await asyncio.wait_for(conn.fetch("select pg_sleep(30)"), 0.2)
    except asyncio.TimeoutError:
        print("cancelled", await conn.fetchval("select 1"))
    notices = []
    conn.add_log_listener(lambda _, message: notices.append((message.severity, message.sqlstate)))
    await conn.execute("drop table if exists nosuch")
    await asyncio.sleep(0)
    print("notices", notices)
    await conn.reset()
    await conn.execute("drop table a")
    await conn.close()
    async with asyncpg.create_pool(min_size=1, max_size=3) as pool:
        print("pool", sorted(await asyncio.gather(*(pool.fetchval("select $1::int", i) for i in range(9)))))
        async with pool.acquire() as pooled:
            await pooled.execute("set work_mem = '1MB'")
        async with pool.acquire() as pooled:
            print("reset", await pooled.fetchval("select setting <> '1024' from pg_settings where name = 'work_mem'"))


asyncio.run(main())
