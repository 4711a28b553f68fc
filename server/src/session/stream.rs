//! START_REPLICATION and the commands between Plimsoll nodes.

use super::Failure;
use super::members::{Known, known};
use super::replication::{INT4, TEXT, WalSender, columns};
use crate::connection::wire::{Exit, Wire};
use crate::error::from_replica;
use crate::replication::fencing;
use crate::replication::standby::settings::follows_as;
use protocol::replication::{
    COPY_OPTION, ExtensionCommand, FILES_COMMAND, OptionValue, READ_COMMAND, StartReplication,
};
use protocol::{Report, Severity, SqlState, backend};
use replica::directory_id::DIRECTORY_ID_FILE;
use replica::driver::peers::NODE_QUESTION;
use replica::driver::send::{Doubt, Ended, SendContext, SendError, StreamRequest, StreamTimes, stream};
use replica::roster::Seen;
use replica::sender::Copying;
use replica::sender::streams::SenderInfo;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wal::format::FORMATS;
use wal::{Lsn, TimelineId};

/// What a stream that is over leaves to its session.
async fn over(wire: &mut Wire, ended: Result<Ended, SendError>) -> Result<(), Failure> {
    match ended {
        Ok(Ended::Ready) => Ok(()),
        Ok(Ended::Stopped) => {
            // TLS may hold back the last of it.
            wire.flush().await?;
            Err(Exit::Gone.into())
        }
        Ok(Ended::Gone) => Err(Exit::Gone.into()),
        Err(SendError::Io(_)) => Err(Exit::Gone.into()),
        Err(SendError::Refused { error, streaming: false }) => Err(from_replica(&error).into()),
        Err(SendError::Refused { error, streaming: true }) => {
            let report = Report { severity: Severity::Fatal, ..from_replica(&error) };
            Err(Exit::Fatal(Box::new(report)).into())
        }
    }
}

impl WalSender {
    /// START_REPLICATION
    pub(super) async fn start_replication(
        &mut self,
        wire: &mut Wire,
        start: &StartReplication,
    ) -> Result<(), Failure> {
        let replication = self.node_replication()?.clone();
        let request = self.request(start)?;
        let acquire = |name: &String| replication.slots.acquire(name, self.handle.key.pid);
        let slot = start.slot.as_ref().map(acquire).transpose().map_err(|error| from_replica(&error))?;
        let temporary = slot.as_ref().is_some_and(|slot| slot.view().is_ok_and(|view| view.temporary));
        let info = self.info(match start.options.iter().any(|(name, _)| name == COPY_OPTION) {
            true => Copying::Yes,
            false if temporary => Copying::Perhaps,
            false => Copying::No,
        });
        let row = match self.row.take() {
            Some(mut row) => {
                row.again(info);
                row
            }
            None => replication.senders.register(info).map_err(|error| from_replica(&error))?,
        };
        if slot.is_some() {
            // It says what the standby needs.
            row.set_xmin(None);
        }
        let told = replication.clone();
        let database = self.database()?;
        let context = SendContext {
            host: self.node.ground.host.clone(),
            place: replication.place.clone(),
            log: replication.log.clone(),
            row,
            slot,
            roster: replication.roster.clone(),
            seen: self.seen(),
            slots: replication.slots.clone(),
            times: self.stream_times(),
            confirmations: Arc::new(database.commit_gate().clone()),
            on_doubt: self.warns_of_doubts(),
            on_feedback: Box::new(move || told.update_horizon()),
        };
        wire.flush().await?;
        self.handle.streaming.store(true, Ordering::Release);
        let ended = wire
            .until_terminated(async |socket, input, out| stream(socket, input, out, &context, &request).await)
            .await;
        self.handle.streaming.store(false, Ordering::Release);
        let ended = ended?;
        if let Ok(Ended::Ready) = ended {
            // What the standby needs, without a slot, is kept for its next stream.
            context.row.rest();
            self.row = Some(context.row);
        } else {
            drop(context);
        }
        replication.update_horizon();
        over(wire, ended).await
    }

    fn info(&self, copy: Copying) -> SenderInfo {
        SenderInfo {
            pid: self.handle.key.pid,
            user_oid: self.handle.role_oid.load(Ordering::Relaxed),
            user: self.handle.user.clone(),
            application_name: self.handle.application.lock().to_string(),
            client_addr: self.handle.client.map(|client| client.ip().to_string()),
            client_port: self.handle.client.map_or(-1, |client| i32::from(client.port())),
            backend_start: self.handle.started,
            copy,
        }
    }

    fn seen(&self) -> Seen {
        Seen::client(self.handle.client.map(|client| client.ip()))
    }

    fn stream_times(&self) -> Box<dyn Fn() -> StreamTimes + Send + Sync> {
        let (ground, environment) = (self.node.ground.clone(), self.environment.clone());
        Box::new(move || {
            environment.follow();
            StreamTimes {
                timeout: environment.config().wal_sender_timeout,
                heartbeat: ground.config().heartbeat_interval,
            }
        })
    }

    fn warns_of_doubts(&self) -> Box<dyn Fn(Doubt) + Send + Sync> {
        let (node, name) = (self.node.clone(), self.handle.application.lock().to_string());
        Box::new(move |doubt| {
            node.ground.log.warning(match doubt {
                Doubt::Overstated(claimed) => format!(
                    "standby \"{name}\" reports {claimed}, which it was never sent: \
                     its reports count up to what was"
                ),
                Doubt::SharedDirectory(directory) => format!(
                    "standby \"{name}\" and a later one work on data directories with one id, {directory}: \
                     commits count the later alone; if one is a copy of the other, stop it and remove its \
                     {DIRECTORY_ID_FILE}"
                ),
            });
        })
    }

    fn request(&self, start: &StartReplication) -> Result<StreamRequest, Failure> {
        let invalid = |what: String| Report::error(SqlState::SYNTAX_ERROR, what);
        let (mut speaks, mut branch, mut overlap) = (false, None, None);
        for (name, value) in &start.options {
            match (name.as_str(), value.as_text()) {
                ("plimsoll", Some(number)) => {
                    let number = number.parse().map_err(|_| {
                        invalid(format!("invalid value for option \"plimsoll\": \"{number}\""))
                            .with_detail("It is the number of the standby's format.")
                    })?;
                    FORMATS.check_standby(number).map_err(|error| from_replica(&error.into()))?;
                    speaks = true;
                }
                ("branch", Some(text)) => {
                    let parsed = text.parse().map_err(|_| invalid(format!("invalid branch \"{text}\"")))?;
                    branch = Some(parsed);
                }
                ("overlap", Some(text)) => {
                    let parsed = text.parse().map_err(|_| invalid(format!("invalid overlap \"{text}\"")))?;
                    overlap = Some(parsed);
                }
                (COPY_OPTION, Some(text)) if text == "true" => {}
                _ => return Err(invalid(format!("unrecognized option: \"{name}\"")).into()),
            }
        }
        Ok(StreamRequest {
            start: Lsn::new(start.start.get()),
            timeline: start.timeline.map(TimelineId::new),
            overlap: overlap.filter(|_| speaks),
            plimsoll: speaks.then_some(branch),
        })
    }

    /// `PLIMSOLL name (options)`
    pub(super) async fn extension(&self, wire: &mut Wire, command: &ExtensionCommand) -> Result<(), Failure> {
        let option =
            |name: &str| command.options.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        match command.name.as_str() {
            "descendant" => {
                let (Some(OptionValue::Number(timeline)), Some(OptionValue::Text(history))) =
                    (option("timeline"), option("history"))
                else {
                    let what = "PLIMSOLL descendant needs a timeline and its history";
                    return Err(Report::error(SqlState::SYNTAX_ERROR, what).into());
                };
                let peer = match self.handle.client {
                    Some(client) => client.ip().to_string(),
                    None => "local peer".to_owned(),
                };
                let passed_on = matches!(option("passed_on"), Some(OptionValue::Text(yes)) if yes == "true");
                let timeline = TimelineId::new(*timeline);
                fencing::told(self.node_replication()?, &peer, timeline, history, passed_on)
                    .await
                    .map_err(|error| from_replica(&error))?;
                backend::command_complete(&mut wire.out, "PLIMSOLL");
                Ok(())
            }
            "witnessed" => {
                columns(wire, &[("timeline", INT4), ("content", TEXT), ("newest", INT4)]);
                let Known { witnessed, newest, heard } = known(self.node_replication()?);
                let timeline = witnessed.as_ref().map(|seen| seen.target().to_string());
                let content = witnessed.as_ref().map(|seen| seen.text());
                let newest = newest.to_string();
                backend::text_row(&mut wire.out, &[timeline.as_deref(), content, Some(&newest)]);
                for history in heard {
                    let timeline = history.target().to_string();
                    backend::text_row(&mut wire.out, &[Some(&timeline), Some(history.text()), None]);
                }
                backend::command_complete(&mut wire.out, "PLIMSOLL");
                Ok(())
            }
            NODE_QUESTION => {
                let replication = self.node_replication()?;
                let (id, name) =
                    (replication.roster.own_id().to_string(), follows_as(&self.node.ground.config()));
                columns(wire, &[("id", TEXT), ("name", TEXT)]);
                backend::text_row(&mut wire.out, &[Some(&id), Some(&name)]);
                backend::command_complete(&mut wire.out, "PLIMSOLL");
                Ok(())
            }
            FILES_COMMAND => self.files(wire, command).await,
            READ_COMMAND => self.read_file(wire, command).await,
            other => {
                let what = format!("PLIMSOLL {other} is not supported");
                Err(Report::error(SqlState::FEATURE_NOT_SUPPORTED, what).into())
            }
        }
    }
}
