//! A server that lets nobody in, and sends without end.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

use protocol::{Client, ClientError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A ParameterStatus of some thousand bytes, each under another name.
fn parameter(number: u32) -> Vec<u8> {
    let body = [format!("p{number}").as_bytes(), &[0], &[b'x'; 5000], &[0]].concat();
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&b"S"[..], &length, &body].concat()
}

#[tokio::test]
async fn a_client_that_is_not_let_in_takes_only_so_much() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        let mut sent = 0;
        for number in 0.. {
            let message = parameter(number);
            if stream.write_all(&message).await.is_err() {
                break;
            }
            sent += message.len();
        }
        sent
    });
    let refused = Client::connect_to(&format!("host=127.0.0.1 port={port} user=u dbname=d")).await;
    assert!(matches!(refused, Err(ClientError::Protocol(_))), "{refused:?}");
    // What the kernel holds for both comes on top.
    assert!(server.await.unwrap() < 64 << 20);
}
