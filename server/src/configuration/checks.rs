//! The checks of settings that need to know more than the settings' own crate: one home for all ways in which
//! a value comes, which are the files (at start and at a reload), the command line, ALTER SYSTEM, SET and the
//! startup message.
//!
//! A check of one text is a [`settings::Check`], and part of [`new_settings`]. What only several values, or
//! values and files, make wrong is in [`refusal`]: a start refuses it, and so do ALTER SYSTEM, before it
//! writes, and a reload, in the log.

use super::recovery_target;
use crate::auth::LoginRules;
use crate::auth::hba::{self, Hba, HbaError};
use crate::auth::ident::{self, IdentMaps, MapLine};
use crate::connection::listen::{socket_dirs, socket_path};
use crate::error::ServerError;
use crate::log::zone;
use crate::tasks::beside_others;
use host::{FileKind, Host, OpenMode};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use protocol::conninfo::ConnInfo;
use replica::slots::validate_name;
use replica::sync::SyncNames;
use settings::{Refusal, SessionConfig, SessionSettings, Settings, Source, Value};
use sql_types::{ByteaOutput, DateOrder, IntervalStyle, Style};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The defaults, with all checks.
pub(crate) fn new_settings() -> Settings {
    let mut settings = Settings::new();
    settings.set_check("synchronous_standby_names", sync_names);
    settings.set_check("primary_slot_name", slot_name);
    settings.set_check("plimsoll.peers", peers);
    settings.set_check("plimsoll.advertised_address", advertised_address);
    settings.set_check("TimeZone", time_zone);
    settings.set_check("log_timezone", time_zone);
    settings.set_check("recovery_target_time", recovery_target_time);
    settings.set_check("max_stack_depth", stack_depth);
    settings.set_check("ssl_ciphers", super::tls::ciphers);
    settings.set_check("ssl_ecdh_curve", super::tls::curve);
    for absent in ["ssl_dh_params_file", "ssl_passphrase_command"] {
        settings.set_check(absent, super::tls::absent);
    }
    settings
}

fn sync_names(text: &str) -> Result<String, Refusal> {
    SyncNames::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string().into())
}

fn slot_name(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Ok(String::new());
    }
    validate_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string().into())
}

/// A peer that cannot be asked fences nobody.
fn peers(text: &str) -> Result<String, Refusal> {
    for peer in replica::driver::peers::split_peers(text) {
        ConnInfo::parse(peer).map_err(|error| {
            format!("It takes connection strings, separated by semicolons, and one is none: {error}.")
        })?;
    }
    Ok(text.to_owned())
}

/// Where other nodes reach this one.
fn advertised_address(text: &str) -> Result<String, Refusal> {
    let takes = |why: &str| format!("It takes an address as host=... port=...{why}.");
    let pairs = protocol::conninfo::split(text).map_err(|error| takes(&format!(": {error}")))?;
    let is_other = |name: &str| !matches!(name, "host" | "hostaddr" | "port");
    if let Some((name, _)) = pairs.iter().find(|(name, _)| is_other(name)) {
        return Err(takes(&format!(", without {name}")).into());
    }
    if !pairs.is_empty() && !pairs.iter().any(|(name, _)| name != "port") {
        return Err(takes(", and this has no host").into());
    }
    ConnInfo::parse_with(text, |_| None).map_err(|error| takes(&format!(": {error}")))?;
    Ok(text.to_owned())
}

/// The canonical name. PostgreSQL has no detail either.
fn time_zone(text: &str) -> Result<String, Refusal> {
    sql_types::time::parse_zone(text).map(|zone| zone.name).ok_or_else(|| "".into())
}

/// The order of days and months is another setting's: what none of them can read is refused here, the rest by
/// [`refusal`].
fn recovery_target_time(text: &str) -> Result<String, Refusal> {
    let orders = [DateOrder::Mdy, DateOrder::Dmy, DateOrder::Ymd];
    let mut read =
        orders.map(|date_order| recovery_target::read_time(text, &Style { date_order, ..Style::default() }));
    if text.is_empty() || read.iter().any(Result::is_ok) {
        return Ok(text.to_owned());
    }
    let first = std::mem::replace(&mut read[0], Ok(host::Timestamp::default()));
    first.map(|_| String::new()).map_err(Refusal::from)
}

/// What the stack's limit leaves for what is not counted, in bytes (STACK_DEPTH_SLOP).
const STACK_SLOP_BYTES: u64 = 512 << 10;

/// As in PostgreSQL, whose limit is that of the process's stack (`ulimit -s`). Statements have stacks of
/// their own here; a value that PostgreSQL refuses is refused all the same.
fn stack_depth(kilobytes: &str) -> Result<String, Refusal> {
    let limit = getrlimit(Resource::RLIMIT_STACK).ok().map(|(soft, _)| soft);
    stack_depth_within(limit.filter(|limit| *limit != RLIM_INFINITY), kilobytes)
}

fn stack_depth_within(limit_bytes: Option<u64>, kilobytes: &str) -> Result<String, Refusal> {
    let most_kb = limit_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(STACK_SLOP_BYTES) >> 10);
    if kilobytes.parse().is_ok_and(|wanted: u64| wanted <= most_kb) {
        return Ok(kilobytes.to_owned());
    }
    Err(Refusal::Wrong {
        detail: format!("The limit of the stack allows {most_kb}kB at most."),
        hint: Some("Raise the limit of the server's stack (\"ulimit -s\").".to_owned()),
    })
}

/// How values are read and printed under a session's settings.
pub(crate) fn style(config: &SessionConfig) -> Style {
    let order = config.date_style.to_ascii_uppercase();
    let date_order = if order.contains("DMY") {
        DateOrder::Dmy
    } else if order.contains("YMD") {
        DateOrder::Ymd
    } else {
        DateOrder::Mdy
    };
    Style {
        zone: zone(&config.time_zone),
        date_order,
        bytea_output: if config.bytea_output.as_ref() == "escape" {
            ByteaOutput::Escape
        } else {
            ByteaOutput::Hex
        },
        interval_style: match config.interval_style.as_ref() {
            "postgres_verbose" => IntervalStyle::PostgresVerbose,
            "sql_standard" => IntervalStyle::SqlStandard,
            "iso_8601" => IntervalStyle::Iso8601,
            _ => IntervalStyle::Postgres,
        },
        array_nulls: config.array_nulls,
        extra_float_digits: i32::try_from(config.extra_float_digits).unwrap_or(1),
        now_micros: 0,
    }
}

/// The style under the node's own values.
pub(crate) fn node_style(settings: &Settings) -> Style {
    style(SessionSettings::new(Arc::new(settings.clone())).config())
}

/// Why a server would not start with these settings in this directory as it is now. What other machines and
/// programs decide (names to listen on, ports in use, what the archive has) is not looked at.
pub(crate) fn refusal(host: &Host, data_dir: &Path, settings: &Settings) -> Option<ServerError> {
    super::tls::load(host, data_dir, settings).err().or_else(|| refusal_of_change(host, data_dir, settings))
}

/// The same for one setting that is changed, which others may follow before the next start.
pub(crate) fn refusal_of_change(host: &Host, data_dir: &Path, settings: &Settings) -> Option<ServerError> {
    check_recovery_target(settings)
        .err()
        .or_else(|| super::tls::check_change(host, data_dir, settings).err())
        .or_else(|| {
            let signals = |name: &str| host.disk.exists(&data_dir.join(name)).unwrap_or(false);
            let recovers = signals("recovery.signal") && !signals("standby.signal");
            recovers.then(|| check_recovery(settings).err()).flatten()
        })
        .or_else(|| socket_folders(host, data_dir, settings).err())
        .or_else(|| refusal_of_values(settings))
        .or_else(|| load_login(host, data_dir, settings).err().map(|errors| hba_refusal(&errors)))
}

/// Values with which no server starts, whatever is in its directory.
pub(crate) fn refusal_of_values(settings: &Settings) -> Option<ServerError> {
    too_large_a_pool(settings).or_else(|| contradiction(settings))
}

/// What is wrong with the recovery target, whatever the node is started for.
pub(crate) fn check_recovery_target(settings: &Settings) -> Result<(), ServerError> {
    recovery_target::of_settings(settings).map(|_| ())
}

/// What is wrong for a recovery up to a target.
pub(crate) fn check_recovery(settings: &Settings) -> Result<(), ServerError> {
    if settings.config().restore_command.trim().is_empty() {
        return Err(ServerError::new("must specify restore_command when standby mode is not enabled"));
    }
    Ok(())
}

/// sun_path, with the zero at its end (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Values that PostgreSQL starts with neither.
fn contradiction(settings: &Settings) -> Option<ServerError> {
    let config = settings.config();
    let (reserved, connections) = (config.superuser_reserved_connections, config.max_connections);
    if reserved >= connections {
        return Some(ServerError::new(format!(
            "superuser_reserved_connections ({reserved}) must be less than max_connections ({connections})"
        )));
    }
    if &*config.wal_level == "minimal" && &*config.archive_mode != "off" {
        return Some(ServerError::new("WAL archival cannot be enabled when wal_level is \"minimal\""));
    }
    if &*config.wal_level == "minimal" && config.max_wal_senders > 0 {
        let what = "WAL streaming (max_wal_senders > 0) requires wal_level \"replica\" or \"logical\"";
        return Some(ServerError::new(what));
    }
    too_many_processes(settings).or_else(|| too_little_log(settings))
}

/// MAX_BACKENDS of PostgreSQL, which counts one process more.
const PROCESSES_MAX: i64 = 0x3_FFFF - 1;

fn too_many_processes(settings: &Settings) -> Option<ServerError> {
    let names = ["max_connections", "max_wal_senders", "max_worker_processes", "autovacuum_max_workers"];
    let total = names.iter().filter_map(|name| integer(settings, name)).sum::<i64>();
    (total > PROCESSES_MAX).then(|| {
        let what = format!("{} come to {total} together (maximum {PROCESSES_MAX})", names.join(", "));
        ServerError::new(what).with_hint("Reduce max_connections or max_wal_senders.")
    })
}

/// Sizes of the log that are set, and too small for its segments.
fn too_little_log(settings: &Settings) -> Option<ServerError> {
    let is_set = |name: &str| settings.source(name).is_some_and(|(source, _)| source != Source::Default);
    // Without a control file nothing is known of them.
    let segment_bytes = integer(settings, "wal_segment_size").filter(|_| is_set("wal_segment_size"))?;
    let is_too_small = |name: &&str| {
        let bytes = integer(settings, name).unwrap_or(i64::MAX).saturating_mul(1 << 20);
        is_set(name) && bytes / segment_bytes.max(1) < 2
    };
    let name = ["min_wal_size", "max_wal_size"].into_iter().find(is_too_small)?;
    Some(ServerError::new(format!("\"{name}\" must be at least twice \"wal_segment_size\"")))
}

fn integer(settings: &Settings, name: &str) -> Option<i64> {
    match settings.value(name)? {
        Value::Integer(number) => Some(number),
        _ => None,
    }
}

fn too_large_a_pool(settings: &Settings) -> Option<ServerError> {
    let (bytes, machine) = (settings.config().shared_buffers_bytes, host::machine_bytes());
    let what = format!("shared_buffers is {bytes} bytes, and there are {machine} bytes of memory");
    (bytes > machine).then(|| ServerError::new(what).with_hint("Reduce shared_buffers."))
}

fn socket_folders(host: &Host, data_dir: &Path, settings: &Settings) -> Result<(), ServerError> {
    let config = settings.config();
    for folder in socket_dirs(&config, data_dir) {
        let socket = socket_path(&folder, config.port);
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let socket = socket.display();
            return Err(ServerError::new(format!(
                "Unix-domain socket path \"{socket}\" is too long (maximum {SOCKET_PATH_BYTES_MAX} bytes)"
            )));
        }
        let problem = match host.disk.metadata(&folder) {
            Ok(found) if found.kind == FileKind::Directory => match takes_files(host, &socket) {
                Ok(()) => continue,
                Err(error) => host::os_message(&error),
            },
            Ok(_) => "it is not a directory".to_owned(),
            Err(error) => host::os_message(&error),
        };
        let folder = folder.display();
        return Err(ServerError::new(format!(
            "could not create Unix sockets in folder \"{folder}\": {problem}"
        )));
    }
    Ok(())
}

/// Whether a file can be made beside a socket.
fn takes_files(host: &Host, socket: &Path) -> io::Result<()> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".check");
    let path = PathBuf::from(path);
    drop(host.disk.open(&path, OpenMode::Create)?);
    host.disk.remove_file(&path)
}

/// Who may log in: pg_hba.conf and pg_ident.conf, where the settings say that they are.
pub(crate) fn load_login(
    host: &Host,
    data_dir: &Path,
    settings: &Settings,
) -> Result<LoginRules, Vec<HbaError>> {
    let path = hba_path(data_dir, settings);
    let read = |path: &Path| text_of(host, path);
    let hba_file = path.display().to_string();
    let unread = |what: &str, file: &Path, error: io::Error| {
        let file = file.display().to_string();
        let message = format!("could not open {what} file \"{file}\": {}", host::os_message(&error));
        vec![HbaError { message, file, line: 0 }]
    };
    let text = read(&path).map_err(|error| unread("configuration", &path, error))?;
    let hba = Hba::parse(&text, &path, &read)?;
    let ident = ident_path(data_dir, settings);
    let (maps, map_errors) = match read(&ident).map(|text| IdentMaps::parse(&text, &ident, &read)) {
        Ok(Ok(maps)) => (maps, Vec::new()),
        Ok(Err(errors)) => (IdentMaps::default(), errors),
        // As in PostgreSQL: without the file no map lets anybody in.
        Err(error) => (IdentMaps::default(), unread("usermap", &ident, error)),
    };
    Ok(LoginRules { hba, hba_file, maps: Arc::new(maps), map_errors })
}

/// The lines of pg_hba.conf as they are now, those with errors too.
pub(crate) fn hba_lines(host: &Host, data_dir: &Path, settings: &Settings) -> io::Result<Vec<hba::HbaLine>> {
    let path = hba_path(data_dir, settings);
    Ok(hba::parse_lines(&text_of(host, &path)?, &path, &|path| text_of(host, path)))
}

/// The lines of pg_ident.conf as they are now, those with errors too.
pub(crate) fn ident_lines(
    host: &Host,
    data_dir: &Path,
    settings: &Settings,
) -> io::Result<Vec<(u32, Result<MapLine, String>)>> {
    let path = ident_path(data_dir, settings);
    Ok(ident::parse_lines(&text_of(host, &path)?, &path, &|path| text_of(host, path)))
}

fn text_of(host: &Host, path: &Path) -> io::Result<String> {
    let text = beside_others(|| host.disk.read(path, 16 << 20));
    text.map(|text| String::from_utf8_lossy(&text).into_owned())
}

fn hba_path(data_dir: &Path, settings: &Settings) -> PathBuf {
    path_of(data_dir, settings, "hba_file", "pg_hba.conf")
}

fn ident_path(data_dir: &Path, settings: &Settings) -> PathBuf {
    path_of(data_dir, settings, "ident_file", "pg_ident.conf")
}

/// Where a file is that a setting names.
pub(super) fn path_of(data_dir: &Path, settings: &Settings, setting: &str, default: &str) -> PathBuf {
    let configured = settings.show(setting).unwrap_or_default();
    settings::resolve(data_dir, if configured.is_empty() { default } else { &configured })
}

/// What a start says of a pg_hba.conf that is no good.
pub(crate) fn hba_refusal(errors: &[HbaError]) -> ServerError {
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    ServerError::new(format!("could not load pg_hba.conf: {first}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_kept_under_names_that_mean_the_same_again() {
        for (given, name) in [
            ("europe/berlin", "Europe/Berlin"),
            ("utc", "UTC"),
            ("GMT", "GMT"),
            ("-3.5", "<-03:30>+03:30"),
            ("<-03:30>+03:30", "<-03:30>+03:30"),
            ("EST5EDT", "EST5EDT"),
        ] {
            assert_eq!(time_zone(given).as_deref(), Ok(name), "{given}");
            assert_eq!(time_zone(name).as_deref(), Ok(name), "{given}");
            let parsed = sql_types::time::parse_zone(given).map(|parsed| parsed.zone);
            assert_eq!(Some(zone(name)), parsed, "{given}");
        }
        // Seconds are taken in a number of hours alone.
        let odd = time_zone("23.99").unwrap();
        assert_eq!(zone(&odd).to_fixed_offset().map(|offset| offset.seconds()).ok(), Some(86_364));
        assert_eq!(time_zone(&odd), Err("".into()));
        assert_eq!(
            zone("<-03:30>+03:30").to_fixed_offset().map(|offset| offset.seconds()).ok(),
            Some(-12_600)
        );
        for wrong in ["Nowhere/X", "", "+99:99", "default"] {
            assert_eq!(time_zone(wrong), Err("".into()), "{wrong}");
        }
    }

    #[test]
    fn max_stack_depth_ends_half_a_megabyte_below_the_limit_of_the_stack() {
        let eight_megabytes = Some(8 << 20);
        assert!(stack_depth_within(eight_megabytes, "7680").is_ok());
        let Err(Refusal::Wrong { detail, hint: Some(_) }) = stack_depth_within(eight_megabytes, "7681")
        else {
            panic!("it is too much");
        };
        assert!(detail.contains("7680kB"), "{detail}");
        assert!(stack_depth_within(None, "2147483647").is_ok());
        let (mut settings, limit) = (new_settings(), getrlimit(Resource::RLIMIT_STACK).unwrap().0);
        if limit != RLIM_INFINITY {
            let over = format!("{}kB", limit >> 10);
            assert!(settings.set("max_stack_depth", &over, Source::CommandLine).is_err());
        }
    }

    #[test]
    fn what_a_directory_lacks_is_refused_before_a_start_needs_it() {
        let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
        let folder = dir.path();
        let mut settings = new_settings();
        let mut set = |name: &str, value: &str| {
            settings.set(name, value, Source::CommandLine).unwrap();
            refusal(&host, folder, &settings).map(|refusal| refusal.message).unwrap_or_default()
        };
        assert!(
            set("unix_socket_directories", "missing").starts_with("could not create Unix sockets in folder")
        );
        assert!(set("unix_socket_directories", "").starts_with("could not load pg_hba.conf"));
        std::fs::write(folder.join("pg_hba.conf"), "local all all trust\n").unwrap();
        assert_eq!(set("work_mem", "1MB"), "");
        assert!(set("hba_file", "nosuch").ends_with("nosuch\": No such file or directory"));
        assert_eq!(set("hba_file", "pg_hba.conf"), "");
        assert!(
            set("unix_socket_directories", "/proc").starts_with("could not create Unix sockets in folder")
        );
        let long = folder.join("d".repeat(100));
        std::fs::create_dir(&long).unwrap();
        assert!(
            set("unix_socket_directories", long.to_str().unwrap())
                .contains("is too long (maximum 107 bytes)")
        );
        assert_eq!(set("unix_socket_directories", ""), "");
        assert!(set("shared_buffers", "8000GB").starts_with("shared_buffers is 8589934592000 bytes"));
        assert_eq!(set("shared_buffers", "1MB"), "");
        assert!(
            set("superuser_reserved_connections", "100").ends_with("must be less than max_connections (100)")
        );
        assert_eq!(set("max_connections", "101"), "");
        assert!(
            set("wal_level", "minimal").starts_with("WAL streaming (max_wal_senders > 0) requires wal_level")
        );
        assert_eq!(set("max_wal_senders", "0"), "");
        std::fs::write(folder.join("recovery.signal"), "").unwrap();
        assert!(set("work_mem", "2MB").starts_with("must specify restore_command"));
        assert_eq!(set("restore_command", "cp %f %p"), "");
    }

    #[test]
    fn a_recovery_target_is_a_moment_in_some_order_of_its_parts() {
        for good in
            ["2026-03-01 12:00:00+00", "25/12/2026 10:00", "12/25/2026", "2026-03-01 12:00 Europe/Berlin", ""]
        {
            assert_eq!(recovery_target_time(good).as_deref(), Ok(good));
        }
        for bad in ["garbage", "now", "today", "infinity", "epoch", "tomorrow 10:00", "2026-13-41", "10:00"] {
            let said = recovery_target_time(bad);
            assert!(said.is_err() && said != Err("".into()), "{bad}");
        }
    }
}
