//! `PLIMSOLL files` and `PLIMSOLL read`: a data directory's files, one by one, for who needs few of their
//! bytes (rewind).
//!
//! | command | answer |
//! | ---- | ---- |
//! | `PLIMSOLL files` | a row `path`, `size`, `kind` for each file that a base backup sends; a server that |
//! |         | was replaced refuses |
//! | `PLIMSOLL files (goes_on 'true')` | the same, also of a server that was replaced: who asks has all of |
//! |         | its pages already |
//! | `PLIMSOLL read (path 'p', offset 'n', length n)` | a row `content`, fewer bytes where the file ends; |
//! |         | no row if there is no such file. Pages of a relation that a crash left torn are written anew |
//! |         | first |
//!
//! Both are commands like any other, so a client may send many before it reads the first answer.

use super::option::OptionValue;
use super::{CommandError, ExtensionCommand};

/// The name of the command that lists files.
pub const FILES_COMMAND: &str = "files";
/// Its option, by which who has the pages already lists the files once more. A server of before lists them to
/// whoever asks, and takes no notice of it.
pub const FILES_GO_ON: &str = "goes_on";
/// The name of the command that reads one.
pub const READ_COMMAND: &str = "read";
/// The most that one command reads, in bytes.
pub const READ_BYTES_MAX: u32 = 1 << 20;

/// What is to be read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// The path below the data directory.
    pub path: String,
    /// The first byte.
    pub offset: u64,
    /// How many bytes, [`READ_BYTES_MAX`] at most.
    pub length: u32,
}

impl ReadFile {
    /// The command's text.
    pub fn text(&self) -> String {
        let path = self.path.replace('\'', "''");
        format!("PLIMSOLL {READ_COMMAND} (path '{path}', offset '{}', length {})", self.offset, self.length)
    }

    /// Out of a command of that name.
    ///
    /// # Errors
    /// Fails if an option is missing, unknown, or has a value that it does not take.
    pub fn parse(command: &ExtensionCommand) -> Result<Self, CommandError> {
        let (mut path, mut offset, mut length) = (None, None, None);
        for (name, value) in &command.options {
            let bad = || CommandError::BadValue {
                option: name.clone(),
                value: value.as_text().unwrap_or_default(),
            };
            match (name.as_str(), value) {
                ("path", OptionValue::Text(text)) => path = Some(text.clone()),
                ("offset", value) => {
                    offset = Some(value.text(name)?.parse::<u64>().map_err(|_| bad())?);
                }
                ("length", OptionValue::Number(number)) if *number <= READ_BYTES_MAX => {
                    length = Some(*number);
                }
                ("path" | "length", _) => return Err(bad()),
                _ => return Err(CommandError::Unrecognized(name.clone())),
            }
        }
        match (path, offset, length) {
            (Some(path), Some(offset), Some(length)) => Ok(Self { path, offset, length }),
            _ => Err(CommandError::Combination("PLIMSOLL read needs a path, an offset and a length")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ReplicationCommand, parse_command};
    use super::*;

    fn command(text: &str) -> ExtensionCommand {
        match parse_command(text) {
            Ok(Some(ReplicationCommand::Extension(command))) => command,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_read_is_what_its_text_says() {
        for read in [
            ReadFile { path: "base/5/16384.1".to_owned(), offset: 1 << 40, length: READ_BYTES_MAX },
            ReadFile { path: "it's".to_owned(), offset: 0, length: 0 },
        ] {
            let command = command(&read.text());
            assert_eq!(command.name, READ_COMMAND);
            assert_eq!(ReadFile::parse(&command), Ok(read));
        }
    }

    #[test]
    fn what_is_no_read_is_refused() {
        for text in [
            "PLIMSOLL read",
            "PLIMSOLL read (path 'a', offset '0')",
            "PLIMSOLL read (path 'a', offset '-1', length 1)",
            "PLIMSOLL read (path 'a', offset '0', length 1048577)",
            "PLIMSOLL read (path 1, offset '0', length 1)",
            "PLIMSOLL read (path 'a', offset '0', length 1, more)",
        ] {
            assert!(ReadFile::parse(&command(text)).is_err(), "{text}");
        }
    }
}
