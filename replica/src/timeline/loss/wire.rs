//! What a node says of itself to another, as the row that answers `PLIMSOLL positions`, and the commits in a
//! stretch of its log, as the row that answers `PLIMSOLL commits`. All columns are text; times are
//! microseconds since 2000.

use super::{Answer, Commits, Role, Rule};
use crate::directory_id::DirectoryId;
use crate::sync::Progress;
use host::Timestamp;
use wal::history::TimelineHistory;
use wal::{Lsn, SystemId, TimelineId};

/// The question of a node: where it is.
pub const POSITIONS_QUESTION: &str = "positions";
/// The question of a node: which commits are in a stretch of its log.
pub const COMMITS_QUESTION: &str = "commits";

/// The columns of [`Told`].
pub const POSITIONS_COLUMNS: [&str; 22] = [
    "systemid",
    "id",
    "name",
    "timeline",
    "history",
    "primary",
    "active",
    "written",
    "flushed",
    "replayed",
    "log_end",
    "confirmed",
    "caught_up",
    "rule_timeline",
    "names",
    "may_fall_back",
    "rule_primary",
    "rule_primary_name",
    "primary_end",
    "primary_end_time",
    "last_commit",
    "fenced",
];

/// The columns of [`Commits`].
pub const COMMITS_COLUMNS: [&str; 6] =
    ["upto", "commits", "first", "first_time", "last_time", "changes_rule"];

/// What a node says, and who says it. Of which branches it was told is no part of the row: its answer to
/// `PLIMSOLL member` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The cluster.
    pub system: SystemId,
    /// The node.
    pub id: DirectoryId,
    /// The name by which it follows others.
    pub name: String,
    /// What it says.
    pub answer: Answer,
}

fn flag(set: bool) -> Option<String> {
    Some(if set { "t" } else { "f" }.to_owned())
}

fn text(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

fn micros(at: Timestamp) -> String {
    at.micros().to_string()
}

/// The values of a row.
struct Row<'a>(&'a dyn Fn(usize) -> Option<&'a str>, &'a [&'a str]);

impl Row<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        (self.0)(self.1.iter().position(|name| *name == column)?)
    }
    fn parse<T: std::str::FromStr>(&self, column: &str) -> Option<T> {
        self.text(column)?.parse().ok()
    }
    fn flag(&self, column: &str) -> Option<bool> {
        match self.text(column)? {
            "t" => Some(true),
            "f" => Some(false),
            _ => None,
        }
    }
    /// None if it is no time; a missing one is none, too.
    fn time(&self, column: &str) -> Option<Option<Timestamp>> {
        let micros = self.text(column).map(|text| text.parse().map(Timestamp::from_micros));
        micros.transpose().ok()
    }
}

impl Told {
    /// The row's values, in the order of [`POSITIONS_COLUMNS`].
    pub fn row(&self) -> Vec<Option<String>> {
        let Answer { history, role, progress, rule, primary_end, .. } = &self.answer;
        let (is_primary, active) = match role {
            Role::Primary { acknowledges } => (true, *acknowledges),
            Role::Standby { streams } => (false, *streams),
        };
        let rule = rule.as_ref();
        vec![
            text(self.system),
            text(self.id),
            text(&self.name),
            text(history.target()),
            text(history.text()),
            flag(is_primary),
            flag(active),
            text(progress.written),
            text(progress.flushed),
            text(progress.replayed),
            text(self.answer.end),
            text(self.answer.confirmed),
            flag(self.answer.has_caught_up),
            rule.and_then(|rule| text(rule.timeline)),
            rule.and_then(|rule| rule.names.clone()),
            rule.and_then(|rule| flag(rule.may_fall_back)),
            rule.and_then(|rule| text(rule.primary)),
            rule.and_then(|rule| text(&rule.primary_name)),
            primary_end.and_then(|(end, _)| text(end)),
            primary_end.map(|(_, at)| micros(at)),
            self.answer.last_commit.map(micros),
            flag(self.answer.is_fenced),
        ]
    }

    /// Reads a row; None if it is none.
    pub fn of_row<'a>(value: &'a dyn Fn(usize) -> Option<&'a str>) -> Option<Self> {
        let row = Row(value, &POSITIONS_COLUMNS);
        let history = TimelineHistory::parse(row.parse("timeline")?, row.text("history")?).ok()?;
        let active = row.flag("active")?;
        let role = match row.flag("primary")? {
            true => Role::Primary { acknowledges: active },
            false => Role::Standby { streams: active },
        };
        let rule = match row.text("rule_timeline") {
            None => None,
            Some(timeline) => Some(Rule {
                timeline: timeline.parse::<TimelineId>().ok()?,
                names: row.text("names").map(str::to_owned),
                may_fall_back: row.flag("may_fall_back")?,
                primary: row.parse("rule_primary")?,
                primary_name: row.text("rule_primary_name")?.to_owned(),
            }),
        };
        let primary_end = match row.text("primary_end") {
            None => None,
            Some(end) => Some((end.parse::<Lsn>().ok()?, row.time("primary_end_time")??)),
        };
        let is_fenced = match row.text("fenced") {
            // One of before that column does not say why it takes no commits.
            None => role == Role::Primary { acknowledges: false },
            Some(_) => row.flag("fenced")?,
        };
        let (written, flushed) = (row.parse("written")?, row.parse("flushed")?);
        let answer = Answer {
            history,
            role,
            progress: Progress { written, flushed, replayed: row.parse("replayed")? },
            end: row.parse("log_end")?,
            confirmed: row.parse("confirmed")?,
            has_caught_up: row.flag("caught_up")?,
            rule,
            primary_end,
            last_commit: row.time("last_commit")?,
            is_fenced,
            heard: Vec::new(),
        };
        let name = row.text("name")?.to_owned();
        Some(Self { system: row.parse("systemid")?, id: row.parse("id")?, name, answer })
    }
}

impl Commits {
    /// The row's values, in the order of [`COMMITS_COLUMNS`].
    pub fn row(&self) -> Vec<Option<String>> {
        let (first, last) = self.times.unzip();
        vec![
            text(self.upto),
            text(self.count),
            self.first.and_then(text),
            first.map(micros),
            last.map(micros),
            flag(self.changes_rule),
        ]
    }

    /// Reads a row; None if it is none.
    pub fn of_row<'a>(value: &'a dyn Fn(usize) -> Option<&'a str>) -> Option<Self> {
        let row = Row(value, &COMMITS_COLUMNS);
        let first = match row.text("first") {
            None => None,
            Some(at) => Some(at.parse().ok()?),
        };
        let times = row.time("first_time")?.zip(row.time("last_time")?);
        // One of before that column does not say.
        let changes_rule = row.flag("changes_rule").unwrap_or(true);
        Some(Self { upto: row.parse("upto")?, count: row.parse("commits")?, first, times, changes_rule })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::history::BranchId;

    fn told() -> Told {
        let history = TimelineHistory::root(TimelineId::FIRST);
        let history = history.fork(TimelineId::new(2), Lsn::new(77), "test", BranchId::new(5)).unwrap();
        let rule = Rule {
            timeline: TimelineId::new(2),
            names: Some("ANY 1 (a)".to_owned()),
            may_fall_back: true,
            primary: DirectoryId::new(8),
            primary_name: String::new(),
        };
        let lsn = Lsn::new;
        let answer = Answer {
            history,
            role: Role::Standby { streams: true },
            progress: Progress { written: lsn(5), flushed: lsn(4), replayed: lsn(3) },
            end: lsn(6),
            confirmed: lsn(2),
            has_caught_up: true,
            rule: Some(rule),
            primary_end: Some((lsn(9), Timestamp::from_micros(-3))),
            last_commit: Some(Timestamp::from_micros(11)),
            is_fenced: false,
            heard: Vec::new(),
        };
        Told { system: SystemId::new(12), id: DirectoryId::new(13), name: "a b".to_owned(), answer }
    }

    #[test]
    fn what_is_told_comes_back_and_each_value_that_is_none_is_refused() {
        let full = told();
        let mut bare = told();
        bare.answer.role = Role::Primary { acknowledges: false };
        (bare.answer.rule, bare.answer.primary_end, bare.answer.last_commit) = (None, None, None);
        let read = |row: &[Option<String>]| Told::of_row(&|at| row.get(at)?.as_deref());
        for told in [&full, &bare] {
            let row = told.row();
            assert_eq!((row.len(), read(&row).as_ref()), (POSITIONS_COLUMNS.len(), Some(told)));
        }
        for (at, column) in POSITIONS_COLUMNS.iter().enumerate() {
            let mut row = full.row();
            row[at] = Some("nonsense\n".to_owned());
            let free = ["name", "names", "rule_primary_name"].contains(column);
            assert_eq!(read(&row).is_some(), free, "{column}");
        }
    }

    #[test]
    fn a_quiet_primary_of_before_may_be_fenced() {
        for (role, of_before) in [
            (Role::Primary { acknowledges: false }, true),
            (Role::Primary { acknowledges: true }, false),
            (Role::Standby { streams: false }, false),
        ] {
            for is_fenced in [false, true] {
                let mut told = told();
                (told.answer.role, told.answer.is_fenced) = (role, is_fenced);
                let mut row = told.row();
                let read = |row: &[Option<String>]| {
                    Told::of_row(&|at| row.get(at)?.as_deref()).unwrap().answer.is_fenced
                };
                assert_eq!(read(&row), is_fenced);
                row.pop();
                assert_eq!(read(&row), of_before, "{role:?}");
            }
        }
    }

    #[test]
    fn commits_come_back() {
        let times = Some((Timestamp::from_micros(1), Timestamp::from_micros(2)));
        let (upto, first) = (Lsn::new(9), Some(Lsn::new(7)));
        let some = Commits { upto, count: 2, first, times, changes_rule: false };
        for commits in [some, Commits { count: 0, first: None, times: None, changes_rule: true, ..some }] {
            let row = commits.row();
            assert_eq!(Commits::of_row(&|at| row.get(at)?.as_deref()), Some(commits));
        }
        assert_eq!(Commits::of_row(&|_| None), None);
    }
}
