//! Making and running servers: where the command line meets the crates below.

use crate::new_folders::NewFolders;
use crate::output::{complain, error_text, say};
use crate::programs::initdb::InitArgs;
use crate::programs::postgres::{Request, ServerArguments, parse, setting};
use crate::signals::Signals;
use anyhow::{Context, Result, anyhow, bail};
use host::Host;
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
            say!("{}", crate::programs::postgres::USAGE);
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
    let data = arguments
        .data
        .or_else(|| std::env::var_os("PGDATA").map(PathBuf::from))
        .ok_or_else(|| anyhow!("no data directory specified: name one with -D, or set PGDATA"))?;
    if std::env::var_os("PLIMSOLL_DETACHED").is_some() {
        // A session of its own, so that the terminal's signals and end do not reach it. It fails only for a
        // process that leads a group already, and then the group is its own.
        let _ = nix::unistd::setsid();
    }
    let options = ServerOptions { settings: arguments.settings, signals: true, ..ServerOptions::new(data) };
    if let Some(name) = arguments.print {
        say!("{}", server::setting_of(&options, &name)?);
        return Ok(0);
    }
    // The log has said what went wrong.
    Ok(u8::from(server::run(options).is_err()))
}

/// The version that the personalities print.
pub fn long_version() -> String {
    format!("{} (Plimsoll {})", server::POSTGRESQL_RELEASE, env!("CARGO_PKG_VERSION"))
}

/// Makes a data directory.
pub fn init(arguments: &InitArgs) -> Result<()> {
    let data = arguments.folder()?;
    let segment_size = SegmentSize::new(arguments.wal_segsize.saturating_mul(1 << 20))
        .ok_or_else(|| anyhow!("argument of --wal-segsize must be a power of two between 1 and 1024"))?;
    let (auth_local, auth_host) = arguments.auth()?;
    let password = match &arguments.pwfile {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("could not read password file \"{}\"", path.display()))?;
            let password = text.lines().next().unwrap_or_default();
            if password.is_empty() {
                bail!("password file \"{}\" is empty", path.display());
            }
            Some(password.to_owned())
        }
    };
    let made_password = (arguments.secure && password.is_none()).then(crate::secure::password);
    let password = password.or_else(|| made_password.clone());
    if password.is_none() && [&auth_local, &auth_host].iter().any(|method| method.as_str() == "scram-sha-256")
    {
        bail!(
            "must specify a password for the superuser to enable password authentication: give one with --pwfile"
        );
    }
    let superuser = match &arguments.username {
        Some(name) => name.clone(),
        None => operating_system_user()?,
    };
    if superuser.starts_with("pg_") {
        bail!("superuser name \"{superuser}\" is disallowed; role names cannot begin with \"pg_\"");
    }
    let options = InitOptions {
        superuser: superuser.clone(),
        password,
        secure: arguments.secure,
        auth_local,
        auth_host,
        segment_size,
        wal_dir: arguments.waldir.clone(),
        settings: arguments.set.iter().map(|text| setting(text)).collect::<Result<_>>()?,
        ..InitOptions::new(&data)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folders = NewFolders::look(&data, arguments.waldir.as_deref());
    let made = runtime.block_on(make(&options));
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
async fn make(options: &InitOptions) -> Result<SystemId> {
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
    if let Some(wal_dir) = &options.wal_dir {
        // One that was there may have had others.
        std::fs::set_permissions(wal_dir, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("could not change permissions of \"{}\"", wal_dir.display()))?;
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
        Err(error) => Err(error).with_context(|| format!("could not access {what} \"{}\"", path.display())),
    };
    Ok(match is_there("directory", data)? {
        false => FolderKind::Missing,
        true if is_there("file", &data.join("PG_VERSION"))? => FolderKind::Cluster,
        true => FolderKind::Other,
    })
}

/// Why it cannot be said whether a server runs on this directory; None if it can.
pub fn no_data_directory(data: &Path) -> Option<String> {
    match folder_kind(data) {
        Ok(kind) => kind.complaint().map(|what| format!("directory \"{}\" {what}", data.display())),
        Err(error) => Some(error_text(&error)),
    }
}

/// Refuses a directory that is not there, or may not be looked at, for what is asked of the server that runs
/// on it.
pub fn check_is_there(data: &Path) -> Result<()> {
    if folder_kind(data)? == FolderKind::Missing {
        bail!("directory \"{}\" does not exist", data.display());
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
