//! The examples run, and do what they say.

#![allow(clippy::unwrap_used, dead_code)] // a test fails by panicking; each example's main is not called

#[path = "../examples/bank.rs"]
mod bank;
#[path = "../examples/key_value.rs"]
mod key_value;
#[path = "../examples/replica.rs"]
mod replica;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_value_store_keeps_what_was_put() {
    let folder = folder();
    assert_eq!(
        key_value::run(folder.path()).await.unwrap(),
        [
            "France: Some((\"Paris\", 2103000))",
            "Japan/Tokyo Iceland/Reykjavik",
            "[Int8(3), Int8(16420000)]",
            "Iceland: None",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_that_meet_are_retried_and_no_money_is_lost() {
    let folder = folder();
    let (refused, accounts) = bank::run(folder.path()).await.unwrap();
    assert!(refused < 320, "some went through");
    assert_eq!(accounts.len(), 10);
    assert!(accounts.iter().all(|(_, account)| account.balance >= 0), "{accounts:?}");
    assert_eq!(accounts.iter().map(|(_, account)| account.balance).sum::<i64>(), 10_000);
    assert!(accounts.iter().any(|(_, account)| account.balance != 1000), "{accounts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_in_the_same_process_takes_over() {
    let folder = folder();
    assert_eq!(
        replica::run(folder.path()).await.unwrap(),
        [
            "the follower reads Some(\"Beagle\")",
            "a write there: ERROR: cannot execute INSERT in a read-only transaction (SQLSTATE 25006)",
            "after the failover: [Int8(3)], follower: false",
        ]
    );
}
