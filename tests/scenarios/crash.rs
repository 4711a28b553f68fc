//! kill -9 under load: what was acknowledged is there, and nothing is half there.

use postgres::{Client, NoTls};
use scenarios::Node;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

const CLIENTS: i32 = 8;
const ACCOUNTS: i32 = 100;
const TOTAL: i64 = ACCOUNTS as i64 * 1000;

fn connect(node: &Node) -> Result<Client, postgres::Error> {
    Client::connect(&node.conninfo(), NoTls)
}

/// One transfer between two accounts with its journal row, in one transaction.
fn transfer(
    client: &mut Client,
    who: i32,
    sequence: i64,
    rng: &mut fastrand::Rng,
) -> Result<(), postgres::Error> {
    // Locked in order, so that transfers never deadlock.
    let (low, high) = {
        let (a, b) = (rng.i32(0..ACCOUNTS), rng.i32(0..ACCOUNTS - 1));
        let b = if b >= a { b + 1 } else { b };
        (a.min(b), a.max(b))
    };
    let amount = i64::from(rng.i32(-50..50));
    let mut transaction = client.transaction()?;
    transaction.execute("UPDATE bank SET balance = balance - $1 WHERE id = $2", &[&amount, &low])?;
    transaction.execute("UPDATE bank SET balance = balance + $1 WHERE id = $2", &[&amount, &high])?;
    transaction.execute("INSERT INTO journal (client, sequence) VALUES ($1, $2)", &[&who, &sequence])?;
    transaction.commit()
}

/// What the indexes say is what the tables say, and each number of the sequence was given out once.
fn compare_with_indexes(client: &mut Client, cycle: usize) {
    let mut text = |sql: &str| -> Vec<String> {
        let rows = client.simple_query(sql).expect(sql);
        rows.iter()
            .filter_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect()
    };
    for (table, column) in [("bank", "balance"), ("journal", "number")] {
        let through = format!("SELECT {column} FROM {table} WHERE {column} > -1000000000 ORDER BY {column}");
        assert!(text(&format!("EXPLAIN {through}"))[0].starts_with("Index Scan"), "{through}");
        let beside =
            format!("SELECT {column} FROM {table} WHERE {column} + 0 > -1000000000 ORDER BY {column} + 0");
        let (through, beside) = (text(&through), text(&beside));
        assert!(
            through == beside,
            "cycle {cycle}: the index of {table} has {} entries for {} rows",
            through.len(),
            beside.len()
        );
    }
    let twice = text("SELECT number FROM journal GROUP BY number HAVING count(*) > 1");
    assert!(twice.is_empty(), "cycle {cycle}: {twice:?} came twice");
}

#[test]
fn fifty_kills_under_load_lose_no_acknowledged_commit() {
    let long = std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1");
    let cycles = if long { 300 } else { 50 };
    let seed = std::env::var("PLIMSOLL_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    eprintln!("PLIMSOLL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);

    let node = Node::builder().setting("checkpoint_timeout", "30s").setting("max_wal_size", "32MB").start();
    node.sql("CREATE TABLE bank (id int PRIMARY KEY, balance bigint NOT NULL)");
    node.sql("CREATE INDEX bank_balance ON bank (balance)");
    node.sql(
        "CREATE TABLE journal (client int, sequence bigint, number bigserial UNIQUE, PRIMARY KEY (client, sequence))",
    );
    node.sql(&format!("INSERT INTO bank SELECT g, 1000 FROM generate_series(0, {}) g", ACCOUNTS - 1));

    let acknowledged: Vec<AtomicI64> = (0..CLIENTS).map(|_| AtomicI64::new(0)).collect();
    for cycle in 0..cycles {
        let enough = rng.usize(20..400);
        let commits = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for who in 0..CLIENTS {
                let mut rng = fastrand::Rng::with_seed(rng.u64(..));
                let (acknowledged, commits, node) = (&acknowledged[who as usize], &commits, &node);
                scope.spawn(move || {
                    let Ok(mut client) = connect(node) else { return };
                    let mut sequence = acknowledged.load(Ordering::SeqCst);
                    // A number in doubt from the last cycle may be taken: go past it.
                    if let Ok(row) = client.query_one(
                        "SELECT coalesce(max(sequence), 0) FROM journal WHERE client = $1",
                        &[&who],
                    ) {
                        sequence = sequence.max(row.get::<_, i64>(0));
                    }
                    loop {
                        sequence += 1;
                        if transfer(&mut client, who, sequence, &mut rng).is_err() {
                            return;
                        }
                        acknowledged.store(sequence, Ordering::SeqCst);
                        commits.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            scenarios::wait_until("enough commits before the kill", Duration::from_secs(60), || {
                let done = commits.load(Ordering::SeqCst);
                if done >= enough { Ok(()) } else { Err(format!("{done} of {enough}")) }
            });
            node.kill_9();
        });
        node.start();
        let mut client = connect(&node).expect("the restarted server takes connections");
        let sum: i64 =
            client.query_one("SELECT sum(balance)::bigint FROM bank", &[]).expect("the sum").get(0);
        assert_eq!(sum, TOTAL, "cycle {cycle}: half a transfer is there");
        compare_with_indexes(&mut client, cycle);
        look_for_lost(&mut client, &acknowledged).unwrap_or_else(|lost| panic!("cycle {cycle}: {lost}"));
    }
    let told: i64 = acknowledged.iter().map(|last| last.load(Ordering::SeqCst)).sum();
    eprintln!("{cycles} kills: {told} commits acknowledged, none lost");
    // The control: a commit that never was is missed, and so is one that goes.
    let mut client = connect(&node).expect("it runs");
    let last = acknowledged[3].fetch_add(1000, Ordering::SeqCst);
    assert!(look_for_lost(&mut client, &acknowledged).is_err_and(|lost| lost.contains("was told")));
    acknowledged[3].store(last, Ordering::SeqCst);
    client.execute("DELETE FROM journal WHERE client = 5 AND sequence = 7", &[]).expect("a row goes");
    assert!(look_for_lost(&mut client, &acknowledged).is_err_and(|lost| lost.contains("journal rows")));
}

/// Whether each client's journal has all that the client was told, without a gap.
fn look_for_lost(client: &mut Client, acknowledged: &[AtomicI64]) -> Result<(), String> {
    for (who, acknowledged) in (0_i32..).zip(acknowledged) {
        let sql = "SELECT count(*), coalesce(max(sequence), 0) FROM journal WHERE client = $1";
        let row = client.query_one(sql, &[&who]).expect("the journal");
        let (count, max): (i64, i64) = (row.get(0), row.get(1));
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        if max < acknowledged {
            return Err(format!("client {who} was told {acknowledged}, found {max}"));
        }
        if count != max {
            return Err(format!("client {who} has {count} journal rows up to {max}"));
        }
    }
    Ok(())
}
