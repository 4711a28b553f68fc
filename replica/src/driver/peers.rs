//! Asks the other nodes of the cluster who they are.

use crate::directory_id::DirectoryId;
use crate::error::ReplicaError;
use crate::roster::Address;
use crate::roster::login::{MEMBER_QUESTION, MEMBER_USER, MemberLogin};
use crate::timeline::fence::NodeBranch;
use crate::timeline::heard::{BRANCHES_MAX, HISTORY_BYTES_MAX};
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
/// Bytes that one may send for that: a few rows, with a history each, and of its own one in two answers.
const ANSWER_BYTES_MAX: usize = 2 << 20;
const _: () = assert!(ANSWER_BYTES_MAX > (BRANCHES_MAX + 2) * HISTORY_BYTES_MAX + (64 << 10));

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
    /// It has who asks in its roster, or was not asked as a member, or is of before this answer.
    pub knows_us: bool,
    /// The newest timeline of which it knows, or was told.
    pub newest: TimelineId,
    /// Other branches of which witnesses told it ([`crate::timeline::heard`]).
    pub heard: Vec<TimelineHistory>,
}

/// Who asks, and what it tells by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The member that asks.
    pub id: DirectoryId,
    /// The newest timeline of which it knows, or was told. Who is asked takes no number up to this.
    pub newest: TimelineId,
}

impl Asker {
    /// The question who a member is. One of before takes no notice of `newest`.
    fn question(self) -> String {
        format!("PLIMSOLL {MEMBER_QUESTION} (id '{}', newest '{}')", self.id, self.newest)
    }
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

/// A replication connection on which little is asked.
async fn connect_to(mut info: ConnInfo) -> Result<Client, ClientError> {
    info.replication = Some("true".to_owned());
    let mut client = Client::connect(&info).await?;
    client.allow(ANSWER_BYTES_MAX);
    Ok(client)
}

async fn connect(conninfo: &str) -> Result<Client, ClientError> {
    let mut info = ConnInfo::parse(conninfo)?;
    info.dbname = "replication".to_owned();
    connect_to(info).await
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

/// Asks a member of the roster the same, as another member.
///
/// # Errors
///
/// Fails if no member of this cluster can be reached there.
pub async fn probe_member(address: &Address, login: &MemberLogin, asker: Asker) -> Result<Peer, Silence> {
    in_time(async {
        let answer = ask_member(address, login, &asker.question()).await?;
        member(&answer).ok_or_else(|| odd(MEMBER_QUESTION).into())
    })
    .await
}

/// Asks a member how far its log is and what it knows of its primary, and then who it is: what it was told of
/// other branches before it said the former is in the latter.
///
/// # Errors
///
/// Fails if no member of this cluster can be reached there, or it is of before that question.
pub async fn positions(
    address: &Address,
    login: &MemberLogin,
    asker: Asker,
) -> Result<(Peer, Told), Silence> {
    in_time(async {
        let mut client = connect_member(address, login).await?;
        let positions = client.query(&format!("PLIMSOLL {POSITIONS_QUESTION}")).await;
        let who = client.query(&asker.question()).await;
        client.close().await;
        let (positions, who) = (positions?, who?);
        let told = Told::of_row(&|column| positions.text(0, column));
        let mut told = told.ok_or_else(|| odd(POSITIONS_QUESTION))?;
        let peer = member(&who).ok_or_else(|| odd(MEMBER_QUESTION))?;
        told.answer.heard.clone_from(&peer.heard);
        Ok((peer, told))
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
    let mut client = connect_member(address, login).await?;
    let answer = client.query(question).await;
    client.close().await;
    Ok(answer?)
}

async fn connect_member(address: &Address, login: &MemberLogin) -> Result<Client, Silence> {
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
    info.requires_proof = true;
    Ok(connect_to(info).await?)
}

/// Asks a server on a replication connection which node it is: a row `id`, `name`.
pub const NODE_QUESTION: &str = "node";

/// Who a server says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub system: SystemId,
    /// The node; None of a server of before that question.
    pub id: Option<DirectoryId>,
    /// The name by which it follows others, or would; cluster_name if it does not say.
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
        let (id, name) = match client.query(&format!("PLIMSOLL {NODE_QUESTION}")).await {
            Ok(node) => (
                node.text(0, 0).and_then(|text| text.parse().ok()),
                node.text(0, 1).unwrap_or_default().to_owned(),
            ),
            Err(ClientError::Server(_)) => (None, client.show("cluster_name").await?.unwrap_or_default()),
            Err(error) => return Err(error),
        };
        client.close().await;
        Ok((identity.text(0, 0).and_then(|text| text.parse().ok()), id, name))
    };
    let failed = |cause: String| ReplicaError::Connection { what: "could not ask server".to_owned(), cause };
    let answer = tokio::time::timeout(ANSWER_TIME, asked).await;
    let answer = answer.map_err(|_| failed("it does not answer".to_owned()))?;
    let (system, id, name) = answer.map_err(|error: ClientError| failed(error.to_string()))?;
    let odd = || ReplicaError::Protocol("invalid response to IDENTIFY_SYSTEM".to_owned());
    Ok(Identity { system: system.ok_or_else(odd)?, id, name })
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

/// The timeline and the history in two columns of a row; None in it if both are NULL.
fn branch(answer: &QueryResult, row: usize, column: usize) -> Option<Option<TimelineHistory>> {
    match (answer.text(row, column), answer.text(row, column + 1)) {
        (None, None) => Some(None),
        (Some(timeline), Some(text)) => TimelineHistory::parse(timeline.parse().ok()?, text).ok().map(Some),
        _ => None,
    }
}

/// The branches of which a peer was told, a row each behind its own.
fn heard(answer: &QueryResult, column: usize) -> Option<Vec<TimelineHistory>> {
    let rows = (1..answer.rows.len()).take(BRANCHES_MAX);
    rows.map(|row| branch(answer, row, column).flatten()).collect()
}

/// A number in the first row, which a peer of before does not have.
fn newest(answer: &QueryResult, column: usize) -> Option<TimelineId> {
    answer.text(0, column).map_or(Some(TimelineId::INVALID), |text| text.parse().ok())
}

/// The answer of a member: systemid, timeline, witnessed, content, id, newest, knows; then a row for each
/// branch of which it was told.
fn member(answer: &QueryResult) -> Option<Peer> {
    let system: SystemId = answer.text(0, 0)?.parse().ok()?;
    let timeline = answer.text(0, 1)?.parse().ok()?;
    let history = branch(answer, 0, 2)?.unwrap_or_else(|| TimelineHistory::root(TimelineId::FIRST));
    let member = answer.text(0, 4)?.parse().ok()?;
    Some(Peer {
        branch: NodeBranch { system, history },
        timeline,
        member: Some(member),
        knows_us: answer.text(0, 6) != Some("f"),
        newest: newest(answer, 5)?,
        heard: heard(answer, 2)?,
    })
}

/// The answer to `PLIMSOLL witnessed`: timeline, content, newest; then as a member's.
fn witnessed(answer: &QueryResult) -> Option<(TimelineHistory, TimelineId, Vec<TimelineHistory>)> {
    let history = branch(answer, 0, 0)?.unwrap_or_else(|| TimelineHistory::root(TimelineId::FIRST));
    Some((history, newest(answer, 2)?, heard(answer, 0)?))
}

/// Whether a peer knows what it means that a branch is passed on: one of before takes that for the word of a
/// witness. It does not know what the newest timeline is either.
pub(crate) async fn takes_passed_on(client: &mut Client) -> bool {
    let answer = client.query("PLIMSOLL witnessed").await;
    answer.is_ok_and(|answer| tells_newest(&answer))
}

fn tells_newest(witnessed: &QueryResult) -> bool {
    newest(witnessed, 2).is_some_and(|newest| newest != TimelineId::INVALID)
}

/// Asks a peer on a replication connection that stands.
///
/// # Errors
///
/// Fails if it refuses, or answers nonsense.
pub(crate) async fn ask(client: &mut Client) -> Result<Peer, Silence> {
    let identity = client.query("IDENTIFY_SYSTEM").await?;
    let system = identity.text(0, 0).and_then(|text| text.parse().ok());
    let system: SystemId = system.ok_or_else(|| odd("IDENTIFY_SYSTEM"))?;
    let timeline = identity.text(0, 1).and_then(|text| text.parse().ok());
    let timeline: TimelineId = timeline.ok_or_else(|| odd("IDENTIFY_SYSTEM"))?;
    let (history, newest, heard) = match client.query("PLIMSOLL witnessed").await {
        Ok(answer) => witnessed(&answer).ok_or_else(|| odd("PLIMSOLL witnessed"))?,
        // One of before that question tells what it follows, and is believed as it was.
        Err(ClientError::Server(report)) if report.code == SqlState::FEATURE_NOT_SUPPORTED => {
            let text = if timeline > TimelineId::FIRST {
                let answer = client.query(&format!("TIMELINE_HISTORY {timeline}")).await?;
                answer.text(0, 1).ok_or_else(|| odd("TIMELINE_HISTORY"))?.to_owned()
            } else {
                String::new()
            };
            let history = TimelineHistory::parse(timeline, &text);
            let history = history.map_err(|error| ReplicaError::Protocol(error.to_string()))?;
            (history, TimelineId::INVALID, Vec::new())
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Peer { branch: NodeBranch { system, history }, timeline, member: None, knows_us: true, newest, heard })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use protocol::backend::{self, BackendMessage};

    #[test]
    fn peers_are_separated_by_semicolons() {
        let peers: Vec<_> = split_peers(" host=a port=1 ; ;host=b;").collect();
        assert_eq!(peers, ["host=a port=1", "host=b"]);
    }

    fn answer(rows: &[&[Option<&str>]]) -> QueryResult {
        let row = |values: &&[Option<&str>]| {
            let mut out = BytesMut::new();
            backend::text_row(&mut out, values);
            match BackendMessage::decode(b'D', out.split_off(5).freeze()).unwrap() {
                BackendMessage::DataRow(row) => row,
                other => panic!("{other:?}"),
            }
        };
        QueryResult { columns: Vec::new(), rows: rows.iter().map(row).collect(), tag: "PLIMSOLL".to_owned() }
    }

    #[test]
    fn a_peer_tells_its_branch_and_those_of_which_it_was_told_and_one_of_before_its_own() {
        let two = "1\t0/64\tpromoted\n";
        let own = [Some("7"), Some("1"), None, None, Some("000000000000004d")];
        let of_before = member(&answer(&[&own])).unwrap();
        assert_eq!((of_before.newest, of_before.heard.len()), (TimelineId::INVALID, 0));
        let own = [&own[..], &[Some("9")]].concat();
        let heard = [Some("7"), None, Some("2"), Some(two), None, None];
        let now = member(&answer(&[&own, &heard])).unwrap();
        assert_eq!(now.branch, of_before.branch);
        assert_eq!(now.newest, TimelineId::new(9));
        let told = TimelineHistory::parse(TimelineId::new(2), two).unwrap();
        assert_eq!(now.heard, std::slice::from_ref(&told));
        assert_eq!(member(&answer(&[&own, &own])), None, "a branch without a history");
        let many: Vec<&[Option<&str>]> = std::iter::once(&own[..]).chain([&heard[..]; 9]).collect();
        assert_eq!(member(&answer(&many)).unwrap().heard.len(), BRANCHES_MAX);
        let one = TimelineHistory::root(TimelineId::FIRST);
        for (rows, newest, heard) in [
            (&[][..], TimelineId::INVALID, vec![]),
            (&[&[None, None, Some("5")][..], &[Some("2"), Some(two), None]], TimelineId::new(5), vec![told]),
        ] {
            assert_eq!(tells_newest(&answer(rows)), newest != TimelineId::INVALID);
            assert_eq!(witnessed(&answer(rows)), Some((one.clone(), newest, heard)));
        }
    }
}
