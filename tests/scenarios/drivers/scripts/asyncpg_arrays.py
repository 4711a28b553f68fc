"""asyncpg's arrays and types that it does not know by heart. Connects by PG* variables."""
import asyncio

import asyncpg


async def main():
    conn = await asyncpg.connect()
    for sql, value in [("int4[]", [1, None, 3]), ("text[]", ["a", "b,c"]), ("int4[]", [[1, 2], [3, 4]])]:
        print("value", sql, repr(await conn.fetchval(f"select $1::{sql}", value)))
    print("aggregate", await conn.fetchval("select array_agg(i order by i) from generate_series(1, 3) as i"))
    await conn.close()


asyncio.run(main())
