//! An option of a replication command: a name with or without a value.

use super::CommandError;

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// The name alone.
    None,
    /// A text or bare word.
    Text(String),
    /// A number.
    Number(u32),
}

impl OptionValue {
    /// As text, if it has a value.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool, CommandError> {
        match self {
            Self::None => Ok(true),
            Self::Number(0) => Ok(false),
            Self::Number(1) => Ok(true),
            Self::Number(_) => Err(CommandError::NeedsBoolean(name.to_owned())),
            Self::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" => Ok(true),
                "false" | "off" | "no" => Ok(false),
                _ => Err(CommandError::NeedsBoolean(name.to_owned())),
            },
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<String, CommandError> {
        self.as_text().ok_or_else(|| CommandError::NeedsValue(name.to_owned()))
    }
}
