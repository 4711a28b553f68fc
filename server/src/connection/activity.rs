//! What a session is, and what it does, in the words of pg_stat_activity and of the log.

use std::sync::Arc;

/// What a session is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionKind {
    /// SQL.
    Client,
    /// Replication commands.
    WalSender,
}

impl SessionKind {
    /// pg_stat_activity.backend_type.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client backend",
            Self::WalSender => "walsender",
        }
    }
}

/// pg_stat_activity.state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Activity {
    Starting,
    Idle,
    Active,
    IdleInTransaction,
    IdleInFailedTransaction,
}

impl Activity {
    const ALL: [Self; 5] =
        [Self::Starting, Self::Idle, Self::Active, Self::IdleInTransaction, Self::IdleInFailedTransaction];

    /// The one of this number.
    pub(super) fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Starting)
    }

    pub(crate) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Starting => None,
            Self::Idle => Some("idle"),
            Self::Active => Some("active"),
            Self::IdleInTransaction => Some("idle in transaction"),
            Self::IdleInFailedTransaction => Some("idle in transaction (aborted)"),
        }
    }
}

/// The text of the statement that a session runs, or ran last.
#[derive(Clone, Default)]
pub(crate) enum Statement {
    #[default]
    None,
    Text(Arc<str>),
}

impl Statement {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::None => "",
            Self::Text(text) => text,
        }
    }
}

/// The words by which a statement is known: SELECT, CREATE TABLE.
pub(super) fn command_words(sql: &str) -> String {
    let sql = sql_session::behind_comments(sql);
    let mut words = sql.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_ascii_uppercase();
    match (first.as_str(), words.next()) {
        ("CREATE" | "ALTER" | "DROP", Some(second)) => format!("{first} {}", second.to_ascii_uppercase()),
        _ => first,
    }
}
