// node-postgres: parameters, types, cursors, COPY streams, pool, errors. Connects by PG* variables.
const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");
const QueryStream = require("pg-query-stream");
const { from: copyFrom, to: copyTo } = require("pg-copy-streams");
const { pipeline } = require("stream/promises");
const { Readable } = require("stream");

const print = (...parts) => console.log(...parts.map((part) => (typeof part === "string" ? part : JSON.stringify(part))));

async function main() {
  const client = new Client();
  await client.connect();
  await client.query("set time zone 'UTC'");
  await client.query("create table n (id serial primary key, name text, amount numeric, at timestamptz, raw bytea)");
  for (const [sql, value] of [
    ["int4", 7], ["int8", "1099511627776"], ["float8", 2.5], ["numeric", "12.340"], ["text", "it's"], ["bool", true],
    ["bytea", Buffer.from([0, 255])], ["timestamptz", new Date(0)], ["date", "2024-02-29"], ["int4[]", [1, null, 3]],
    ["text[]", ["a", "b,c"]], ["uuid", "00000000-0000-0000-0000-000000000005"], ["interval", "1 day 5 seconds"], ["text", null],
  ]) {
    const { rows, fields } = await client.query(`select $1::${sql} as value`, [value]);
    print("value", sql, rows[0].value, fields[0].dataTypeID);
  }
  const inserted = await client.query("insert into n (name, amount) values ($1, $2), ($3, $4) returning id", ["ann", 1.5, "bea", null]);
  print("inserted", inserted.rows, inserted.rowCount, inserted.command);
  for (let i = 0; i < 3; i++) {
    const { rows } = await client.query({ name: "by-id", text: "select name from n where id = $1", values: [1] });
    print("prepared", rows);
  }
  print("array rows", (await client.query({ text: "select id, name from n order by id", rowMode: "array" })).rows);
  print("several", (await client.query("select 1 as a; select 2 as b")).map((result) => result.rows));
  for (const [sql, values] of [["selec", []], ["select * from nosuch", []], ["select $1::int", ["x"]], ["select 1/$1::int", [0]],
    ["insert into n (id) values (1)", []]]) {
    await client.query(sql, values).catch((error) => print("error", error.code, error.constraint ?? "", error.table ?? ""));
  }
  await client.query("begin");
  await client.query("insert into n (name) values ('lost')");
  await client.query("rollback");
  print("count", (await client.query("select count(*) from n")).rows);
  const cursor = client.query(new Cursor("select generate_series(1, 10) as i"));
  print("cursor", await cursor.read(3), await cursor.read(100), await cursor.read(1));
  await cursor.close();
  let streamed = 0;
  for await (const row of client.query(new QueryStream("select generate_series(1, $1::int) as i", [500], { batchSize: 50 }))) streamed += row.i;
  print("stream", streamed);
  await pipeline(Readable.from(["50\tcopied\n51\t\\N\n"]), client.query(copyFrom("copy n (id, name) from stdin")));
  const chunks = [];
  for await (const chunk of client.query(copyTo("copy (select id, name from n where id >= 50 order by id) to stdout"))) chunks.push(chunk);
  print("copy", Buffer.concat(chunks).toString());
  const pool = new Pool({ max: 3 });
  print("pool", (await Promise.all([1, 2, 3, 4, 5].map((i) => pool.query("select $1::int as i", [i])))).map((r) => r.rows[0].i));
  await pool.end();
  const notices = [];
  client.on("notice", (notice) => notices.push(notice.code));
  await client.query("drop table if exists nosuch");
  print("notices", notices);
  await client.query("drop table n");
  await client.end();
}

main().catch((error) => { console.error(error); process.exit(1); });
