//! The demo's load: transfers between accounts, each with a journal row in the same transaction.

use anyhow::{Context, Result, ensure};
use protocol::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Clients that transfer at the same time.
pub const CLIENTS: usize = 8;
/// Accounts of the bank.
pub const ACCOUNTS: u64 = 200;
/// What each account begins with.
pub const OPENING_BALANCE: u64 = 1000;

/// Makes the tables and opens the accounts.
pub async fn open_bank(client: &mut Client) -> Result<()> {
    client.query("CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL)").await?;
    client
        .query(
            "CREATE TABLE journal (client int, sequence bigint, source int, target int, amount bigint, \
             at timestamptz, PRIMARY KEY (client, sequence))",
        )
        .await?;
    let mut copy = client.copy_in("COPY accounts FROM STDIN").await?;
    for id in 0..ACCOUNTS {
        copy.send(format!("{id}\t{OPENING_BALANCE}\n").as_bytes()).await?;
    }
    copy.finish().await?;
    Ok(())
}

/// How many transfers each client was told are committed.
#[derive(Debug, Default)]
pub struct Acknowledged([AtomicU64; CLIENTS]);

impl Acknowledged {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }

    /// Those of one client; its journal sequence numbers are 1 up to this.
    pub fn of(&self, client: usize) -> u64 {
        self.0.get(client).map_or(0, |count| count.load(Ordering::SeqCst))
    }
}

/// Clients that transfer until their server goes away or they are told to stop.
#[derive(Debug)]
pub struct Load {
    /// What they were told so far.
    pub acknowledged: Arc<Acknowledged>,
    stop: CancellationToken,
    clients: JoinSet<Result<()>>,
}

impl Load {
    /// Connects the clients and lets them begin.
    pub async fn start(conninfo: &str, seed: u64) -> Result<Self> {
        let (acknowledged, stop) = (Arc::new(Acknowledged::default()), CancellationToken::new());
        let mut clients = JoinSet::new();
        for who in 0..CLIENTS {
            let client =
                Client::connect_to(conninfo).await.context("a client of the load could not connect")?;
            clients.spawn(transfers(client, who, seed, acknowledged.clone(), stop.clone()));
        }
        Ok(Self { acknowledged, stop, clients })
    }

    /// Waits for the clients after their server was killed: every one must have lost its connection, not
    /// failed.
    pub async fn await_loss(mut self) -> Result<Arc<Acknowledged>> {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended??;
        }
        Ok(self.acknowledged)
    }
}

/// One client: transfers until the connection is lost. Another error is the load's failure.
async fn transfers(
    mut client: Client,
    who: usize,
    seed: u64,
    acknowledged: Arc<Acknowledged>,
    stop: CancellationToken,
) -> Result<()> {
    let outcome = transfer_until_loss(&mut client, who, seed, &acknowledged, &stop).await;
    match outcome {
        Err(error)
            if error
                .downcast_ref::<protocol::ClientError>()
                .is_some_and(protocol::ClientError::is_disconnect) =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn transfer_until_loss(
    client: &mut Client,
    who: usize,
    seed: u64,
    acknowledged: &Acknowledged,
    stop: &CancellationToken,
) -> Result<()> {
    let update =
        client.prepare("update", "UPDATE accounts SET balance = balance + $1 WHERE id = $2", &[]).await?;
    let insert =
        client.prepare("insert", "INSERT INTO journal VALUES ($1, $2, $3, $4, $5, now())", &[]).await?;
    let mut random = Random(seed ^ (who as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for sequence in 1_u64.. {
        if stop.is_cancelled() {
            break;
        }
        let (source, amount) = (random.below(ACCOUNTS), 1 + random.below(20));
        let target = (source + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let minus = format!("-{amount}");
        let [who_text, sequence_text, source_text, target_text, amount_text] =
            [who as u64, sequence, source, target, amount].map(|number| number.to_string());
        client.query("BEGIN").await?;
        // The lower account first: transfers that meet never deadlock.
        let mut changes = [(source, &minus, &source_text), (target, &amount_text, &target_text)];
        changes.sort_unstable_by_key(|(account, _, _)| *account);
        for (account, change, text) in changes {
            let done = client.execute(&update, &[Some(change), Some(text)]).await?;
            ensure!(done.row_count() == 1, "account {account} is gone: {}", done.tag);
        }
        client
            .execute(
                &insert,
                &[&who_text, &sequence_text, &source_text, &target_text, &amount_text]
                    .map(|text| Some(text.as_str())),
            )
            .await?;
        client.query("COMMIT").await?;
        if let Some(count) = acknowledged.0.get(who) {
            count.store(sequence, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// SplitMix64: small, seeded, good enough to pick accounts.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What a server's tables say of the load.
#[derive(Debug, PartialEq, Eq)]
pub struct Audit {
    /// Sum of all balances.
    pub sum: u64,
    /// Acknowledged transfers that are missing.
    pub lost: u64,
    /// Transfers in the journal.
    pub found: u64,
}

/// Counts, on a server, what the clients were told.
pub async fn audit(client: &mut Client, acknowledged: &Acknowledged) -> Result<Audit> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let sum = number(client.query("SELECT sum(balance) FROM accounts").await?.text(0, 0));
    let (mut lost, mut found) = (0, 0);
    for who in 0..CLIENTS {
        let told = acknowledged.of(who);
        let sql = format!("SELECT count(*) FROM journal WHERE client = {who} AND sequence <= {told}");
        lost += told.saturating_sub(number(client.query(&sql).await?.text(0, 0)));
        let sql = format!("SELECT count(*) FROM journal WHERE client = {who}");
        found += number(client.query(&sql).await?.text(0, 0));
    }
    Ok(Audit { sum, lost, found })
}
