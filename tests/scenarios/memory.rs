//! The data may exceed memory; memory may not exceed its setting.

use postgres::{Client, NoTls};
use scenarios::Node;
use std::io::Write as _;

const SHARED_BUFFERS: u64 = 32 << 20;
const ROWS: i32 = 160_000;

#[test]
fn a_table_of_four_times_shared_buffers_fits_in_bounded_memory() {
    let node = Node::builder().setting("shared_buffers", "32MB").setting("max_wal_size", "256MB").start();
    node.sql("CREATE TABLE big (id int PRIMARY KEY, hits int NOT NULL, filler text NOT NULL)");
    let clients = 8;
    let filler = "plimsoll".repeat(100);
    let loaded = std::sync::Barrier::new(clients as usize);
    std::thread::scope(|scope| {
        for part in 0..clients {
            let (node, filler, loaded) = (&node, &filler, &loaded);
            scope.spawn(move || {
                let mut client = Client::connect(&node.conninfo(), NoTls).expect("connects");
                let ids: Vec<i32> = (0..ROWS).filter(|id| id % clients == part).collect();
                for chunk in ids.chunks(2000) {
                    let mut copy = client.copy_in("COPY big FROM STDIN").expect("COPY begins");
                    for id in chunk {
                        writeln!(copy, "{id}\t0\t{filler}").expect("COPY takes a row");
                    }
                    copy.finish().expect("COPY ends");
                }
                loaded.wait();
                let mut rng = fastrand::Rng::with_seed(u64::from(part.unsigned_abs()));
                for _ in 0..1500 {
                    let id = rng.i32(0..ROWS);
                    client
                        .execute("UPDATE big SET hits = hits + 1 WHERE id = $1", &[&id])
                        .expect("an update");
                    let id = rng.i32(0..ROWS);
                    let row =
                        client.query_one("SELECT filler FROM big WHERE id = $1", &[&id]).expect("a row");
                    assert_eq!(row.get::<_, &str>(0), filler);
                }
            });
        }
    });
    let peak = node.rss_anon_bytes();
    let file = node.data().join("base");
    let stored: u64 = walk(&file);
    assert!(stored > 4 * SHARED_BUFFERS, "the data has only {stored} bytes");
    assert!(peak < SHARED_BUFFERS + (150 << 20), "RssAnon is {} MB", peak >> 20);
    assert_eq!(
        node.sql("SELECT count(*), sum(hits), min(length(filler)) FROM big"),
        format!("{ROWS}|12000|800")
    );
}

fn walk(folder: &std::path::Path) -> u64 {
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() { walk(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
