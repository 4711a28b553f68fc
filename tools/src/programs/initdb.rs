//! `plimsoll init`, and the personality of initdb: a new data directory.

use crate::output::{complain, error_text, say};
use crate::{commands, serve};
use anyhow::{Result, anyhow, bail};
use clap::{Args, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// Options of `plimsoll init` and of initdb; what cannot be had here is refused by name.
#[derive(Args, Clone, Debug)]
#[command(disable_version_flag = true)]
pub struct InitArgs {
    /// The folder to create; it must be missing or empty
    #[arg(short = 'D', long = "pgdata", value_name = "DIR", env = "PGDATA")]
    pub data: Option<PathBuf>,
    /// The folder, as a plain argument
    #[arg(value_name = "DATADIR", conflicts_with = "data")]
    pub positional: Option<PathBuf>,
    /// Name of the first role, a superuser [default: the operating system's user]
    #[arg(short = 'U', long, value_name = "NAME")]
    pub username: Option<String>,
    /// Authentication of all connections in pg_hba.conf: trust, scram-sha-256, reject
    #[arg(short = 'A', long, value_name = "METHOD")]
    pub auth: Option<String>,
    /// Authentication of local connections
    #[arg(long, value_name = "METHOD")]
    pub auth_local: Option<String>,
    /// Authentication of TCP connections
    #[arg(long, value_name = "METHOD")]
    pub auth_host: Option<String>,
    /// TLS with a certificate made here, and SCRAM passwords for all; prints the superuser's password once
    #[arg(long, conflicts_with_all = ["auth", "auth_local", "auth_host"])]
    pub secure: bool,
    /// File whose first line is the superuser's password
    #[arg(long, value_name = "FILE")]
    pub pwfile: Option<PathBuf>,
    /// Size of WAL segments in megabytes: a power of two from 1 to 1024
    #[arg(long, value_name = "MB", default_value_t = 16)]
    pub wal_segsize: u64,
    /// Page checksums (always on)
    #[arg(short = 'k', long)]
    pub data_checksums: bool,
    /// Do not wait for the files to be on disk
    #[arg(short = 'N', long, alias = "nosync")]
    pub no_sync: bool,
    /// Setting to put into postgresql.conf
    #[arg(short = 'c', long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Encoding; UTF8 is the only one
    #[arg(short = 'E', long, value_name = "ENCODING")]
    pub encoding: Option<String>,
    /// Locale; C is the only one that sorts here
    #[arg(long, value_name = "LOCALE")]
    pub locale: Option<String>,
    /// The same as --locale=C
    #[arg(long)]
    pub no_locale: bool,
    /// Leave a half-made folder behind after an error
    #[arg(short = 'n', long, alias = "noclean")]
    pub no_clean: bool,
    /// Do not print the next steps
    #[arg(long)]
    pub no_instructions: bool,
    /// Folder for the WAL outside the data directory: an absolute path; it must be missing or empty
    #[arg(short = 'X', long, value_name = "DIR")]
    pub waldir: Option<PathBuf>,
    /// Text search configuration (there is no text search)
    #[arg(short = 'T', long, value_name = "CONFIG", hide = true)]
    pub text_search_config: Option<String>,
    /// Let the group read the folder
    #[arg(short = 'g', long)]
    pub allow_group_access: bool,
    /// Locale categories, accepted as C
    #[arg(long, value_name = "LOCALE", hide = true)]
    pub lc_collate: Option<String>,
    #[arg(long, value_name = "LOCALE", hide = true)]
    lc_ctype: Option<String>,
    #[arg(long, value_name = "LOCALE", hide = true)]
    lc_messages: Option<String>,
    #[arg(long, value_name = "LOCALE", hide = true)]
    lc_monetary: Option<String>,
    #[arg(long, value_name = "LOCALE", hide = true)]
    lc_numeric: Option<String>,
    #[arg(long, value_name = "LOCALE", hide = true)]
    lc_time: Option<String>,
}

impl InitArgs {
    /// The folder to create.
    pub fn folder(&self) -> Result<PathBuf> {
        self.data
            .clone()
            .or_else(|| self.positional.clone())
            .ok_or_else(|| anyhow!("no data directory specified: name one with -D, or set PGDATA"))
    }

    /// Refuses what cannot be had here.
    pub fn check(&self) -> Result<()> {
        if let Some(encoding) = &self.encoding {
            let plain: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
            if !matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode") {
                bail!("encoding \"{encoding}\" is not supported: use UTF8");
            }
        }
        if self.allow_group_access {
            bail!("group access to the data directory is not supported: leave -g out");
        }
        Ok(())
    }

    /// The method for local and for TCP connections.
    pub fn auth(&self) -> Result<(String, String)> {
        let pick = |own: &Option<String>| {
            let method = own.clone().or_else(|| self.auth.clone()).unwrap_or_else(|| "trust".to_owned());
            match method.as_str() {
                "trust" | "reject" | "scram-sha-256" => Ok(method),
                other => Err(anyhow!(
                    "invalid authentication method \"{other}\": use trust, scram-sha-256 or reject"
                )),
            }
        };
        Ok((pick(&self.auth_local)?, pick(&self.auth_host)?))
    }
}

/// initdb's command line.
#[derive(Debug, Parser)]
#[command(name = "initdb", disable_version_flag = true)]
struct InitdbCli {
    #[command(flatten)]
    arguments: InitArgs,
}

/// The personality of initdb; the first word is the program's name. Returns the exit code.
pub fn main(words: impl Iterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.collect();
    if words.iter().skip(1).any(|word| word == "-V" || word == "--version") {
        say!("initdb (PostgreSQL) {}", serve::long_version());
        return 0;
    }
    match InitdbCli::try_parse_from(words) {
        Ok(cli) => match commands::init::run(&cli.arguments, "pg_ctl start -D") {
            Ok(()) => 0,
            Err(error) => {
                complain!("initdb: error: {}", error_text(&error));
                1
            }
        },
        Err(error) => {
            let _ = error.print();
            u8::from(error.use_stderr())
        }
    }
}
