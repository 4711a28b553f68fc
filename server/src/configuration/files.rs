//! Reading the configuration files.

use super::Current;
use super::checks::{self, load_login};
use super::tls;
use crate::error::ServerError;
use crate::log::Log;
use basebackup::clone::SettingFiles;
use host::Host;
use protocol::{Report, SqlState};
use settings::{FileContents, Phase, SettingError, Settings, Source};
use std::path::Path;
use std::sync::Arc;
use wal::control::ControlFile;

/// All that the files say, postgresql.auto.conf last.
pub(super) fn read_files(host: &Host, data_dir: &Path, settings: &Settings) -> FileContents {
    let auto = data_dir.join("postgresql.auto.conf");
    // What cannot be looked at is read, and says why not: passed over, its settings would be gone in silence.
    let own = host.disk.exists(&auto).unwrap_or(true);
    read_files_with(
        host,
        data_dir,
        settings,
        own.then(|| FileContents::read(&SettingFiles(host.disk.as_ref()), &auto)),
    )
}

/// The same with these contents of postgresql.auto.conf.
pub(super) fn read_files_with(
    host: &Host,
    data_dir: &Path,
    settings: &Settings,
    auto: Option<FileContents>,
) -> FileContents {
    let configured = settings.show("config_file").unwrap_or_default();
    let main = if configured.is_empty() {
        data_dir.join("postgresql.conf")
    } else {
        settings::resolve(data_dir, &configured)
    };
    let mut contents = FileContents::read(&SettingFiles(host.disk.as_ref()), &main);
    if let Some(auto) = auto {
        contents.append(auto);
    }
    contents
}

/// Settings that the environment of a server names, below its files.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PGPORT", "port"), ("PGDATESTYLE", "datestyle"), ("PGCLIENTENCODING", "client_encoding")];

/// Reads everything that stands before a start: the environment, the command line, the files, pg_hba.conf,
/// what TLS is made of.
pub(crate) fn load(
    host: &Host,
    data_dir: &Path,
    command_line: &[(String, String)],
    log: &Log,
) -> Result<Current, ServerError> {
    let mut settings = checks::new_settings();
    let named = ENVIRONMENT.iter().filter_map(|(variable, name)| Some((*name, host::variable(variable)?)));
    for (name, value) in named {
        settings.set(name, &value, Source::Environment).map_err(refused)?;
    }
    for (name, value) in command_line {
        settings.set(name, value, Source::CommandLine).map_err(refused)?;
    }
    let applied = settings.apply_files(&read_files(host, data_dir, &settings), Phase::Start);
    log.configure(&settings);
    tell_without_effect(&settings, log);
    if let Some(first) = applied.problems.first() {
        applied.problems.iter().for_each(|problem| log.log(problem.to_string()));
        let file = first.place.file.display();
        return Err(ServerError::new(format!("configuration file \"{file}\" contains errors: {first}")));
    }
    check_data_directory(data_dir, &settings)?;
    if let Ok(control) = ControlFile::load(host.disk.as_ref(), data_dir) {
        let bytes = control.segment_size.bytes().to_string();
        settings
            .set_computed("wal_segment_size", &bytes)
            .map_err(|error| ServerError::new(error.one_line()))?;
    }
    let mode = host.disk.metadata(data_dir).map_or(0o700, |found| found.permissions & 0o777);
    for (name, value) in [
        ("data_directory_mode", mode.to_string()),
        ("data_directory", data_dir.display().to_string()),
        ("config_file", data_dir.join("postgresql.conf").display().to_string()),
        ("hba_file", data_dir.join("pg_hba.conf").display().to_string()),
        ("ident_file", data_dir.join("pg_ident.conf").display().to_string()),
        (
            "server_version",
            format!("{} (Plimsoll {})", settings::POSTGRESQL_RELEASE, env!("CARGO_PKG_VERSION")),
        ),
        ("ssl_library", "rustls".to_owned()),
    ] {
        let is_found_out = matches!(name, "server_version" | "ssl_library" | "data_directory_mode");
        if is_found_out || settings.show(name).is_ok_and(|now| now.is_empty()) {
            settings.set_computed(name, &value).map_err(|error| ServerError::new(error.one_line()))?;
        }
    }
    let tls = tls::load(host, data_dir, &settings)?;
    let login = load_login(host, data_dir, &settings).map_err(|errors| {
        errors.iter().for_each(|error| log.log(error.to_string()));
        checks::hba_refusal(&errors)
    })?;
    login.hba.warnings(tls.is_some()).for_each(|warning| log.warning(warning));
    login.map_errors.iter().for_each(|error| log.log(error.to_string()));
    let config = Arc::new(settings.config());
    let loaded = host.clock.now();
    Ok(Current { settings: Arc::new(settings), config, login: Arc::new(login), tls, loaded })
}

fn refused(error: SettingError) -> ServerError {
    ServerError { message: error.to_string(), hint: error.hint() }
}

/// A data directory elsewhere than where the configuration is, as Debian has it, is not supported.
fn check_data_directory(data_dir: &Path, settings: &Settings) -> Result<(), ServerError> {
    let named = settings.show("data_directory").unwrap_or_default();
    if named.is_empty() || settings::resolve(data_dir, &named) == data_dir {
        return Ok(());
    }
    let what =
        format!("data_directory is \"{named}\", and the configuration is in \"{}\"", data_dir.display());
    Err(ServerError::new(what).with_hint("Name the data directory with -D, and leave data_directory out."))
}

/// Tells of settings that are set and have no effect.
pub(super) fn tell_without_effect(settings: &Settings, log: &Log) {
    let names = settings.set_without_effect();
    if !names.is_empty() {
        let what = "settings without an effect on this server are set";
        let report = Report::warning(SqlState::WARNING, what).with_detail(format!("{}.", names.join(", ")));
        log.write(None, &report, None);
    }
}
