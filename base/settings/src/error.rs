//! Why a setting was refused.

use sqlstate::SqlState;

/// Why the check of a setting refuses a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// PostgreSQL refuses it, too.
    Wrong {
        /// The DETAIL; empty where there is nothing to say.
        detail: String,
        /// The HINT, if any.
        hint: Option<String>,
    },
    /// PostgreSQL takes it, and it is not there: what that is.
    Absent(String),
}

impl From<String> for Refusal {
    fn from(detail: String) -> Self {
        Self::Wrong { detail, hint: None }
    }
}

impl From<&str> for Refusal {
    fn from(detail: &str) -> Self {
        detail.to_owned().into()
    }
}

/// A refused name or value, with PostgreSQL's SQLSTATE, message, detail and hint.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingError {
    /// No setting has this name.
    #[error("unrecognized configuration parameter \"{name}\"")]
    Unknown {
        /// The name asked for.
        name: String,
        /// A known name that looks much like it.
        nearest: Option<&'static str>,
    },
    /// A name with a dot that is not made of simple identifiers.
    #[error("invalid configuration parameter name \"{name}\"")]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// The value cannot be read, or a check refused it.
    #[error("invalid value for parameter \"{name}\": \"{value}\"")]
    InvalidValue {
        /// The setting.
        name: String,
        /// The value as given.
        value: String,
        /// What the check found.
        detail: Option<String>,
        /// What would do.
        hint: Option<String>,
    },
    /// The value names what PostgreSQL has and this server has not.
    #[error("{what} is not supported")]
    Absent {
        /// What is not there.
        what: String,
    },
    /// The number lies outside the setting's bounds.
    #[error("{value} is outside the valid range for parameter \"{name}\" ({min} .. {max})")]
    OutOfRange {
        /// The setting.
        name: String,
        /// The value with its unit.
        value: String,
        /// Smallest value allowed.
        min: String,
        /// Largest value allowed.
        max: String,
    },
    /// A number that must be a boolean is none.
    #[error("parameter \"{name}\" requires a Boolean value")]
    NotBoolean {
        /// The setting.
        name: String,
    },
    /// It cannot be changed this way or now.
    #[error("parameter \"{name}\" {}", .why.text())]
    CannotChange {
        /// The setting.
        name: String,
        /// What stands against it.
        why: Locked,
    },
    /// Only a superuser may.
    #[error("permission denied to set parameter \"{name}\"")]
    PermissionDenied {
        /// The setting.
        name: String,
    },
    /// Only a superuser may read it.
    #[error("must be superuser or have privileges of pg_read_all_settings to examine \"{name}\"")]
    MayNotRead {
        /// The setting.
        name: String,
    },
    /// SET with several values for a setting that is no list.
    #[error("SET {name} takes only one argument")]
    NotAList {
        /// The setting.
        name: String,
    },
    /// A line break cannot be written into postgresql.auto.conf.
    #[error("parameter value for ALTER SYSTEM must not contain a newline")]
    Newline,
}

/// Why a setting cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// It is computed.
    Always,
    /// Only a restart changes it.
    UntilRestart,
    /// Only the files and the command line change it.
    InSession,
    /// Only when the session starts.
    AfterConnect,
}

impl Locked {
    fn text(self) -> &'static str {
        match self {
            Self::Always => "cannot be changed",
            Self::UntilRestart => "cannot be changed without restarting the server",
            Self::InSession => "cannot be changed now",
            Self::AfterConnect => "cannot be set after connection start",
        }
    }
}

impl SettingError {
    /// The SQLSTATE that PostgreSQL gives this error.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::Unknown { .. } => SqlState::UNDEFINED_OBJECT,
            Self::InvalidName { .. } => SqlState::INVALID_NAME,
            Self::InvalidValue { .. } | Self::OutOfRange { .. } | Self::NotBoolean { .. } => {
                SqlState::INVALID_PARAMETER_VALUE
            }
            Self::Absent { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            Self::NotAList { .. } | Self::Newline => SqlState::INVALID_PARAMETER_VALUE,
            Self::CannotChange { .. } => SqlState::CANT_CHANGE_RUNTIME_PARAM,
            Self::PermissionDenied { .. } | Self::MayNotRead { .. } => SqlState::INSUFFICIENT_PRIVILEGE,
        }
    }
    /// The DETAIL field.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::InvalidValue { detail, .. } => detail.as_deref(),
            Self::InvalidName { .. } => {
                Some("A custom name is two or more simple identifiers joined by dots.")
            }
            _ => None,
        }
    }
    /// The HINT field.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest: Some(near), .. } => Some(format!("Perhaps you meant \"{near}\".")),
            Self::InvalidValue { hint, .. } => hint.clone(),
            _ => None,
        }
    }
    /// Message, detail and hint on one line, for logs and command lines.
    pub fn one_line(&self) -> String {
        let mut line = self.to_string();
        for part in [self.detail().map(str::to_owned), self.hint()].into_iter().flatten() {
            line.push_str("; ");
            line.push_str(&part);
        }
        line
    }
}
