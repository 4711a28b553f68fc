//! Making and running servers: where the command line meets the crates below.

use crate::new_folders::NewFolders;
use crate::output::{complain, error_text, say, text};
use crate::owner;
use crate::programs::initdb::InitArgs;
use crate::programs::postgres::{Request, ServerArguments, parse};
use crate::signals::Signals;
use anyhow::{Context, Result, anyhow, bail};
use host::{Access, Host, RealDisk};
use server::{InitOptions, ServerOptions};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use wal::control::ControlFile;
use wal::format::FORMATS;
use wal::{SegmentSize, SystemId};

/// Runs a server in the foreground with the options of postgres; returns the exit code.
pub fn main(arguments: &[OsString]) -> u8 {
    let done = parse(arguments).and_then(|request| match request {
        Request::Version => {
            say!("postgres (PostgreSQL) {}", long_version());
            Ok(0)
        }
        Request::Help => {
            text(crate::programs::postgres::HELP);
            Ok(0)
        }
        Request::DescribeConfig => {
            server::reference::settings_lines().for_each(|line| say!("{line}"));
            Ok(0)
        }
        Request::Serve(arguments) => serve(arguments),
    });
    done.unwrap_or_else(|error| {
        complain!("postgres: {}", error_text(&error));
        1
    })
}

fn serve(arguments: ServerArguments) -> Result<u8> {
    let Some(data) = arguments.data.or_else(|| std::env::var_os("PGDATA").map(PathBuf::from)) else {
        complain!("postgres: no data directory specified: name one with -D, or set PGDATA");
        return Ok(NO_DIRECTORY_NAMED);
    };
    if std::env::var_os("PLIMSOLL_DETACHED").is_some() {
        // A session of its own, so that the terminal's signals and end do not reach it. It fails only for a
        // process that leads a group already, and then the group is its own.
        let _ = nix::unistd::setsid();
    }
    let data = std::path::absolute(&data).unwrap_or(data);
    let access = Access::of(&RealDisk, &data);
    access.limit_process();
    let options = ServerOptions {
        host: access.host(),
        settings: arguments.settings,
        signals: true,
        ..ServerOptions::new(&data)
    };
    if let Some(name) = arguments.print {
        say!("{}", server::setting_of(&options, &name)?);
        return Ok(0);
    }
    owner::check_own(&data)?;
    // Files that settings name without a folder are in the directory, wherever who starts it stands. One that
    // is not there is told of below.
    let _ = std::env::set_current_dir(&options.data_dir);
    // The log has said what went wrong.
    Ok(u8::from(server::run(options).is_err()))
}

/// Reads what stands before a start with these words behind the data directory, and starts nothing.
pub fn check_settings(data: &Path, words: &[OsString]) -> Result<()> {
    let Request::Serve(arguments) = parse(words)? else { return Ok(()) };
    let options = ServerOptions {
        host: Access::of(&RealDisk, data).host(),
        settings: arguments.settings,
        ..ServerOptions::new(data)
    };
    Ok(server::check_start(&options)?)
}

/// What PostgreSQL's server ends with if nobody names a directory.
const NO_DIRECTORY_NAMED: u8 = 2;

/// The version that the personalities print.
pub fn long_version() -> String {
    format!("{} (Plimsoll {})", server::POSTGRESQL_RELEASE, env!("CARGO_PKG_VERSION"))
}

/// The superuser's name.
pub fn superuser(arguments: &InitArgs) -> Result<String> {
    let superuser = match &arguments.username {
        Some(name) => name.clone(),
        None => operating_system_user()?,
    };
    if superuser.starts_with("pg_") {
        bail!("superuser name \"{superuser}\" is disallowed; role names cannot begin with \"pg_\"");
    }
    Ok(superuser)
}

/// The setting that says who may read the server's log files.
const LOG_FILE_MODE: &str = "log_file_mode";

/// Makes a data directory, with PostgreSQL's page checksums or without.
pub fn init(arguments: &InitArgs, data_checksums: bool) -> Result<()> {
    let data = arguments.folder()?;
    let segment_size = SegmentSize::new(arguments.wal_segsize.saturating_mul(1 << 20))
        .ok_or_else(|| anyhow!("argument of --wal-segsize must be a power of two between 1 and 1024"))?;
    let superuser = superuser(arguments)?;
    let (auth_local, auth_host) = arguments.auth();
    let is_by_password = |method: &String| matches!(method.as_str(), "scram-sha-256" | "md5" | "password");
    let has_password = arguments.pwprompt || arguments.pwfile.is_some();
    let made_password = (arguments.secure && !has_password).then(crate::secure::password);
    if !has_password && made_password.is_none() && [&auth_local, &auth_host].into_iter().all(is_by_password) {
        bail!(
            "must specify a password for the superuser to enable password authentication: \
             give one with --pwfile or --pwprompt"
        );
    }
    let password = match &made_password {
        Some(password) => Some(password.clone()),
        None => arguments.password()?,
    };
    let access = arguments.access();
    let mut settings = arguments.settings()?;
    if access == Access::Group && !settings.iter().any(|(name, _)| name.eq_ignore_ascii_case(LOG_FILE_MODE)) {
        settings.push((LOG_FILE_MODE.to_owned(), format!("0{:o}", access.file_mode())));
    }
    let options = InitOptions {
        host: access.host_syncing(!arguments.no_sync),
        superuser: superuser.clone(),
        password,
        secure: arguments.secure,
        auth_local,
        auth_host,
        segment_size,
        data_checksums,
        wal_dir: arguments.waldir.clone(),
        settings,
        ..InitOptions::new(&data)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folders = NewFolders::look(&data, arguments.waldir.as_deref());
    let made = runtime.block_on(make(&options, access));
    // What still works there ends with it.
    drop(runtime);
    if let Err(error) = &made
        && let Some(folders) = folders
        // Else somebody else was quicker, and it is theirs.
        && !error.to_string().contains("exists but is not empty")
    {
        folders.give_up(arguments.no_clean);
    }
    let id = made?;
    say!("created data directory {} (system identifier {id})", data.display());
    if let Some(password) = &made_password {
        crate::secure::tell(&superuser, password);
    }
    crate::secure::warn_of_trust(arguments);
    Ok(())
}

/// Makes the data directory. A signal to give it up is heeded when it is made, which takes a moment.
async fn make(options: &InitOptions, access: Access) -> Result<SystemId> {
    let mut signals = Signals::new()?;
    let mut making = std::pin::pin!(server::init(options));
    let (made, is_given_up) = tokio::select! {
        biased;
        () = signals.next() => (making.await, true),
        made = &mut making => (made, false),
    };
    let id = made?;
    if is_given_up {
        bail!("interrupted");
    }
    // One that was there may have had others.
    for folder in std::iter::once(&options.data_dir).chain(&options.wal_dir) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(access.folder_mode()))
            .with_context(|| format!("could not change permissions of \"{}\"", folder.display()))?;
    }
    Ok(id)
}

fn operating_system_user() -> Result<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?;
    Ok(user
        .ok_or_else(|| anyhow!("the operating system does not know the current user: name one with -U"))?
        .name)
}

/// What a path is that is to be a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// It is one.
    Cluster,
    /// It is something else.
    Other,
    /// There is nothing.
    Missing,
}

impl FolderKind {
    /// The end of the sentence that says why it is none.
    pub const fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Cluster => None,
            Self::Other => Some("is not a database cluster directory"),
            Self::Missing => Some("does not exist"),
        }
    }
}

/// Looks what is there.
///
/// # Errors
/// Fails if that may not be looked at, of which nothing follows.
pub fn folder_kind(data: &Path) -> Result<FolderKind> {
    let is_there = |what: &str, path: &Path| match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => {
            let whose = owner::words_of_refusal(path, &error);
            Err(error).with_context(|| format!("could not access {what} \"{}\"{whose}", path.display()))
        }
    };
    Ok(match is_there("directory", data)? {
        false => FolderKind::Missing,
        true if is_there("file", &data.join("PG_VERSION"))? => FolderKind::Cluster,
        true => FolderKind::Other,
    })
}

/// A directory as it was named, and where that is if the name does not say it.
pub fn named(data: &Path) -> String {
    let shown = data.display();
    match std::path::absolute(data) {
        Ok(whole) if data.is_relative() => format!("\"{shown}\" (\"{}\")", whole.display()),
        _ => format!("\"{shown}\""),
    }
}

/// Why it cannot be said whether a server runs on this directory; None if it can.
pub fn no_data_directory(data: &Path) -> Option<String> {
    match folder_kind(data) {
        Ok(kind) => kind.complaint().map(|what| format!("directory {} {what}", named(data))),
        Err(error) => Some(error_text(&error)),
    }
}

/// Refuses a directory that is not there, or may not be looked at, for what is asked of the server that runs
/// on it.
pub fn check_is_there(data: &Path) -> Result<()> {
    if folder_kind(data)? == FolderKind::Missing {
        bail!("directory {} does not exist", named(data));
    }
    Ok(())
}

/// Refuses a directory of ours whose format this program does not read.
pub fn check_format(data: &Path, control: &ControlFile) -> Result<()> {
    match FORMATS.check_directory(&*Host::real().disk, data) {
        Err(error) if control.is_ours() => bail!("{error}; {}", error.hint()),
        _ => Ok(()),
    }
}

/// Reads a directory's control file.
pub fn control_file(data: &Path) -> Result<ControlFile> {
    Ok(ControlFile::load(&*Host::real().disk, data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_without_a_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("postgresql.conf"), "work_mem = 1MB\n").unwrap();
        std::fs::write(folder.path().join("pg_hba.conf"), "local all all trust\n").unwrap();
        let check = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            check_settings(folder.path(), &words).map_err(|error| error_text(&error))
        };
        assert_eq!(check(&["-c", "work_mem=2MB", "-p", "5433"]), Ok(()));
        let unknown = check(&["-c", "nosuch=1"]).unwrap_err();
        assert!(unknown.contains("unrecognized configuration parameter \"nosuch\""), "{unknown}");
        assert!(check(&["-c", "port=x"]).is_err() && check(&["-c", "hba_file=nosuch"]).is_err());
        let targets = ["-c", "recovery_target=immediate", "-c", "recovery_target_name=x"];
        for (words, said) in [
            (&["-c", "wal_level=minimal"][..], "requires wal_level"),
            (&targets, "multiple recovery targets specified"),
            (&["-c", "ssl=on"], "could not load server certificate file"),
        ] {
            let why = check(words).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        assert!(check(&["--no-such"]).is_err());
    }
}
