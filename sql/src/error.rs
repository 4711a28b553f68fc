//! Errors and notices as SQL clients see them: PostgreSQL's fields, SQLSTATEs and wording style.

use std::fmt;

/// SQLSTATEs that this crate raises itself (PostgreSQL's errcodes).
pub mod sqlstate {
    /// successful_completion
    pub const SUCCESS: &str = "00000";
    /// warning
    pub const WARNING: &str = "01000";
    /// feature_not_supported
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// protocol_violation
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// cardinality_violation
    pub const CARDINALITY_VIOLATION: &str = "21000";
    /// string_data_right_truncation
    pub const STRING_TOO_LONG: &str = "22001";
    /// numeric_value_out_of_range
    pub const NUMERIC_OUT_OF_RANGE: &str = "22003";
    /// character_not_in_repertoire
    pub const BAD_ENCODING: &str = "22021";
    /// invalid_parameter_value
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    /// invalid_text_representation
    pub const INVALID_TEXT: &str = "22P02";
    /// bad_copy_file_format
    pub const BAD_COPY_FORMAT: &str = "22P04";
    /// not_null_violation
    pub const NOT_NULL_VIOLATION: &str = "23502";
    /// unique_violation
    pub const UNIQUE_VIOLATION: &str = "23505";
    /// check_violation
    pub const CHECK_VIOLATION: &str = "23514";
    /// active_sql_transaction
    pub const ACTIVE_TRANSACTION: &str = "25001";
    /// read_only_sql_transaction
    pub const READ_ONLY: &str = "25006";
    /// no_active_sql_transaction
    pub const NO_ACTIVE_TRANSACTION: &str = "25P01";
    /// in_failed_sql_transaction
    pub const FAILED_TRANSACTION: &str = "25P02";
    /// invalid_sql_statement_name
    pub const INVALID_STATEMENT_NAME: &str = "26000";
    /// invalid_authorization_specification
    pub const INVALID_AUTHORIZATION: &str = "28000";
    /// dependent_objects_still_exist
    pub const DEPENDENT_OBJECTS: &str = "2BP01";
    /// invalid_savepoint_specification
    pub const INVALID_SAVEPOINT: &str = "3B001";
    /// invalid_catalog_name
    pub const INVALID_CATALOG_NAME: &str = "3D000";
    /// invalid_schema_name
    pub const INVALID_SCHEMA_NAME: &str = "3F000";
    /// serialization_failure
    pub const SERIALIZATION_FAILURE: &str = "40001";
    /// syntax_error
    pub const SYNTAX_ERROR: &str = "42601";
    /// insufficient_privilege
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// invalid_name
    pub const INVALID_NAME: &str = "42602";
    /// duplicate_column
    pub const DUPLICATE_COLUMN: &str = "42701";
    /// ambiguous_column
    pub const AMBIGUOUS_COLUMN: &str = "42702";
    /// undefined_column
    pub const UNDEFINED_COLUMN: &str = "42703";
    /// undefined_object
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// duplicate_object
    pub const DUPLICATE_OBJECT: &str = "42710";
    /// duplicate_alias
    pub const DUPLICATE_ALIAS: &str = "42712";
    /// ambiguous_function
    pub const AMBIGUOUS_FUNCTION: &str = "42725";
    /// grouping_error
    pub const GROUPING_ERROR: &str = "42803";
    /// datatype_mismatch
    pub const DATATYPE_MISMATCH: &str = "42804";
    /// wrong_object_type
    pub const WRONG_OBJECT_TYPE: &str = "42809";
    /// cannot_coerce
    pub const CANNOT_COERCE: &str = "42846";
    /// undefined_function
    pub const UNDEFINED_FUNCTION: &str = "42883";
    /// undefined_table
    pub const UNDEFINED_TABLE: &str = "42P01";
    /// undefined_parameter
    pub const UNDEFINED_PARAMETER: &str = "42P02";
    /// duplicate_prepared_statement
    pub const DUPLICATE_PREPARED_STATEMENT: &str = "42P05";
    /// duplicate_table
    pub const DUPLICATE_TABLE: &str = "42P07";
    /// ambiguous_parameter
    pub const AMBIGUOUS_PARAMETER: &str = "42P08";
    /// invalid_column_reference
    pub const INVALID_COLUMN_REFERENCE: &str = "42P10";
    /// invalid_table_definition
    pub const INVALID_TABLE_DEFINITION: &str = "42P16";
    /// indeterminate_datatype
    pub const INDETERMINATE_DATATYPE: &str = "42P18";
    /// out_of_memory
    pub const OUT_OF_MEMORY: &str = "53200";
    /// program_limit_exceeded
    pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
    /// too_many_columns
    pub const TOO_MANY_COLUMNS: &str = "54011";
    /// object_not_in_prerequisite_state
    pub const NOT_IN_PREREQUISITE_STATE: &str = "55000";
    /// object_in_use
    pub const OBJECT_IN_USE: &str = "55006";
    /// lock_not_available
    pub const LOCK_NOT_AVAILABLE: &str = "55P03";
    /// query_canceled
    pub const QUERY_CANCELED: &str = "57014";
    /// internal_error
    pub const INTERNAL_ERROR: &str = "XX000";
    /// data_corrupted
    pub const DATA_CORRUPTED: &str = "XX001";
}

/// How grave a report is, in PostgreSQL's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something a user may like to know.
    Notice,
    /// Something a user should look at.
    Warning,
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
}

impl Severity {
    /// The word of the protocol's fields S and V.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// The fields of a report. All texts are UTF-8 without NUL bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFields {
    /// Fields S and V.
    pub severity: Severity,
    /// Field C: five characters.
    pub code: &'static str,
    /// Field M.
    pub message: String,
    /// Field D.
    pub detail: Option<String>,
    /// Field H.
    pub hint: Option<String>,
    /// Field P: the character (not byte) in the statement's text, counted from 1.
    pub position: Option<u32>,
    /// Field W.
    pub context: Option<String>,
    /// Field s.
    pub schema: Option<String>,
    /// Field t.
    pub table: Option<String>,
    /// Field c.
    pub column: Option<String>,
    /// Field d.
    pub data_type: Option<String>,
    /// Field n.
    pub constraint: Option<String>,
}

/// A failed statement. One pointer wide, so that results on hot paths stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(Box<ErrorFields>);

/// A report that does not fail the statement.
pub type Notice = SqlError;

/// This crate's results.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

impl SqlError {
    /// An ERROR with a SQLSTATE and a primary message (lower case, no full stop).
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorFields {
            severity: Severity::Error,
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
        }))
    }

    /// A notice or warning.
    pub fn report(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        let mut report = Self::new(code, message);
        report.0.severity = severity;
        report
    }

    /// 0A000, naming what is absent: `what` is not supported.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// 42601 with PostgreSQL's wording for an unexpected token.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(sqlstate::SYNTAX_ERROR, message)
    }

    /// XX000: a state that the code rules out.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INTERNAL_ERROR, message)
    }

    /// All fields.
    pub fn fields(&self) -> &ErrorFields {
        &self.0
    }
    /// All fields, to change.
    pub fn fields_mut(&mut self) -> &mut ErrorFields {
        &mut self.0
    }
    /// The SQLSTATE.
    pub fn code(&self) -> &'static str {
        self.0.code
    }
    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// With this detail.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }
    /// With this hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
    /// With this position (characters from 1), unless one is known already.
    pub fn at(mut self, position: Option<u32>) -> Self {
        self.0.position = self.0.position.or(position);
        self
    }
    /// With this context line, below those that are there.
    pub fn in_context(mut self, context: impl Into<String>) -> Self {
        let context = context.into();
        self.0.context = Some(match self.0.context.take() {
            Some(inner) => format!("{inner}\n{context}"),
            None => context,
        });
        self
    }
    /// With the table that it is about.
    pub fn of_table(mut self, schema: &str, table: &str) -> Self {
        self.0.schema = Some(schema.to_owned());
        self.0.table = Some(table.to_owned());
        self
    }
    /// With the column that it is about.
    pub fn of_column(mut self, column: &str) -> Self {
        self.0.column = Some(column.to_owned());
        self
    }
    /// With the constraint that it is about.
    pub fn of_constraint(mut self, constraint: &str) -> Self {
        self.0.constraint = Some(constraint.to_owned());
        self
    }
    /// With the data type that it is about.
    pub fn of_type(mut self, data_type: &str) -> Self {
        self.0.data_type = Some(data_type.to_owned());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.0.severity.word(), self.0.message, self.0.code)
    }
}

impl std::error::Error for SqlError {}
