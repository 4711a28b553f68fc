//! The grammar of replication commands, in the old and the parenthesised syntax.

mod base_backup;
mod files;
mod option;

pub use base_backup::{BaseBackupOptions, BaseBackupTarget, ChecksumAlgorithm, ManifestMode};
pub use files::{FILES_COMMAND, FILES_GO_ON, READ_BYTES_MAX, READ_COMMAND, ReadFile};
pub use option::OptionValue;

use super::WireLsn;
use super::scanner::{Token, scan};
use base_backup::base_backup_options;
use sqlstate::SqlState;

/// The longest text of a replication command, in bytes: a timeline's history, which may be its largest part,
/// is read up to this size, too.
pub const COMMAND_BYTES_MAX: usize = 16 << 20;

/// A replication command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicationCommand {
    /// IDENTIFY_SYSTEM
    IdentifySystem,
    /// SHOW name
    Show(String),
    /// CREATE_REPLICATION_SLOT ... PHYSICAL
    CreateSlot(CreateSlot),
    /// DROP_REPLICATION_SLOT
    DropSlot {
        /// The slot.
        name: String,
        /// Wait for it to become inactive instead of failing.
        wait: bool,
    },
    /// READ_REPLICATION_SLOT
    ReadSlot {
        /// The slot.
        name: String,
    },
    /// START_REPLICATION ... PHYSICAL
    StartReplication(StartReplication),
    /// TIMELINE_HISTORY
    TimelineHistory(u32),
    /// BASE_BACKUP
    BaseBackup(Box<BaseBackupOptions>),
    /// A command of logical replication, recognised so as to refuse it by its name.
    Logical(&'static str),
    /// `PLIMSOLL name (options)`: spoken between Plimsoll nodes only.
    Extension(ExtensionCommand),
}

/// CREATE_REPLICATION_SLOT of a physical slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSlot {
    /// The slot's name.
    pub name: String,
    /// Dropped at the end of the session.
    pub temporary: bool,
    /// Keep WAL from now on, not only from the first use.
    pub reserve_wal: bool,
}

/// The option of START_REPLICATION with which a client says that it makes a copy ('true').
pub const COPY_OPTION: &str = "copy";

/// START_REPLICATION of a physical stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartReplication {
    /// The slot to use.
    pub slot: Option<String>,
    /// The first byte wanted.
    pub start: WireLsn,
    /// The timeline wanted; None is the server's current one.
    pub timeline: Option<u32>,
    /// Options between Plimsoll nodes, in parentheses at the end; a stock client sends none.
    pub options: Vec<(String, OptionValue)>,
}

/// A command between Plimsoll nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionCommand {
    /// Its name, in lower case.
    pub name: String,
    /// Its options, names in lower case.
    pub options: Vec<(String, OptionValue)>,
}

/// Why a replication command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The grammar does not have it.
    #[error("syntax error at or near \"{0}\"")]
    Syntax(String),
    /// It stops in the middle.
    #[error("syntax error at end of input")]
    EndOfInput,
    /// A quote without its end.
    #[error("unterminated {0}")]
    Unterminated(&'static str),
    /// An option given twice.
    #[error("duplicate option \"{0}\"")]
    Duplicate(String),
    /// An option that does not exist.
    #[error("unrecognized option: \"{0}\"")]
    Unrecognized(String),
    /// An option that takes true or false.
    #[error("{0} requires a Boolean value")]
    NeedsBoolean(String),
    /// An option without its value.
    #[error("{0} requires a parameter")]
    NeedsValue(String),
    /// A value that its option does not take.
    #[error("invalid value for option \"{option}\": \"{value}\"")]
    BadValue {
        /// The option.
        option: String,
        /// What was given.
        value: String,
    },
    /// A word that is none of those which there are.
    #[error("unrecognized {what}: \"{value}\"")]
    UnknownWord {
        /// What it should be.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// A number that is too small or too large.
    #[error("{value} is outside the valid range for parameter \"{option}\" ({min} .. {max})")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// What was given.
        value: u32,
        /// The least number.
        min: u32,
        /// The greatest one.
        max: u32,
    },
    /// It has more than any command may have.
    #[error("replication command has more than {limit} {what}")]
    TooLong {
        /// The most that it may have.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// Options that exclude each other or need one another.
    #[error("{0}")]
    Combination(&'static str),
}

impl CommandError {
    pub(super) fn syntax(near: impl Into<String>) -> Self {
        Self::Syntax(near.into())
    }

    /// Its SQLSTATE.
    pub const fn code(&self) -> SqlState {
        match self {
            Self::BadValue { .. } => SqlState::INVALID_PARAMETER_VALUE,
            Self::OutOfRange { .. } => SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            Self::TooLong { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
            _ => SqlState::SYNTAX_ERROR,
        }
    }
}

/// Reads a replication command; None if the text starts with none of their keywords, so that it may be SQL.
///
/// # Errors
///
/// Fails where the command is not in the grammar, or an option does not take its value.
pub fn parse_command(text: &str) -> Result<Option<ReplicationCommand>, CommandError> {
    let first = text.trim_start().split(|c: char| !(c == '_' || c.is_ascii_alphanumeric())).next();
    let keyword = match first.unwrap_or_default() {
        known @ ("IDENTIFY_SYSTEM"
        | "SHOW"
        | "CREATE_REPLICATION_SLOT"
        | "DROP_REPLICATION_SLOT"
        | "READ_REPLICATION_SLOT"
        | "START_REPLICATION"
        | "TIMELINE_HISTORY"
        | "BASE_BACKUP"
        | "PLIMSOLL") => known,
        _ => return Ok(None),
    };
    if text.len() > COMMAND_BYTES_MAX {
        return Err(CommandError::TooLong { limit: COMMAND_BYTES_MAX, what: "bytes" });
    }
    let mut words = Words { tokens: scan(text)?, at: 1 };
    let command = match keyword {
        "IDENTIFY_SYSTEM" => ReplicationCommand::IdentifySystem,
        "SHOW" => {
            let mut name = words.name()?;
            while words.mark('.') {
                name.push('.');
                name.push_str(&words.name()?);
            }
            ReplicationCommand::Show(name)
        }
        "CREATE_REPLICATION_SLOT" => words.create_slot()?,
        "DROP_REPLICATION_SLOT" => {
            let name = words.name()?;
            ReplicationCommand::DropSlot { name, wait: words.keyword("WAIT") }
        }
        "READ_REPLICATION_SLOT" => ReplicationCommand::ReadSlot { name: words.name()? },
        "START_REPLICATION" => words.start_replication()?,
        "TIMELINE_HISTORY" => ReplicationCommand::TimelineHistory(words.timeline()?),
        "BASE_BACKUP" => ReplicationCommand::BaseBackup(Box::new(words.base_backup()?)),
        _ => ReplicationCommand::Extension(ExtensionCommand {
            name: words.name()?.to_ascii_lowercase(),
            options: words.options()?,
        }),
    };
    words.mark(';');
    words.end()?;
    Ok(Some(command))
}

struct Words {
    tokens: Vec<Token>,
    at: usize,
}

impl Words {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn unexpected(&self) -> CommandError {
        match self.peek() {
            None => CommandError::EndOfInput,
            Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text)) => CommandError::syntax(text),
            Some(Token::Number(number)) => CommandError::syntax(number.to_string()),
            Some(Token::Position(at)) => CommandError::syntax(at.to_string()),
            Some(Token::Mark(mark)) => CommandError::syntax(*mark),
        }
    }

    fn end(&self) -> Result<(), CommandError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected()) }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn mark(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    /// A name: bare (folded to lower case) or quoted.
    fn name(&mut self) -> Result<String, CommandError> {
        let name = match self.peek() {
            Some(Token::Word(word)) => word.to_lowercase(),
            Some(Token::Quoted(name)) => name.clone(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(name)
    }

    fn text(&mut self) -> Result<String, CommandError> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn number(&mut self) -> Result<u32, CommandError> {
        match self.peek() {
            Some(Token::Number(number)) => {
                let number = *number;
                self.at += 1;
                Ok(number)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn timeline(&mut self) -> Result<u32, CommandError> {
        match self.number()? {
            0 => Err(CommandError::BadValue { option: "timeline".to_owned(), value: "0".to_owned() }),
            timeline => Ok(timeline),
        }
    }

    /// `(name [value], ...)`, or nothing. Names are folded to lower case.
    fn options(&mut self) -> Result<Vec<(String, OptionValue)>, CommandError> {
        let mut options: Vec<(String, OptionValue)> = Vec::new();
        if !self.mark('(') {
            return Ok(options);
        }
        if self.mark(')') {
            return Ok(options);
        }
        loop {
            let name = self.name()?.to_ascii_lowercase();
            let value = match self.peek() {
                Some(Token::Word(word)) => OptionValue::Text(word.clone()),
                Some(Token::Quoted(text) | Token::Text(text)) => OptionValue::Text(text.clone()),
                Some(Token::Number(number)) => OptionValue::Number(*number),
                Some(Token::Position(at)) => OptionValue::Text(at.to_string()),
                _ => OptionValue::None,
            };
            self.at += usize::from(value != OptionValue::None);
            if options.iter().any(|(known, _)| *known == name) {
                return Err(CommandError::Duplicate(name));
            }
            options.push((name, value));
            if self.mark(')') {
                return Ok(options);
            }
            if !self.mark(',') {
                return Err(self.unexpected());
            }
        }
    }

    fn create_slot(&mut self) -> Result<ReplicationCommand, CommandError> {
        let name = self.name()?;
        let temporary = self.keyword("TEMPORARY");
        if self.keyword("LOGICAL") {
            self.at = self.tokens.len();
            return Ok(ReplicationCommand::Logical("CREATE_REPLICATION_SLOT ... LOGICAL"));
        }
        if !self.keyword("PHYSICAL") {
            return Err(self.unexpected());
        }
        let mut reserve_wal = self.keyword("RESERVE_WAL");
        for (option, value) in self.options()? {
            match option.as_str() {
                "reserve_wal" => reserve_wal = value.boolean(&option)?,
                _ => return Err(CommandError::Unrecognized(option)),
            }
        }
        Ok(ReplicationCommand::CreateSlot(CreateSlot { name, temporary, reserve_wal }))
    }

    fn start_replication(&mut self) -> Result<ReplicationCommand, CommandError> {
        let slot = if self.keyword("SLOT") { Some(self.name()?) } else { None };
        if self.keyword("LOGICAL") {
            self.at = self.tokens.len();
            return Ok(ReplicationCommand::Logical("START_REPLICATION ... LOGICAL"));
        }
        self.keyword("PHYSICAL");
        let start = match self.peek() {
            Some(Token::Position(at)) => *at,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        let timeline = if self.keyword("TIMELINE") { Some(self.timeline()?) } else { None };
        let options = self.options()?;
        Ok(ReplicationCommand::StartReplication(StartReplication { slot, start, timeline, options }))
    }

    fn base_backup(&mut self) -> Result<BaseBackupOptions, CommandError> {
        let given = if self.peek() == Some(&Token::Mark('(')) {
            self.options()?
        } else {
            self.old_base_backup_options()?
        };
        base_backup_options(given)
    }

    /// The old syntax, as the options of the new one.
    fn old_base_backup_options(&mut self) -> Result<Vec<(String, OptionValue)>, CommandError> {
        let mut options: Vec<(String, OptionValue)> = Vec::new();
        while let Some(Token::Word(word)) = self.peek() {
            let word = word.to_ascii_lowercase();
            self.at += 1;
            let (name, value) = match word.as_str() {
                "progress" | "wal" | "tablespace_map" => (word, OptionValue::None),
                "fast" => ("checkpoint".to_owned(), OptionValue::Text("fast".to_owned())),
                "nowait" => ("wait".to_owned(), OptionValue::Number(0)),
                "noverify_checksums" => ("verify_checksums".to_owned(), OptionValue::Number(0)),
                "label" | "manifest" | "manifest_checksums" => (word, OptionValue::Text(self.text()?)),
                "max_rate" => (word, OptionValue::Number(self.number()?)),
                _ => return Err(CommandError::syntax(word)),
            };
            if options.iter().any(|(known, _)| *known == name) {
                return Err(CommandError::Duplicate(name));
            }
            options.push((name, value));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests;
