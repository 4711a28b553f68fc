//! Seeded clients over the wire protocol, against any servers.
//!
//! A client finds the primary by trying nodes, and goes to another one when it is refused, fenced off or cut
//! off. What it does is drawn from its seed; how long it takes, and what it comes to, is the servers' affair.
//! So in a simulation one seed gives one history, and on real machines a similar one.
//!
//! | module    | what it is                                                                    |
//! |-----------|-------------------------------------------------------------------------------|
//! | `session` | one connection: answers, tokens, warnings, and what an error means            |
//! | `script`  | what a transaction is made of                                                 |
//! | `talker`  | a client: which node it asks, what it remembers, what it does next            |
//! | `writes`  | transactions                                                                  |
//! | `tables`  | tables, indexes and columns that come and go, and who looks at them           |
//! | `numbers` | numbers that are taken from a sequence                                        |
//! | `reads`   | looks at all registers                                                        |
//! | `pairs`   | what meets on purpose: two locks in opposite orders, a key that is taken      |

mod numbers;
mod pairs;
mod reads;
mod script;
mod session;
mod tables;
mod talker;
mod turns;
mod writes;

use crate::features::{Feature, Features};
use crate::history::registers::REGISTERS;
use crate::history::{BURST_ROWS, History, State};
use crate::plan::Answered;
use parking_lot::Mutex;
use protocol::client::QueryResult;
use protocol::{Client, ClientError};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Settings that the servers need so that each kind of operation does what it is for: transactions of a few
/// pages go early, and who waits for each other hears of it soon.
pub const SETTINGS: &[(&str, &str)] = &[("plimsoll.write_set_limit", "64kB"), ("deadlock_timeout", "100ms")];
/// The last of these.
const DEADLOCK_MS: u64 = 100;

/// Rows of `crossings`: two for each client.
const CROSSINGS: u32 = 200;

/// Parts of one transaction have numbers below this.
const PARTS_MAX: u64 = 1000;
/// A row of `tickets`, whose key comes from a sequence, counts as this part.
const TICKET: u32 = 999;

/// The milliseconds since the cluster began.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that asks `now_ms`.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// The time.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({} ms)", self.now_ms())
    }
}

/// Who hears at once of what clients are answered.
#[derive(Clone)]
pub struct Witness(Arc<dyn Fn(Answered) + Send + Sync>);

impl Witness {
    /// `hear` is told of each answer, before the client goes on.
    pub fn new(hear: impl Fn(Answered) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Nobody.
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    fn hears(&self, answer: Answered) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

/// What all clients share.
#[derive(Debug)]
pub struct Workload {
    /// The connection string of each node, by its number.
    pub nodes: Vec<String>,
    /// Seeds each client's choices, together with its number.
    pub seed: u64,
    /// What they do.
    pub features: Features,
    /// The time.
    pub clock: Clock,
    /// Who hears of their answers.
    pub witness: Witness,
    /// Until when they begin nothing, in milliseconds.
    pub rests_until_ms: AtomicU64,
    /// What they note.
    pub history: Arc<Mutex<History>>,
    /// How many operations each client does at most.
    pub operations_max: usize,
    /// Ends the clients.
    pub stop: AtomicBool,
}

impl Workload {
    /// Works as client `number` until the operations are done or [`Workload::stop`] is set. Whoever drops it
    /// before leaves an operation whose outcome nobody knows.
    pub async fn run_client(self: Arc<Self>, number: u32) {
        talker::Talker::new(self, number).work().await;
    }

    /// Ends the clients after what they are at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Makes the tables that clients work with, and the sequence for those who take numbers.
///
/// # Errors
///
/// Fails as [`Client::query`].
pub async fn set_up(client: &mut Client, features: &Features) -> Result<(), ClientError> {
    if features.has(Feature::Numbers) {
        client.query("CREATE SEQUENCE numbers").await?;
    }
    client
        .query(
            "CREATE TABLE parts (id bigint PRIMARY KEY, tx bigint NOT NULL, part int NOT NULL, filler text)",
        )
        .await?;
    client.query("CREATE TABLE tickets (id bigserial PRIMARY KEY, tx bigint NOT NULL)").await?;
    client.query("CREATE TABLE bursts (id bigint PRIMARY KEY, filler text)").await?;
    client.query("CREATE INDEX tickets_by_tx ON tickets (tx)").await?;
    client.query("CREATE TABLE crossings (k int PRIMARY KEY, v int NOT NULL)").await?;
    let crossings = format!("INSERT INTO crossings SELECT g, 0 FROM generate_series(0, {}) g", CROSSINGS - 1);
    client.query(&crossings).await?;
    client.query("CREATE TABLE gates (k int PRIMARY KEY)").await?;
    let gates = format!("INSERT INTO gates SELECT g FROM generate_series(0, {}) g", turns::ROWS - 1);
    client.query(&gates).await?;
    client.query("CREATE TABLE turns (gate int NOT NULL, n bigint NOT NULL)").await?;
    // Wide rows, so that pages fill with old versions and are pruned often.
    let registers = format!(
        "CREATE TABLE registers (k int PRIMARY KEY, v bigint NOT NULL, tx bigint NOT NULL, \
         pad text DEFAULT '{}')",
        "-".repeat(300)
    );
    client.query(&registers).await?;
    let fill = format!(
        "INSERT INTO registers (k, v, tx) SELECT g, 0, 0 FROM generate_series(0, {}) g",
        REGISTERS - 1
    );
    client.query(&fill).await.map(drop)
}

/// What a node holds, in one snapshot.
///
/// # Errors
///
/// Fails as [`Client::query`].
pub async fn read_state(client: &mut Client) -> Result<State, ClientError> {
    let mut state = State::default();
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let parts = format!("SELECT tx, part FROM parts UNION ALL SELECT tx, {TICKET} FROM tickets");
    state.parts = parts_of(&client.query(&parts).await?);
    let registers = client.query(LOOK).await?;
    (state.values, state.writers) = registers_of(&registers);
    for sql in [
        OBJECTS,
        "SELECT table_name || '.' || column_name FROM information_schema.columns \
         WHERE table_name LIKE 'o\\_%' AND column_name LIKE 'c%'",
    ] {
        let names = client.query(sql).await?;
        let name = |row| names.text(row, 0).map(str::to_owned);
        state.objects.extend((0..names.rows.len()).filter_map(name));
    }
    let rows = client.query("SELECT id FROM bursts").await?;
    for row in 0..rows.rows.len() {
        *state.bursts.entry(number::<u64>(&rows, row, 0) / BURST_ROWS).or_default() += 1;
    }
    let turns = client.query("SELECT gate, n FROM turns").await?;
    for row in 0..turns.rows.len() {
        *state.turns.entry((number(&turns, row, 0), number(&turns, row, 1))).or_default() += 1;
    }
    client.query("COMMIT").await?;
    Ok(state)
}

/// The tables and indexes that clients made.
const OBJECTS: &str =
    "SELECT relname FROM pg_class WHERE relname LIKE 'o\\_%' AND relname NOT LIKE '%\\_pkey'";
/// Looks at all registers.
const LOOK: &str = "SELECT v, tx FROM registers ORDER BY k";

fn number<T: std::str::FromStr + Default>(result: &QueryResult, row: usize, column: usize) -> T {
    result.text(row, column).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Rows of tx and part, by tx.
fn parts_of(result: &QueryResult) -> BTreeMap<u64, std::collections::BTreeSet<u32>> {
    let mut parts = BTreeMap::<u64, std::collections::BTreeSet<u32>>::new();
    for row in 0..result.rows.len() {
        parts.entry(number(result, row, 0)).or_default().insert(number(result, row, 1));
    }
    parts
}

fn registers_of(result: &QueryResult) -> ([u32; REGISTERS], [u64; REGISTERS]) {
    (std::array::from_fn(|row| number(result, row, 0)), std::array::from_fn(|row| number(result, row, 1)))
}
