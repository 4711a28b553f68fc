//! Prometheus text over HTTP.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, stop};
use server::StopMode;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn request(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_gives_each_metric_once_with_its_type_and_what_the_views_show() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let place = Place::new().await;
    let server = place.start(&[("plimsoll.metrics_listen", &format!("127.0.0.1:{free}"))]).await;
    place.psql("select pg_create_physical_replication_slot('kept', true)").await;
    let answer = request(free, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let mut types = BTreeMap::new();
    let mut values = BTreeMap::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let plain = name.split('{').next().unwrap();
            assert!(types.contains_key(plain), "{plain} has no type");
            assert_eq!(types[plain] == "counter", plain.ends_with("_total"), "{plain}");
            values.insert(name, value.parse::<f64>().unwrap());
        }
    }
    assert_eq!(values["plimsoll_in_recovery"], 0.0);
    assert_eq!(values["plimsoll_timeline"], 1.0);
    assert_eq!(values["plimsoll_slot_lost{slot=\"kept\"}"], 0.0);
    assert!(values["plimsoll_wal_flushed_bytes_total"] > 0.0);
    assert!(request(free, "GET /else HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
    assert!(request(free, "POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    // What is no request is cut off, maybe while it is still being sent.
    let mut stream = TcpStream::connect(("127.0.0.1", free)).await.unwrap();
    let mut answer = String::new();
    let _ = stream.write_all("x".repeat(20_000).as_bytes()).await;
    let _ = stream.read_to_string(&mut answer).await;
    assert_eq!(answer, "");
    stop(server, StopMode::Fast).await;
}
