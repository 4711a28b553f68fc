//! What other crates report, as the protocol sends it.

use protocol::{Report, Severity, SqlState};
use sql::SqlError;

/// An error or notice of the SQL layer.
pub(crate) fn from_sql(error: &SqlError) -> Report {
    error.fields().clone()
}

/// A refused setting, for the SQL layer.
pub(crate) fn setting_error(error: &settings::SettingError) -> SqlError {
    let mut own = SqlError::new(SqlState::new(error.sqlstate()), error.to_string());
    own.fields_mut().detail = error.detail().map(str::to_owned);
    own.fields_mut().hint = error.hint();
    own
}

/// An error of the SQL layer with one of the protocol's codes.
pub(crate) fn sql_error(code: SqlState, message: impl Into<String>) -> SqlError {
    SqlError::new(code, message)
}

/// The order of client_min_messages, in which LOG stands below NOTICE.
pub(crate) fn reaches_client(severity: Severity, min: &str) -> bool {
    let rank = |word: &str| match word {
        "log" => 1,
        "notice" => 2,
        "warning" => 3,
        "error" => 4,
        _ => 0,
    };
    let own = match severity {
        Severity::Debug => 0,
        Severity::Log => 1,
        Severity::Notice => 2,
        Severity::Warning => 3,
        // INFO is always sent; so are errors.
        Severity::Info | Severity::Error | Severity::Fatal | Severity::Panic => 4,
    };
    own >= rank(min)
}
