//! What the log is told of a session's statements: their texts, how long they took, with which parameters.
//! Passwords are left out.

use super::Session;
use super::limits::LogStatement;
use crate::connection::registry::Activity;
use crate::log::LogContext;
use crate::log::redact::{HIDDEN, is_secret_name, secret_parameters, without_secrets};
use host::Instant;
use protocol::{Report, Severity, SqlState};
use sql_interface::{Environment, SqlError, TransactionStatus, clipped_to};
use sql_session::{Portal, Statement, StatementClass};
use sql_types::{Datum, Style};
use std::time::Duration;

/// Whose durations are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Durations {
    /// log_duration: of all, at least without the text.
    pub(super) all: bool,
    /// log_min_duration_statement
    pub(super) from: Option<Duration>,
    /// log_min_duration_sample and log_statement_sample_rate
    pub(super) sample: Option<(Duration, f64)>,
}

impl Durations {
    /// Whether any may be.
    pub(super) fn any(&self) -> bool {
        self.all || self.from.is_some() || self.sample.is_some()
    }
}

/// What a line about a statement tells besides.
#[derive(Clone, Copy)]
pub(super) enum Detail<'a> {
    /// The values of its parameters.
    Parameters(&'a [Datum]),
    /// What EXECUTE runs, if it is among these.
    Statements(&'a [Statement]),
}

fn log(message: String) -> Report {
    Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, message)
}

impl Session {
    /// Logs the statements of a text before they run, if the settings say so, and tells whether it did.
    #[inline]
    pub(super) fn log_statements(&self, sql: &str, statements: &[Statement]) -> bool {
        self.limits.log_statement != LogStatement::None && {
            let classes = statements.iter().map(|statement| self.sql.class_of(statement));
            self.log_of_class(classes.min().unwrap_or(StatementClass::Other), sql, statements)
        }
    }

    /// The same for a text with a statement that is absent here.
    #[cold]
    pub(super) fn log_refused(&self, sql: &str, error: &SqlError) {
        if self.limits.log_statement != LogStatement::None && error.code() == SqlState::FEATURE_NOT_SUPPORTED
        {
            self.log_of_class(StatementClass::of_text(sql), sql, &[]);
        }
    }

    #[cold]
    fn log_of_class(&self, class: StatementClass, sql: &str, statements: &[Statement]) -> bool {
        let covered = self.limits.log_statement.covers(class);
        if covered {
            let report = log(format!("statement: {}", without_secrets(sql)));
            self.tell_as(&self.with_detail(report, sql, Detail::Statements(statements)), self.transaction());
        }
        covered
    }

    /// Logs a portal before it runs, if the settings say so, and tells whether it did.
    #[inline]
    pub(super) fn log_portal(&self, name: &str, portal: &Portal) -> bool {
        self.limits.log_statement != LogStatement::None && self.log_portal_of_class(name, portal)
    }

    #[cold]
    fn log_portal_of_class(&self, name: &str, portal: &Portal) -> bool {
        let covered = self.limits.log_statement.covers(self.sql.class_of_prepared(portal.prepared()));
        if covered {
            let label = execute_label(name, portal);
            let sql = portal.prepared().sql();
            let report = log(format!("{label}: {}", without_secrets(sql)));
            self.tell(&self.with_detail(report, sql, Detail::Parameters(portal.parameters())));
        }
        covered
    }

    /// What the session is in the middle of before a statement begins.
    fn transaction(&self) -> Activity {
        match self.sql.transaction_status() {
            TransactionStatus::Idle => Activity::Idle,
            TransactionStatus::InTransaction => Activity::IdleInTransaction,
            TransactionStatus::Failed => Activity::IdleInFailedTransaction,
        }
    }

    /// Tells the log of a statement that has not begun.
    fn tell_as(&self, report: &Report, activity: Activity) {
        let command = activity.name().unwrap_or_default().to_owned();
        let context = LogContext { command, ..self.handle.log_context() };
        self.node.ground.log.write(Some(&context), report, None);
    }

    fn tell(&self, report: &Report) {
        self.node.ground.log.write(Some(&self.handle.log_context()), report, None);
    }

    /// Now, if durations are logged or counted.
    #[inline]
    pub(super) fn clock(&self) -> Option<Instant> {
        self.limits.is_timed.then(Instant::now)
    }

    /// Logs how long a statement took that has ended well, if the settings say so. `logged`: its text is in
    /// the log already.
    #[inline]
    pub(super) fn log_duration(
        &self,
        label: impl FnOnce() -> String,
        (sql, logged): (&str, bool),
        detail: Detail<'_>,
        began: Option<Instant>,
    ) {
        if let Some(began) = began
            && self.limits.durations.any()
        {
            self.log_long(&label(), (sql, logged), detail, began.elapsed());
        }
    }

    #[cold]
    fn log_long(&self, label: &str, (sql, logged): (&str, bool), detail: Detail<'_>, took: Duration) {
        let durations = self.limits.durations;
        let is_long = durations.from.is_some_and(|from| took >= from)
            || durations.sample.is_some_and(|(from, rate)| took >= from && self.is_drawn(rate));
        if !is_long && !durations.all {
            return;
        }
        let mut message = format!("duration: {:.3} ms", took.as_secs_f64() * 1e3);
        if !is_long || logged {
            return self.tell(&log(message));
        }
        message.push_str(&format!("  {label}: {}", without_secrets(sql)));
        self.tell(&self.with_detail(log(message), sql, detail));
    }

    /// Whether this one is of a sample, of which there is this share.
    fn is_drawn(&self, rate: f64) -> bool {
        if rate >= 1.0 {
            return true;
        }
        let mut bytes = [0; 4];
        self.node.ground.host.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) < rate * f64::from(u32::MAX)
    }

    fn with_detail(&self, report: Report, sql: &str, detail: Detail<'_>) -> Report {
        let parameters = match detail {
            Detail::Parameters(parameters) => parameters,
            Detail::Statements(statements) => {
                let executed = statements.iter().find_map(|statement| self.sql.text_executed_by(statement));
                return match executed {
                    Some(text) => report.with_detail(format!("prepare: {}", without_secrets(&text))),
                    None => report,
                };
            }
        };
        let limit = self.limits.parameter_bytes_max;
        if parameters.is_empty() || limit == Some(0) {
            return report;
        }
        let style = &self.environment.quick().style;
        report.with_detail(format!("parameters: {}", list(sql, parameters, style, limit)))
    }

    /// An error of a portal, with its parameters if the settings say so.
    pub(super) fn with_portal(&self, report: Report, name: &str, parameters: &[Datum]) -> Report {
        let limit = self.limits.parameter_bytes_max_on_error;
        if parameters.is_empty() || limit == Some(0) {
            return report;
        }
        let portal = if name.is_empty() { "unnamed portal".to_owned() } else { format!("portal \"{name}\"") };
        let style = &self.environment.quick().style;
        let sql = self.handle.statement();
        let own = format!("{portal} with parameters: {}", list(sql.text(), parameters, style, limit));
        let context =
            report.context.as_ref().map_or_else(|| own.clone(), |context| format!("{context}\n{own}"));
        Report { context: Some(context), ..report }
    }
}

/// A text as SQL writes it, of at most so many bytes.
pub(super) fn quoted(text: &str, limit: Option<u64>) -> String {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let is_cut = text.len() > limit;
    format!("'{}{}", clipped_to(text, limit).replace('\'', "''"), if is_cut { "...'" } else { "'" })
}

/// A name as the log has it.
pub(super) fn named(name: &str) -> &str {
    if name.is_empty() { "<unnamed>" } else { name }
}

/// What an Execute of a portal is called.
pub(super) fn execute_label(name: &str, portal: &Portal) -> String {
    let verb = if portal.executed { "execute fetch from" } else { "execute" };
    format!("{verb} {}", of_portal(portal.statement.as_deref().unwrap_or_default(), name))
}

/// A statement with its portal, if that has a name.
pub(super) fn of_portal(statement: &str, portal: &str) -> String {
    let slash = if portal.is_empty() { "" } else { "/" };
    format!("{}{slash}{portal}", named(statement))
}

/// The values of a statement's parameters as SQL writes them, each of at most so many bytes; those that are
/// secrets are hidden.
fn list(sql: &str, parameters: &[Datum], style: &Style, limit: Option<u64>) -> String {
    let mut out = String::new();
    let written = |value: &Datum| {
        let mut text = String::new();
        value.write_text(style, &mut text);
        text
    };
    let mut secrets = secret_parameters(sql);
    secrets.retain(|secret| {
        let name = secret.named_by.map(|number| number.checked_sub(1).and_then(|at| parameters.get(at)));
        name.is_none_or(|name| name.is_some_and(|name| is_secret_name(&written(name))))
    });
    for (at, value) in parameters.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        out.push_str(&format!("${} = ", at + 1));
        if matches!(value, Datum::Null) {
            out.push_str("NULL");
            continue;
        }
        let is_secret = secrets.iter().any(|secret| secret.number == at + 1);
        out.push_str(&if is_secret { format!("'{HIDDEN}'") } else { quoted(&written(value), limit) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_as_sql_and_cut() {
        let values = [Datum::Int4(7), Datum::Null, Datum::text("it's"), Datum::text("äöü")];
        let style = Style::default();
        let list = |values: &[Datum], style: &Style, limit| list("select $1", values, style, limit);
        assert_eq!(list(&values, &style, None), "$1 = '7', $2 = NULL, $3 = 'it''s', $4 = 'äöü'");
        assert_eq!(list(&values, &style, Some(3)), "$1 = '7', $2 = NULL, $3 = 'it''...', $4 = 'ä...'");
    }

    #[test]
    fn parameters_that_are_secrets_are_hidden() {
        let (style, sql) = (Style::default(), "select set_config($1, $2, false)");
        let shown =
            |sql: &str, name: &str| list(sql, &[Datum::text(name), Datum::text("value")], &style, None);
        assert_eq!(shown(sql, "my.password"), "$1 = 'my.password', $2 = '********'");
        assert_eq!(shown(sql, "work_mem"), "$1 = 'work_mem', $2 = 'value'");
        assert_eq!(shown("update t set password = $1 where a = $2", "x"), "$1 = '********', $2 = 'value'");
    }
}
