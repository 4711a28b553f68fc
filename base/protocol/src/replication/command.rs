//! The grammar of replication commands, in the old and the parenthesised syntax.

use super::WireLsn;
use super::scanner::{Token, scan};
use sqlstate::SqlState;

/// A replication command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
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

    fn boolean(&self, name: &str) -> Result<bool, CommandError> {
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

    fn text(&self, name: &str) -> Result<String, CommandError> {
        self.as_text().ok_or_else(|| CommandError::NeedsValue(name.to_owned()))
    }
}

/// Where a base backup goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseBackupTarget {
    /// To the client.
    Client,
    /// Nowhere.
    Blackhole,
    /// Into a folder of the server (absolute path).
    Server(String),
}

/// Whether a base backup carries a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestMode {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It does, with every file name in hexadecimal.
    ForceEncode,
}

/// The checksum of each file in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// None.
    None,
    /// CRC-32C
    Crc32c,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl ChecksumAlgorithm {
    /// From its name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "NONE" => Self::None,
            "CRC32C" => Self::Crc32c,
            "SHA224" => Self::Sha224,
            "SHA256" => Self::Sha256,
            "SHA384" => Self::Sha384,
            "SHA512" => Self::Sha512,
            _ => return None,
        })
    }
}

/// Options of BASE_BACKUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseBackupOptions {
    /// LABEL
    pub label: String,
    /// TARGET and TARGET_DETAIL
    pub target: BaseBackupTarget,
    /// PROGRESS: estimate and report sizes.
    pub progress: bool,
    /// CHECKPOINT 'fast', or FAST
    pub fast_checkpoint: bool,
    /// WAL: include the segments that the backup needs.
    pub wal: bool,
    /// WAIT (NOWAIT turns it off): wait until the WAL that the backup needs is archived.
    pub wait: bool,
    /// COMPRESSION with COMPRESSION_DETAIL
    pub compression: Option<(String, Option<String>)>,
    /// MAX_RATE in kilobytes a second.
    pub max_rate_kilobytes: Option<u32>,
    /// TABLESPACE_MAP
    pub tablespace_map: bool,
    /// VERIFY_CHECKSUMS (NOVERIFY_CHECKSUMS turns it off)
    pub verify_checksums: bool,
    /// MANIFEST
    pub manifest: ManifestMode,
    /// MANIFEST_CHECKSUMS
    pub manifest_checksums: ChecksumAlgorithm,
}

impl Default for BaseBackupOptions {
    fn default() -> Self {
        Self {
            label: "base backup".to_owned(),
            target: BaseBackupTarget::Client,
            progress: false,
            fast_checkpoint: false,
            wal: false,
            wait: true,
            compression: None,
            max_rate_kilobytes: None,
            tablespace_map: false,
            verify_checksums: true,
            manifest: ManifestMode::No,
            manifest_checksums: ChecksumAlgorithm::Crc32c,
        }
    }
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
            _ => SqlState::SYNTAX_ERROR,
        }
    }
}

/// Reads a replication command; None if the text starts with none of their keywords, so that it may be SQL.
pub fn parse_command(text: &str) -> Result<Option<Command>, CommandError> {
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
    let mut words = Words { tokens: scan(text)?, at: 1 };
    let command = match keyword {
        "IDENTIFY_SYSTEM" => Command::IdentifySystem,
        "SHOW" => {
            let mut name = words.name()?;
            while words.mark('.') {
                name.push('.');
                name.push_str(&words.name()?);
            }
            Command::Show(name)
        }
        "CREATE_REPLICATION_SLOT" => words.create_slot()?,
        "DROP_REPLICATION_SLOT" => {
            let name = words.name()?;
            Command::DropSlot { name, wait: words.keyword("WAIT") }
        }
        "READ_REPLICATION_SLOT" => Command::ReadSlot { name: words.name()? },
        "START_REPLICATION" => words.start_replication()?,
        "TIMELINE_HISTORY" => Command::TimelineHistory(words.timeline()?),
        "BASE_BACKUP" => Command::BaseBackup(Box::new(words.base_backup()?)),
        _ => Command::Extension(ExtensionCommand {
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

    fn create_slot(&mut self) -> Result<Command, CommandError> {
        let name = self.name()?;
        let temporary = self.keyword("TEMPORARY");
        if self.keyword("LOGICAL") {
            self.at = self.tokens.len();
            return Ok(Command::Logical("CREATE_REPLICATION_SLOT ... LOGICAL"));
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
        Ok(Command::CreateSlot(CreateSlot { name, temporary, reserve_wal }))
    }

    fn start_replication(&mut self) -> Result<Command, CommandError> {
        let slot = if self.keyword("SLOT") { Some(self.name()?) } else { None };
        if self.keyword("LOGICAL") {
            self.at = self.tokens.len();
            return Ok(Command::Logical("START_REPLICATION ... LOGICAL"));
        }
        self.keyword("PHYSICAL");
        let start = match self.peek() {
            Some(Token::Position(at)) => *at,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        let timeline = if self.keyword("TIMELINE") { Some(self.timeline()?) } else { None };
        let options = self.options()?;
        Ok(Command::StartReplication(StartReplication { slot, start, timeline, options }))
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

fn base_backup_options(given: Vec<(String, OptionValue)>) -> Result<BaseBackupOptions, CommandError> {
    let mut options = BaseBackupOptions::default();
    let (mut target, mut target_detail) = (None, None);
    let (mut compression, mut compression_detail) = (None, None);
    let mut checksums_given = false;
    for (name, value) in given {
        let bad = |value: &str| CommandError::BadValue { option: name.clone(), value: value.to_owned() };
        match name.as_str() {
            "label" => options.label = value.text(&name)?,
            "target" => target = Some(value.text(&name)?),
            "target_detail" => target_detail = Some(value.text(&name)?),
            "progress" => options.progress = value.boolean(&name)?,
            "checkpoint" => {
                let kind = value.text(&name)?;
                options.fast_checkpoint = match kind.to_ascii_lowercase().as_str() {
                    "fast" => true,
                    "spread" => false,
                    _ => return Err(bad(&kind)),
                };
            }
            "wal" => options.wal = value.boolean(&name)?,
            "wait" => options.wait = value.boolean(&name)?,
            "compression" => compression = Some(value.text(&name)?),
            "compression_detail" => compression_detail = Some(value.text(&name)?),
            "max_rate" => match value {
                OptionValue::Number(rate @ 32..=1_048_576) => options.max_rate_kilobytes = Some(rate),
                other => return Err(bad(&other.as_text().unwrap_or_default())),
            },
            "tablespace_map" => options.tablespace_map = value.boolean(&name)?,
            "verify_checksums" => options.verify_checksums = value.boolean(&name)?,
            "manifest" => {
                options.manifest = match (&value, value.boolean(&name)) {
                    (OptionValue::Text(text), _) if text.eq_ignore_ascii_case("force-encode") => {
                        ManifestMode::ForceEncode
                    }
                    (_, Ok(true)) => ManifestMode::Yes,
                    (_, Ok(false)) => ManifestMode::No,
                    (_, Err(_)) => return Err(bad(&value.as_text().unwrap_or_default())),
                };
            }
            "manifest_checksums" => {
                let algorithm = value.text(&name)?;
                options.manifest_checksums =
                    ChecksumAlgorithm::parse(&algorithm).ok_or_else(|| bad(&algorithm))?;
                checksums_given = true;
            }
            _ => return Err(CommandError::Unrecognized(name)),
        }
    }
    if checksums_given && options.manifest == ManifestMode::No {
        return Err(CommandError::Combination("manifest checksums require a backup manifest"));
    }
    options.target = match (target.as_deref(), target_detail) {
        (None | Some("client"), None) => BaseBackupTarget::Client,
        (Some("blackhole"), None) => BaseBackupTarget::Blackhole,
        (Some("server"), Some(folder)) => BaseBackupTarget::Server(folder),
        (Some("server"), None) => {
            return Err(CommandError::Combination("target \"server\" requires a target detail"));
        }
        (None, Some(_)) => {
            return Err(CommandError::Combination("target detail cannot be used without target"));
        }
        (Some("client" | "blackhole"), Some(_)) => {
            return Err(CommandError::Combination("this target does not accept a target detail"));
        }
        (Some(other), _) => {
            return Err(CommandError::BadValue { option: "target".to_owned(), value: other.to_owned() });
        }
    };
    options.compression = match (compression, compression_detail) {
        (Some(method), detail) => Some((method, detail)),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(CommandError::Combination(
                "compression detail cannot be specified unless compression is enabled",
            ));
        }
    };
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Command {
        parse_command(text).unwrap().unwrap()
    }

    #[test]
    fn commands_of_stock_clients_are_understood() {
        assert_eq!(parsed("IDENTIFY_SYSTEM"), Command::IdentifySystem);
        assert_eq!(parsed("SHOW data_directory_mode"), Command::Show("data_directory_mode".into()));
        assert_eq!(parsed("SHOW plimsoll.peers;"), Command::Show("plimsoll.peers".into()));
        for text in [
            "CREATE_REPLICATION_SLOT \"pg_basebackup_77\" TEMPORARY PHYSICAL RESERVE_WAL",
            "CREATE_REPLICATION_SLOT \"pg_basebackup_77\" TEMPORARY PHYSICAL (RESERVE_WAL)",
            "CREATE_REPLICATION_SLOT PG_basebackup_77 TEMPORARY PHYSICAL ( RESERVE_WAL true )",
        ] {
            let slot = CreateSlot { name: "pg_basebackup_77".into(), temporary: true, reserve_wal: true };
            assert_eq!(parsed(text), Command::CreateSlot(slot), "{text}");
        }
        assert_eq!(
            parsed("START_REPLICATION SLOT \"s\" 0/3000000 TIMELINE 2"),
            Command::StartReplication(StartReplication {
                slot: Some("s".into()),
                start: WireLsn::new(0x300_0000),
                timeline: Some(2),
                options: vec![],
            })
        );
        let Command::StartReplication(start) = parsed("START_REPLICATION PHYSICAL A/BC (branch 'x', hop 2)")
        else {
            panic!("no start")
        };
        assert_eq!((start.slot, start.start, start.timeline), (None, WireLsn::new(0xA_0000_00BC), None));
        assert_eq!(start.options[0], ("branch".into(), OptionValue::Text("x".into())));
        assert_eq!(parsed("TIMELINE_HISTORY 3"), Command::TimelineHistory(3));
        let drop = Command::DropSlot { name: "s".into(), wait: true };
        assert_eq!(parsed("DROP_REPLICATION_SLOT s WAIT"), drop);
        assert_eq!(parsed("READ_REPLICATION_SLOT s"), Command::ReadSlot { name: "s".into() });
    }

    #[test]
    fn both_syntaxes_of_a_base_backup_mean_the_same() {
        let new = parsed(
            "BASE_BACKUP ( LABEL 'it''s', PROGRESS, CHECKPOINT 'fast', WAIT 0, MAX_RATE 64, \
             TABLESPACE_MAP, MANIFEST 'yes', MANIFEST_CHECKSUMS 'sha256', VERIFY_CHECKSUMS false)",
        );
        let old = parsed(
            "BASE_BACKUP LABEL 'it''s' PROGRESS FAST NOWAIT MAX_RATE 64 TABLESPACE_MAP \
             NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'",
        );
        assert_eq!(new, old);
        let Command::BaseBackup(options) = new else { panic!("no backup") };
        assert_eq!(options.label, "it's");
        assert!(options.fast_checkpoint && !options.wait && !options.verify_checksums && options.progress);
        assert_eq!(options.manifest_checksums, ChecksumAlgorithm::Sha256);
        let server = parsed("BASE_BACKUP (TARGET 'server', TARGET_DETAIL '/b', COMPRESSION 'gzip')");
        let Command::BaseBackup(options) = server else { panic!("no backup") };
        assert_eq!(options.target, BaseBackupTarget::Server("/b".into()));
        assert_eq!(options.compression, Some(("gzip".into(), None)));
    }

    #[test]
    fn logical_commands_are_named_and_sql_is_left_alone() {
        let create = "CREATE_REPLICATION_SLOT s LOGICAL pgoutput (SNAPSHOT 'nothing')";
        assert!(matches!(parsed(create), Command::Logical(_)));
        let start = "START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1')";
        assert!(matches!(parsed(start), Command::Logical(_)));
        for sql in ["select 1", "show all", "", "identify_system"] {
            assert_eq!(parse_command(sql), Ok(None), "{sql}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "IDENTIFY_SYSTEM now",
            "START_REPLICATION",
            "START_REPLICATION SLOT s",
            "START_REPLICATION 0/0 TIMELINE 0",
            "START_REPLICATION 0/0 TIMELINE 99999999999",
            "START_REPLICATION 0/0 TIMELINE",
            "CREATE_REPLICATION_SLOT s",
            "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL maybe)",
            "CREATE_REPLICATION_SLOT s PHYSICAL (TWO_PHASE)",
            "CREATE_REPLICATION_SLOT 'unterminated",
            "BASE_BACKUP (LABEL 'a', LABEL 'b')",
            "BASE_BACKUP (MAX_RATE 31)",
            "BASE_BACKUP (TARGET 'moon')",
            "BASE_BACKUP (MANIFEST_CHECKSUMS 'md5')",
            "BASE_BACKUP (MANIFEST_CHECKSUMS 'sha256')",
            "BASE_BACKUP (WAL",
            "BASE_BACKUP SIDEWAYS",
            "SHOW",
            "SHOW a b",
            "TIMELINE_HISTORY -1",
        ] {
            assert!(parse_command(text).is_err(), "{text}");
        }
    }
}
