//! Asks the other nodes of the cluster who they are.

use crate::error::ReplicaError;
use crate::timeline::fence::NodeBranch;
use protocol::conninfo::ConnInfo;
use protocol::{Client, ClientError, SqlState};
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::{SystemId, TimelineId};

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
}

/// Asks a peer for its branch, on a replication connection.
///
/// # Errors
///
/// Fails if the node cannot be reached, refuses, or answers nonsense.
pub async fn probe(conninfo: &str) -> Result<Peer, ReplicaError> {
    let failed = |error: ClientError| ReplicaError::Connection {
        what: "could not ask peer".to_owned(),
        cause: error.to_string(),
    };
    let asked = async {
        let mut info = ConnInfo::parse(conninfo).map_err(|error| failed(error.into()))?;
        info.replication = Some("true".to_owned());
        info.dbname = "replication".to_owned();
        let mut client = Client::connect(&info).await.map_err(failed)?;
        let branch = ask(&mut client).await;
        client.close().await;
        branch
    };
    let timeout = || ReplicaError::Connection {
        what: "could not ask peer".to_owned(),
        cause: "it does not answer".to_owned(),
    };
    tokio::time::timeout(ANSWER_TIME, asked).await.map_err(|_| timeout())?
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
        let mut info = ConnInfo::parse(conninfo)?;
        info.replication = Some("true".to_owned());
        info.dbname = "replication".to_owned();
        let mut client = Client::connect(&info).await?;
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

async fn ask(client: &mut Client) -> Result<Peer, ReplicaError> {
    let failed = |error: ClientError| ReplicaError::Connection {
        what: "could not ask peer".to_owned(),
        cause: error.to_string(),
    };
    let odd = |what: &str| ReplicaError::Protocol(format!("invalid response to {what} from peer"));
    let identity = client.query("IDENTIFY_SYSTEM").await.map_err(failed)?;
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
            _ => return Err(odd("PLIMSOLL witnessed")),
        },
        // One of before that question tells what it follows, and is believed as it was.
        Err(ClientError::Server(report)) if report.code == SqlState::FEATURE_NOT_SUPPORTED => {
            let text = if timeline > TimelineId::FIRST {
                let answer = client.query(&format!("TIMELINE_HISTORY {timeline}")).await.map_err(failed)?;
                answer.text(0, 1).ok_or_else(|| odd("TIMELINE_HISTORY"))?.to_owned()
            } else {
                String::new()
            };
            (timeline, text)
        }
        Err(error) => return Err(failed(error)),
    };
    let history = TimelineHistory::parse(seen, &text);
    let history = history.map_err(|error| ReplicaError::Protocol(error.to_string()))?;
    Ok(Peer { branch: NodeBranch { system, history }, timeline })
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
