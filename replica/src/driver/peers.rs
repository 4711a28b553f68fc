//! Asks the other nodes of the cluster who they are.

use crate::directory_id::DirectoryId;
use crate::error::ReplicaError;
use crate::roster::Address;
use crate::roster::login::{MEMBER_QUESTION, MEMBER_USER, MemberLogin};
use crate::timeline::fence::NodeBranch;
use crate::timeline::loss::Commits;
use crate::timeline::loss::wire::{COMMITS_QUESTION, POSITIONS_QUESTION, Told};
use protocol::client::QueryResult;
use protocol::conninfo::{self, ConnInfo};
use protocol::{Client, ClientError, SqlState};
use std::io;
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::{Lsn, SystemId, TimelineId};

/// How long one peer may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The connection strings in plimsoll.peers, which are separated by semicolons.
pub fn split_peers(setting: &str) -> impl Iterator<Item = &str> {
    setting.split(';').map(str::trim).filter(|peer| !peer.is_empty())
}

/// What a peer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is a witness of ([`wal::NodeLog::witnessed`]): the first timeline if of nothing else.
    pub branch: NodeBranch,
    /// What it writes or follows, which may be hearsay.
    pub timeline: TimelineId,
    /// Who it is, if it was asked as a member.
    pub member: Option<DirectoryId>,
}

/// Why a peer told nothing.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Silence {
    /// What kind of silence it is.
    pub kind: SilenceKind,
    /// What happened.
    pub error: ReplicaError,
}

/// What a silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceKind {
    /// Its machine says that no server listens there.
    NotThere,
    /// It starts, and will tell in a moment.
    NotYet,
    /// It was not reached, refused, or answered nonsense.
    Unknown,
}

impl From<ClientError> for Silence {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => SilenceKind::NotThere,
                _ => SilenceKind::Unknown,
            },
            ClientError::Server(report) if report.code == SqlState::CANNOT_CONNECT_NOW => SilenceKind::NotYet,
            _ => SilenceKind::Unknown,
        };
        let cause = match &error {
            ClientError::Connect { source, .. } => format!("{error} ({})", host::os_message(source)),
            _ => error.to_string(),
        };
        Self { kind, error: ReplicaError::Connection { what: "could not ask peer".to_owned(), cause } }
    }
}

impl From<ReplicaError> for Silence {
    fn from(error: ReplicaError) -> Self {
        Self { kind: SilenceKind::Unknown, error }
    }
}

/// A replication connection.
async fn connect(conninfo: &str) -> Result<Client, ClientError> {
    let mut info = ConnInfo::parse(conninfo)?;
    info.replication = Some("true".to_owned());
    info.dbname = "replication".to_owned();
    Client::connect(&info).await
}

/// Asks a peer that the settings name for its branch, on a replication connection.
///
/// # Errors
///
/// Fails if the node cannot be reached, refuses, or answers nonsense.
pub async fn probe(conninfo: &str) -> Result<Peer, Silence> {
    in_time(async {
        let mut client = connect(conninfo).await?;
        let branch = ask(&mut client).await;
        client.close().await;
        branch
    })
    .await
}

/// Asks a member of the roster the same, as the member `from`.
///
/// # Errors
///
/// Fails if no member of this cluster can be reached there.
pub async fn probe_member(
    address: &Address,
    login: &MemberLogin,
    from: DirectoryId,
) -> Result<Peer, Silence> {
    let question = format!("PLIMSOLL {MEMBER_QUESTION} (id '{from}')");
    in_time(async {
        let answer = ask_member(address, login, &question).await?;
        member(&answer).ok_or_else(|| odd(MEMBER_QUESTION).into())
    })
    .await
}

/// Asks a member how far its log is, and what it knows of its primary.
///
/// # Errors
///
/// Fails if no member of this cluster can be reached there, or it is of before that question.
pub async fn positions(address: &Address, login: &MemberLogin) -> Result<Told, Silence> {
    in_time(async {
        let answer = ask_member(address, login, &format!("PLIMSOLL {POSITIONS_QUESTION}")).await?;
        Told::of_row(&|column| answer.text(0, column)).ok_or_else(|| odd(POSITIONS_QUESTION).into())
    })
    .await
}

/// Asks a member which commits it has in a stretch of its log.
///
/// # Errors
///
/// Fails if no member of this cluster can be reached there.
pub async fn commits(
    address: &Address,
    login: &MemberLogin,
    (from, upto): (Lsn, Lsn),
) -> Result<Commits, Silence> {
    let question = format!("PLIMSOLL {COMMITS_QUESTION} (from '{from}', upto '{upto}')");
    in_time(async {
        let answer = ask_member(address, login, &question).await?;
        Commits::of_row(&|column| answer.text(0, column)).ok_or_else(|| odd(COMMITS_QUESTION).into())
    })
    .await
}

/// Asks a member something.
async fn ask_member(address: &Address, login: &MemberLogin, question: &str) -> Result<QueryResult, Silence> {
    let port = address.port().to_string();
    let words = [
        ("host", address.host()),
        ("port", &port),
        ("user", MEMBER_USER),
        ("password", login.password()),
        ("application_name", "plimsoll"),
    ];
    // Nothing of it comes from this process's environment.
    let mut info = ConnInfo::parse_with(&conninfo::join(words), |_| None).map_err(ClientError::from)?;
    info.replication = Some("true".to_owned());
    info.requires_proof = true;
    let mut client = Client::connect(&info).await?;
    let answer = client.query(question).await;
    client.close().await;
    Ok(answer?)
}

/// Who a server says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub system: SystemId,
    /// cluster_name
    pub name: String,
}

/// Asks a server who it is, on a replication connection.
///
/// # Errors
///
/// Fails if it cannot be reached, refuses, or answers nonsense.
pub async fn identify(conninfo: &str) -> Result<Identity, ReplicaError> {
    let asked = async {
        let mut client = connect(conninfo).await?;
        let identity = client.query("IDENTIFY_SYSTEM").await?;
        let name = client.show("cluster_name").await?.unwrap_or_default();
        client.close().await;
        Ok((identity.text(0, 0).and_then(|text| text.parse().ok()), name))
    };
    let failed = |cause: String| ReplicaError::Connection { what: "could not ask server".to_owned(), cause };
    let answer = tokio::time::timeout(ANSWER_TIME, asked).await;
    let answer = answer.map_err(|_| failed("it does not answer".to_owned()))?;
    let (system, name) = answer.map_err(|error: ClientError| failed(error.to_string()))?;
    let odd = || ReplicaError::Protocol("invalid response to IDENTIFY_SYSTEM".to_owned());
    Ok(Identity { system: system.ok_or_else(odd)?, name })
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Silence>>) -> Result<T, Silence> {
    let late = || {
        let (what, cause) = ("could not ask peer".to_owned(), "it does not answer".to_owned());
        Silence::from(ReplicaError::Connection { what, cause })
    };
    tokio::time::timeout(ANSWER_TIME, asked).await.map_err(|_| late())?
}

fn odd(what: &str) -> ReplicaError {
    ReplicaError::Protocol(format!("invalid response to {what} from peer"))
}

/// The answer of a member: systemid, timeline, witnessed, content, id.
fn member(answer: &QueryResult) -> Option<Peer> {
    let system: SystemId = answer.text(0, 0)?.parse().ok()?;
    let timeline = answer.text(0, 1)?.parse().ok()?;
    let (seen, text) = match (answer.text(0, 2), answer.text(0, 3)) {
        (None, None) => (TimelineId::FIRST, ""),
        (Some(seen), Some(text)) => (seen.parse().ok()?, text),
        _ => return None,
    };
    let history = TimelineHistory::parse(seen, text).ok()?;
    let member = answer.text(0, 4)?.parse().ok()?;
    Some(Peer { branch: NodeBranch { system, history }, timeline, member: Some(member) })
}

async fn ask(client: &mut Client) -> Result<Peer, Silence> {
    let identity = client.query("IDENTIFY_SYSTEM").await?;
    let system = identity.text(0, 0).and_then(|text| text.parse().ok());
    let system: SystemId = system.ok_or_else(|| odd("IDENTIFY_SYSTEM"))?;
    let timeline = identity.text(0, 1).and_then(|text| text.parse().ok());
    let timeline: TimelineId = timeline.ok_or_else(|| odd("IDENTIFY_SYSTEM"))?;
    let (seen, text) = match client.query("PLIMSOLL witnessed").await {
        Ok(answer) => match (answer.text(0, 0), answer.text(0, 1)) {
            (None, None) => (TimelineId::FIRST, String::new()),
            (Some(seen), Some(text)) => {
                (seen.parse().map_err(|_| odd("PLIMSOLL witnessed"))?, text.to_owned())
            }
            _ => return Err(odd("PLIMSOLL witnessed").into()),
        },
        // One of before that question tells what it follows, and is believed as it was.
        Err(ClientError::Server(report)) if report.code == SqlState::FEATURE_NOT_SUPPORTED => {
            let text = if timeline > TimelineId::FIRST {
                let answer = client.query(&format!("TIMELINE_HISTORY {timeline}")).await?;
                answer.text(0, 1).ok_or_else(|| odd("TIMELINE_HISTORY"))?.to_owned()
            } else {
                String::new()
            };
            (timeline, text)
        }
        Err(error) => return Err(error.into()),
    };
    let history = TimelineHistory::parse(seen, &text);
    let history = history.map_err(|error| ReplicaError::Protocol(error.to_string()))?;
    Ok(Peer { branch: NodeBranch { system, history }, timeline, member: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_separated_by_semicolons() {
        let peers: Vec<_> = split_peers(" host=a port=1 ; ;host=b;").collect();
        assert_eq!(peers, ["host=a port=1", "host=b"]);
    }
}
