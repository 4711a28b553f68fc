//! CREATE EXTENSION: of the modules that are built in, which a setting turns on. There are no others.

use super::SqlSession;
use sql_interface::{CommandTag, Result, SettingActor, Severity, SqlError};
use sqlstate::SqlState;

/// The modules that are built in.
const BUILT_IN: [&str; 1] = ["pg_stat_statements"];

impl SqlSession {
    /// One that is turned on is there already.
    pub(super) fn create_extension(&mut self, name: &str, lenient: bool) -> Result<CommandTag> {
        if !BUILT_IN.contains(&name) {
            return Err(SqlError::unsupported(format!("extension \"{name}\"")));
        }
        let loaded =
            self.environment.show(SettingActor::SUPERUSER, "shared_preload_libraries")?.unwrap_or_default();
        if !loaded.split(',').any(|library| library.trim().trim_matches('"') == name) {
            let hint = format!("Set shared_preload_libraries = '{name}', and restart the server.");
            return Err(
                SqlError::unsupported(format!("extension \"{name}\" while it is off")).with_hint(hint)
            );
        }
        if !lenient {
            let what = format!("extension \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, what));
        }
        let what = format!("extension \"{name}\" already exists, skipping");
        self.notices.push(SqlError::report(Severity::Notice, SqlState::DUPLICATE_OBJECT, what));
        Ok(CommandTag::Words("CREATE EXTENSION"))
    }
}
