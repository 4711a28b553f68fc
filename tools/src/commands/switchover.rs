//! `plimsoll switchover`: a planned change of roles. The primary's function plimsoll_switchover() does it;
//! this says what is seen of it from outside, where both servers are asked until it is done, backed out, or
//! nobody can tell.

use super::check_data_directory;
use crate::cli::SwitchoverArgs;
use crate::connect::{connect, connect_as, of_directory};
use crate::output::{complain, say};
use crate::process::Running;
use anyhow::{Context, Result, anyhow, bail};
use protocol::conninfo::ConnInfo;
use protocol::{Client, ClientError, SqlState};
use server::HANDOVER_FILE;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two questions to both servers.
const POLL: Duration = Duration::from_millis(20);
/// How long both have after the standby's time is over: for the promotion, and for the start of the old
/// primary.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// How long a standby may take to be the primary whose old primary has ended undecided: it heeds the word
/// that it may for no longer.
const PROMOTION_TIME: Duration = Duration::from_secs(5);
/// How long a server may take to answer one question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Runs the command; gives the exit code.
pub fn run(arguments: &SwitchoverArgs) -> Result<u8> {
    let (primary, process) = match (&arguments.dbname, &arguments.data) {
        (Some(conninfo), _) => (conninfo.clone(), None),
        (None, Some(data)) => {
            check_data_directory(data)?;
            (of_directory(data)?, Some(Running::on(data)?))
        }
        (None, None) => bail!("name the primary with -D or -d"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Switchover::begin(arguments, primary, process).await?.watch().await })
}

/// A switchover that the primary has begun.
struct Switchover {
    begun: Instant,
    limit: Duration,
    /// The primary of before.
    old: String,
    /// Its process, if it is one of this machine.
    process: Option<Running>,
    /// When it was started, as it says.
    started: String,
    timeline: i64,
    standby: String,
    /// How the standby is reached.
    new: String,
}

/// What the old primary says of itself.
#[derive(Debug, Default)]
struct OldPrimary {
    is_standby: bool,
    /// It was started since.
    is_new: bool,
    /// It receives log of a later timeline.
    follows: bool,
}

/// What the directory of the old primary says of the handover. The marker is there before the standby is
/// asked, and goes once the directory is a standby's, or it is backed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    /// The standby was not asked, or refused.
    Kept,
    Undecided,
    /// The standby promotes itself, and was told that it may.
    Decided,
}

impl Handover {
    fn of(data: &Path) -> Self {
        let is_there = |name: &str| data.join(name).try_exists();
        match (is_there(HANDOVER_FILE), is_there("standby.signal")) {
            (Ok(false), Ok(true)) => Self::Decided,
            (Ok(false), Ok(false)) => Self::Kept,
            _ => Self::Undecided,
        }
    }
}

impl Switchover {
    async fn begin(arguments: &SwitchoverArgs, old: String, process: Option<Running>) -> Result<Self> {
        let begun = Instant::now();
        let mut client = connect(&old).await.context("could not connect to the primary")?;
        let answer = client
            .query("SELECT pg_postmaster_start_time(), timeline_id FROM pg_control_checkpoint()")
            .await?;
        let told = |column| answer.text(0, column).unwrap_or_default().to_owned();
        let (started, timeline) = (told(0), told(1).parse().context("the primary tells no timeline")?);
        say!("{:7.3} s  asking for standby \"{}\"", 0.0, arguments.to);
        let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let call = format!(
            "SELECT standby, conninfo FROM plimsoll_switchover({}, {}, {})",
            quote(&arguments.to),
            arguments.timeout.as_millis(),
            quote(arguments.rejoin.as_deref().unwrap_or_default()),
        );
        let answer = client.query(&call).await.map_err(|error| match error {
            ClientError::Server(report) if report.code != SqlState::ADMIN_SHUTDOWN => {
                let hint = report.hint.map(|hint| format!(" {hint}")).unwrap_or_default();
                anyhow!("this command changed nothing: {}.{hint}", report.message)
            }
            other => {
                anyhow!(other).context("the primary did not say whether it hands over: ask both servers")
            }
        })?;
        let new = answer.text(0, 1).ok_or_else(|| anyhow!("the primary's answer has no row"))?.to_owned();
        let limit = arguments.timeout + AFTERWARDS;
        let standby = arguments.to.clone();
        let this = Self { begun, limit, old, process, started, timeline, standby, new };
        this.tell(&format!("\"{}\" keeps up: the primary ends its sessions and hands over", this.standby));
        Ok(this)
    }

    fn tell(&self, what: &str) {
        say!("{:7.3} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    async fn watch(&self) -> Result<u8> {
        let mut is_promoted = false;
        let mut old = OldPrimary::default();
        let mut ended_at = None;
        while self.begun.elapsed() < self.limit {
            if !is_promoted && self.is_promoted().await {
                is_promoted = true;
                self.tell(&format!("\"{}\" is the primary", self.standby));
            }
            old = self.ask_old().await.unwrap_or_default();
            if is_promoted && old.follows {
                self.tell("the old primary follows it");
                return Ok(0);
            }
            if old.is_new && !old.is_standby {
                complain!(
                    "plimsoll: error: the switchover was backed out: the old primary is the primary again; its log says why"
                );
                return Ok(1);
            }
            if let Some(process) = self.process.as_ref().filter(|process| process.has_ended()) {
                let ended_at = ended_at.get_or_insert_with(Instant::now);
                let is_over = match Handover::of(process.data()) {
                    Handover::Kept => true,
                    Handover::Undecided => ended_at.elapsed() > PROMOTION_TIME,
                    Handover::Decided => false,
                };
                if is_promoted || is_over {
                    break;
                }
            } else {
                ended_at = None;
            }
            tokio::time::sleep(POLL).await;
        }
        complain!("plimsoll: error: {}", self.left(is_promoted, old.is_standby, ended_at.is_some()));
        Ok(1)
    }

    /// What is left to do where it did not come to its end.
    fn left(&self, is_promoted: bool, is_standby: bool, has_ended: bool) -> String {
        let standby = &self.standby;
        let handover = self.process.as_ref().map(|process| Handover::of(process.data()));
        match (is_promoted, is_standby) {
            (true, true) => {
                format!("\"{standby}\" is the primary, but the old one does not stream from it yet")
            }
            (true, false) => format!("\"{standby}\" is the primary, but the old one is not back: start it"),
            (false, true) if handover == Some(Handover::Decided) => format!(
                "\"{standby}\" was told to promote itself and is not done yet, and the old primary follows it: if \
                 the log of \"{standby}\" tells of no promotion, run \"plimsoll promote\" on it"
            ),
            (false, true) => format!(
                "the switchover is undecided, and nobody may be the primary now: run \"plimsoll promote\" on \"{standby}\", \
                 or, only if that one is gone for good, on the old primary"
            ),
            (false, false) if has_ended => match handover {
                Some(Handover::Decided) => format!(
                    "the old primary has ended, and \"{standby}\" was told to promote itself and is not done yet: \
                     start the old one, which follows it, and if the log of \"{standby}\" tells of no promotion, \
                     run \"plimsoll promote\" on it"
                ),
                Some(Handover::Kept) => {
                    "the old primary has ended before it handed over, and is still the primary: start it"
                        .to_owned()
                }
                Some(Handover::Undecided) | None => format!(
                    "the old primary has ended in the middle of it, and the switchover is undecided: start the old \
                     one, which waits for a promotion, and run \"plimsoll promote\" on \"{standby}\", or, only if \
                     that one is gone for good, on the old one"
                ),
            },
            (false, false) => "neither server can be asked: look at their logs".to_owned(),
        }
    }

    /// Whether the standby takes writes, asked as the old primary reaches it.
    async fn is_promoted(&self) -> bool {
        let asked = async {
            let mut info = ConnInfo::parse(&self.new).ok()?;
            info.replication = Some("true".to_owned());
            let mut client = connect_as(info).await.ok()?;
            let shown = client.show("in_hot_standby").await.ok()?;
            client.close().await;
            shown
        };
        let shown = tokio::time::timeout(ANSWER_LIMIT, asked).await;
        shown.ok().flatten().is_some_and(|shown| shown == "off")
    }

    /// None if it does not answer.
    async fn ask_old(&self) -> Option<OldPrimary> {
        let asked = async {
            let mut client: Client = connect(&self.old).await.ok()?;
            let answer = client
                .query(
                    "SELECT pg_is_in_recovery(), pg_postmaster_start_time(), \
                     (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming')",
                )
                .await
                .ok()?;
            client.close().await;
            let is_new = answer.text(0, 1).is_some_and(|started| started != self.started);
            let received = answer.text(0, 2).and_then(|timeline| timeline.parse::<i64>().ok());
            Some(OldPrimary {
                is_standby: answer.text(0, 0) == Some("t"),
                is_new,
                follows: received.is_some_and(|timeline| timeline > self.timeline),
            })
        };
        tokio::time::timeout(ANSWER_LIMIT, asked).await.ok().flatten()
    }
}
