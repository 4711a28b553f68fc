//! A new data directory: the database below, the first catalogue, the configuration files.

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
    let hba = hba_file(&options.auth_local, &options.auth_host);
    Hba::parse(&hba, "pg_hba.conf")
        .map_err(|errors| errors.first().map_or_else(|| failed(&"invalid method"), |first| failed(first)))?;
    let (host, dir) = (options.host.clone(), std::path::absolute(&options.data_dir).map_err(|e| failed(&e))?);
    let create = CreateOptions {
        segment_size: options.segment_size,
        data_checksums: options.data_checksums,
        wal_dir: options.wal_dir.clone(),
        ..CreateOptions::default()
    };
    let open = DatabaseOptions { shared_buffers_bytes: 8 << 20, ..DatabaseOptions::new(&dir) };
    let active = options.settings.clone();
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
        "# User name maps are not supported; this file is kept for the tools that expect it.\n",
    )?;
    write(
        "postgresql.auto.conf",
        "# Written by ALTER SYSTEM; put your own settings into postgresql.conf.\n",
    )?;
    // Last: a directory without it is not finished.
    write("postgresql.conf", &sample_file(&SampleValues { active }))
}

/// The pg_hba.conf of a new directory.
fn hba_file(local: &str, host: &str) -> String {
    format!(
        "# Who may connect, from where and how. The first line that fits counts.\n\
         #\n\
         # TYPE  DATABASE        USER            ADDRESS                 METHOD\n\
         #\n\
         # TYPE is local (Unix socket), host (TCP), hostssl or hostnossl. DATABASE is all, sameuser, replication or names\n\
         # with commas between; \"replication\" stands for physical replication, which \"all\" does not include. USER is all or\n\
         # names. METHOD is trust, reject, scram-sha-256 or peer (the operating system's user; Unix sockets only).\n\n\
         local   all             all                                     {local}\n\
         host    all             all             127.0.0.1/32            {host}\n\
         host    all             all             ::1/128                 {host}\n\
         local   replication     all                                     {local}\n\
         host    replication     all             127.0.0.1/32            {host}\n\
         host    replication     all             ::1/128                 {host}\n"
    )
}
