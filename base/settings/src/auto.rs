//! ALTER SYSTEM: the new text of postgresql.auto.conf. Writing it durably is the server's part.

use crate::definition::{Context, flag};
use crate::error::{Locked, SettingError};
use crate::file::{FileContents, quote};
use crate::node::Settings;
use std::path::Path;

/// What ALTER SYSTEM changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoChange<'a> {
    /// SET name = value.
    Set(&'a str, &'a str),
    /// RESET name, SET name TO DEFAULT.
    Reset(&'a str),
    /// RESET ALL.
    ResetAll,
}

const HEADER: &str =
    "# Written by ALTER SYSTEM, which replaces this file; put your own settings into postgresql.conf.\n";

/// The text of postgresql.auto.conf after a change. `current` is its text now; lines that cannot be read are
/// dropped.
///
/// # Errors
///
/// Fails if the setting is unknown, may not be changed so, or does not take the value.
pub fn alter_system(
    settings: &Settings,
    current: &str,
    change: AutoChange<'_>,
) -> Result<String, SettingError> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for entry in FileContents::from_text(current, Path::new("postgresql.auto.conf")).entries {
        put(&mut entries, &entry.name, Some(entry.value));
    }
    match change {
        AutoChange::Set(name, value) => {
            check(name)?;
            settings.parse(name, value)?;
            if value.contains(['\n', '\r']) {
                return Err(SettingError::Newline);
            }
            put(&mut entries, name, Some(value.to_owned()));
        }
        AutoChange::Reset(name) => {
            check(name)?;
            put(&mut entries, name, None);
        }
        AutoChange::ResetAll => entries.clear(),
    }
    let lines = entries.into_iter().map(|(name, value)| format!("{name} = {}\n", quote(&value)));
    Ok(HEADER.to_owned() + &lines.collect::<String>())
}

fn check(name: &str) -> Result<(), SettingError> {
    match crate::find(name) {
        Some(known)
            if known.context == Context::Internal
                || known.has(flag::NOT_IN_FILE | flag::NOT_IN_AUTO_FILE) =>
        {
            Err(SettingError::CannotChange { name: known.name.to_owned(), why: Locked::Always })
        }
        Some(_) => Ok(()),
        None => crate::node::check_custom_name(name),
    }
}

/// Replaces a name's value; a new one goes to the end, as PostgreSQL does it.
fn put(entries: &mut Vec<(String, String)>, name: &str, value: Option<String>) {
    let spelled = crate::find(name).map_or(name, |known| known.name);
    entries.retain(|(old, _)| !old.eq_ignore_ascii_case(spelled));
    if let Some(value) = value {
        entries.push((spelled.to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlstate::SqlState;

    #[test]
    fn the_file_holds_each_changed_setting_once() {
        let settings = Settings::new();
        let alter = |text: &str, change| alter_system(&settings, text, change);
        let one = alter("", AutoChange::Set("WORK_MEM", "1MB")).unwrap();
        let two = alter(&one, AutoChange::Set("search_path", "\"it's\"")).unwrap();
        let three = alter(&two, AutoChange::Set("work_mem", "2MB")).unwrap();
        assert_eq!(three.strip_prefix(HEADER), Some("search_path = '\"it''s\"'\nwork_mem = '2MB'\n"));
        let four = alter(&three, AutoChange::Reset("search_path")).unwrap();
        assert_eq!(four.strip_prefix(HEADER), Some("work_mem = '2MB'\n"));
        assert_eq!(alter(&four, AutoChange::ResetAll).as_deref(), Ok(HEADER));
    }

    #[test]
    fn what_must_not_be_there_is_refused() {
        let settings = Settings::new();
        for (name, value, sqlstate) in [
            ("foo", "1", SqlState::UNDEFINED_OBJECT),
            ("data_directory", "x", SqlState::CANT_CHANGE_RUNTIME_PARAM),
            ("transaction_isolation", "serializable", SqlState::CANT_CHANGE_RUNTIME_PARAM),
            ("port", "x", SqlState::INVALID_PARAMETER_VALUE),
            ("cluster_name_x", "1", SqlState::UNDEFINED_OBJECT),
            ("log_filename", "a\nb", SqlState::INVALID_PARAMETER_VALUE),
        ] {
            let refused = alter_system(&settings, "", AutoChange::Set(name, value)).unwrap_err();
            assert_eq!(refused.sqlstate(), sqlstate, "{name}");
        }
    }
}
