//! What of the settings a session's loop needs, and what they say of its statements and notices.

use super::environment::SessionEnvironment;
use super::first_word;
use protocol::Severity;
use std::sync::Arc;
use std::time::Duration;

/// What of the settings the session's loop needs, read anew when one changes.
pub(super) struct Limits {
    pub(super) seen: u64,
    pub(super) statement_timeout: Option<Duration>,
    pub(super) idle_in_transaction: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) tcp_user_timeout: Option<Duration>,
    pub(super) log_statement: LogStatement,
    pub(super) log_duration_from: Option<Duration>,
    pub(super) client_min_messages: Arc<str>,
    pub(super) report_commit_lsn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LogStatement {
    None,
    Ddl,
    Mod,
    All,
}

impl Limits {
    pub(super) fn of(environment: &SessionEnvironment) -> Self {
        let seen = environment.changes();
        let config = environment.config();
        Self {
            seen,
            statement_timeout: config.statement_timeout,
            idle_in_transaction: config.idle_in_transaction_session_timeout,
            idle: config.idle_session_timeout,
            tcp_user_timeout: config.tcp_user_timeout,
            log_statement: match config.log_statement.as_ref() {
                "ddl" => LogStatement::Ddl,
                "mod" => LogStatement::Mod,
                "all" => LogStatement::All,
                _ => LogStatement::None,
            },
            log_duration_from: config.log_min_duration_statement.0,
            client_min_messages: config.client_min_messages,
            report_commit_lsn: config.report_commit_lsn,
        }
    }
}

/// From which log_statement on this statement is logged, by its first word.
pub(super) fn class_of(sql: &str) -> LogStatement {
    match first_word(sql).to_ascii_lowercase().as_str() {
        "create" | "alter" | "drop" | "grant" | "revoke" | "comment" => LogStatement::Ddl,
        "insert" | "update" | "delete" | "truncate" | "copy" => LogStatement::Mod,
        _ => LogStatement::All,
    }
}

/// The order of client_min_messages, in which LOG stands below NOTICE.
pub(super) fn reaches_client(severity: Severity, min: &str) -> bool {
    let rank = |word: &str| match word {
        "log" => 1,
        "notice" => 2,
        "warning" => 3,
        "error" => 4,
        _ => 0,
    };
    let own = match severity {
        Severity::Debug => 0,
        Severity::Log => 1,
        Severity::Notice => 2,
        Severity::Warning => 3,
        // INFO is always sent; so are errors.
        Severity::Info | Severity::Error | Severity::Fatal | Severity::Panic => 4,
    };
    own >= rank(min)
}
