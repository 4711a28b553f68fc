//! Transfers between accounts from eight tasks at once, retried where they meet: `cargo run -p plimsoll
//! --example bank`.

use plimsoll::{Database, Direction, Error, Isolation, Options, Result, Table, TransactionOptions};
use std::path::Path;
use tokio::task::JoinSet;

plimsoll::record! {
    /// A customer's account: a row of the SQL table `accounts`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Account {
        /// Whose it is.
        pub owner: String,
        /// In cents.
        pub balance: i64,
    }
}

/// How many accounts there are, with 1000 each.
pub const ACCOUNTS: i64 = 10;

/// Moves money; refuses to overdraw.
async fn transfer(
    db: &Database,
    accounts: &Table<i64, Account>,
    from: i64,
    to: i64,
    cents: i64,
) -> Result<()> {
    // REPEATABLE READ: whoever comes second gets 40001 and is run again by `transaction_with`.
    let options = TransactionOptions::default().isolation(Isolation::RepeatableRead).retries_max(1000);
    db.transaction_with(&options, |mut tx| async move {
        let missing = || Error::abort("no such account");
        let mut giver = tx.get(accounts, &from).await?.ok_or_else(missing)?;
        let mut taker = tx.get(accounts, &to).await?.ok_or_else(missing)?;
        if giver.balance < cents {
            return Err(Error::abort("not enough money"));
        }
        giver.balance -= cents;
        taker.balance += cents;
        tx.put(accounts, &from, &giver).await?;
        tx.put(accounts, &to, &taker).await
    })
    .await?;
    Ok(())
}

/// Runs the transfers; how many were refused, and the accounts at the end.
pub async fn run(dir: &Path) -> Result<(u32, Vec<(i64, Account)>)> {
    // Tellers that wait for each other in a circle find out soon.
    let options = Options::new(dir.join("data")).create_if_missing().setting("deadlock_timeout", "20ms");
    let db = options.open().await?;
    let accounts = &db.table::<i64, Account>("accounts").await?;
    db.transaction(|mut tx| async move {
        for id in 0..ACCOUNTS {
            tx.insert(accounts, &id, &Account { owner: format!("customer {id}"), balance: 1000 }).await?;
        }
        Ok(())
    })
    .await?;

    let mut tellers = JoinSet::new();
    for teller in 0..8_i64 {
        let (db, accounts) = (db.clone(), accounts.clone());
        tellers.spawn(async move {
            let mut refused = 0;
            for round in 0..40 {
                let (from, to) = ((teller + round) % ACCOUNTS, (teller * 3 + round * 7 + 1) % ACCOUNTS);
                if from == to {
                    continue;
                }
                match transfer(&db, &accounts, from, to, 100 + 5 * round).await {
                    Ok(()) => {}
                    Err(Error::Aborted(_)) => refused += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok(refused)
        });
    }
    let mut refused = 0;
    while let Some(teller) = tellers.join_next().await {
        refused += teller.map_err(Error::abort)??;
    }
    let all = db
        .transaction(
            |mut tx| async move { tx.scan(accounts, .., Direction::Ascending).await?.collect().await },
        )
        .await?;
    db.close().await?;
    Ok((refused, all))
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::abort)?;
    let (refused, accounts) = run(folder.path()).await?;
    for (id, account) in &accounts {
        println!("{id}: {} has {}", account.owner, account.balance);
    }
    let total: i64 = accounts.iter().map(|(_, account)| account.balance).sum();
    println!("{total} in all; {refused} transfers refused");
    Ok(())
}
