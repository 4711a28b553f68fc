//! Errors as SQL clients see them: a SQLSTATE, a message in PostgreSQL's style, optionally a detail and a hint.

use std::borrow::Cow;
use std::fmt;

/// A five-character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// From its five characters.
    pub const fn new(code: &[u8; 5]) -> Self {
        Self(*code)
    }
    /// The five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState { $($(#[$doc])* pub const $name: Self = Self::new($code);)* }
    };
}

states! {
    /// 0A000 feature_not_supported
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// 21000 cardinality_violation
    CARDINALITY_VIOLATION = b"21000";
    /// 22000 data_exception
    DATA_EXCEPTION = b"22000";
    /// 22001 string_data_right_truncation
    STRING_DATA_RIGHT_TRUNCATION = b"22001";
    /// 22003 numeric_value_out_of_range
    NUMERIC_VALUE_OUT_OF_RANGE = b"22003";
    /// 22004 null_value_not_allowed
    NULL_VALUE_NOT_ALLOWED = b"22004";
    /// 22007 invalid_datetime_format
    INVALID_DATETIME_FORMAT = b"22007";
    /// 22008 datetime_field_overflow
    DATETIME_FIELD_OVERFLOW = b"22008";
    /// 22009 invalid_time_zone_displacement_value
    INVALID_TIME_ZONE_DISPLACEMENT = b"22009";
    /// 22011 substring_error
    SUBSTRING_ERROR = b"22011";
    /// 22012 division_by_zero
    DIVISION_BY_ZERO = b"22012";
    /// 22015 interval_field_overflow
    INTERVAL_FIELD_OVERFLOW = b"22015";
    /// 2200G most_specific_type_mismatch
    MOST_SPECIFIC_TYPE_MISMATCH = b"2200G";
    /// 2201E invalid_argument_for_logarithm
    INVALID_ARGUMENT_FOR_LOGARITHM = b"2201E";
    /// 2201F invalid_argument_for_power_function
    INVALID_ARGUMENT_FOR_POWER = b"2201F";
    /// 2201B invalid_regular_expression
    INVALID_REGULAR_EXPRESSION = b"2201B";
    /// 22021 character_not_in_repertoire
    CHARACTER_NOT_IN_REPERTOIRE = b"22021";
    /// 22023 invalid_parameter_value
    INVALID_PARAMETER_VALUE = b"22023";
    /// 22025 invalid_escape_sequence
    INVALID_ESCAPE_SEQUENCE = b"22025";
    /// 2202E array_subscript_error
    ARRAY_SUBSCRIPT_ERROR = b"2202E";
    /// 22P02 invalid_text_representation
    INVALID_TEXT_REPRESENTATION = b"22P02";
    /// 22P03 invalid_binary_representation
    INVALID_BINARY_REPRESENTATION = b"22P03";
    /// 22P04 bad_copy_file_format
    BAD_COPY_FILE_FORMAT = b"22P04";
    /// 42601 syntax_error
    SYNTAX_ERROR = b"42601";
    /// 42703 undefined_column
    UNDEFINED_COLUMN = b"42703";
    /// 42704 undefined_object
    UNDEFINED_OBJECT = b"42704";
    /// 42725 ambiguous_function (also operators)
    AMBIGUOUS_FUNCTION = b"42725";
    /// 42803 grouping_error
    GROUPING_ERROR = b"42803";
    /// 42804 datatype_mismatch
    DATATYPE_MISMATCH = b"42804";
    /// 42809 wrong_object_type
    WRONG_OBJECT_TYPE = b"42809";
    /// 42846 cannot_coerce
    CANNOT_COERCE = b"42846";
    /// 42883 undefined_function (also operators)
    UNDEFINED_FUNCTION = b"42883";
    /// 42P02 undefined_parameter
    UNDEFINED_PARAMETER = b"42P02";
    /// 42P08 ambiguous_parameter
    AMBIGUOUS_PARAMETER = b"42P08";
    /// 42P18 indeterminate_datatype
    INDETERMINATE_DATATYPE = b"42P18";
    /// 53200 out_of_memory
    OUT_OF_MEMORY = b"53200";
    /// 54000 program_limit_exceeded
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    /// 57014 query_canceled
    QUERY_CANCELED = b"57014";
    /// XX000 internal_error
    INTERNAL_ERROR = b"XX000";
    /// XX001 data_corrupted
    DATA_CORRUPTED = b"XX001";
}

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
