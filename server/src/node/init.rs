//! A new data directory: the database below, the first catalogue, the configuration files.

use super::own_certificate;
use crate::auth::hba::Hba;
use crate::error::ServerError;
use host::Host;
use protocol::scram::{ITERATIONS, SALT_BYTES, Verifier};
use settings::{SampleValues, sample_file};
use std::path::{Path, PathBuf};
use storage::{CreateOptions, Database, DatabaseOptions, Opened, StartMode};
use wal::{SegmentSize, SystemId};

/// How a data directory is made.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The machine.
    pub host: Host,
    /// The directory, missing or empty.
    pub data_dir: PathBuf,
    /// The first role, a superuser.
    pub superuser: String,
    /// Its password.
    pub password: Option<String>,
    /// pg_hba.conf's method for Unix sockets.
    pub auth_local: String,
    /// pg_hba.conf's method for TCP.
    pub auth_host: String,
    /// wal_segment_size.
    pub segment_size: SegmentSize,
    /// Page checksums.
    pub data_checksums: bool,
    /// Where the log lies, if not in the directory: an absolute path, missing or empty.
    pub wal_dir: Option<PathBuf>,
    /// TLS with a certificate of its own making, and nobody let in without a password: this takes the place
    /// of both methods.
    pub secure: bool,
    /// Lines of postgresql.conf.
    pub settings: Vec<(String, String)>,
}

impl InitOptions {
    /// PostgreSQL's defaults: the superuser is `postgres`, local connections are trusted.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            host: Host::real(),
            data_dir: data_dir.into(),
            superuser: "postgres".to_owned(),
            password: None,
            auth_local: "trust".to_owned(),
            auth_host: "trust".to_owned(),
            segment_size: SegmentSize::DEFAULT,
            data_checksums: true,
            wal_dir: None,
            secure: false,
            settings: Vec::new(),
        }
    }
}

/// Makes a data directory; durable when it returns. What it refuses, it leaves untouched.
///
/// # Errors
///
/// If the directory is not empty, a method of authentication is unknown, or a file cannot be written.
pub async fn init(options: &InitOptions) -> Result<SystemId, ServerError> {
    let failed = |error: &dyn std::fmt::Display| ServerError::new(error.to_string());
    let hba = match options.secure {
        true => hba_file("scram-sha-256", "hostssl", "scram-sha-256"),
        false => hba_file(&options.auth_local, "host", &options.auth_host),
    };
    let no_others = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    Hba::parse(&hba, Path::new("pg_hba.conf"), &no_others)
        .map_err(|errors| errors.first().map_or_else(|| failed(&"invalid method"), |first| failed(first)))?;
    let (host, dir) = (options.host.clone(), std::path::absolute(&options.data_dir).map_err(|e| failed(&e))?);
    let create = CreateOptions {
        segment_size: options.segment_size,
        data_checksums: options.data_checksums,
        wal_dir: options.wal_dir.clone(),
        ..CreateOptions::default()
    };
    let open = DatabaseOptions { shared_buffers_bytes: 8 << 20, ..DatabaseOptions::new(&dir) };
    let mut active = options.settings.clone();
    if options.secure {
        if options.password.is_none() {
            return Err(failed(&"a secure directory needs a password"));
        }
        active.insert(0, ("ssl".to_owned(), "on".to_owned()));
    }
    let opened = {
        let (host, dir) = (host.clone(), dir.clone());
        host::task::blocking(move || {
            Database::create(&host, &dir, &create)?;
            Database::open(&host, open, StartMode::Primary)
        })
    };
    let opened = opened.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
    let Opened::Primary { db, .. } = opened else { return Err(failed(&"the new directory is in recovery")) };
    let verifier = options.password.as_ref().map(|password| {
        let mut salt = [0; SALT_BYTES];
        host.entropy.fill(&mut salt);
        Verifier::derive(password, &salt, ITERATIONS).to_string()
    });
    sql_catalogue::bootstrap(&db, &options.superuser, verifier.as_deref()).await.map_err(|e| failed(&e))?;
    let id = db.system_id();
    db.shutdown().await.map_err(|e| failed(&e))?;
    drop(db);
    if options.secure {
        own_certificate::write(&host, &dir)?;
    }
    write_files(&host, &dir, &hba, active).map_err(|error| {
        failed(&format!("could not write configuration files into \"{}\": {error}", dir.display()))
    })?;
    Ok(id)
}

fn write_files(host: &Host, dir: &Path, hba: &str, active: Vec<(String, String)>) -> std::io::Result<()> {
    let write = |name: &str, text: &str| {
        host::write_file_durably(host.disk.as_ref(), &dir.join(name), text.as_bytes())
    };
    write("pg_hba.conf", hba)?;
    write(
        "pg_ident.conf",
        "# Which names outside may be which roles: operating systems' users for peer, certificates' names for cert.\n\
         # pg_hba.conf names a map by the option map=NAME.\n\
         #\n\
         # MAP     NAME OUTSIDE          ROLE\n\
         #\n\
         # A name that begins with a slash is a regular expression, and \\1 in the role what its first group found.\n",
    )?;
    write(
        "postgresql.auto.conf",
        "# Written by ALTER SYSTEM; put your own settings into postgresql.conf.\n",
    )?;
    // Last: a directory without it is not finished.
    write("postgresql.conf", &sample_file(&SampleValues { active }))
}

/// The pg_hba.conf of a new directory; `over` is the type of its lines for TCP.
fn hba_file(local: &str, over: &str, host: &str) -> String {
    let rule = |over: &str, database: &str, address: &str, method: &str| {
        format!("{over:<7} {database:<15} {:<15} {address:<23} {method}\n", "all")
    };
    let mut text = "\
# Who may connect, from where and how. The first line that fits counts.
#
# TYPE  DATABASE        USER            ADDRESS                 METHOD
#
# TYPE is local (Unix socket), host (TCP), hostssl (TCP under TLS) or hostnossl (without). DATABASE is all, sameuser,
# samerole, replication or names with commas between; \"replication\" stands for physical replication, which \"all\" does
# not include. USER is all, names, or +name for the members of a role. @file stands for the names in a file. METHOD is
# trust, reject, scram-sha-256, password, peer (the operating system's user; Unix sockets only) or cert (a client
# certificate; hostssl only); behind it stand options: map=name (pg_ident.conf), clientcert=verify-ca or verify-full,
# clientname=CN or DN.

"
    .to_owned();
    for database in ["all", "replication"] {
        text += &rule("local", database, "", local);
        text += &rule(over, database, "127.0.0.1/32", host);
        text += &rule(over, database, "::1/128", host);
    }
    text
}
