//! `plimsoll switchover`: a planned change of roles. The primary's function plimsoll_switchover() does it;
//! this says what is seen of it from outside, where both servers are asked until it is done, backed out, or
//! nobody can tell.
//!
//! Each question takes a connection of its own, and what leads to the old primary may lead to the new one
//! later: a string that names both, or an address that moves. So the place that was reached first is asked
//! again, and who answers there is asked who it is.

mod outcome;

use super::check_data_directory;
use crate::cli::SwitchoverArgs;
use crate::connect::{connect, connect_as, leading_there, of_directory, same_place};
use crate::identity::Identity;
use crate::output::{complain, error_text, say};
use crate::process::Running;
use anyhow::{Context, Result, anyhow, bail};
use outcome::{Handover, OldPrimary, Seen, Successor};
use protocol::conninfo::ConnInfo;
use protocol::{ClientError, SqlState};
use std::time::{Duration, Instant};
use wal::SystemId;

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
    runtime.block_on(async { Switchover::begin(arguments, &primary, process).await?.watch().await })
}

/// A switchover that the primary has begun.
struct Switchover {
    begun: Instant,
    limit: Duration,
    /// How the primary of before is reached.
    old: ConnInfo,
    /// Who it is.
    identity: Identity,
    /// Its process, if it is one of this machine.
    process: Option<Running>,
    /// When it was started, as it says.
    started: String,
    timeline: i64,
    standby: String,
    /// How the standby is reached.
    new: String,
}

impl Switchover {
    async fn begin(arguments: &SwitchoverArgs, old: &str, process: Option<Running>) -> Result<Self> {
        let begun = Instant::now();
        let mut client = connect(old).await.context("could not connect to the primary")?;
        let old = same_place(old, &client)?;
        let identity = Identity::ask(&mut client).await.context("could not ask the primary who it is")?;
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
        let this = Self { begun, limit, old, identity, process, started, timeline, standby, new };
        this.tell(&format!("\"{}\" keeps up: the primary ends its sessions and hands over", this.standby));
        Ok(this)
    }

    fn tell(&self, what: &str) {
        say!("{:7.3} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    async fn watch(&self) -> Result<u8> {
        let mut seen = Seen::nothing();
        let mut ended_at = None;
        while self.begun.elapsed() < self.limit {
            self.look_at_new(&mut seen).await;
            seen.old = self.ask_old().await.map_err(|error| one_line(&error));
            if self.is_done(&mut seen).await {
                return Ok(0);
            }
            if seen.is_primary_again() {
                if seen.successor == Successor::Primary {
                    break;
                }
                complain!(
                    "plimsoll: error: the switchover was backed out: the old primary is the primary again; \
                     its log says why"
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
                if seen.successor == Successor::Primary || is_over {
                    break;
                }
            } else {
                ended_at = None;
            }
            tokio::time::sleep(POLL).await;
        }
        let handover = self.process.as_ref().map(|process| Handover::of(process.data()));
        complain!("plimsoll: error: {}", seen.left(&self.standby, handover, ended_at.is_some()));
        Ok(1)
    }

    /// Asks the standby what it is, until it was the primary once.
    async fn look_at_new(&self, seen: &mut Seen) {
        if seen.successor == Successor::Primary {
            return;
        }
        seen.successor = match self.is_promoted().await {
            Ok(true) => Successor::Primary,
            Ok(false) => Successor::Standby,
            Err(error) => Successor::Silent(one_line(&error)),
        };
        if seen.successor == Successor::Primary {
            self.tell(&format!("\"{}\" is the primary", self.standby));
        }
    }

    /// Whether the old primary follows, which says so, and tells that too of one that could not be asked: it
    /// receives what follows its own timeline from where it handed its role to.
    async fn is_done(&self, seen: &mut Seen) -> bool {
        let Some(timeline) = seen.followed() else { return false };
        if seen.successor != Successor::Primary {
            // It may be the primary just since it was asked.
            self.look_at_new(seen).await;
        }
        match &seen.successor {
            Successor::Primary => self.tell("the old primary follows it"),
            Successor::Standby => return false,
            Successor::Silent(why) => self.tell(&format!(
                "the old primary streams timeline {timeline} from \"{0}\": the switchover is done, though \
                 \"{0}\" itself could not be asked: {why}",
                self.standby
            )),
        }
        true
    }

    /// Whether the standby takes writes, asked as the old primary reaches it. That its timeline is a later
    /// one tells it from whom else the address may lead to from here.
    async fn is_promoted(&self) -> Result<bool> {
        let asked = async {
            let mut info = ConnInfo::parse(&leading_there(&self.new)?)?;
            info.replication = Some("true".to_owned());
            let mut client = connect_as(info).await?;
            let shown = client.show("in_hot_standby").await?;
            let identity = client.query("IDENTIFY_SYSTEM").await?;
            client.close().await;
            let system = identity.text(0, 0).and_then(|system| system.parse::<SystemId>().ok());
            if system != Some(self.identity.system) {
                bail!("a server of another cluster answers there");
            }
            let timeline = identity.text(0, 1).and_then(|timeline| timeline.parse::<i64>().ok());
            let is_later = timeline.is_some_and(|timeline| timeline > self.timeline);
            Ok(shown.as_deref() == Some("off") && is_later)
        };
        in_time(asked).await
    }

    async fn ask_old(&self) -> Result<OldPrimary> {
        let asked = async {
            let mut client = connect_as(self.old.clone()).await?;
            let found = Identity::ask(&mut client).await?;
            if let Some(who) = self.identity.replaced_by(&found) {
                bail!("{who} answers in its place");
            }
            let answer = client
                .query(
                    "SELECT pg_is_in_recovery(), pg_postmaster_start_time(), \
                     (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming')",
                )
                .await?;
            client.close().await;
            let is_new = answer.text(0, 1).is_some_and(|started| started != self.started);
            let received = answer.text(0, 2).and_then(|timeline| timeline.parse::<i64>().ok());
            Ok(OldPrimary {
                is_standby: answer.text(0, 0) == Some("t"),
                is_new,
                follows: received.filter(|timeline| *timeline > self.timeline),
            })
        };
        in_time(asked).await
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || anyhow!("it does not answer within {} s", ANSWER_LIMIT.as_secs());
    tokio::time::timeout(ANSWER_LIMIT, asked).await.map_err(|_| late())?
}

/// Why a server could not be asked, in the midst of a line.
fn one_line(error: &anyhow::Error) -> String {
    error_text(error).replace('\n', " ").trim_end().trim_end_matches('.').to_owned()
}
