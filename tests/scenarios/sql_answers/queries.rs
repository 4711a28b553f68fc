//! Queries by chance over tables with keys, indexes and NULLs: joins of tables, views, and queries in FROM,
//! below each other, with conditions, groups and set operations at any level. Then queries over one table
//! whose clauses name expressions again, or others that are almost the same.

use super::written::Sessions;
use fastrand::Rng;
use scenarios::{Node, PostgreSql, variable};

/// What makes the tables: small ones and one that lookups are made for.
const SCHEMA: &[&str] = &[
    "CREATE TABLE a (i int PRIMARY KEY, j int UNIQUE, k int, t text)",
    "CREATE TABLE b (i int, j int, k int, t text, PRIMARY KEY (i, j))",
    "CREATE TABLE c (i int PRIMARY KEY, j int, k int, t text)",
    "CREATE TABLE d (i int, j int, k int, t text)",
    "CREATE INDEX ON b (k)",
    "CREATE INDEX ON c (j)",
    "CREATE INDEX ON d (k, j)",
    "INSERT INTO a SELECT g, CASE WHEN g % 3 > 0 THEN g * 2 END, g % 4, 't' || g % 5 FROM generate_series(1, 12) g",
    "INSERT INTO b SELECT g % 4, g, CASE WHEN g % 5 > 0 THEN g % 7 END, 't' || g % 3 FROM generate_series(1, 15) g",
    "INSERT INTO c SELECT g, g % 20, CASE WHEN g % 7 > 0 THEN g % 9 END, 't' || g % 11 FROM generate_series(1, 150) g",
    "INSERT INTO d SELECT g, CASE WHEN g % 2 > 0 THEN g END, g % 3, NULLIF('t' || g % 4, 't1') FROM generate_series(1, 10) g",
];
const TABLES: &[&str] = &["a", "b", "c", "d"];
/// Columns of each: three numbers and a text.
const COLUMNS: [(&str, Kind); 4] =
    [("i", Kind::Number), ("j", Kind::Number), ("k", Kind::Number), ("t", Kind::Text)];
/// Expressions over a column with a constant in it, for which there are two that are equal, but not the same.
const ALMOST_SAME: &[(&str, [&str; 2])] = &[
    (
        "timestamp '2024-01-31' + interval '1 day' * COLUMN + CONSTANT",
        ["interval '1 mon'", "interval '30 days'"],
    ),
    ("concat(COLUMN, CONSTANT)", ["interval '1 day'", "interval '24 hours'"]),
    ("COLUMN + CONSTANT", ["1.0", "1.00"]),
    ("COLUMN * CONSTANT", ["'0'::float8", "'-0'::float8"]),
    ("concat(COLUMN, CONSTANT, '|')", ["'x'::bpchar", "'x '::bpchar"]),
    ("concat(COLUMN, CONSTANT)", ["'{1.0,2}'::numeric[]", "'{1.00,2}'::numeric[]"]),
];
/// Views that are made before, of which later ones may read earlier ones.
const VIEWS: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
}

/// A column as an expression of its level names it.
type Named = (String, Kind);

struct Generator {
    random: Rng,
    /// Aliases are given out by this.
    aliases: usize,
    views: Vec<Vec<Kind>>,
}

impl Generator {
    fn one<'v, T>(&mut self, of: &'v [T]) -> &'v T {
        &of[self.random.usize(..of.len())]
    }

    fn often(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }

    /// A table, a view or a query in FROM, and its columns.
    fn relation(&mut self, depth: u32) -> (String, Vec<Named>) {
        self.aliases += 1;
        let alias = format!("q{}", self.aliases);
        let qualified = |columns: Vec<(String, Kind)>| -> Vec<Named> {
            columns.into_iter().map(|(name, kind)| (format!("{alias}.{name}"), kind)).collect()
        };
        let numbered = |kinds: Vec<Kind>| -> Vec<(String, Kind)> {
            kinds.into_iter().enumerate().map(|(at, kind)| (format!("c{at}"), kind)).collect()
        };
        if depth > 0 && self.often(45) {
            let (query, kinds) = self.query(depth - 1, &[]);
            return (format!("({query}) {alias}"), qualified(numbered(kinds)));
        }
        if !self.views.is_empty() && self.often(25) {
            let at = self.random.usize(..self.views.len());
            return (format!("v{at} {alias}"), qualified(numbered(self.views[at].clone())));
        }
        let table = *self.one(TABLES);
        (format!("{table} {alias}"), qualified(own_columns()))
    }

    fn column(&mut self, columns: &[Named], kind: Kind) -> Option<String> {
        let fitting: Vec<&Named> = columns.iter().filter(|(_, of)| *of == kind).collect();
        (!fitting.is_empty()).then(|| self.one(&fitting).0.clone())
    }

    fn expression(&mut self, columns: &[Named], kind: Kind) -> String {
        let Some(column) = self.column(columns, kind) else {
            return if kind == Kind::Number { "7".to_owned() } else { "'t2'".to_owned() };
        };
        match (kind, self.random.u8(..8)) {
            (Kind::Number, 0) => format!("{column} % 5"),
            (Kind::Number, 1) => format!("coalesce({column}, 3)"),
            (Kind::Number, 2) => format!("CASE WHEN {column} > 4 THEN {column} END"),
            (Kind::Text, 0) => format!("upper({column})"),
            (Kind::Text, 1) => format!("coalesce({column}, '-')"),
            _ => column,
        }
    }

    /// A condition over the columns of a level, and perhaps those of levels around it.
    fn condition(&mut self, columns: &[Named], outer: &[Named], depth: u32) -> String {
        let both: Vec<Named> = columns.iter().chain(outer).cloned().collect();
        let (left, right) = (self.expression(columns, Kind::Number), self.expression(&both, Kind::Number));
        let number = self.random.u8(..12);
        match self.random.u8(..13) {
            0..=2 => format!("{left} = {number}"),
            3 => format!("{left} BETWEEN {number} AND {}", number + 6),
            4 => format!("{left} IN ({number}, {}, 9)", number / 2),
            5 => format!("{left} IS NULL"),
            6 => format!("{} = 't{}'", self.expression(columns, Kind::Text), number % 5),
            7 | 8 => format!("{left} = {right}"),
            9 => format!("({left} > {number} OR {right} IS NULL)"),
            10 if depth > 0 => format!("{left} IN ({})", self.column_query(depth - 1, &both)),
            11 if depth > 0 => {
                let (word, query) = (*self.one(&["", "NOT "]), self.query(depth - 1, &both).0);
                format!("{word}EXISTS ({query})")
            }
            _ => format!("{left} < {right}"),
        }
    }

    /// A query of one column of numbers.
    fn column_query(&mut self, depth: u32, outer: &[Named]) -> String {
        let (relation, columns) = self.relation(depth);
        let (shown, condition) =
            (self.expression(&columns, Kind::Number), self.condition(&columns, outer, depth));
        format!("SELECT {shown} FROM {relation} WHERE {condition}")
    }

    /// A query, and what its columns `c0`, `c1` and so on are.
    fn query(&mut self, depth: u32, outer: &[Named]) -> (String, Vec<Kind>) {
        if depth > 0 && self.often(12) {
            let kinds = vec![Kind::Number, Kind::Text];
            let word = *self.one(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
            let (one, other) =
                (self.select(depth - 1, outer, Some(&kinds)), self.select(0, outer, Some(&kinds)));
            return (format!("{} {word} {}", one.0, other.0), kinds);
        }
        self.select(depth, outer, None)
    }

    fn select(&mut self, depth: u32, outer: &[Named], wanted: Option<&[Kind]>) -> (String, Vec<Kind>) {
        let (mut from, mut columns) = self.relation(depth);
        for _ in 0..self.random.usize(..3) {
            let (right, theirs) = self.relation(depth.saturating_sub(1));
            let (left_key, right_key) =
                (self.column(&columns, Kind::Number), self.column(&theirs, Kind::Number));
            let word = *self.one(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            let (Some(left_key), Some(right_key)) = (left_key, right_key) else { break };
            let mut on = format!("{left_key} = {right_key}");
            columns.extend(theirs);
            if word != "FULL JOIN" && self.often(25) {
                on = format!("{on} AND {}", self.condition(&columns, outer, 0));
            }
            from = format!("{from} {word} {right} ON {on}");
        }
        let mut tail = String::new();
        if self.often(60) {
            tail = format!(" WHERE {}", self.condition(&columns, outer, depth));
            if self.often(30) {
                tail = format!("{tail} AND {}", self.condition(&columns, outer, depth));
            }
        }
        if self.often(20) {
            let key = self.column(&columns, Kind::Number).unwrap_or_else(|| "1".to_owned());
            let text = self.expression(&columns, Kind::Text);
            let number = self.expression(&columns, Kind::Number);
            let (shown, kinds) = match wanted {
                Some(kinds) => (format!("{key} AS c0, min({text}) AS c1"), kinds.to_vec()),
                None => (
                    format!("{key} AS c0, count(*)::int AS c1, max({number}) AS c2, min({text}) AS c3"),
                    vec![Kind::Number, Kind::Number, Kind::Number, Kind::Text],
                ),
            };
            let having = if self.often(20) { " HAVING count(*) > 1" } else { "" };
            return (format!("SELECT {shown} FROM {from}{tail} GROUP BY {key}{having}"), kinds);
        }
        let kinds = match wanted {
            Some(kinds) => kinds.to_vec(),
            None => (0..self.random.usize(1..5))
                .map(|_| if self.often(70) { Kind::Number } else { Kind::Text })
                .collect(),
        };
        let shown = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| format!("{} AS c{at}", self.expression(&columns, *kind)));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let distinct = if self.often(15) { "DISTINCT " } else { "" };
        if wanted.is_none() && self.often(15) {
            // By all columns, so that it is the same rows everywhere.
            let order = (1..=kinds.len()).map(|at| at.to_string()).collect::<Vec<_>>().join(", ");
            let rows = self.random.u8(..9);
            tail = format!("{tail} ORDER BY {order} LIMIT {rows} OFFSET {}", rows % 3);
        }
        (format!("SELECT {distinct}{shown} FROM {from}{tail}"), kinds)
    }

    /// DISTINCT ON, sorted by some of its expressions and perhaps by others, in any order.
    fn distinct_on(&mut self) -> String {
        let (table, columns) = (*self.one(TABLES), own_columns());
        let kinds: Vec<Kind> = (0..self.random.usize(1..4)).map(|_| self.one(&COLUMNS).1).collect();
        let on: Vec<String> = kinds.into_iter().map(|kind| self.expression(&columns, kind)).collect();
        let mut order: Vec<String> = on.iter().filter(|_| self.often(75)).cloned().collect();
        self.random.shuffle(&mut order);
        if self.often(30) {
            let (kind, at) = (self.one(&COLUMNS).1, self.random.usize(..=order.len()));
            order.insert(at, self.expression(&columns, kind));
        }
        // By all columns, so that each group's first row is the same everywhere.
        let total = self.often(40);
        if total {
            order.extend(columns.into_iter().map(|(name, _)| name));
        }
        let shown = if total { "*".to_owned() } else { on.join(", ") };
        for key in &mut order {
            let how = *self.one(&["", " DESC", " NULLS FIRST"]);
            key.push_str(how);
        }
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        format!("SELECT DISTINCT ON ({}) {shown} FROM {table}{order}", on.join(", "))
    }

    /// A query that names an expression twice, or one and another that is almost the same.
    fn almost_same(&mut self) -> String {
        let (template, constants) = *self.one(ALMOST_SAME);
        let (table, column) = (*self.one(TABLES), *self.one(&["i", "j", "k"]));
        let template = template.replace("COLUMN", column);
        let [one, other] = [(); 2].map(|()| {
            let constant = *self.one(&constants);
            template.replace("CONSTANT", constant)
        });
        match self.random.u8(..7) {
            0 => format!("SELECT max({one}), max({other}), count(DISTINCT {one}) FROM {table}"),
            1 => format!("SELECT {one}, count(*) FROM {table} GROUP BY {other}"),
            2 => format!("SELECT {column}, {one} FROM {table} GROUP BY {column}, {other}"),
            3 => format!("SELECT DISTINCT {one} FROM {table} ORDER BY {other}"),
            4 => format!("SELECT DISTINCT ON ({one}) {other} FROM {table} ORDER BY {one}, {column}"),
            5 => format!("SELECT {one} AS x, {other} AS x FROM {table} ORDER BY x"),
            _ => format!("SELECT k FROM {table} GROUP BY k HAVING max({one})::text = max({other})::text"),
        }
    }

    fn next(&mut self) -> String {
        let depth = self.random.u32(1..4);
        let (query, kinds) = self.query(depth, &[]);
        let columns = (0..kinds.len()).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
        match self.random.u8(..4) {
            0 => format!("WITH w({columns}) AS ({query}) SELECT * FROM w WHERE c0 IS NOT NULL"),
            1 => format!("SELECT count(*), count(c0), min(c0) FROM ({query}) w"),
            _ => query,
        }
    }
}

/// The columns of a table that stands alone.
fn own_columns() -> Vec<Named> {
    COLUMNS.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
}

#[test]
fn queries_by_chance_are_answered_as_postgresql_answers_them() {
    let count = variable("PLIMSOLL_STATEMENTS").unwrap_or(2000);
    let seed = variable("PLIMSOLL_SEED").unwrap_or(12);
    eprintln!("PLIMSOLL_SEED={seed}");
    let (postgresql, node) = (PostgreSql::start(&[]), Node::builder().start());
    let [mut theirs, mut ours] = [postgresql.conninfo(), node.conninfo()].map(Sessions::new);
    let mut generator = Generator { random: Rng::with_seed(seed), aliases: 0, views: Vec::new() };
    let mut say =
        |statement: &str| [&mut theirs, &mut ours].map(|server| server.say("postgres", statement, false));
    for statement in SCHEMA {
        let [their, our] = say(statement);
        assert_eq!(their, our, "{statement}");
    }
    for at in 0..VIEWS {
        let (query, kinds) = generator.query(2, &[]);
        let statement = format!("CREATE VIEW v{at} AS {query}");
        let [their, our] = say(&statement);
        assert_eq!(their, our, "PLIMSOLL_SEED={seed}: {statement}");
        generator.views.push(kinds);
    }
    let (mut rows, mut differing) = (0, Vec::new());
    for at in 0..count + count / 4 {
        let statement = match at.checked_sub(count) {
            None => generator.next(),
            Some(at) if at % 2 == 0 => generator.distinct_on(),
            Some(_) => generator.almost_same(),
        };
        let [their, our] = say(&statement);
        rows += their.rows.len();
        if their != our {
            differing.push(format!("{statement}\n    PostgreSQL: {their:?}\n    here:       {our:?}"));
        }
    }
    eprintln!("{count} queries, {rows} rows");
    assert!(
        differing.is_empty(),
        "PLIMSOLL_SEED={seed}: {} differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
    assert!(rows as u64 > count, "PLIMSOLL_SEED={seed}: {rows} rows of {count} queries say little");
}
