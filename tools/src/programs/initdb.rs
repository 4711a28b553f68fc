//! `plimsoll init`, and the personality of initdb: a new data directory.

use crate::output::{complain, error_text, say, text};
use crate::sync_only::sync_all;
use crate::{commands, serve};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Parser};
use host::Access;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options of `plimsoll init` and of initdb; what cannot be had here is refused by name.
#[derive(Args, Clone, Debug)]
#[command(disable_version_flag = true)]
pub struct InitArgs {
    /// The folder to create; it must be missing or empty
    #[arg(short = 'D', long = "pgdata", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder, as a plain argument
    #[arg(value_name = "DATADIR", conflicts_with = "data")]
    pub positional: Option<PathBuf>,
    /// Name of the first role, a superuser [default: the operating system's user]
    #[arg(short = 'U', long, value_name = "NAME")]
    pub username: Option<String>,
    /// Authentication of all connections in pg_hba.conf, as trust or scram-sha-256
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
    #[arg(long, value_name = "FILE", conflicts_with = "pwprompt")]
    pub pwfile: Option<PathBuf>,
    /// Ask for the superuser's password
    #[arg(short = 'W', long)]
    pub pwprompt: bool,
    /// Size of WAL segments in megabytes: a power of two from 1 to 1024
    #[arg(long, value_name = "MB", default_value_t = 16)]
    pub wal_segsize: u64,
    /// Page checksums, which `plimsoll init` has anyway
    #[arg(short = 'k', long, hide = true)]
    pub data_checksums: bool,
    /// Leave PostgreSQL's page checksums out (pages have a checksum of their own besides)
    #[arg(long, conflicts_with = "data_checksums")]
    pub no_data_checksums: bool,
    /// Do not wait for the files to be on disk
    #[arg(short = 'N', long, alias = "nosync")]
    pub no_sync: bool,
    /// Setting to put into postgresql.conf
    #[arg(short = 'c', long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Encoding; UTF8 is the only one
    #[arg(short = 'E', long, value_name = "ENCODING")]
    pub encoding: Option<String>,
    /// Locale; C is the only one
    #[arg(long, value_name = "LOCALE")]
    pub locale: Option<String>,
    /// The same as --locale=C
    #[arg(long)]
    pub no_locale: bool,
    /// Provider of locales; libc is the only one
    #[arg(long, value_name = "PROVIDER", hide = true)]
    pub locale_provider: Option<String>,
    /// Locale of ICU, which is not there
    #[arg(long, value_name = "LOCALE", hide = true)]
    pub icu_locale: Option<String>,
    /// Leave a half-made folder behind after an error
    #[arg(short = 'n', long, alias = "noclean")]
    pub no_clean: bool,
    /// Do not print the next steps
    #[arg(long)]
    pub no_instructions: bool,
    /// Folder for the WAL outside the data directory: an absolute path; it must be missing or empty
    #[arg(short = 'X', long, value_name = "DIR")]
    pub waldir: Option<PathBuf>,
    /// Value of default_text_search_config (there is no text search)
    #[arg(short = 'T', long, value_name = "CONFIG", hide = true)]
    pub text_search_config: Option<String>,
    /// Let the group of the owner read the folder
    #[arg(short = 'g', long)]
    pub allow_group_access: bool,
    #[command(flatten)]
    categories: Categories,
}

/// The locale of each category, of which C is the only one.
#[derive(Args, Clone, Debug)]
struct Categories {
    #[arg(long, value_name = "LOCALE", hide = true)]
    lc_collate: Option<String>,
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

impl Categories {
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("--lc-collate", &self.lc_collate),
            ("--lc-ctype", &self.lc_ctype),
            ("--lc-messages", &self.lc_messages),
            ("--lc-monetary", &self.lc_monetary),
            ("--lc-numeric", &self.lc_numeric),
            ("--lc-time", &self.lc_time),
        ];
        all.into_iter().filter_map(|(option, locale)| Some((option, locale.as_deref()?)))
    }
}

/// A locale by whose rules this server goes.
fn is_plain(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX")
}

impl InitArgs {
    /// The folder to create.
    pub fn folder(&self) -> Result<PathBuf> {
        self.data
            .clone()
            .or_else(|| self.positional.clone())
            .or_else(|| std::env::var_os("PGDATA").filter(|data| !data.is_empty()).map(PathBuf::from))
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
        let whole = self.locale.as_deref().filter(|_| !self.no_locale).map(|locale| ("--locale", locale));
        for (option, locale) in whole.into_iter().chain(self.categories.named()) {
            if !is_plain(locale) {
                bail!(
                    "locale \"{locale}\" of {option} is not supported: C is the only one, leave the option out"
                );
            }
        }
        self.check_provider()
    }

    fn check_provider(&self) -> Result<()> {
        match (self.locale_provider.as_deref(), &self.icu_locale) {
            (None | Some("libc"), None) => Ok(()),
            (None | Some("libc"), Some(_)) => {
                bail!("--icu-locale cannot be specified unless locale provider \"icu\" is chosen")
            }
            (Some("icu"), None) => bail!("ICU locale must be specified"),
            (Some("icu"), Some(_)) => bail!("ICU is not supported in this build: use the provider libc"),
            (Some(other), _) => bail!("unrecognized locale provider: {other}"),
        }
    }

    /// Who may read the new directory.
    pub fn access(&self) -> Access {
        if self.allow_group_access { Access::Group } else { Access::Owner }
    }

    /// The lines of postgresql.conf that these options ask for.
    pub fn settings(&self) -> Result<Vec<(String, String)>> {
        let search = self.text_search_config.as_ref().map(|name| {
            let name = if name.contains('.') { name.clone() } else { format!("pg_catalog.{name}") };
            ("default_text_search_config".to_owned(), name)
        });
        let set = self.set.iter().map(|text| super::postgres::setting(text));
        search.map(Ok).into_iter().chain(set).collect()
    }

    /// The method for local and for TCP connections. What a pg_hba.conf does not take is refused when that is
    /// made.
    pub fn auth(&self) -> (String, String) {
        let common = self.auth.as_deref().unwrap_or("trust");
        // The operating system's user is asked of the kernel on a socket, and of the other machine elsewhere.
        let (local, host) = match common {
            "ident" | "peer" => ("peer", "ident"),
            other => (other, other),
        };
        let pick = |own: &Option<String>, common: &str| own.clone().unwrap_or_else(|| common.to_owned());
        (pick(&self.auth_local, local), pick(&self.auth_host, host))
    }

    /// The superuser's password, if one is given.
    pub fn password(&self) -> Result<Option<String>> {
        if self.pwprompt {
            return asked_password().map(Some);
        }
        let Some(path) = &self.pwfile else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read password file \"{}\"", path.display()))?;
        // As initdb, whose texts end at a zero.
        let password = text.lines().next().and_then(|line| line.split('\0').next()).unwrap_or_default();
        if password.is_empty() {
            bail!("password file \"{}\" is empty", path.display());
        }
        Ok(Some(password.to_owned()))
    }
}

fn asked_password() -> Result<String> {
    let password = crate::prompt::password("Enter new superuser password: ")?;
    if crate::prompt::password("Enter it again: ")? != password {
        bail!("passwords did not match");
    }
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}

/// initdb's own options, beside those that `plimsoll init` has, too.
#[derive(Debug, Parser)]
#[command(name = "initdb", disable_version_flag = true, override_help = HELP, infer_long_args = true)]
#[command(args_override_self = true)]
struct InitdbCli {
    #[command(flatten)]
    arguments: InitArgs,
    #[arg(short = 'S', long)]
    sync_only: bool,
    #[arg(short = 's', long)]
    show: bool,
    #[arg(short = 'd', long)]
    debug: bool,
    #[arg(long)]
    discard_caches: bool,
    #[arg(short = 'L', value_name = "DIRECTORY")]
    input_files: Option<PathBuf>,
}

const HELP: &str = "\
initdb makes a data directory of this server.

Usage:
  initdb [OPTION]... [DATADIR]

Options:
  -A, --auth=METHOD         authentication of all connections in pg_hba.conf
      --auth-host=METHOD    authentication of TCP connections
      --auth-local=METHOD   authentication of connections by Unix sockets
 [-D, --pgdata=]DATADIR     the folder to make; it must be missing or empty
  -E, --encoding=ENCODING   encoding; UTF8 is the only one
  -g, --allow-group-access  let the group read the folder
  -k, --data-checksums      let data pages have PostgreSQL's checksums
      --locale=LOCALE       locale; C is the only one
      --lc-collate=, --lc-ctype=, --lc-messages=LOCALE
      --lc-monetary=, --lc-numeric=, --lc-time=LOCALE
                            locale of one category; C is the only one
      --no-locale           the same as --locale=C
      --locale-provider=libc
                            provider of locales; there is no ICU here
      --pwfile=FILE         file whose first line is the superuser's password
  -T, --text-search-config=CFG
                            value of default_text_search_config
  -U, --username=NAME       name of the superuser
  -W, --pwprompt            ask for the superuser's password
  -X, --waldir=WALDIR       folder of the write-ahead log
      --wal-segsize=SIZE    megabytes of a segment of the log

Less commonly used options:
  -c, --set NAME=VALUE      put a setting into postgresql.conf
  -d, --debug               say what is made in more detail
      --discard-caches      has no effect: there are no such caches
  -n, --no-clean            leave a half-made folder behind after an error
  -N, --no-sync             do not wait for the files to be on disk
      --no-instructions     do not say what to do next
  -s, --show                show what would be used, and make nothing
  -S, --sync-only           write all of a directory to disk, and do nothing else

Other options:
  -V, --version             say the version
  -?, --help                show this help

Without a folder the environment variable PGDATA is used.
";

/// The personality of initdb; the first word is the program's name. Returns the exit code.
pub fn main(words: impl Iterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.collect();
    match words.get(1).and_then(|word| word.to_str()) {
        Some("-V" | "--version") => {
            say!("initdb (PostgreSQL) {}", serve::long_version());
            return 0;
        }
        Some("-?" | "--help") => {
            text(HELP);
            return 0;
        }
        _ => {}
    }
    let done = match InitdbCli::try_parse_from(words) {
        Ok(cli) => run(&cli),
        Err(error) if !error.use_stderr() => {
            text(HELP);
            return 0;
        }
        Err(error) => {
            // Behind the first paragraph stands a usage in another style than this program's.
            let told = error.to_string();
            let what = told.split("\n\n").next().unwrap_or_default().replace('\n', " ");
            let what = what.strip_prefix("error: ").unwrap_or(&what);
            Err(anyhow!("{what}\nTry \"initdb --help\" for more information."))
        }
    };
    done.map_or_else(
        |error| {
            complain!("initdb: error: {}", error_text(&error));
            1
        },
        |()| 0,
    )
}

fn run(cli: &InitdbCli) -> Result<()> {
    let arguments = &cli.arguments;
    if let Some(folder) = &cli.input_files {
        bail!("-L {} is not supported: this program needs no input files", folder.display());
    }
    if cli.sync_only {
        let data = arguments.folder()?;
        text("syncing data to disk ... ");
        let synced = sync_all(&data);
        text(if synced.is_ok() { "ok\n" } else { "\n" });
        return synced;
    }
    arguments.check()?;
    if cli.discard_caches {
        complain!("initdb: warning: --discard-caches has no effect: there are no such caches");
    }
    if cli.show || cli.debug {
        show(arguments)?;
    }
    if cli.show { Ok(()) } else { commands::init::run(arguments, commands::init::Personality::Initdb) }
}

/// What would be used, on standard error as initdb has it.
fn show(arguments: &InitArgs) -> Result<()> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    complain!("VERSION={}", serve::long_version());
    complain!("PGDATA={}", arguments.folder()?.display());
    complain!("PGPATH={}", program.parent().unwrap_or(&program).display());
    complain!("POSTGRES_SUPERUSERNAME={}", serve::superuser(arguments)?);
    complain!("ENCODING=UTF8\nLOCALE=C\nWAL_SEGMENT_SIZE_MB={}", arguments.wal_segsize);
    Ok(())
}
