"""psycopg2: parameters, types, cursors, COPY, transactions, errors. Connects by PG* variables."""
import datetime as dt
import decimal
import io
import uuid

import psycopg2
import psycopg2.extras
import psycopg2.pool

psycopg2.extras.register_uuid()
conn = psycopg2.connect("")
print("server", conn.server_version // 10000, conn.encoding, conn.get_transaction_status())
print("settings", [conn.get_parameter_status(name) for name in
                   ("server_encoding", "client_encoding", "standard_conforming_strings", "integer_datetimes")])
cur = conn.cursor()
cur.execute("set time zone 'UTC'")
cur.execute("drop table if exists p2")
cur.execute("create table p2 (id serial primary key, name text, at timestamp, amount numeric)")
conn.commit()
for value in [7, 1 << 40, 2.5, decimal.Decimal("12.340"), "it's", psycopg2.Binary(b"\x00\xff"), True, None,
              dt.date(2024, 2, 29), dt.time(12, 30), dt.datetime(2024, 2, 29, 12, 30), dt.timedelta(1, 5),
              uuid.UUID(int=5), [1, 2], ["a", None]]:
    cur.execute("select %s", [value])
    found = cur.fetchone()[0]
    print("value", bytes(found) if isinstance(found, memoryview) else repr(found))
psycopg2.extras.execute_values(cur, "insert into p2 (name, amount) values %s", [(f"n{i}", i) for i in range(250)])
print("values", cur.rowcount)
psycopg2.extras.execute_batch(cur, "update p2 set amount = amount + %s where id = %s", [(1, 1), (2, 2)])
cur.execute("select id, amount from p2 where id <= 2 order by id")
print("batch", cur.fetchall(), cur.statusmessage, [(c.name, c.type_code) for c in cur.description])
conn.commit()
with conn.cursor("server_side") as named:
    named.itersize = 100
    named.execute("select id from p2 order by id")
    print("cursor", sum(1 for _ in named))
conn.commit()
with conn.cursor("held", withhold=False, scrollable=False) as named:
    named.execute("select id from p2 order by id")
    print("fetch", named.fetchmany(3), named.fetchone())
conn.commit()
cur.copy_expert("copy p2 (name, amount) from stdin csv", io.StringIO("a,1\nb,\n"))
out = io.StringIO()
cur.copy_expert("copy (select name, amount from p2 where id > 250 order by id) to stdout csv header", out)
print("copy", out.getvalue())
cur.copy_from(io.StringIO("c\t5\n"), "p2", columns=("name", "amount"))
out = io.StringIO()
cur.copy_to(out, "p2", columns=("id", "name"))
print("copied", len(out.getvalue().splitlines()))
conn.commit()
for statement in ["selec", "select * from nosuch", "insert into p2 (id) values (1)", "select 1/0"]:
    try:
        cur.execute(statement)
    except psycopg2.Error as error:
        print("error", type(error).__name__, error.pgcode, error.diag.constraint_name)
    conn.rollback()
conn.set_session(isolation_level="REPEATABLE READ", readonly=True)
cur.execute("show transaction_isolation")
print("level", cur.fetchone())
conn.rollback()
conn.set_session(isolation_level="DEFAULT", readonly=False, autocommit=True)
print("autocommit", conn.autocommit)
cur.execute("drop table if exists nosuch")
print("notices", conn.notices)
with conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as dictionary:
    dictionary.execute("select id, name from p2 where id = %(id)s", {"id": 3})
    print("dictionary", dict(dictionary.fetchone()))
cur.callproc("upper", ["called"])
print("callproc", cur.fetchone())
pool = psycopg2.pool.SimpleConnectionPool(1, 2, "")
one = pool.getconn()
one.cursor().execute("select 1")
pool.putconn(one)
pool.closeall()
conn.reset()
cur.execute("drop table p2")
