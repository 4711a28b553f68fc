//! What replication refuses, with the SQLSTATE, detail and hint that the wire carries.

use protocol::SqlState;
use std::borrow::Cow;
use std::time::Duration;
use wal::{Lsn, SystemId, TimelineId};

/// A refusal or failure that a client of the replication protocol, or this node's log, is told of.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// CREATE of a slot that is there.
    #[error("replication slot \"{0}\" already exists")]
    SlotExists(String),
    /// No slot has this name.
    #[error("replication slot \"{0}\" does not exist")]
    NoSlot(String),
    /// A session uses the slot.
    #[error("replication slot \"{name}\" is active for PID {pid}")]
    SlotActive {
        /// The slot.
        name: String,
        /// Who uses it.
        pid: i32,
    },
    /// A slot here that follows one of the upstream.
    #[error("replication slot \"{0}\" is a copy of the upstream server's")]
    SlotCopied(String),
    /// max_replication_slots are there.
    #[error("all replication slots are in use")]
    SlotsFull,
    /// More were kept than max_replication_slots.
    #[error("too many replication slots active before shutdown")]
    SlotsSurplus,
    /// max_replication_slots is 0.
    #[error("replication slots can only be used if max_replication_slots > 0")]
    SlotsOff,
    /// The empty name.
    #[error("replication slot name \"{0}\" is too short")]
    SlotNameShort(String),
    /// More than 63 bytes.
    #[error("replication slot name \"{0}\" is too long")]
    SlotNameLong(String),
    /// Something other than a-z, 0-9 and _.
    #[error("replication slot name \"{0}\" contains invalid character")]
    SlotNameCharacter(String),
    /// A copy of a slot without a position.
    #[error("cannot copy a replication slot that doesn't reserve WAL")]
    SlotNotCopied,
    /// The slot has no position to go on from.
    #[error("replication slot \"{0}\" cannot be advanced")]
    SlotNotAdvanced(String),
    /// A slot moves forward only.
    #[error("cannot advance replication slot to {to}, minimum is {minimum}")]
    SlotBackwards {
        /// The position asked for.
        to: Lsn,
        /// Where it stands.
        minimum: Lsn,
    },
    /// The slot held back more WAL than max_slot_wal_keep_size and lost it.
    #[error("can no longer get changes from replication slot \"{0}\"")]
    SlotInvalidated(String),
    /// A slot's state file cannot be believed.
    #[error("replication slot file \"{path}\" is damaged: {what}")]
    SlotFile {
        /// The file.
        path: String,
        /// Expected and found.
        what: String,
    },
    /// max_wal_senders are connected.
    #[error("number of requested standby connections exceeds max_wal_senders (currently {0})")]
    SendersFull(usize),
    /// START_REPLICATION of a timeline that is not in this server's past.
    #[error("requested timeline {0} is not in this server's history")]
    NoTimeline(TimelineId),
    /// The position lies behind the place where the timeline ended here.
    #[error("requested starting point {start} on timeline {timeline} is not in this server's history")]
    PastFork {
        /// The position asked for.
        start: Lsn,
        /// The timeline asked for.
        timeline: TimelineId,
        /// Where that timeline ended in this server's history.
        forked_at: Lsn,
    },
    /// The position lies ahead of all WAL.
    #[error("requested starting point {start} is ahead of the WAL flush position of this server {flushed}")]
    Ahead {
        /// The position asked for.
        start: Lsn,
        /// What is there.
        flushed: Lsn,
    },
    /// The segment was recycled.
    #[error("requested WAL segment {0} has already been removed")]
    SegmentRemoved(String),
    /// The standby said nothing for wal_sender_timeout.
    #[error("terminating walsender process due to replication timeout")]
    SenderTimeout,
    /// The receiver was told to end, for good or to connect anew.
    #[error("terminating walreceiver process due to administrator command")]
    ReceiverTerminated,
    /// The primary ended the stream by order: it stops, or an administrator ended its walsender.
    #[error("{0}")]
    StreamTerminated(String),
    /// The primary said nothing for wal_receiver_timeout.
    #[error("terminating walreceiver due to timeout")]
    ReceiverTimeout,
    /// The server that was reached receives from this one. With it how messages name it.
    #[error("the server at {0} receives from this server, directly or over others")]
    FollowsUs(String),
    /// Over the server that this one received from no primary was heard of.
    #[error("no primary was heard of over the server at {server} for {} s", .silent.as_secs())]
    NoPrimary {
        /// How messages name it.
        server: String,
        /// For how long.
        silent: Duration,
    },
    /// The primary belongs to another cluster.
    #[error("database system identifier differs between the primary and standby")]
    OtherSystem {
        /// The primary's.
        primary: SystemId,
        /// Ours.
        standby: SystemId,
    },
    /// This server is fenced: its log ends for others where the other timeline left it.
    #[error(
        "this server was replaced: timeline {timeline} ended at {at} and goes on elsewhere as timeline {by}"
    )]
    Replaced {
        /// The timeline that this server wrote.
        timeline: TimelineId,
        /// Where it ended.
        at: Lsn,
        /// What it goes on as.
        by: TimelineId,
    },
    /// The primary has not got as far in the history of timelines.
    #[error("highest timeline {primary} of the primary is behind recovery timeline {standby}")]
    PrimaryBehind {
        /// The primary's timeline.
        primary: TimelineId,
        /// Ours.
        standby: TimelineId,
    },
    /// We have received more of its log, of which some cannot be read here.
    #[error(
        "WAL of the primary ends at {end}, and {reached} was received before, of which some cannot be read"
    )]
    EndsBefore {
        /// The end of its WAL.
        end: Lsn,
        /// The end of the last whole record here.
        reached: Lsn,
    },
    /// The primary's history does not go through our timeline.
    #[error("new timeline {primary} is not a child of database system timeline {standby}")]
    NotAChild {
        /// The primary's timeline.
        primary: TimelineId,
        /// Ours.
        standby: TimelineId,
    },
    /// The primary's branch left our timeline before the end of our WAL.
    #[error(
        "new timeline {primary} forked off current database system timeline {standby} \
         before current recovery point {reached}"
    )]
    ForkedBefore {
        /// The primary's timeline.
        primary: TimelineId,
        /// Ours.
        standby: TimelineId,
        /// Where it forked off.
        forked_at: Lsn,
        /// The end of our WAL, or of what files here may hold.
        reached: Lsn,
    },
    /// Two promotions took the same number; theirs is not ours.
    #[error("timeline {timeline} of the primary is another branch than timeline {timeline} here")]
    Twin {
        /// The number that both have.
        timeline: TimelineId,
    },
    /// The primary's bytes differ from ours where both have some.
    #[error("WAL of the primary differs from WAL here at {at} on timeline {timeline}")]
    Differs {
        /// The first byte that differs lies at or after this.
        at: Lsn,
        /// The timeline.
        timeline: TimelineId,
    },
    /// The peer's program and this one do not read each other's formats.
    #[error(transparent)]
    Format(#[from] wal::format::FormatError),
    /// The peer does not keep to the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The source has the first segments of a record no more, and what is here of them is torn.
    #[error("the record at {at} is damaged here, and the server has removed its beginning: {reason}")]
    TornBeginning {
        /// Where the record belongs.
        at: Lsn,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer refused, in its words.
    #[error("could not {what}: ERROR:  {message}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its SQLSTATE.
        code: SqlState,
        /// Its message.
        message: String,
    },
    /// The connection failed.
    #[error("{what}: {cause}")]
    Connection {
        /// What was tried.
        what: String,
        /// What the system or the peer said.
        cause: String,
    },
    /// A file operation failed.
    #[error("could not {what} \"{path}\": {cause}")]
    File {
        /// The verb.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The log's own writing side failed.
    #[error(transparent)]
    Wal(#[from] wal::WalError),
    /// The record of this node's fence is damaged, which fences it.
    #[error("this server is fenced: {0}")]
    Fenced(String),
}

impl ReplicaError {
    /// Whether the server that was asked is of no use, and others are to be asked first: one has replaced it,
    /// which it says or shows by its timeline, or no primary is heard of over it.
    pub fn asks_others(&self) -> bool {
        match self {
            Self::PrimaryBehind { .. } | Self::FollowsUs(_) | Self::NoPrimary { .. } => true,
            Self::Refused { code, .. } => *code == SqlState::READ_ONLY_SQL_TRANSACTION,
            _ => false,
        }
    }

    pub(crate) fn file(what: &'static str, path: &std::path::Path, cause: std::io::Error) -> Self {
        Self::File { what, path: path.display().to_string(), cause }
    }

    /// The SQLSTATE that PostgreSQL gives this.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::SlotExists(_) => SqlState::DUPLICATE_OBJECT,
            Self::NoSlot(_) => SqlState::UNDEFINED_OBJECT,
            Self::SlotActive { .. } => SqlState::OBJECT_IN_USE,
            Self::SlotsFull | Self::SlotsSurplus => SqlState::CONFIGURATION_LIMIT_EXCEEDED,
            Self::SlotsOff
            | Self::SlotCopied(_)
            | Self::SlotNotCopied
            | Self::SlotNotAdvanced(_)
            | Self::SlotInvalidated(_) => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::OtherSystem { .. } | Self::PrimaryBehind { .. } | Self::Format(_) => {
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            // As for its sessions' writes.
            Self::Replaced { .. } => SqlState::READ_ONLY_SQL_TRANSACTION,
            Self::SlotNameShort(_) | Self::SlotNameCharacter(_) => SqlState::INVALID_NAME,
            Self::SlotNameLong(_) => SqlState::NAME_TOO_LONG,
            Self::SlotBackwards { .. } => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::SlotFile { .. } | Self::Differs { .. } | Self::TornBeginning { .. } => {
                SqlState::DATA_CORRUPTED
            }
            Self::SendersFull(_) => SqlState::TOO_MANY_CONNECTIONS,
            Self::SegmentRemoved(_) => SqlState::UNDEFINED_FILE,
            Self::NoTimeline(_) | Self::PastFork { .. } | Self::Ahead { .. } => SqlState::INTERNAL_ERROR,
            Self::NotAChild { .. }
            | Self::ForkedBefore { .. }
            | Self::EndsBefore { .. }
            | Self::Twin { .. } => SqlState::INTERNAL_ERROR,
            Self::SenderTimeout
            | Self::ReceiverTimeout
            | Self::StreamTerminated(_)
            | Self::FollowsUs(_)
            | Self::NoPrimary { .. }
            | Self::Connection { .. } => SqlState::CONNECTION_FAILURE,
            Self::ReceiverTerminated => SqlState::ADMIN_SHUTDOWN,
            Self::Protocol(_) => SqlState::PROTOCOL_VIOLATION,
            Self::Refused { .. } => SqlState::CONNECTION_FAILURE,
            Self::File { .. } | Self::Wal(_) => SqlState::IO_ERROR,
            Self::Fenced(_) => SqlState::READ_ONLY_SQL_TRANSACTION,
        }
    }

    /// Whether the peer has a segment no more.
    pub fn is_removed_segment(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == SqlState::UNDEFINED_FILE)
    }

    /// The DETAIL field.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::OtherSystem { primary, standby } => {
                Some(format!("The primary's identifier is {primary}, the standby's identifier is {standby}."))
            }
            Self::PastFork { timeline, forked_at, .. } => {
                Some(format!("This server's history forked from timeline {timeline} at {forked_at}."))
            }
            Self::ForkedBefore { forked_at, .. } => {
                Some(format!("It forked off at {forked_at}; what is here goes further."))
            }
            Self::SlotNotAdvanced(_) => {
                Some("This slot has never previously reserved WAL, or it has been invalidated.".to_owned())
            }
            Self::SlotInvalidated(_) => Some(
                "This slot has been invalidated because it exceeded the maximum reserved size.".to_owned(),
            ),
            _ => None,
        }
    }

    /// The HINT field.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let words = match self {
            Self::Format(error) => return Some(error.hint().into()),
            Self::SlotsFull => Some("Free one or increase max_replication_slots."),
            Self::SlotsSurplus => Some("Increase max_replication_slots and try again."),
            Self::SlotNameCharacter(_) => Some(
                "Replication slot names may only contain lower case letters, numbers, and the underscore character.",
            ),
            Self::OtherSystem { .. } => {
                Some("Point primary_conninfo at a server of this cluster, or clone this one anew.")
            }
            Self::TornBeginning { .. } => Some(
                "Point primary_conninfo at a server that has it, or restore_command at an archive; else clone this \
                 server anew.",
            ),
            Self::EndsBefore { .. } => {
                Some("Point primary_conninfo at a server that has all of it, or clone this one anew.")
            }
            Self::ForkedBefore { .. } | Self::Twin { .. } | Self::Differs { .. } | Self::NotAChild { .. } => {
                Some("Rewind this server to the fork, or clone it anew.")
            }
            Self::FollowsUs(_) => Some(
                "Other servers that primary_conninfo names are asked first. With target_session_attrs=read-write there \
                 this server follows a primary alone.",
            ),
            Self::NoPrimary { .. } => Some("Other servers that primary_conninfo names are asked first."),
            Self::Fenced(_) => Some(
                "Rewind this server to the one that replaced it, or clone it anew; only if it is known that none \
                 did, run \"plimsoll unfence\".",
            ),
            _ => None,
        };
        words.map(Cow::Borrowed)
    }
}
