//! Errors as SQL clients see them: a SQLSTATE, a message in PostgreSQL's style, optionally a detail and a
//! hint.

use sqlstate::SqlState;
use std::borrow::Cow;
use std::fmt;

/// What went wrong with a value. One word wide, so that results stay small on hot paths.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    state: SqlState,
    message: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    hint: Option<Cow<'static, str>>,
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a primary message: lower case, no full stop.
    #[cold]
    pub fn new(state: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { state, message: message.into(), detail: None, hint: None }))
    }
    /// Adds a detail: whole sentences.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }
    /// Adds a hint: what the user may do, in whole sentences.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
    /// The SQLSTATE.
    pub fn state(&self) -> SqlState {
        self.0.state
    }
    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The detail, if there is one.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
    /// The hint, if there is one.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    #[cold]
    pub(crate) fn invalid_text(type_name: &str, text: &str) -> Self {
        Self::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {type_name}: \"{text}\""),
        )
    }
    #[cold]
    pub(crate) fn text_out_of_range(type_name: &str, text: &str) -> Self {
        Self::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    }
    #[cold]
    pub(crate) fn out_of_range(what: &'static str) -> Self {
        Self::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{what} out of range"))
    }
    /// 54000: a value of more than [`crate::VALUE_BYTES_MAX`] bytes.
    #[cold]
    pub fn too_long() -> Self {
        Self::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
    }
    #[cold]
    pub(crate) fn division_by_zero() -> Self {
        Self::new(SqlState::DIVISION_BY_ZERO, "division by zero")
    }
    #[cold]
    pub(crate) fn corrupt(what: &'static str) -> Self {
        Self::new(SqlState::DATA_CORRUPTED, what)
    }
    #[cold]
    pub(crate) fn invalid_binary(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(SqlState::INVALID_BINARY_REPRESENTATION, what)
    }
    #[cold]
    pub(crate) fn type_mismatch() -> Self {
        Self::new(SqlState::INTERNAL_ERROR, "an operator met a value of a type that it does not take")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.state, self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
