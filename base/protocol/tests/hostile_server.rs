//! Servers that send without end, or what nobody asked for; and one that is only late.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

use protocol::client::CopyStart;
use protocol::{Client, ClientError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// AuthenticationOk and ReadyForQuery.
const LETS_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, &body].concat()
}

/// A ParameterStatus of some thousand bytes, each under another name.
fn parameter(number: u32) -> Vec<u8> {
    message(b'S', &[format!("p{number}").as_bytes(), &[0], &[b'x'; 5000], &[0]])
}

fn large_parameter(_number: u32) -> Vec<u8> {
    message(b'S', &[b"p\0", &[b'x'; 30_000], &[0]])
}

fn notice(_number: u32) -> Vec<u8> {
    message(b'N', &[b"SNOTICE\0M", &[b'x'; 5000], &[0, 0]])
}

fn data(_number: u32) -> Vec<u8> {
    message(b'd', &[&[b'x'; 5000]])
}

/// A server that greets whoever comes, and sends as long as it can. Gives its connection string, and how much
/// that was.
async fn server(greeting: &'static [u8], says: fn(u32) -> Vec<u8>) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sending = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        let mut sent = 0;
        if stream.write_all(greeting).await.is_err() {
            return sent;
        }
        for number in 0.. {
            let message = says(number);
            if stream.write_all(&message).await.is_err() {
                break;
            }
            sent += message.len();
        }
        sent
    });
    (format!("host=127.0.0.1 port={port} user=u dbname=d sslmode=disable"), sending)
}

#[tokio::test]
async fn a_client_that_is_not_let_in_takes_only_so_much() {
    let (conninfo, sending) = server(&[], parameter).await;
    let refused = Client::connect_to(&conninfo).await;
    assert!(matches!(refused, Err(ClientError::Protocol(_))), "{refused:?}");
    // What the kernel holds for both comes on top.
    assert!(sending.await.unwrap() < 64 << 20);
}

#[tokio::test]
async fn who_is_refused_asks_no_other_server_but_for_one_that_starts() {
    for (code, leads_on) in [("28P01", false), ("28000", false), ("53300", false), ("57P03", true)] {
        let [first, second] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let [one, other] = [&first, &second].map(|listener| listener.local_addr().unwrap().port());
        let refusing = tokio::spawn(async move {
            let (mut stream, _) = first.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            let refusal = message(b'E', &[b"SFATAL\0C", code.as_bytes(), b"\0Mno\0\0"]);
            stream.write_all(&refusal).await.unwrap();
            // Until the client has read it and goes.
            while stream.read_u8().await.is_ok() {}
        });
        let asked = tokio::spawn(async move { drop(second.accept().await.unwrap()) });
        let conninfo = format!("host=127.0.0.1,127.0.0.1 port={one},{other} user=u dbname=d sslmode=disable");
        let refused = Client::connect_to(&conninfo).await;
        refusing.await.unwrap();
        if leads_on {
            asked.await.unwrap();
        } else {
            assert!(matches!(&refused, Err(ClientError::Server(report)) if report.code.to_string() == code));
            assert!(!asked.is_finished(), "{code}: the other one was asked");
            asked.abort();
        }
    }
}

/// What ends a command, and says that the next one may come.
fn ends(_number: u32) -> Vec<u8> {
    [message(b'C', &[b"COPY 0\0"]), message(b'Z', &[b"I"])].concat()
}

/// As PostgreSQL's walsender does that was asked for one just before it ended the stream.
#[tokio::test]
async fn a_keepalive_behind_a_stream_s_end_is_borne() {
    // After the login CopyBothResponse, CopyDone and CopyData.
    let greeting = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IW\0\0\0\x07\0\0\0c\0\0\0\x04d\0\0\0\x05k";
    let (conninfo, sending) = server(greeting, ends).await;
    let mut client = Client::connect_to(&conninfo).await.unwrap();
    let CopyStart::Streaming(mut stream) = client.copy_both("START_REPLICATION 0/1").await.unwrap() else {
        panic!("no stream")
    };
    assert_eq!(stream.next().await.unwrap(), None);
    assert_eq!(stream.finish().await.unwrap().len(), 1);
    drop(client);
    sending.await.unwrap();
}

/// What a server sends, by how often it was asked.
type Sends = fn(u32) -> Vec<u8>;

#[tokio::test]
async fn a_client_that_is_let_in_leaves_a_server_that_sends_no_answers() {
    let servers: [(Sends, &str); 4] = [
        (parameter, "more parameters than"),
        (large_parameter, "invalid message length"),
        (notice, "more notices and parameters without an answer than"),
        (data, "no COPY is under way"),
    ];
    for (says, why) in servers {
        let (conninfo, sending) = server(LETS_IN, says).await;
        let mut client = Client::connect_to(&conninfo).await.unwrap();
        let refused = client.query("SELECT 1").await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        drop(client);
        assert!(sending.await.unwrap() < 64 << 20, "{why}");
    }
}
