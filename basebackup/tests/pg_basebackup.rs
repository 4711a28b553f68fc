//! PostgreSQL 15's own pg_basebackup takes a backup from a server that is nothing but this crate and the
//! protocol's messages.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use basebackup::send::{BackupEngine, BackupEvent, BackupSink, BackupSource, Notes, send_backup, wire};
use bytes::{Buf, BytesMut};
use host::{Host, Timestamp};
use protocol::backend::{self, FieldDescription, Format, TransactionStatus};
use protocol::frame::{Frame, FrameLimits};
use protocol::frontend::FrontendMessage;
use protocol::replication::{ReplicationCommand, parse_command};
use protocol::startup;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use storage::{BackupEnd, BackupStart};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wal::{Lsn, SegmentSize, TimelineId};

struct Books;

impl BackupEngine for Books {
    async fn start(&self, label: &str, _: Duration) -> Result<BackupStart, storage::Error> {
        Ok(BackupStart {
            start: Lsn::new(0x100_0028),
            checkpoint: Lsn::new(0x100_0060),
            timeline: TimelineId::FIRST,
            label_file: format!("LABEL: {label}\n"),
            started: Timestamp::default(),
            label: label.to_owned(),
            on_standby: false,
        })
    }
    async fn stop(&self, _: BackupStart, _: &Notes) -> Result<BackupEnd, storage::Error> {
        Ok(BackupEnd { stop: Lsn::new(0x100_0100), timeline: TimelineId::FIRST, history_file: None })
    }
    fn abort(&self, _: BackupStart) {}
}

struct Wire(TcpStream);

impl BackupSink for Wire {
    type Error = io::Error;
    async fn send(&mut self, event: BackupEvent) -> io::Result<()> {
        let mut out = BytesMut::new();
        wire::encode(&event, &mut out);
        self.0.write_all(&out).await
    }
    async fn gone(&mut self) -> io::Error {
        std::future::pending().await
    }
}

fn answer(out: &mut BytesMut, columns: &[(&str, Option<&str>)]) {
    let fields = columns.iter().map(|(name, _)| FieldDescription {
        name,
        table: 0,
        column: 0,
        data_type: 25,
        type_len: -1,
        type_modifier: -1,
        format: Format::Text,
    });
    backend::row_description(out, fields);
    let values: Vec<Option<&str>> = columns.iter().map(|(_, value)| *value).collect();
    backend::text_row(out, &values);
    backend::command_complete(out, "SELECT 1");
}

/// Serves one connection until the client says goodbye.
async fn serve(mut stream: TcpStream, source: BackupSource) -> io::Result<()> {
    let mut input = BytesMut::new();
    let mut out = BytesMut::new();
    loop {
        while startup::peek(&input).unwrap().is_none() {
            stream.read_buf(&mut input).await?;
        }
        let len = startup::peek(&input).unwrap().unwrap();
        let packet = input.split_to(len);
        match startup::decode(&packet).unwrap() {
            startup::Startup::Session(_) => break,
            _ => stream.write_all(b"N").await?,
        }
    }
    backend::authentication_ok(&mut out);
    for (name, value) in
        [("server_version", "15.0"), ("integer_datetimes", "on"), ("client_encoding", "UTF8")]
    {
        backend::parameter_status(&mut out, name, value);
    }
    let mut sink = Wire(stream);
    loop {
        backend::ready_for_query(&mut out, TransactionStatus::Idle);
        sink.0.write_all_buf(&mut out).await?;
        let frame = loop {
            if let Some(frame) = Frame::peek(&input, FrameLimits::CLIENT).unwrap() {
                break frame;
            }
            if sink.0.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        let mut message = input.split_to(frame.len);
        message.advance(Frame::HEADER);
        let FrontendMessage::Query(sql) = FrontendMessage::decode(frame.kind, &message).unwrap() else {
            return Ok(());
        };
        match parse_command(sql).unwrap().unwrap() {
            ReplicationCommand::Show(name) if name == "wal_segment_size" => {
                answer(&mut out, &[(&name, Some("1MB"))])
            }
            ReplicationCommand::Show(name) => answer(&mut out, &[(&name, Some("0700"))]),
            ReplicationCommand::IdentifySystem => answer(
                &mut out,
                &[
                    ("systemid", Some("42")),
                    ("timeline", Some("1")),
                    ("xlogpos", Some("0/1000100")),
                    ("dbname", None),
                ],
            ),
            ReplicationCommand::BaseBackup(options) => {
                send_backup(&source, &options, &Books, &mut sink).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

fn put(directory: &Path, path: &str, contents: &[u8]) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
}

async fn tool(name: &str, arguments: &[&str]) -> String {
    let output = tokio::process::Command::new(format!("/usr/lib/postgresql/15/bin/{name}"))
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .await
        .unwrap_or_else(|error| panic!("PostgreSQL 15 must be installed ({name}): {error}"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {text}");
    text
}

#[tokio::test]
async fn plain_and_tar_backups_come_through_pg_basebackup_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (path, contents) in [
        ("PG_VERSION", &b"15\n"[..]),
        ("postgresql.conf", b""),
        ("postgresql.auto.conf", b""),
        ("global/pg_control", &[3; 8192]),
        ("base/5/16384", &[0; 5 << 20]),
        ("pg_wal/archive_status/x", b""),
    ] {
        put(&data, path, contents);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let source = BackupSource::new(Host::real(), &data, SegmentSize::new(1 << 20).unwrap(), true);
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, source.clone()));
        }
    });
    let connection = ["-h", "127.0.0.1", "-p", &port, "-U", "u", "-c", "fast", "-X", "none", "-P"];
    let target = |name: &str| folder.path().join(name).display().to_string();

    let plain = target("plain");
    let more = ["-D", &plain, "-R", "--manifest-checksums=SHA256"];
    tool("pg_basebackup", &[&connection[..], &more].concat()).await;
    tool("pg_verifybackup", &["-n", &plain]).await;
    assert!(folder.path().join("plain/standby.signal").exists());
    assert_eq!(std::fs::read(folder.path().join("plain/base/5/16384")).unwrap(), vec![0; 5 << 20]);

    // Slower when asked: 5 MiB at 4 MB/s.
    let tarred = target("tarred");
    let began = Instant::now();
    let more = ["-D", &tarred, "-F", "t", "--max-rate=4096"];
    tool("pg_basebackup", &[&connection[..], &more].concat()).await;
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    let archive = std::fs::read(folder.path().join("tarred/base.tar")).unwrap();
    tar::Archive::new(&archive[..]).unpack(folder.path().join("unpacked")).unwrap();
    std::fs::copy(
        folder.path().join("tarred/backup_manifest"),
        folder.path().join("unpacked/backup_manifest"),
    )
    .unwrap();
    tool("pg_verifybackup", &["-n", &target("unpacked")]).await;
    server.abort();
}
