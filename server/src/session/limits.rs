//! What of the settings a session's loop needs, and what they say of its statements and notices.

use super::environment::SessionEnvironment;
use super::logged::Durations;
use super::tracked::Track;
use crate::log::{Level, OwnLevels, Verbosity};
use protocol::Severity;
use sql_interface::Environment;
use sql_session::StatementClass;
use sql_types::Style;
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
    pub(super) durations: Durations,
    pub(super) track: Track,
    /// Somebody wants to know how long statements take.
    pub(super) is_timed: bool,
    /// log_parameter_max_length; None is no limit, as the next.
    pub(super) parameter_bytes_max: Option<u64>,
    pub(super) parameter_bytes_max_on_error: Option<u64>,
    pub(super) log_levels: OwnLevels,
    pub(super) client_min_messages: Arc<str>,
    pub(super) report_commit_lsn: bool,
    /// How values print, and what texts of parameters say.
    pub(super) style: Arc<Style>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LogStatement {
    None,
    Ddl,
    Mod,
    All,
}

impl Limits {
    /// Whether lines of the log may name the statements of portals.
    pub(super) fn names_statements(&self) -> bool {
        self.log_statement != LogStatement::None || self.durations.any()
    }

    pub(super) fn of(environment: &SessionEnvironment) -> Self {
        let seen = environment.changes();
        let config = environment.config();
        let durations = Durations {
            all: config.log_duration,
            from: config.log_min_duration_statement.0,
            sample: config
                .log_min_duration_sample
                .0
                .map(|from| (from, config.log_statement_sample_rate))
                .filter(|(_, rate)| *rate > 0.0),
        };
        let track = Track {
            plans: environment.counts_statements() && config.track.as_ref() != "none",
            utility: config.track_utility,
            max: usize::try_from(config.track_max).unwrap_or(usize::MAX),
        };
        Self {
            seen,
            durations,
            track,
            is_timed: durations.any() || track.plans,
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
            parameter_bytes_max: config.log_parameter_max_length,
            parameter_bytes_max_on_error: config.log_parameter_max_length_on_error,
            log_levels: OwnLevels {
                messages: Some(Level::of_word(&config.log_min_messages)),
                statements: Some(Level::of_word(&config.log_min_error_statement)),
                verbosity: Some(Verbosity::of_word(&config.log_error_verbosity)),
            },
            client_min_messages: config.client_min_messages.clone(),
            report_commit_lsn: config.report_commit_lsn,
            style: environment.quick().style.clone(),
        }
    }
}

impl LogStatement {
    /// Whether statements of this class are logged.
    pub(super) fn covers(self, class: StatementClass) -> bool {
        let from = match class {
            StatementClass::Definition => Self::Ddl,
            StatementClass::Change => Self::Mod,
            StatementClass::Other => Self::All,
        };
        self >= from
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
