//! Errors and notices with PostgreSQL's fields (the manual's "Error and Notice Message Fields").

use crate::cursor::{Cursor, ProtocolError};
use crate::frame::{message, put_cstr};
use bytes::{BufMut, BytesMut};
use sqlstate::SqlState;
use std::fmt;

/// How grave a report is, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For developers.
    Debug,
    /// For administrators; never sent to clients by itself.
    Log,
    /// Asked for by the user.
    Info,
    /// Helpful to the user.
    Notice,
    /// A likely problem.
    Warning,
    /// The statement failed.
    Error,
    /// The session ended.
    Fatal,
    /// Every session ended.
    Panic,
}

impl Severity {
    /// The word on the wire and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Log => "LOG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [
            Self::Debug,
            Self::Log,
            Self::Info,
            Self::Notice,
            Self::Warning,
            Self::Error,
            Self::Fatal,
            Self::Panic,
        ]
        .into_iter()
        .find(|severity| severity.as_str() == word)
    }

    /// Whether it travels as ErrorResponse, not NoticeResponse.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Fatal | Self::Panic)
    }
}

/// One error or notice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Report {
    /// How grave.
    pub severity: Severity,
    /// Its code.
    pub code: SqlState,
    /// Primary message: one line, lower case, no full stop.
    pub message: String,
    /// More about it, in sentences.
    pub detail: Option<String>,
    /// What to do about it, in sentences.
    pub hint: Option<String>,
    /// Character position in the query, counted from 1.
    pub position: Option<u32>,
    /// Where it happened (call stack, line of a COPY).
    pub context: Option<String>,
    /// Schema of the object it is about.
    pub schema: Option<String>,
    /// Table it is about.
    pub table: Option<String>,
    /// Column it is about.
    pub column: Option<String>,
    /// Data type it is about.
    pub data_type: Option<String>,
    /// Constraint it is about.
    pub constraint: Option<String>,
}

impl Report {
    /// A report without optional fields.
    #[cold]
    pub fn new(severity: Severity, code: SqlState, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            schema: None,
            table: None,
            column: None,
            data_type: None,
            constraint: None,
        }
    }
    /// An ERROR.
    #[cold]
    pub fn error(code: SqlState, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }
    /// A FATAL error.
    #[cold]
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Self {
        Self::new(Severity::Fatal, code, message)
    }
    /// A WARNING.
    pub fn warning(code: SqlState, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }
    /// A NOTICE.
    pub fn notice(message: impl Into<String>) -> Self {
        Self::new(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, message)
    }
    /// The same with a detail.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
    /// The same with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Appends it as ErrorResponse or NoticeResponse, as its severity says.
    pub fn encode(&self, out: &mut BytesMut) {
        let kind = if self.severity.is_error() { b'E' } else { b'N' };
        message(out, kind, |body| {
            let mut field = |code: u8, text: &str| {
                body.put_u8(code);
                put_cstr(body, text);
            };
            field(b'S', self.severity.as_str());
            field(b'V', self.severity.as_str());
            field(b'C', self.code.as_str());
            field(b'M', &self.message);
            let position = self.position.map(|position| position.to_string());
            for (code, text) in [
                (b'D', &self.detail),
                (b'H', &self.hint),
                (b'P', &position),
                (b'W', &self.context),
                (b's', &self.schema),
                (b't', &self.table),
                (b'c', &self.column),
                (b'd', &self.data_type),
                (b'n', &self.constraint),
            ] {
                if let Some(text) = text {
                    field(code, text);
                }
            }
            body.put_u8(0);
        });
    }

    /// Reads the body of an ErrorResponse or NoticeResponse. Fields of unknown kinds are skipped, as the
    /// manual asks.
    ///
    /// # Errors
    ///
    /// Fails if the message is too short, too long or malformed.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, ProtocolError> {
        let mut cursor = Cursor::new(kind, body);
        let default = if kind == b'E' { Severity::Error } else { Severity::Notice };
        let mut report = Self::new(default, SqlState::INTERNAL_ERROR, "");
        loop {
            let code = cursor.u8()?;
            if code == 0 {
                return Ok(report);
            }
            let text = String::from_utf8_lossy(cursor.cstr_bytes()?).into_owned();
            match code {
                b'V' | b'S' => report.severity = Severity::parse(&text).unwrap_or(report.severity),
                b'C' => report.code = SqlState::parse(text.as_bytes()).unwrap_or(report.code),
                b'M' => report.message = text,
                b'D' => report.detail = Some(text),
                b'H' => report.hint = Some(text),
                b'P' => report.position = text.parse().ok(),
                b'W' => report.context = Some(text),
                b's' => report.schema = Some(text),
                b't' => report.table = Some(text),
                b'c' => report.column = Some(text),
                b'd' => report.data_type = Some(text),
                b'n' => report.constraint = Some(text),
                _ => {}
            }
        }
    }
}

impl fmt::Display for Report {
    /// `ERROR:  message`, then `DETAIL:  ...` and `HINT:  ...` on lines of their own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:  {}", self.severity.as_str(), self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, "\nDETAIL:  {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nHINT:  {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let mut sent = Report::error(SqlState::DISK_FULL, "could not write")
            .with_detail("No space left.")
            .with_hint("Free some.");
        sent.position = Some(7);
        sent.constraint = Some("t_pkey".into());
        let mut out = BytesMut::new();
        sent.encode(&mut out);
        assert_eq!(out[0], b'E');
        assert_eq!(Report::decode(b'E', &out[5..]), Ok(sent));
        for cut in 5..out.len() {
            assert!(Report::decode(b'E', &out[5..cut]).is_err(), "cut at {cut}");
        }
    }
}
