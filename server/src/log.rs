//! The server's log, in PostgreSQL's style: a prefix, a level, a message, and further lines for its details.

use host::sync::RwLock;
use host::{Clock, Timestamp};
use jiff::tz::TimeZone;
use protocol::{Report, Severity, SqlState};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where finished lines go; each call gets whole lines, with their line ends.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// The sink of a server process: standard error.
pub fn stderr_sink() -> LogSink {
    Arc::new(|lines| {
        use std::io::Write as _;
        // Nobody can be told that the log itself fails.
        let _ = std::io::stderr().lock().write_all(lines.as_bytes());
    })
}

/// What a session adds to its lines (log_line_prefix).
#[derive(Clone, Debug, Default)]
pub struct LogContext {
    /// The session's number; 0 for the server itself, which shows the process's.
    pub pid: i32,
    /// %u
    pub user: String,
    /// %d
    pub database: String,
    /// %a
    pub application: String,
    /// %h, and %r with the port.
    pub host: String,
    /// The client's port.
    pub port: Option<u16>,
    /// %b
    pub backend_type: &'static str,
    /// %s
    pub started: Timestamp,
    /// %i
    pub command: &'static str,
}

#[derive(Clone, Debug)]
struct Style {
    prefix: Arc<str>,
    zone: TimeZone,
    min: u8,
    min_statement: u8,
}

/// The log. Sharing it shares its sink.
pub struct Log {
    sink: LogSink,
    clock: Arc<dyn Clock>,
    style: RwLock<Style>,
    lines: AtomicU64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// The order of levels in log_min_messages, where LOG stands between ERROR and FATAL.
fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Debug => 0,
        Severity::Info => 5,
        Severity::Notice => 6,
        Severity::Warning => 7,
        Severity::Error => 8,
        Severity::Log => 9,
        Severity::Fatal => 10,
        Severity::Panic => 11,
    }
}

fn rank_of_word(word: &str) -> u8 {
    match word {
        "debug5" | "debug4" | "debug3" | "debug2" | "debug1" | "debug" => 0,
        "info" => 5,
        "notice" => 6,
        "error" => 8,
        "log" => 9,
        "fatal" => 10,
        "panic" => 11,
        _ => 7,
    }
}

impl Log {
    /// A log with PostgreSQL's defaults until [`Self::configure`] is called.
    pub fn new(sink: LogSink, clock: Arc<dyn Clock>) -> Self {
        let style = Style { prefix: "%m [%p] ".into(), zone: TimeZone::UTC, min: 7, min_statement: 8 };
        Self { sink, clock, style: RwLock::new(style), lines: AtomicU64::new(0) }
    }

    /// Takes over log_line_prefix, log_timezone, log_min_messages and log_min_error_statement.
    pub fn configure(&self, settings: &settings::Settings) {
        let text = |name: &str| settings.show(name).unwrap_or_default();
        let zone = zone(&text("log_timezone"));
        *self.style.write() = Style {
            prefix: text("log_line_prefix").into(),
            zone,
            min: rank_of_word(&text("log_min_messages")),
            min_statement: rank_of_word(&text("log_min_error_statement")),
        };
    }

    /// A LOG line of the server itself.
    pub fn log(&self, message: impl Into<String>) {
        self.write(None, &Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, message), None);
    }

    /// A WARNING line of the server itself.
    pub fn warning(&self, message: impl Into<String>) {
        self.write(None, &Report::warning(SqlState::WARNING, message), None);
    }

    /// A FATAL line of the server itself.
    pub fn fatal(&self, message: impl Into<String>) {
        self.write(None, &Report::fatal(SqlState::INTERNAL_ERROR, message), None);
    }

    /// A report with its details, of a session or of the server itself; `statement` is shown with errors.
    pub fn write(&self, context: Option<&LogContext>, report: &Report, statement: Option<&str>) {
        let style = self.style.read().clone();
        let rank = rank(report.severity);
        if rank < style.min {
            return;
        }
        let number = self.lines.fetch_add(1, Ordering::Relaxed) + 1;
        let prefix = expand(&style, context, report.code, self.clock.now(), number);
        let mut out = String::with_capacity(prefix.len() + report.message.len() + 16);
        let mut line = |label: &str, text: &str| {
            let _ = writeln!(out, "{prefix}{label}:  {}", text.replace('\n', "\n\t"));
        };
        // What is told only on demand may be a client's own text.
        match report.severity >= Severity::Warning {
            true => line(report.severity.as_str(), &host::without_error_numbers(&report.message)),
            false => line(report.severity.as_str(), &report.message),
        }
        for (label, text) in
            [("DETAIL", &report.detail), ("HINT", &report.hint), ("CONTEXT", &report.context)]
        {
            if let Some(text) = text {
                line(label, text);
            }
        }
        if let Some(statement) = statement.filter(|_| rank >= style.min_statement && rank != 9) {
            line("STATEMENT", statement);
        }
        (self.sink)(&out);
    }
}

/// Expands log_line_prefix.
fn expand(
    style: &Style,
    context: Option<&LogContext>,
    code: SqlState,
    now: Timestamp,
    number: u64,
) -> String {
    let mut out = String::new();
    let mut chars = style.prefix.chars().peekable();
    let pid = context.map_or(0, |context| context.pid);
    let pid = if pid == 0 { host::process_id().cast_signed() } else { pid };
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut width = String::new();
        while let Some(digit) = chars.next_if(|c| *c == '-' && width.is_empty() || c.is_ascii_digit()) {
            width.push(digit);
        }
        let Some(escape) = chars.next() else { break };
        let text = match escape {
            '%' => "%".to_owned(),
            'q' if context.is_none() => break,
            'q' => continue,
            'm' => format_time(now, &style.zone, "%Y-%m-%d %H:%M:%S%.3f %Z"),
            't' => format_time(now, &style.zone, "%Y-%m-%d %H:%M:%S %Z"),
            'n' => format!("{:.3}", now.unix_micros() as f64 / 1e6),
            'p' => pid.to_string(),
            'P' => String::new(),
            'l' => number.to_string(),
            'e' => code.to_string(),
            'v' | 'Q' => "0".to_owned(),
            'x' => "0".to_owned(),
            _ => context.map(|context| of_session(escape, context, &style.zone)).unwrap_or_default(),
        };
        match width.parse::<isize>() {
            Ok(width) if width < 0 => {
                let _ = write!(out, "{text:<0$}", width.unsigned_abs());
            }
            Ok(width) => {
                let _ = write!(out, "{text:>0$}", width.unsigned_abs());
            }
            Err(_) => out.push_str(&text),
        }
    }
    out
}

fn of_session(escape: char, context: &LogContext, zone: &TimeZone) -> String {
    match escape {
        'u' => context.user.clone(),
        'd' => context.database.clone(),
        'a' => context.application.clone(),
        'h' => context.host.clone(),
        'r' => match context.port {
            Some(port) => format!("{}({port})", context.host),
            None => context.host.clone(),
        },
        'b' => context.backend_type.to_owned(),
        'i' => context.command.to_owned(),
        'c' => format!("{:x}.{:x}", context.started.unix_seconds(), context.pid),
        's' => format_time(context.started, zone, "%Y-%m-%d %H:%M:%S %Z"),
        _ => String::new(),
    }
}

/// A time in PostgreSQL's way of writing logs.
pub(crate) fn format_time(at: Timestamp, zone: &TimeZone, format: &str) -> String {
    let Ok(instant) = jiff::Timestamp::from_microsecond(at.unix_micros()) else { return String::new() };
    instant.to_zoned(zone.clone()).strftime(format).to_string()
}

/// The time zone of a setting; its check has let the name through.
pub(crate) fn zone(name: &str) -> TimeZone {
    sql_types::time::parse_zone(name).map_or(TimeZone::UTC, |zone| zone.zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::sync::Mutex;
    use settings::{Settings, Source};
    use simulation::ManualClock;

    fn logged(
        prefix: &str,
        context: Option<&LogContext>,
        report: &Report,
        statement: Option<&str>,
    ) -> String {
        let lines = Arc::new(Mutex::new(String::new()));
        let sink = lines.clone();
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_700_000_000_123_456)));
        let log = Log::new(Arc::new(move |text| sink.lock().push_str(text)), clock);
        let mut settings = Settings::new();
        settings.set("log_line_prefix", prefix, Source::CommandLine).unwrap();
        settings.set("log_timezone", "UTC", Source::CommandLine).unwrap();
        log.configure(&settings);
        log.write(context, report, statement);
        std::mem::take(&mut *lines.lock())
    }

    #[test]
    fn lines_look_as_those_of_postgresql() {
        let report = Report::error(SqlState::SYNTAX_ERROR, "bad\nword").with_hint("Write well.");
        let context =
            LogContext { pid: 4_200_000, user: "ann".into(), database: "d".into(), ..LogContext::default() };
        let text = logged("%m [%p] %q%u@%d ", Some(&context), &report, Some("selec 1"));
        let prefix = "2023-11-14 22:13:20.123 UTC [4200000] ann@d ";
        assert_eq!(
            text,
            format!("{prefix}ERROR:  bad\n\tword\n{prefix}HINT:  Write well.\n{prefix}STATEMENT:  selec 1\n")
        );
        let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, "up");
        assert_eq!(logged("%l %e %-4q%u ", None, &report, None), "1 00000 LOG:  up\n");
        assert_eq!(logged("[%5u|%-5u]", Some(&context), &report, None), "[  ann|ann  ]LOG:  up\n");
    }

    #[test]
    fn what_is_below_the_threshold_is_left_out() {
        assert_eq!(logged("", None, &Report::notice("psst"), None), "");
        assert_ne!(logged("", None, &Report::warning(SqlState::WARNING, "psst"), None), "");
    }
}
