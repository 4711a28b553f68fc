//! The rows of plimsoll_promotion_report(), for people and for scripts.

use crate::output::say;
use anyhow::{Context, Result, anyhow};
use protocol::Client;
use serde_json::{Value, json};
use wal::Lsn;

/// The function's columns, in the order in which they are asked for, and whether they are text in JSON.
const COLUMNS: [(&str, Kind); 22] = [
    ("node", Kind::Text),
    ("is_this_node", Kind::Flag),
    ("address", Kind::Text),
    ("role", Kind::Text),
    ("timeline", Kind::Number),
    ("received_lsn", Kind::Text),
    ("flushed_lsn", Kind::Text),
    ("replayed_lsn", Kind::Text),
    ("behind_bytes", Kind::Number),
    ("is_best", Kind::Flag),
    ("verdict", Kind::Text),
    ("by_quorum", Kind::Flag),
    ("reason", Kind::Text),
    ("missing_after", Kind::Text),
    ("missing_upto", Kind::Text),
    ("missing_commits", Kind::Number),
    ("missing_since", Kind::Text),
    ("missing_until", Kind::Text),
    ("synchronous_standby_names", Kind::Text),
    ("primary_lsn", Kind::Text),
    ("primary_time", Kind::Text),
    ("is_fenced", Kind::Flag),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
}

/// What a server says of a promotion.
pub struct Report {
    lines: Vec<Line>,
}

/// A node of it.
pub struct Line {
    values: Vec<Option<String>>,
}

impl Line {
    fn text(&self, column: &str) -> Option<&str> {
        let at = COLUMNS.iter().position(|(name, _)| *name == column)?;
        self.values.get(at)?.as_deref()
    }
    fn is(&self, column: &str) -> bool {
        self.text(column) == Some("t")
    }

    /// Where it is; None for the server that was asked.
    pub fn address(&self) -> Option<&str> {
        self.text("address")
    }

    /// By which name it follows others.
    pub fn node(&self) -> &str {
        self.text("node").unwrap_or_default()
    }

    /// Up to where it had replayed the log.
    pub fn replayed(&self) -> Option<Lsn> {
        self.text("replayed_lsn")?.parse().ok()
    }

    /// Its name and where it is, for people.
    pub fn place(&self) -> String {
        let name = format!("\"{}\"", self.node());
        match self.address() {
            Some(address) => format!("{name} at {address}"),
            None => name,
        }
    }

    /// What its promotion would lose.
    pub fn verdict(&self) -> &str {
        self.text("verdict").unwrap_or("it is no standby")
    }

    /// Why.
    pub fn reason(&self) -> &str {
        self.text("reason").unwrap_or("only a standby can be promoted")
    }

    /// What the table says of its promotion.
    fn end(&self) -> String {
        let end = match (self.text("verdict"), self.text("role")) {
            (Some(verdict), _) if self.is("is_best") => format!("{verdict} (has the most log)"),
            (Some(verdict), _) => verdict.to_owned(),
            (None, Some(_)) if self.is("is_fenced") => "was the primary".to_owned(),
            (None, Some(_)) => "is the primary".to_owned(),
            (None, None) => format!("cannot be asked: {}", self.text("reason").unwrap_or_default()),
        };
        if self.is("is_fenced") { format!("{end}, and is fenced") } else { end }
    }

    /// Whether it may lose something.
    pub fn may_lose(&self) -> bool {
        !self.verdict().starts_with("no loss")
    }

    fn json(&self) -> Value {
        let value = |(kind, value): (Kind, &Option<String>)| match (value, kind) {
            (None, _) => Value::Null,
            (Some(text), Kind::Flag) => json!(text == "t"),
            (Some(text), Kind::Number) => {
                text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
            }
            (Some(text), Kind::Text) => json!(text),
        };
        let columns = COLUMNS.iter().zip(&self.values);
        columns.map(|((name, kind), text)| ((*name).to_owned(), value((*kind, text)))).collect()
    }

    /// What may be missing, for people.
    fn missing(&self) -> Option<String> {
        let after = self.text("missing_after")?;
        let commits = match self.text("missing_commits") {
            Some(count) => format!("commits known: {count}"),
            None => "nobody here can count the commits".to_owned(),
        };
        let upto = self.text("missing_upto").map_or_else(String::new, |upto| format!(" up to {upto}"));
        let times = match (self.text("missing_since"), self.text("missing_until")) {
            (Some(since), Some(until)) => format!(", {since} to {until}"),
            (Some(since), None) => format!(", since {since}"),
            _ => String::new(),
        };
        Some(format!("may be missing: what is after {after}{upto} ({commits}{times})"))
    }
}

impl Report {
    /// Asks a server for it.
    pub async fn ask(server: &mut Client) -> Result<Self> {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let query = format!("SELECT {} FROM plimsoll_promotion_report()", names.join(", "));
        let answer = server.query(&query).await.context("could not ask what a promotion would lose")?;
        let line = |row| {
            let value = |column| answer.text(row, column).map(str::to_owned);
            Line { values: (0..COLUMNS.len()).map(value).collect() }
        };
        Ok(Self { lines: (0..answer.rows.len()).map(line).collect() })
    }

    /// The server that was asked.
    pub fn asked(&self) -> Result<&Line> {
        self.lines.iter().find(|line| line.is("is_this_node")).ok_or_else(|| anyhow!("the report has no row"))
    }

    /// The standby that has the most log of the newest timeline.
    pub fn best(&self) -> Result<&Line> {
        let best = self.lines.iter().find(|line| line.is("is_best"));
        let why = match self.lines.iter().any(|line| line.text("role") == Some("standby")) {
            true => "the standbys that answer are on two branches with one number: name the one to promote",
            false => "no standby answers: nobody can be promoted",
        };
        best.ok_or_else(|| anyhow!(why))
    }

    /// Says it as lines of JSON.
    pub fn say_json(&self) {
        for line in &self.lines {
            say!("{}", line.json());
        }
    }

    /// Says it for people: a table of all nodes, and what the promotion of the one that was asked would lose.
    pub fn say(&self) {
        const SHOWN: [(&str, &str); 6] = [
            ("node", "node"),
            ("role", "role"),
            ("timeline", "timeline"),
            ("received_lsn", "received"),
            ("flushed_lsn", "flushed"),
            ("replayed_lsn", "replayed"),
        ];
        let head = SHOWN.iter().map(|(_, title)| (*title).to_owned()).chain(["its promotion".to_owned()]);
        let mut table: Vec<Vec<String>> = vec![head.collect()];
        for line in &self.lines {
            let shown = SHOWN.iter().map(|(column, _)| line.text(column).unwrap_or("-").to_owned());
            table.push(shown.chain([line.end()]).collect());
        }
        let widths: Vec<usize> = (0..SHOWN.len())
            .map(|column| table.iter().filter_map(|row| Some(row.get(column)?.len())).max().unwrap_or(0))
            .collect();
        for row in &table {
            let padded = row.iter().enumerate().map(|(at, text)| match widths.get(at) {
                Some(width) => format!("{text:width$}"),
                None => text.clone(),
            });
            say!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        }
        if let Ok(line) = self.asked() {
            say!("promotion of {}: {}", line.place(), line.verdict());
            say!("  {}", line.reason());
            if let Some(missing) = line.missing() {
                say!("  {missing}");
            }
            if let Some(end) = line.text("primary_lsn") {
                let at = line.text("primary_time").unwrap_or("an unknown time");
                say!("  the primary said last that its log ends at {end}, at {at}");
            }
        }
    }
}
