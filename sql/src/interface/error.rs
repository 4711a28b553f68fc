//! Errors and notices as SQL clients see them: PostgreSQL's fields, SQLSTATEs and wording style.

use protocol::Report;
pub use protocol::Severity;
use sql_types::SqlState;
use std::fmt;

/// SQLSTATEs that this crate raises itself (PostgreSQL's errcodes).
pub mod sqlstate {
    use sql_types::SqlState;
    /// successful_completion
    pub const SUCCESS: SqlState = SqlState::new(b"00000");
    /// warning
    pub const WARNING: SqlState = SqlState::new(b"01000");
    /// feature_not_supported
    pub const FEATURE_NOT_SUPPORTED: SqlState = SqlState::new(b"0A000");
    /// protocol_violation
    pub const PROTOCOL_VIOLATION: SqlState = SqlState::new(b"08P01");
    /// cardinality_violation
    pub const CARDINALITY_VIOLATION: SqlState = SqlState::new(b"21000");
    /// sequence_generator_limit_exceeded
    pub const SEQUENCE_EXHAUSTED: SqlState = SqlState::new(b"2200H");
    /// generated_always
    pub const GENERATED_ALWAYS: SqlState = SqlState::new(b"428C9");
    /// string_data_right_truncation
    pub const STRING_TOO_LONG: SqlState = SqlState::new(b"22001");
    /// numeric_value_out_of_range
    pub const NUMERIC_OUT_OF_RANGE: SqlState = SqlState::new(b"22003");
    /// character_not_in_repertoire
    pub const BAD_ENCODING: SqlState = SqlState::new(b"22021");
    /// invalid_parameter_value
    pub const INVALID_PARAMETER_VALUE: SqlState = SqlState::new(b"22023");
    /// invalid_text_representation
    pub const INVALID_TEXT: SqlState = SqlState::new(b"22P02");
    /// bad_copy_file_format
    pub const BAD_COPY_FORMAT: SqlState = SqlState::new(b"22P04");
    /// not_null_violation
    pub const NOT_NULL_VIOLATION: SqlState = SqlState::new(b"23502");
    /// unique_violation
    pub const UNIQUE_VIOLATION: SqlState = SqlState::new(b"23505");
    /// check_violation
    pub const CHECK_VIOLATION: SqlState = SqlState::new(b"23514");
    /// active_sql_transaction
    pub const ACTIVE_TRANSACTION: SqlState = SqlState::new(b"25001");
    /// read_only_sql_transaction
    pub const READ_ONLY: SqlState = SqlState::new(b"25006");
    /// no_active_sql_transaction
    pub const NO_ACTIVE_TRANSACTION: SqlState = SqlState::new(b"25P01");
    /// in_failed_sql_transaction
    pub const FAILED_TRANSACTION: SqlState = SqlState::new(b"25P02");
    /// invalid_sql_statement_name
    pub const INVALID_STATEMENT_NAME: SqlState = SqlState::new(b"26000");
    /// invalid_authorization_specification
    pub const INVALID_AUTHORIZATION: SqlState = SqlState::new(b"28000");
    /// dependent_objects_still_exist
    pub const DEPENDENT_OBJECTS: SqlState = SqlState::new(b"2BP01");
    /// invalid_savepoint_specification
    pub const INVALID_SAVEPOINT: SqlState = SqlState::new(b"3B001");
    /// invalid_catalog_name
    pub const INVALID_CATALOG_NAME: SqlState = SqlState::new(b"3D000");
    /// invalid_schema_name
    pub const INVALID_SCHEMA_NAME: SqlState = SqlState::new(b"3F000");
    /// serialization_failure
    pub const SERIALIZATION_FAILURE: SqlState = SqlState::new(b"40001");
    /// syntax_error
    pub const SYNTAX_ERROR: SqlState = SqlState::new(b"42601");
    /// insufficient_privilege
    pub const INSUFFICIENT_PRIVILEGE: SqlState = SqlState::new(b"42501");
    /// reserved_name
    pub const RESERVED_NAME: SqlState = SqlState::new(b"42939");
    /// invalid_name
    pub const INVALID_NAME: SqlState = SqlState::new(b"42602");
    /// duplicate_column
    pub const DUPLICATE_COLUMN: SqlState = SqlState::new(b"42701");
    /// ambiguous_column
    pub const AMBIGUOUS_COLUMN: SqlState = SqlState::new(b"42702");
    /// undefined_column
    pub const UNDEFINED_COLUMN: SqlState = SqlState::new(b"42703");
    /// undefined_object
    pub const UNDEFINED_OBJECT: SqlState = SqlState::new(b"42704");
    /// duplicate_object
    pub const DUPLICATE_OBJECT: SqlState = SqlState::new(b"42710");
    /// duplicate_alias
    pub const DUPLICATE_ALIAS: SqlState = SqlState::new(b"42712");
    /// ambiguous_function
    pub const AMBIGUOUS_FUNCTION: SqlState = SqlState::new(b"42725");
    /// grouping_error
    pub const GROUPING_ERROR: SqlState = SqlState::new(b"42803");
    /// datatype_mismatch
    pub const DATATYPE_MISMATCH: SqlState = SqlState::new(b"42804");
    /// wrong_object_type
    pub const WRONG_OBJECT_TYPE: SqlState = SqlState::new(b"42809");
    /// cannot_coerce
    pub const CANNOT_COERCE: SqlState = SqlState::new(b"42846");
    /// undefined_function
    pub const UNDEFINED_FUNCTION: SqlState = SqlState::new(b"42883");
    /// undefined_table
    pub const UNDEFINED_TABLE: SqlState = SqlState::new(b"42P01");
    /// invalid_cursor_name
    pub const INVALID_CURSOR_NAME: SqlState = SqlState::new(b"34000");
    /// undefined_parameter
    pub const UNDEFINED_PARAMETER: SqlState = SqlState::new(b"42P02");
    /// duplicate_prepared_statement
    pub const DUPLICATE_PREPARED_STATEMENT: SqlState = SqlState::new(b"42P05");
    /// duplicate_table
    pub const DUPLICATE_TABLE: SqlState = SqlState::new(b"42P07");
    /// ambiguous_parameter
    pub const AMBIGUOUS_PARAMETER: SqlState = SqlState::new(b"42P08");
    /// invalid_column_reference
    pub const INVALID_COLUMN_REFERENCE: SqlState = SqlState::new(b"42P10");
    /// invalid_table_definition
    pub const INVALID_TABLE_DEFINITION: SqlState = SqlState::new(b"42P16");
    /// indeterminate_datatype
    pub const INDETERMINATE_DATATYPE: SqlState = SqlState::new(b"42P18");
    /// out_of_memory
    pub const OUT_OF_MEMORY: SqlState = SqlState::new(b"53200");
    /// disk_full
    pub const DISK_FULL: SqlState = SqlState::new(b"53100");
    /// program_limit_exceeded
    pub const PROGRAM_LIMIT_EXCEEDED: SqlState = SqlState::new(b"54000");
    /// too_many_columns
    pub const TOO_MANY_COLUMNS: SqlState = SqlState::new(b"54011");
    /// statement_too_complex
    pub const STATEMENT_TOO_COMPLEX: SqlState = SqlState::new(b"54001");
    /// object_not_in_prerequisite_state
    pub const NOT_IN_PREREQUISITE_STATE: SqlState = SqlState::new(b"55000");
    /// object_in_use
    pub const OBJECT_IN_USE: SqlState = SqlState::new(b"55006");
    /// lock_not_available
    pub const LOCK_NOT_AVAILABLE: SqlState = SqlState::new(b"55P03");
    /// query_canceled
    pub const QUERY_CANCELED: SqlState = SqlState::new(b"57014");
    /// admin_shutdown
    pub const ADMIN_SHUTDOWN: SqlState = SqlState::new(b"57P01");
    /// io_error
    pub const IO_ERROR: SqlState = SqlState::new(b"58030");
    /// Ours, and never sent: an expression waits for a subquery.
    pub(crate) const SLOT_NEEDED: SqlState = SqlState::new(b"XXP00");
    /// internal_error
    pub const INTERNAL_ERROR: SqlState = SqlState::new(b"XX000");
    /// data_corrupted
    pub const DATA_CORRUPTED: SqlState = SqlState::new(b"XX001");
}

/// A failed statement. One pointer wide, so that results on hot paths stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(Box<Report>);

/// A report that does not fail the statement.
pub type Notice = SqlError;

/// This crate's results.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

impl SqlError {
    /// An ERROR with a SQLSTATE and a primary message (lower case, no full stop).
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self::report(Severity::Error, code, message)
    }

    /// A notice or warning.
    pub fn report(severity: Severity, code: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Report::new(severity, protocol::SqlState::new(code.as_str()), message)))
    }

    /// 0A000, naming what is absent: `what` is not supported.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// 42601 with PostgreSQL's wording for an unexpected token.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(sqlstate::SYNTAX_ERROR, message)
    }

    /// Told by an expression that reads a slot which is not computed yet; never leaves this crate.
    pub(crate) fn slot_needed(slot: usize) -> Self {
        let mut error = Self::new(sqlstate::SLOT_NEEDED, "a subquery was not run");
        error.0.position = u32::try_from(slot).ok();
        error
    }

    /// The slot that an expression waits for.
    pub(crate) fn needed_slot(&self) -> Option<usize> {
        let slot = self.0.position.filter(|_| self.code() == sqlstate::SLOT_NEEDED)?;
        usize::try_from(slot).ok()
    }

    /// XX000: a state that the code rules out.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INTERNAL_ERROR, message)
    }

    /// All fields.
    pub fn fields(&self) -> &Report {
        &self.0
    }
    /// All fields, to change.
    pub fn fields_mut(&mut self) -> &mut Report {
        &mut self.0
    }
    /// The SQLSTATE.
    pub fn code(&self) -> SqlState {
        SqlState::new(&self.0.code.bytes())
    }
    /// Whether it may tell what rows hold: one of the classes for connections, conflicts between transactions, resources, limits,
    /// locks, cancelled statements, I/O and internal errors tells of the server alone.
    pub(crate) fn tells_of_rows(&self) -> bool {
        let code = self.code();
        let class = code.as_str().get(..2).unwrap_or_default();
        !["08", "25", "40", "53", "54", "55", "57", "58", "XX"].contains(&class)
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
        write!(f, "{}: {} (SQLSTATE {})", self.0.severity.as_str(), self.0.message, self.code())
    }
}

impl std::error::Error for SqlError {}

impl From<sql_types::Error> for SqlError {
    fn from(error: sql_types::Error) -> Self {
        let mut own = Self::new(error.state(), error.message());
        own.0.detail = error.detail().map(str::to_owned);
        own.0.hint = error.hint().map(str::to_owned);
        own
    }
}

impl From<storage::Error> for SqlError {
    fn from(error: storage::Error) -> Self {
        let state =
            <&[u8; 5]>::try_from(error.sqlstate().as_bytes()).map_or(sqlstate::INTERNAL_ERROR, SqlState::new);
        let own = Self::new(state, error.to_string());
        match error {
            storage::Error::Deadlock { cycle } => {
                own.with_detail(cycle).with_hint("See server log for query details.")
            }
            storage::Error::RecoveryConflict => {
                own.with_detail("User query might have needed to see row versions that must be removed.")
            }
            _ => own,
        }
    }
}
