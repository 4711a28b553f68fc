//! An embedded key-value store that is also a SQL database: `cargo run -p plimsoll --example key_value`.

use plimsoll::{Database, Direction, Result};
use std::path::Path;

/// Puts, gets, scans and deletes in a new directory; the lines that it would print.
pub async fn run(dir: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let db = Database::create(dir.join("data")).await?;
    let capitals = &db.table::<String, (String, i64)>("capitals").await?;

    for (country, city, people) in
        [("France", "Paris", 2_103_000), ("Iceland", "Reykjavik", 139_000), ("Japan", "Tokyo", 14_178_000)]
    {
        db.put(capitals, &country.to_owned(), &(city.to_owned(), people)).await?;
    }
    let france = db.get(capitals, &"France".to_owned()).await?;
    lines.push(format!("France: {france:?}"));

    // A range, in order, backwards, inside of one snapshot.
    let names = db
        .transaction(|mut tx| async move {
            let mut scan = tx.scan(capitals, "G".to_owned().., Direction::Descending).await?;
            let mut names = Vec::new();
            while let Some((country, (city, _))) = scan.next().await? {
                names.push(format!("{country}/{city}"));
            }
            Ok(names)
        })
        .await?;
    lines.push(names.join(" "));

    // The same table in SQL: the key's column is `key`, the value's are `value1` and `value2`.
    let rows = db.sql("SELECT count(*), sum(value2)::bigint FROM capitals", &[]).await?;
    lines.push(format!("{:?}", rows[0]));

    db.delete(capitals, &"Iceland".to_owned()).await?;
    db.close().await?;

    let again = Database::open(dir.join("data")).await?;
    let capitals = again.table::<String, (String, i64)>("capitals").await?;
    lines.push(format!("Iceland: {:?}", again.get(&capitals, &"Iceland".to_owned()).await?));
    again.close().await?;
    Ok(lines)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(plimsoll::Error::abort)?;
    for line in run(folder.path()).await? {
        println!("{line}");
    }
    Ok(())
}
