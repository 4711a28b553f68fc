//! An entry of the log for programs that load it: a row of comma-separated values, or a JSON object
//! (log_destination csvlog and jsonlog; the columns are those of the manual's "Error Reporting and Logging").

use super::{Entry, Format, Style, Verbosity, format_time};
use protocol::{Report, SqlState};
use std::fmt::Write as _;

/// A value of a column.
enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

fn some(text: &Option<String>) -> Option<Value<'_>> {
    text.as_deref().map(Value::Text)
}

fn filled(text: &str) -> Option<Value<'_>> {
    (!text.is_empty()).then_some(Value::Text(text))
}

/// What of an entry is told whatever its verbosity.
fn details<'a>(entry: &'a Entry<'_>, text: &'a Option<String>) -> Option<Value<'a>> {
    some(text).filter(|_| entry.verbosity != Verbosity::Terse)
}

/// The entry as a row, with its line end.
pub(super) fn csv(entry: &Entry<'_>, style: &Style) -> String {
    let report = entry.report;
    let (at, started, session) = (time(entry, style), start(entry, style), entry.session_id());
    let context = entry.context;
    let from = context.map(|context| match context.port {
        Some(port) => format!("{}:{port}", context.host),
        None => context.host.clone(),
    });
    let transaction = context.map(|context| format!("{}/0", context.pid));
    let number = i64::try_from(entry.next_number(Format::Csv)).unwrap_or(i64::MAX);
    let columns: [Option<Value<'_>>; 26] = [
        Some(Value::Text(&at)),
        context.and_then(|context| filled(&context.user)),
        context.and_then(|context| filled(&context.database)),
        Some(Value::Number(entry.pid.into())),
        some(&from),
        Some(Value::Text(&session)),
        Some(Value::Number(number)),
        context.and_then(|context| filled(&context.command)),
        Some(Value::Text(&started)),
        some(&transaction),
        Some(Value::Number(0)),
        Some(Value::Text(report.severity.as_str())),
        Some(Value::Text(report.code.as_str())),
        Some(Value::Text(&entry.message)),
        details(entry, &report.detail),
        details(entry, &report.hint),
        None,
        None,
        details(entry, &report.context),
        entry.statement.as_deref().map(Value::Text),
        entry.statement.as_ref().and(report.position).map(|at| Value::Number(at.into())),
        None,
        Some(Value::Text(context.map_or("", |context| &context.application))),
        Some(Value::Text(entry.backend_type())),
        None,
        Some(Value::Number(0)),
    ];
    let mut out = String::with_capacity(256 + entry.message.len());
    for (index, column) in columns.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match column {
            None => {}
            Some(Value::Number(number)) => {
                let _ = write!(out, "{number}");
            }
            Some(Value::Text(text)) if BARE.contains(&index) => out.push_str(text),
            Some(Value::Text(text)) => {
                let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
            }
        }
    }
    out.push('\n');
    out
}

/// Columns of texts that need no quotes: times, session, virtual transaction, severity and SQLSTATE.
const BARE: [usize; 6] = [0, 5, 8, 9, 11, 12];

/// The entry as an object, with its line end.
pub(super) fn json(entry: &Entry<'_>, style: &Style) -> String {
    let report = entry.report;
    let (at, started, session) = (time(entry, style), start(entry, style), entry.session_id());
    let context = entry.context;
    let transaction = context.map(|context| format!("{}/0", context.pid));
    let number = i64::try_from(entry.next_number(Format::Json)).unwrap_or(i64::MAX);
    let port = context.and_then(|context| context.port);
    let members: [(&str, Option<Value<'_>>); 22] = [
        ("timestamp", Some(Value::Text(&at))),
        ("user", context.and_then(|context| filled(&context.user))),
        ("dbname", context.and_then(|context| filled(&context.database))),
        ("pid", Some(Value::Number(entry.pid.into()))),
        ("remote_host", context.and_then(|context| filled(&context.host))),
        ("remote_port", port.map(|port| Value::Number(port.into()))),
        ("session_id", Some(Value::Text(&session))),
        ("line_num", Some(Value::Number(number))),
        ("ps", context.and_then(|context| filled(&context.command))),
        ("session_start", Some(Value::Text(&started))),
        ("vxid", some(&transaction)),
        ("txid", Some(Value::Number(0))),
        ("error_severity", Some(Value::Text(report.severity.as_str()))),
        ("state_code", state_code(report).map(Value::Text)),
        ("message", Some(Value::Text(&entry.message))),
        ("detail", details(entry, &report.detail)),
        ("hint", details(entry, &report.hint)),
        ("context", details(entry, &report.context)),
        ("statement", entry.statement.as_deref().map(Value::Text)),
        ("cursor_position", entry.statement.as_ref().and(report.position).map(|at| Value::Number(at.into()))),
        ("application_name", context.and_then(|context| filled(&context.application))),
        ("backend_type", Some(Value::Text(entry.backend_type()))),
    ];
    let mut out = String::with_capacity(384 + entry.message.len());
    out.push('{');
    for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let _ = write!(out, "\"{name}\":");
        match value {
            Value::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Value::Text(text) => put_json(&mut out, text),
        }
        out.push(',');
    }
    out.push_str("\"query_id\":0}\n");
    out
}

/// What went well has none.
fn state_code(report: &Report) -> Option<&str> {
    (report.code != SqlState::SUCCESSFUL_COMPLETION).then_some(report.code.as_str())
}

fn put_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn time(entry: &Entry<'_>, style: &Style) -> String {
    format_time(entry.at, &style.zone, "%Y-%m-%d %H:%M:%S%.3f %Z")
}

fn start(entry: &Entry<'_>, style: &Style) -> String {
    format_time(entry.started, &style.zone, "%Y-%m-%d %H:%M:%S %Z")
}
