//! SQLSTATE codes (the manual's appendix "PostgreSQL Error Codes").

use std::fmt;

/// A five-character SQLSTATE: digits and upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// From its text; anything that is not five digits or upper-case letters gives [`Self::INTERNAL_ERROR`].
    pub const fn new(code: &str) -> Self {
        match Self::parse(code.as_bytes()) {
            Some(state) => state,
            None => Self(*b"XX000"),
        }
    }

    /// From five bytes, or None if they are no SQLSTATE.
    pub const fn parse(code: &[u8]) -> Option<Self> {
        let [a, b, c, d, e] = *code else { return None };
        let state = [a, b, c, d, e];
        let mut at = 0;
        while at < 5 {
            if !state[at].is_ascii_digit() && !state[at].is_ascii_uppercase() {
                return None;
            }
            at += 1;
        }
        Some(Self(state))
    }

    /// The five characters as bytes.
    pub const fn bytes(self) -> [u8; 5] {
        self.0
    }

    /// The five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

macro_rules! states {
    ($($name:ident = $code:literal;)*) => {
        impl SqlState {
            $(#[doc = concat!("SQLSTATE ", $code)] pub const $name: Self = Self::new($code);)*
        }
        #[cfg(test)]
        const ALL: &[SqlState] = &[$(SqlState::$name),*];
    };
}

states! {
    SUCCESSFUL_COMPLETION = "00000";
    WARNING = "01000";
    FEATURE_NOT_SUPPORTED = "0A000";
    CONNECTION_EXCEPTION = "08000";
    CONNECTION_DOES_NOT_EXIST = "08003";
    CONNECTION_FAILURE = "08006";
    SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION = "08001";
    PROTOCOL_VIOLATION = "08P01";
    NUMERIC_VALUE_OUT_OF_RANGE = "22003";
    CHARACTER_NOT_IN_REPERTOIRE = "22021";
    INVALID_BINARY_REPRESENTATION = "22P03";
    INVALID_PARAMETER_VALUE = "22023";
    INVALID_TEXT_REPRESENTATION = "22P02";
    INVALID_TRANSACTION_STATE = "25000";
    ACTIVE_SQL_TRANSACTION = "25001";
    NO_ACTIVE_SQL_TRANSACTION = "25P01";
    IN_FAILED_SQL_TRANSACTION = "25P02";
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = "25P03";
    READ_ONLY_SQL_TRANSACTION = "25006";
    INVALID_SQL_STATEMENT_NAME = "26000";
    INVALID_AUTHORIZATION_SPECIFICATION = "28000";
    INVALID_PASSWORD = "28P01";
    INVALID_CURSOR_NAME = "34000";
    INVALID_CATALOG_NAME = "3D000";
    SERIALIZATION_FAILURE = "40001";
    DEADLOCK_DETECTED = "40P01";
    INSUFFICIENT_PRIVILEGE = "42501";
    SYNTAX_ERROR = "42601";
    DUPLICATE_PREPARED_STATEMENT = "42P05";
    DUPLICATE_CURSOR = "42P03";
    DUPLICATE_OBJECT = "42710";
    UNDEFINED_OBJECT = "42704";
    UNDEFINED_FILE = "58P01";
    INSUFFICIENT_RESOURCES = "53000";
    DISK_FULL = "53100";
    OUT_OF_MEMORY = "53200";
    TOO_MANY_CONNECTIONS = "53300";
    CONFIGURATION_LIMIT_EXCEEDED = "53400";
    PROGRAM_LIMIT_EXCEEDED = "54000";
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000";
    OBJECT_IN_USE = "55006";
    CANT_CHANGE_RUNTIME_PARAM = "55P02";
    LOCK_NOT_AVAILABLE = "55P03";
    OPERATOR_INTERVENTION = "57000";
    QUERY_CANCELED = "57014";
    ADMIN_SHUTDOWN = "57P01";
    CRASH_SHUTDOWN = "57P02";
    CANNOT_CONNECT_NOW = "57P03";
    IDLE_SESSION_TIMEOUT = "57P05";
    IO_ERROR = "58030";
    CONFIG_FILE_ERROR = "F0000";
    INTERNAL_ERROR = "XX000";
    DATA_CORRUPTED = "XX001";
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_code_is_well_formed_and_named_once() {
        for (at, state) in ALL.iter().enumerate() {
            assert_eq!(SqlState::parse(state.as_str().as_bytes()), Some(*state), "{state}");
            assert!(!ALL[..at].contains(state), "{state} is named twice");
        }
        assert_eq!(SqlState::parse(b"4200x"), None);
        assert_eq!(SqlState::parse(b"420011"), None);
    }
}
