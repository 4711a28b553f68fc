//! Statements by a seed, two sessions in turns, none of which ever waits for the other.
//!
//! Keys come from small ranges, so that inserts meet rows, deletions free keys that come back, and uniqueness
//! is often violated. A statement's outcome never rests on the order in which rows are visited: that is
//! PostgreSQL's own affair.

use fastrand::Rng;

/// The tables that [`Generator::schema`] makes.
pub const TABLES: [&str; 4] = ["a", "b", "c", "d"];

/// A statement to say.
#[derive(Debug)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// Its rows come in an order that it asks for.
    pub ordered: bool,
    /// Said as a prepared statement with these parameters; its columns are texts then.
    pub numbers: Option<Vec<i32>>,
}

impl Statement {
    fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ordered: false, numbers: None }
    }
    fn ordered(sql: impl Into<String>) -> Self {
        Self { ordered: true, ..Self::new(sql) }
    }
    fn prepared(sql: impl Into<String>, numbers: Vec<i32>) -> Self {
        Self { numbers: Some(numbers), ..Self::new(sql) }
    }
}

/// Where a session is.
#[derive(Clone, Debug, Default)]
struct Session {
    open: bool,
    failed: bool,
    /// Holds locks, perhaps.
    wrote: bool,
    repeatable: bool,
    savepoints: Vec<u32>,
    /// The depth of savepoints at which the open cursor was declared.
    cursor: Option<usize>,
    left: u32,
}

/// Makes the statements of one seed.
#[derive(Debug)]
pub struct Generator {
    random: Rng,
    sessions: [Session; 2],
    said: Option<Effect>,
    names: u32,
    /// Transactions that the first session has begun.
    pub transactions: usize,
}

/// What a statement does to its session, if it succeeds.
#[derive(Clone, Copy, Debug)]
enum Effect {
    None,
    Write,
    Begin { repeatable: bool },
    End,
    Savepoint(u32),
    Release(usize),
    RollbackTo(usize),
    Cursor(bool),
}

impl Generator {
    /// For this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            sessions: Default::default(),
            said: None,
            names: 0,
            transactions: 0,
        }
    }

    /// What makes the tables anew.
    pub fn schema(&mut self) -> Vec<Statement> {
        let mut all = vec!["DROP TABLE IF EXISTS a, b, c, d".to_owned()];
        all.push(
            "CREATE TABLE a (id int PRIMARY KEY, u int UNIQUE, n int NOT NULL DEFAULT 5, t text)".to_owned(),
        );
        all.push(
            "CREATE TABLE b (x int, y text, v bigint, w numeric(12,2), e boolean, PRIMARY KEY (x, y), UNIQUE (v, e))"
                .to_owned(),
        );
        all.push("CREATE TABLE c (k text PRIMARY KEY, d double precision, s timestamp, n int)".to_owned());
        all.push("CREATE TABLE d (id int PRIMARY KEY, n int, pad text)".to_owned());
        for index in ["ON a (n)", "ON a (t, n)", "ON b (v)", "ON b (y, w)", "ON c (n)", "ON d (n)"] {
            if self.random.bool() {
                all.push(format!("CREATE INDEX {index}"));
            }
        }
        all.push(format!(
            "INSERT INTO a SELECT g, g * 10, g % 7, 't' || g FROM generate_series(1, {}) g",
            self.random.u32(5..30)
        ));
        all.push(
            "INSERT INTO b SELECT g % 5, 'y' || g, g, g / 3.0, g % 2 = 0 FROM generate_series(1, 20) g"
                .to_owned(),
        );
        all.push("INSERT INTO c SELECT 'k' || g, g / 4.0, timestamp '2024-01-01' + g * interval '1 day', g FROM generate_series(1, 9) g".to_owned());
        all.into_iter().map(Statement::new).collect()
    }

    /// Whether no session is in a transaction.
    pub fn is_idle(&self) -> bool {
        self.sessions.iter().all(|session| !session.open)
    }

    /// Takes note of how the last statement went.
    pub fn heard(&mut self, at: usize, error: bool) {
        let session = &mut self.sessions[at];
        let effect = self.said.take().unwrap_or(Effect::None);
        if error {
            session.failed = session.open;
            return;
        }
        match effect {
            Effect::None => {}
            Effect::Write => session.wrote |= session.open,
            Effect::Begin { repeatable } => {
                let left = self.random.u32(1..12);
                *session = Session { open: true, repeatable, left, ..Session::default() };
            }
            Effect::End => *session = Session::default(),
            Effect::Savepoint(name) => session.savepoints.push(name),
            Effect::Release(depth) => {
                session.savepoints.truncate(depth);
                session.cursor = session.cursor.map(|declared| declared.min(depth));
            }
            Effect::RollbackTo(depth) => {
                session.savepoints.truncate(depth + 1);
                session.failed = false;
                session.cursor = session.cursor.filter(|declared| *declared <= depth);
            }
            Effect::Cursor(open) => session.cursor = open.then_some(session.savepoints.len()),
        }
    }

    fn say(&mut self, session: usize, effect: Effect, statement: Statement) -> (usize, Statement) {
        self.said = Some(effect);
        (session, statement)
    }

    /// The next statement and who says it. `ending`: open transactions only come to their end.
    pub fn next(&mut self, ending: bool) -> (usize, Statement) {
        if ending {
            let at = usize::from(!self.sessions[0].open);
            return self.end(at);
        }
        let second = &self.sessions[1];
        if second.open && (second.failed || second.left == 0) {
            return self.end(1);
        }
        if self.random.u32(0..5) == 0 { self.second() } else { self.first() }
    }

    /// The first session writes.
    fn first(&mut self) -> (usize, Statement) {
        let session = self.sessions[0].clone();
        if !session.open {
            self.transactions += 1;
            return match self.random.u32(0..8) {
                0 | 1 => {
                    let statement = self.write();
                    self.say(0, Effect::Write, statement)
                }
                kind => {
                    let repeatable = kind == 2;
                    let how = if repeatable { " ISOLATION LEVEL REPEATABLE READ" } else { "" };
                    self.say(0, Effect::Begin { repeatable }, Statement::new(format!("BEGIN{how}")))
                }
            };
        }
        if session.failed {
            return match (session.savepoints.is_empty(), self.random.u32(0..4)) {
                // Anything else is refused now.
                (_, 0) => {
                    let statement = self.read();
                    self.say(0, Effect::None, statement)
                }
                (false, 1 | 2) => self.rollback_to(0),
                _ => self.end(0),
            };
        }
        if session.left == 0 {
            return self.end(0);
        }
        self.sessions[0].left -= 1;
        match self.random.u32(0..20) {
            0..=10 => {
                let statement = self.write();
                self.say(0, Effect::Write, statement)
            }
            11..=13 => {
                let statement = self.read();
                self.say(0, Effect::None, statement)
            }
            14 | 15 => {
                self.names += 1;
                // Names come again: the inner one hides the outer one.
                let name = self.names % 3;
                self.say(0, Effect::Savepoint(name), Statement::new(format!("SAVEPOINT s{name}")))
            }
            16 if !session.savepoints.is_empty() => self.rollback_to(0),
            17 if !session.savepoints.is_empty() => {
                let (name, depth) = self.savepoint(0);
                self.say(0, Effect::Release(depth), Statement::new(format!("RELEASE SAVEPOINT s{name}")))
            }
            _ => self.cursor(),
        }
    }

    /// The second one reads at any time, in a snapshot of its own or statement by statement, and writes where
    /// nobody holds a lock.
    fn second(&mut self) -> (usize, Statement) {
        let (first, session) = (self.sessions[0].clone(), self.sessions[1].clone());
        if session.open {
            self.sessions[1].left -= 1;
        }
        let unlocked = !first.open || (first.repeatable && !first.wrote);
        let statement = match self.random.u32(0..6) {
            0 if !session.open => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
                return self.say(1, Effect::Begin { repeatable: true }, Statement::new(begin));
            }
            1 if !session.open && unlocked => self.write(),
            // What it locks is free again before the first one goes on.
            2 if session.open && !first.open => {
                self.sessions[1].left = 0;
                self.write()
            }
            _ => self.read(),
        };
        self.say(1, Effect::None, statement)
    }

    fn end(&mut self, at: usize) -> (usize, Statement) {
        let how = if self.random.u32(0..4) == 0 { "ROLLBACK" } else { "COMMIT" };
        self.say(at, Effect::End, Statement::new(how))
    }

    /// The innermost savepoint of one of the names, with its depth.
    fn savepoint(&mut self, at: usize) -> (u32, usize) {
        let savepoints = &self.sessions[at].savepoints;
        let name = savepoints[self.random.usize(0..savepoints.len())];
        let depth = savepoints.iter().rposition(|other| *other == name).unwrap_or(0);
        (name, depth)
    }

    fn rollback_to(&mut self, at: usize) -> (usize, Statement) {
        let (name, depth) = self.savepoint(at);
        self.say(at, Effect::RollbackTo(depth), Statement::new(format!("ROLLBACK TO SAVEPOINT s{name}")))
    }

    /// A cursor is opened, read on, or closed; it shows what there was when it was opened.
    fn cursor(&mut self) -> (usize, Statement) {
        if self.sessions[0].cursor.is_none() {
            let query = match self.random.u32(0..3) {
                0 => "SELECT id, u, n, t FROM a ORDER BY id",
                1 => "SELECT x, y, v, w FROM b ORDER BY x DESC, y",
                _ => "SELECT id, n, length(pad) FROM d ORDER BY n, id",
            };
            return self.say(
                0,
                Effect::Cursor(true),
                Statement::new(format!("DECLARE k CURSOR FOR {query}")),
            );
        }
        match self.random.u32(0..4) {
            0 => self.say(0, Effect::Cursor(false), Statement::new("CLOSE k")),
            _ => {
                let rows = self.random.u32(1..6);
                self.say(0, Effect::None, Statement::ordered(format!("FETCH {rows} FROM k")))
            }
        }
    }

    fn id(&mut self) -> i32 {
        self.random.i32(-3..36)
    }

    fn nullable(&mut self, value: String) -> String {
        if self.random.u32(0..6) == 0 { "NULL".to_owned() } else { value }
    }

    fn text(&mut self) -> String {
        let text = match self.random.u32(0..8) {
            0 => String::new(),
            1 => "it''s".to_owned(),
            2 => "x".repeat(self.random.usize(1..40)),
            _ => format!("t{}", self.random.u32(0..12)),
        };
        self.nullable(format!("'{text}'"))
    }

    fn row_of_a(&mut self) -> String {
        let (id, u, n) = (self.id(), self.random.i32(0..40) * 10, self.random.i32(-5..9));
        let (u, t) = (self.nullable(u.to_string()), self.text());
        let n = if self.random.u32(0..12) == 0 { "DEFAULT".to_owned() } else { n.to_string() };
        format!("({id}, {u}, {n}, {t})")
    }

    fn row_of_b(&mut self) -> String {
        let (x, y, v) = (self.random.i32(0..6), self.random.i32(0..25), self.random.i32(0..40));
        let (v, w) = (self.nullable(v.to_string()), self.random.i32(-500..500));
        let e = ["true", "false", "NULL"][self.random.usize(0..3)];
        format!("({x}, 'y{y}', {v}, {w}.{:02}, {e})", self.random.u32(0..100))
    }

    fn row_of_c(&mut self) -> String {
        let (k, d, day) = (self.random.i32(0..14), self.random.i32(-40..40), self.random.u32(1..29));
        let (d, n) = (self.nullable(format!("{}", f64::from(d) / 8.0)), self.id());
        format!("('k{k}', {d}, '2024-02-{day:02} 10:00', {n})")
    }

    fn rows(&mut self, row: fn(&mut Self) -> String) -> String {
        let count = if self.random.bool() { 1 } else { self.random.usize(2..5) };
        (0..count).map(|_| row(self)).collect::<Vec<_>>().join(", ")
    }

    fn returning(&mut self, columns: &str) -> String {
        if self.random.u32(0..3) == 0 { format!(" RETURNING {columns}") } else { String::new() }
    }

    fn write(&mut self) -> Statement {
        match self.random.u32(0..26) {
            0..=3 => self.insert_a(),
            4 | 5 => self.insert_b(),
            6 => self.insert_c(),
            7..=9 => self.update_a(),
            10 | 11 => self.update_b(),
            12 => self.update_c(),
            13..=15 => self.move_keys(),
            16..=18 => self.delete(),
            19..=22 => self.large(),
            23 | 24 => self.by_number(),
            _ => self.wrong(),
        }
    }

    fn insert_a(&mut self) -> Statement {
        let rows = self.rows(Self::row_of_a);
        let conflict = match self.random.u32(0..9) {
            0 | 1 => "",
            2 => " ON CONFLICT DO NOTHING",
            3 => " ON CONFLICT (id) DO NOTHING",
            4 => " ON CONFLICT (u) DO NOTHING",
            5 => " ON CONFLICT (id) DO UPDATE SET n = a.n + excluded.n, t = excluded.t",
            6 => " ON CONFLICT (id) DO UPDATE SET u = excluded.u WHERE a.n < excluded.n",
            7 => " ON CONFLICT (u) DO UPDATE SET n = excluded.id, t = a.t || '+'",
            _ => " ON CONFLICT (id) DO UPDATE SET id = a.id + 100, n = (SELECT count(*) FROM c)",
        };
        let returning = self.returning("*");
        Statement::new(format!("INSERT INTO a (id, u, n, t) VALUES {rows}{conflict}{returning}"))
    }

    fn insert_b(&mut self) -> Statement {
        if self.random.u32(0..4) == 0 {
            let from = self.id();
            let sql = format!(
                "INSERT INTO b SELECT id % 4, 'y' || id, n + 100, n, u IS NULL FROM a WHERE id > {from} ORDER BY id \
                 ON CONFLICT (x, y) DO UPDATE SET w = b.w + 1"
            );
            return Statement::new(sql);
        }
        let rows = self.rows(Self::row_of_b);
        let conflict = match self.random.u32(0..5) {
            0 | 1 => "",
            2 => " ON CONFLICT DO NOTHING",
            3 => " ON CONFLICT (x, y) DO UPDATE SET v = excluded.v, w = b.w * 2",
            _ => " ON CONFLICT (v, e) DO UPDATE SET w = excluded.w WHERE b.w IS DISTINCT FROM excluded.w",
        };
        let returning = self.returning("x, y, v");
        Statement::new(format!("INSERT INTO b VALUES {rows}{conflict}{returning}"))
    }

    fn insert_c(&mut self) -> Statement {
        let rows = self.rows(Self::row_of_c);
        let conflict =
            ["", " ON CONFLICT DO NOTHING", " ON CONFLICT (k) DO UPDATE SET n = c.n + 1, d = NULL"];
        let conflict = conflict[self.random.usize(0..3)];
        let returning = self.returning("k, n");
        Statement::new(format!("INSERT INTO c (k, d, s, n) VALUES {rows}{conflict}{returning}"))
    }

    fn update_a(&mut self) -> Statement {
        let (id, other, text) = (self.id(), self.id(), self.text());
        let set = match self.random.u32(0..7) {
            0 => "n = n + 1".to_owned(),
            1 => format!("t = {text}"),
            2 => format!("t = coalesce(t, 'none') || {text}, n = -n"),
            3 => "u = NULL".to_owned(),
            // Of one row only: which of several comes first would decide whether they meet.
            4 => {
                let (u, returning) = (self.random.u32(0..3) * 5, self.returning("*"));
                return Statement::new(format!("UPDATE a SET u = id * 10 + {u} WHERE id = {id}{returning}"));
            }
            5 => "n = (SELECT count(*) FROM c WHERE c.n < a.id), t = (SELECT max(k) FROM c)".to_owned(),
            _ => "n = CASE WHEN n > 3 THEN 0 ELSE n + 2 END, t = DEFAULT".to_owned(),
        };
        let condition = match self.random.u32(0..7) {
            0..=2 => format!("id = {id}"),
            3 => format!("id BETWEEN {} AND {}", id.min(other), id.max(other)),
            4 => format!("n = {} OR t IS NULL", self.random.i32(-3..8)),
            5 => format!("u IN (SELECT v * 10 FROM b WHERE x = {})", self.random.u32(0..6)),
            _ => format!("EXISTS (SELECT 1 FROM c WHERE c.n = a.id) AND id <> {id}"),
        };
        let returning = self.returning("id, u, n, t");
        Statement::new(format!("UPDATE a SET {set} WHERE {condition}{returning}"))
    }

    fn update_b(&mut self) -> Statement {
        let (x, y) = (self.random.u32(0..6), self.random.u32(0..25));
        if self.random.u32(0..5) == 0 {
            return Statement::new(format!(
                "UPDATE b SET v = v + 1000 WHERE x = {x} AND y = 'y{y}' RETURNING v"
            ));
        }
        let set = ["w = w + 0.25", "e = NOT e", "v = NULL", "w = -w, e = NULL"][self.random.usize(0..4)];
        let condition = match self.random.u32(0..4) {
            0 => format!("x = {x} AND y = 'y{y}'"),
            1 => format!("x = {x}"),
            2 => format!("(x, y) IN (({x}, 'y{y}'), (1, 'y1'), (2, 'y2'))"),
            _ => format!("w > (SELECT avg(w) FROM b) AND x <> {x}"),
        };
        let returning = self.returning("x, y, v, w, e");
        Statement::new(format!("UPDATE b SET {set} WHERE {condition}{returning}"))
    }

    fn update_c(&mut self) -> Statement {
        let n = self.id();
        let sql = match self.random.u32(0..3) {
            0 => format!("UPDATE c SET n = a.n FROM a WHERE a.id = c.n AND a.id > {n} RETURNING c.k, a.id"),
            1 => format!("UPDATE c SET d = d * 2, s = s + interval '1 hour' WHERE n < {n}"),
            _ => format!("DELETE FROM c WHERE n = {n} RETURNING k, n + 1"),
        };
        Statement::new(sql)
    }

    /// Keys go elsewhere, and may meet others there.
    fn move_keys(&mut self) -> Statement {
        let (id, to, x) = (self.id(), self.id(), self.random.u32(0..6));
        let sql = match self.random.u32(0..8) {
            0 | 1 => format!("UPDATE a SET id = {to} WHERE id = {id}"),
            2 => format!("UPDATE a SET id = id + 1000 WHERE id BETWEEN 0 AND {id}"),
            3 => "UPDATE a SET id = id - 1000 WHERE id BETWEEN 950 AND 1900".to_owned(),
            4 => format!(
                "UPDATE a SET id = -id - 1000, u = NULL WHERE id >= 0 AND n = {}",
                self.random.i32(0..8)
            ),
            5 => format!("UPDATE b SET x = x + 10 WHERE x = {x}"),
            6 => "UPDATE b SET x = x - 10, w = 0 WHERE x >= 10".to_owned(),
            _ => format!("UPDATE c SET k = k || 'x' WHERE n > {id} AND k NOT LIKE '%x'"),
        };
        let returning = if sql.contains(" b ") { self.returning("x, y") } else { String::new() };
        Statement::new(sql + &returning)
    }

    fn delete(&mut self) -> Statement {
        let (id, x) = (self.id(), self.random.u32(0..6));
        let sql = match self.random.u32(0..8) {
            0 | 1 => format!("DELETE FROM a WHERE id = {id} RETURNING *"),
            2 => format!("DELETE FROM a WHERE id > {id} AND n % 2 = 0"),
            3 => format!("DELETE FROM a USING b WHERE a.n = b.x AND b.x = {x}"),
            4 => format!("DELETE FROM b WHERE x = {x} RETURNING x, y"),
            5 => "DELETE FROM b WHERE v IN (SELECT n FROM a) OR v IS NULL".to_owned(),
            6 => format!("DELETE FROM c WHERE n = {id} OR d IS NULL"),
            _ => "DELETE FROM a WHERE id > 900".to_owned(),
        };
        Statement::new(sql)
    }

    /// More than the write set holds, mostly.
    fn large(&mut self) -> Statement {
        let (from, count) = (self.random.i32(0..1500), self.random.i32(50..900));
        let (n, parts) = (self.random.u32(0..7), self.random.u32(1..5));
        let sql = match self.random.u32(0..9) {
            0 => format!(
                "INSERT INTO d SELECT g, g % 11, repeat(md5(g::text), {parts}) FROM generate_series({from}, {}) g",
                from + count
            ),
            1 | 2 => format!(
                "INSERT INTO d SELECT g, g % 11, repeat('p', g % 200) FROM generate_series({from}, {}) g ON CONFLICT DO NOTHING",
                from + count
            ),
            3 => format!(
                "INSERT INTO d SELECT g, g % 7, 'again' FROM generate_series({from}, {}) g \
                 ON CONFLICT (id) DO UPDATE SET n = d.n + 1, pad = left(d.pad, 20) || excluded.pad",
                from + count
            ),
            4 => format!("UPDATE d SET pad = pad || '{}' WHERE n = {n}", "u".repeat(60)),
            5 => format!("UPDATE d SET n = n + 1 WHERE id % 3 = {}", n % 3),
            6 => format!("DELETE FROM d WHERE id % 7 = {n}"),
            7 => format!("UPDATE d SET id = id + 10000 WHERE id BETWEEN {from} AND {}", from + count),
            _ => format!(
                "INSERT INTO d VALUES ({from}, {n}, repeat('long ', {})) ON CONFLICT (id) DO UPDATE SET pad = excluded.pad",
                500 * parts
            ),
        };
        Statement::new(sql)
    }

    /// What drivers prepare.
    fn by_number(&mut self) -> Statement {
        let (id, n) = (self.id(), self.random.i32(-4..9));
        match self.random.u32(0..6) {
            0 => Statement::prepared("INSERT INTO a (id, n) VALUES ($1, $2)", vec![id, n]),
            1 => Statement::prepared(
                "INSERT INTO a (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
                vec![id, n],
            ),
            2 => Statement::prepared("UPDATE a SET n = $2 WHERE id = $1", vec![id, n]),
            3 => Statement::prepared(
                "UPDATE a SET n = n + $2 WHERE id = $1 RETURNING id::text, n::text",
                vec![id, n],
            ),
            4 => Statement::prepared("DELETE FROM a WHERE id = $1", vec![id]),
            _ => Statement::prepared("SELECT id::text, u::text, n::text, t FROM a WHERE id = $1", vec![id]),
        }
    }

    /// What fails, in the middle of its work where possible.
    fn wrong(&mut self) -> Statement {
        let id = self.id();
        let sql = match self.random.u32(0..7) {
            0 => format!("UPDATE a SET n = 1 / (id - {id})"),
            1 => format!("INSERT INTO a (id, n) VALUES ({id}, NULL)"),
            2 => "INSERT INTO b (x, v) VALUES (1, 2)".to_owned(),
            3 => "UPDATE d SET n = n / (n - n) WHERE id > 0".to_owned(),
            4 => "SELECT nothing FROM a".to_owned(),
            5 => "INSERT INTO a (id) VALUES ('abc')".to_owned(),
            _ => format!("INSERT INTO a (id) VALUES ({id}), ({id}) ON CONFLICT (id) DO UPDATE SET n = 1"),
        };
        Statement::new(sql)
    }

    fn read(&mut self) -> Statement {
        let (id, other, x) = (self.id(), self.id(), self.random.u32(0..6));
        let (low, high) = (id.min(other), id.max(other));
        match self.random.u32(0..17) {
            0 => Statement::new(format!("SELECT * FROM a WHERE id = {id}")),
            1 => Statement::new(format!("SELECT * FROM a WHERE u = {}", id * 10)),
            2 => Statement::ordered(format!(
                "SELECT * FROM a WHERE id BETWEEN {low} AND {high} ORDER BY id DESC"
            )),
            3 => Statement::ordered(format!(
                "SELECT n, id FROM a WHERE n >= {} ORDER BY n, id LIMIT 5 OFFSET 1",
                x
            )),
            4 => Statement::new("SELECT count(*), sum(n), min(t), max(u) FROM a"),
            5 => Statement::new("SELECT n, count(*), count(u) FROM a GROUP BY n HAVING count(*) > 1"),
            6 => Statement::new(format!("SELECT a.id, b.y, b.w FROM a JOIN b ON b.x = a.n WHERE b.x = {x}")),
            7 => Statement::new("SELECT a.id, c.k FROM a LEFT JOIN c ON c.n = a.id"),
            8 => Statement::new(format!("SELECT x, y FROM b WHERE v IN (SELECT id FROM a WHERE n > {x})")),
            9 => Statement::new("SELECT id, (SELECT max(w) FROM b WHERE b.x = a.n) FROM a"),
            10 => Statement::new(format!("SELECT * FROM b WHERE x = {x} AND y > 'y1'")),
            11 => Statement::new("SELECT x, sum(w), avg(v), bool_or(e) FROM b GROUP BY x"),
            12 => Statement::ordered("SELECT k, d, s, n FROM c ORDER BY d DESC NULLS LAST, k"),
            13 => Statement::new("SELECT count(*), sum(n), sum(length(pad)), min(id), max(id) FROM d"),
            14 => Statement::new(format!(
                "SELECT n, count(*), md5(string_agg(pad, ',' ORDER BY id)) FROM d WHERE n < {x} GROUP BY n"
            )),
            15 => Statement::new("SELECT id FROM a UNION SELECT n FROM c EXCEPT SELECT x FROM b"),
            _ => Statement::ordered(
                "WITH big AS (SELECT id, n FROM d WHERE n > 4) SELECT big.n, count(*) FROM big GROUP BY 1 ORDER BY 1",
            ),
        }
    }
}
