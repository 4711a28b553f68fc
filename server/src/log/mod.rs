//! The server's log, in PostgreSQL's style: what is logged, of whom, and where it goes.
//!
//! | file        | what it is                                                                    |
//! |-------------|-------------------------------------------------------------------------------|
//! | `mod`       | the log itself: levels, and who gets an entry                                 |
//! | `line`      | an entry as lines of text, with log_line_prefix                               |
//! | `tables`    | an entry as a row of comma-separated values, or as JSON                       |
//! | `collector` | logging_collector: a bounded queue, and the thread that writes what is in it  |
//! | `files`     | the files of the collector: names, rotation, current_logfiles                 |
//! | `redact`    | what is left out of statements                                                |

mod collector;
mod files;
mod line;
pub(crate) mod redact;
mod tables;

use collector::Collector;
pub(crate) use files::{FileSettings, Format};
use host::sync::RwLock;
use host::{Clock, Timestamp};
use jiff::tz::TimeZone;
use protocol::{Report, Severity, SqlState};
use std::borrow::Cow;
use std::path::Path;
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

/// How much is told of an entry (log_error_verbosity).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// The message and its statement.
    Terse,
    /// Detail, hint and context, too.
    #[default]
    Default,
    /// The SQLSTATE, too.
    Verbose,
}

impl Verbosity {
    /// Of a value of log_error_verbosity.
    pub(crate) fn of_word(word: &str) -> Self {
        match word {
            "terse" => Self::Terse,
            "verbose" => Self::Verbose,
            _ => Self::Default,
        }
    }
}

/// What a superuser's session has set for itself; None is the server's value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnLevels {
    /// log_min_messages
    pub(crate) messages: Option<Level>,
    /// log_min_error_statement
    pub(crate) statements: Option<Level>,
    /// log_error_verbosity
    pub(crate) verbosity: Option<Verbosity>,
}

/// A level in the order of log_min_messages, where LOG stands between ERROR and FATAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Level(u8);

impl Level {
    const INFO: Self = Self(5);
    const NOTICE: Self = Self(6);
    const WARNING: Self = Self(7);
    const ERROR: Self = Self(8);
    const LOG: Self = Self(9);
    const FATAL: Self = Self(10);
    const PANIC: Self = Self(11);

    fn of(severity: Severity) -> Self {
        match severity {
            Severity::Debug => Self(0),
            Severity::Info => Self::INFO,
            Severity::Notice => Self::NOTICE,
            Severity::Warning => Self::WARNING,
            Severity::Error => Self::ERROR,
            Severity::Log => Self::LOG,
            Severity::Fatal => Self::FATAL,
            Severity::Panic => Self::PANIC,
        }
    }

    /// Of a value of log_min_messages.
    pub(crate) fn of_word(word: &str) -> Self {
        match word {
            "debug5" | "debug4" | "debug3" | "debug2" | "debug1" | "debug" => Self(0),
            "info" => Self::INFO,
            "notice" => Self::NOTICE,
            "error" => Self::ERROR,
            "log" => Self::LOG,
            "fatal" => Self::FATAL,
            "panic" => Self::PANIC,
            _ => Self::WARNING,
        }
    }
}

/// How many lines were logged of a session, or of the server itself, in each form.
#[derive(Debug, Default)]
pub(crate) struct LineNumbers {
    stderr: AtomicU64,
    csv: AtomicU64,
    json: AtomicU64,
}

/// What a session adds to its lines (log_line_prefix).
#[derive(Clone, Debug, Default)]
pub struct LogContext {
    /// The session's number; 0 for the server itself, which shows the process's.
    pub(crate) pid: i32,
    /// %u
    pub(crate) user: String,
    /// %d
    pub(crate) database: String,
    /// %a
    pub(crate) application: String,
    /// %h, and %r with the port.
    pub(crate) host: String,
    /// The client's port.
    pub(crate) port: Option<u16>,
    /// %b
    pub(crate) backend_type: &'static str,
    /// %s
    pub(crate) started: Timestamp,
    /// %i
    pub(crate) command: String,
    /// %l counts here.
    pub(crate) lines: Arc<LineNumbers>,
    /// What the session has set for itself.
    pub(crate) levels: OwnLevels,
}

impl LogContext {
    /// The same without the passwords in what the client says of itself; None if there are none.
    fn redacted(&self) -> Option<Self> {
        let texts = [&self.user, &self.database, &self.application];
        let has_some = |text: &&String| matches!(redact::without_secrets(text), Cow::Owned(_));
        texts.iter().any(has_some).then(|| {
            let clean = |text: &String| redact::without_secrets(text).into_owned();
            let (user, database) = (clean(&self.user), clean(&self.database));
            Self { user, database, application: clean(&self.application), ..self.clone() }
        })
    }
}

#[derive(Debug)]
struct Style {
    prefix: Box<str>,
    zone: TimeZone,
    min: Level,
    min_statement: Level,
    verbosity: Verbosity,
    /// Those of log_destination.
    formats: Vec<Format>,
}

/// One entry, as it is to be told.
struct Entry<'a> {
    at: Timestamp,
    /// What was logged of its session so far.
    lines: &'a LineNumbers,
    pid: i32,
    /// When the session, or the server, began.
    started: Timestamp,
    context: Option<&'a LogContext>,
    report: &'a Report,
    message: Cow<'a, str>,
    statement: Option<Cow<'a, str>>,
    verbosity: Verbosity,
}

impl Entry<'_> {
    /// The number of the next line of this session in a form, from 1: each line of text has one, and a row as
    /// a whole.
    fn next_number(&self, format: Format) -> u64 {
        let LineNumbers { stderr, csv, json } = self.lines;
        let lines = match format {
            Format::Stderr => stderr,
            Format::Csv => csv,
            Format::Json => json,
        };
        lines.fetch_add(1, Ordering::Relaxed) + 1
    }
    fn session_id(&self) -> String {
        format!("{:x}.{:x}", self.started.unix_seconds(), self.pid)
    }
    fn backend_type(&self) -> &'static str {
        self.context.map_or("postmaster", |context| context.backend_type)
    }
}

/// The log. Sharing it shares its sink.
pub struct Log {
    sink: LogSink,
    clock: Arc<dyn Clock>,
    style: RwLock<Arc<Style>>,
    lines: LineNumbers,
    started: Timestamp,
    collector: RwLock<Option<Arc<Collector>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// A log with PostgreSQL's defaults until [`Self::configure`] is called.
    pub fn new(sink: LogSink, clock: Arc<dyn Clock>) -> Self {
        let style = Style {
            prefix: "%m [%p] ".into(),
            zone: TimeZone::UTC,
            min: Level::WARNING,
            min_statement: Level::ERROR,
            verbosity: Verbosity::Default,
            formats: vec![Format::Stderr],
        };
        let started = clock.now();
        Self {
            sink,
            clock,
            style: RwLock::new(Arc::new(style)),
            lines: LineNumbers::default(),
            started,
            collector: RwLock::new(None),
        }
    }

    /// Takes over the settings that say what is logged how, and where to.
    pub fn configure(&self, settings: &settings::Settings) {
        let text = |name: &str| settings.show(name).unwrap_or_default();
        *self.style.write() = Arc::new(Style {
            prefix: text("log_line_prefix").into(),
            zone: zone(&text("log_timezone")),
            min: Level::of_word(&text("log_min_messages")),
            min_statement: Level::of_word(&text("log_min_error_statement")),
            verbosity: Verbosity::of_word(&text("log_error_verbosity")),
            formats: Format::of_destinations(&text("log_destination")),
        });
        if let Some(collector) = &*self.collector.read() {
            collector.configure(FileSettings::of(settings));
        }
    }

    /// From now on what is logged goes into files, if logging_collector says so.
    pub(crate) fn begin_collecting(&self, data_dir: &Path, settings: &settings::Settings) {
        if settings.value("logging_collector") != Some(settings::Value::Bool(true)) {
            return;
        }
        let files = FileSettings::of(settings);
        let folder = files.shown_folder().to_owned();
        match Collector::start(data_dir, files, self.clock.clone(), self.sink.clone()) {
            Ok(collector) => {
                let message = "redirecting log output to logging collector process";
                let hint = format!("Future log output will appear in directory \"{folder}\".");
                let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, message);
                self.write(None, &report.with_hint(hint), None);
                *self.collector.write() = Some(Arc::new(collector));
            }
            Err(error) => self.warning(format!("could not start the logging collector: {error}")),
        }
    }

    /// Ends the collector, once all that was logged is in its files; what comes later goes to the sink.
    pub(crate) fn end_collecting(&self) {
        let collector = self.collector.write().take();
        if let Some(collector) = collector {
            collector.end();
        }
    }

    /// Has the collector go on in a new file; false if there is no collector.
    pub(crate) fn rotate(&self) -> bool {
        let collector = self.collector.read();
        collector.as_ref().map(|collector| collector.rotate()).is_some()
    }

    /// The collector's file of a format, as current_logfiles has it; of the first format if none is named.
    pub(crate) fn current_file(&self, format: Option<Format>) -> Option<String> {
        self.collector.read().as_ref().and_then(|collector| collector.current_file(format))
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
        let (level, own) =
            (Level::of(report.severity), context.map(|context| context.levels).unwrap_or_default());
        if level < own.messages.unwrap_or(style.min) {
            return;
        }
        let statement = statement.map(redact::without_secrets);
        let redacted = redacted(report, statement.as_ref());
        let report = redacted.as_ref().unwrap_or(report);
        let own_context = context.and_then(LogContext::redacted);
        let context = own_context.as_ref().or(context);
        let lines = context.map_or(&self.lines, |context| &context.lines);
        let shows_statement = level >= own.statements.unwrap_or(style.min_statement);
        let pid = context.map_or(0, |context| context.pid);
        let entry = Entry {
            at: self.clock.now(),
            lines,
            pid: if pid == 0 { host::process_id().cast_signed() } else { pid },
            started: context.map_or(self.started, |context| context.started),
            context,
            report,
            // What is told only on demand may be a client's own text.
            message: match report.severity >= Severity::Warning {
                true => host::without_error_numbers(&report.message).into(),
                false => Cow::Borrowed(report.message.as_str()),
            },
            statement: statement.filter(|_| shows_statement),
            verbosity: own.verbosity.unwrap_or(style.verbosity),
        };
        self.send(&entry, &style);
    }

    fn send(&self, entry: &Entry<'_>, style: &Style) {
        let collector = self.collector.read().clone();
        let Some(collector) = collector else { return (self.sink)(&line::text(entry, style)) };
        for format in &style.formats {
            let text = match format {
                Format::Stderr => line::text(entry, style),
                Format::Csv => tables::csv(entry, style),
                Format::Json => tables::json(entry, style),
            };
            collector.put(*format, text);
        }
        if entry.report.severity == Severity::Panic {
            // What follows may be the process's end.
            collector.flush();
        }
    }
}

/// A time in PostgreSQL's way of writing logs.
pub(crate) fn format_time(at: Timestamp, zone: &TimeZone, format: &str) -> String {
    let Ok(instant) = jiff::Timestamp::from_microsecond(at.unix_micros()) else { return String::new() };
    instant.to_zoned(zone.clone()).strftime(format).to_string()
}

/// The time zone of a setting; its check has let the name through.
pub(crate) fn zone(name: &str) -> TimeZone {
    sql_types::time::zone_of_name(name).unwrap_or(TimeZone::UTC)
}

/// A report without the passwords that its texts quote, which are those of its statement, too; None if it
/// quotes none.
fn redacted(report: &Report, statement: Option<&Cow<'_, str>>) -> Option<Report> {
    let texts =
        [Some(&report.message), report.detail.as_ref(), report.hint.as_ref(), report.context.as_ref()];
    let has_some = |text: &String| matches!(redact::without_secrets(text), Cow::Owned(_));
    let message = match statement {
        Some(Cow::Owned(shown)) => redact::without_what_is_left_out(&report.message, shown),
        _ => None,
    };
    if message.is_none() && !texts.into_iter().flatten().any(has_some) {
        return None;
    }
    let clean = |text: &String| redact::without_secrets(text).into_owned();
    Some(Report {
        message: clean(message.as_ref().unwrap_or(&report.message)),
        detail: report.detail.as_ref().map(clean),
        hint: report.hint.as_ref().map(clean),
        context: report.context.as_ref().map(clean),
        ..report.clone()
    })
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
        let detailed = report.clone().with_detail("d").with_hint("h");
        assert_eq!(
            logged("%l ", None, &detailed, Some("s")),
            "1 LOG:  up\n2 DETAIL:  d\n3 HINT:  h\n4 STATEMENT:  s\n"
        );
        let nobody = LogContext { host: "h".into(), ..LogContext::default() };
        assert_eq!(
            logged("%u %d %a %h%q ", Some(&nobody), &report, None),
            "[unknown] [unknown] [unknown] h LOG:  up\n"
        );
        assert_eq!(logged("%u%d%a%h|", None, &report, None), "|LOG:  up\n");
        assert_eq!(logged("[%5u|%-5u]", Some(&context), &report, None), "[  ann|ann  ]LOG:  up\n");
    }

    #[test]
    fn an_error_shows_no_more_of_a_statement_than_the_statement() {
        let failed = |what: &str, statement: &str| {
            let lines = logged("", None, &Report::error(SqlState::SYNTAX_ERROR, what), Some(statement));
            assert!(!lines.contains("SECRET"), "{lines}");
            lines
        };
        assert_eq!(
            failed("unterminated quoted string at or near \"'SECRET\"", "alter role x password 'SECRET"),
            "ERROR:  unterminated quoted string at or near \"********\"\n\
             STATEMENT:  alter role x password '********\n"
        );
        assert_eq!(
            failed("syntax error at or near \"SECRET\"", "alter role x password SECRET;"),
            "ERROR:  syntax error at or near \"********\"\nSTATEMENT:  alter role x password ********;\n"
        );
        failed("syntax error at or near \"\"SECRET\"\"", "create user x password \"SECRET\"");
        failed("syntax error at or near \"SECRET\"", "select 1; ALTER /* a */ USER x PASSWORD SECRET'");
        assert!(
            failed("syntax error at or near \"bogus\"", "create role x password 'SECRET' bogus")
                .contains("near \"bogus\"")
        );
    }

    #[test]
    fn what_a_client_says_of_itself_has_no_secrets() {
        let said = LogContext {
            user: "password=SECRET".into(),
            database: "postgres://u:SECRET@h".into(),
            application: "it's password=SECRET".into(),
            ..LogContext::default()
        };
        let report = Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, "up");
        assert_eq!(
            logged("%u %d %a ", Some(&said), &report, None),
            "password=******** postgres://u:********@h it's password=******** LOG:  up\n"
        );
    }

    #[test]
    fn what_is_below_the_threshold_is_left_out() {
        assert_eq!(logged("", None, &Report::notice("psst"), None), "");
        assert_ne!(logged("", None, &Report::warning(SqlState::WARNING, "psst"), None), "");
    }
}
