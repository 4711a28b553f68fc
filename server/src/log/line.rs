//! An entry of the log as lines of text: a prefix, a level, a message, and further lines for its details.

use super::{Entry, Format, LogContext, Style, Verbosity, format_time};
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// The entry's lines, with their line ends.
pub(super) fn text(entry: &Entry<'_>, style: &Style) -> String {
    let report = entry.report;
    let mut out = String::with_capacity(2 * style.prefix.len() + entry.message.len() + 32);
    let mut line = |label: &str, text: &str| {
        let prefix = expand(entry, style);
        let _ = writeln!(out, "{prefix}{label}:  {}", text.replace('\n', "\n\t"));
    };
    let mut message = entry.message.to_string();
    if entry.verbosity == Verbosity::Verbose {
        message = format!("{}: {message}", report.code);
    }
    if let Some(position) = report.position {
        let _ = write!(message, " at character {position}");
    }
    line(report.severity.as_str(), &message);
    if entry.verbosity != Verbosity::Terse {
        for (label, text) in
            [("DETAIL", &report.detail), ("HINT", &report.hint), ("CONTEXT", &report.context)]
        {
            if let Some(text) = text {
                line(label, text);
            }
        }
    }
    if let Some(statement) = &entry.statement {
        line("STATEMENT", statement);
    }
    out
}

/// Expands log_line_prefix for the next line.
fn expand(entry: &Entry<'_>, style: &Style) -> String {
    let number = entry.next_number(Format::Stderr);
    let mut out = String::new();
    let mut chars = style.prefix.chars().peekable();
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
            'q' if entry.context.is_none() => break,
            'q' => continue,
            'l' => number.to_string(),
            other => of_entry(other, entry, &style.zone),
        };
        match width.parse::<isize>() {
            Ok(width) if width < 0 => {
                let _ = write!(out, "{text:<0$}", width.unsigned_abs().min(WIDTH_MAX));
            }
            Ok(width) => {
                let _ = write!(out, "{text:>0$}", width.unsigned_abs().min(WIDTH_MAX));
            }
            Err(_) => out.push_str(&text),
        }
    }
    out
}

/// Characters to which a part of the prefix is filled up, at most.
const WIDTH_MAX: usize = 1024;

fn of_entry(escape: char, entry: &Entry<'_>, zone: &TimeZone) -> String {
    match escape {
        'm' => format_time(entry.at, zone, "%Y-%m-%d %H:%M:%S%.3f %Z"),
        't' => format_time(entry.at, zone, "%Y-%m-%d %H:%M:%S %Z"),
        'n' => format!("{:.3}", entry.at.unix_micros() as f64 / 1e6),
        's' => format_time(entry.started, zone, "%Y-%m-%d %H:%M:%S %Z"),
        'p' => entry.pid.to_string(),
        'c' => entry.session_id(),
        'e' => entry.report.code.to_string(),
        'b' => entry.backend_type().to_owned(),
        // No statement has a number unless statistics are kept of it, and none a transaction of its own here.
        'x' | 'Q' => "0".to_owned(),
        other => entry.context.map(|context| plain(&of_session(other, context))).unwrap_or_default(),
    }
}

/// What a client says of itself must not look like lines of the log.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn of_session(escape: char, context: &LogContext) -> String {
    let known = |text: &str| if text.is_empty() { "[unknown]" } else { text }.to_owned();
    match escape {
        'u' => known(&context.user),
        'd' => known(&context.database),
        'a' => known(&context.application),
        'h' => context.host.clone(),
        'r' => match context.port {
            Some(port) => format!("{}({port})", context.host),
            None => context.host.clone(),
        },
        'i' => context.command.clone(),
        'v' => format!("{}/0", context.pid),
        _ => String::new(),
    }
}
