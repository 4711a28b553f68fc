//! Messages of the wire protocol, in both directions.

use crate::Target;
use bytes::{Bytes, BytesMut};
use protocol::backend::{self, BackendMessage};
use protocol::frame::{Frame, FrameLimits};
use protocol::frontend::{self, FrontendMessage, StatementOrPortal};
use protocol::replication::{FromPrimary, FromStandby, ReplicationCommand, parse_command};
use protocol::startup::{self, Startup};

/// What a client sends: the startup packet, then messages.
pub const FROM_CLIENT: Target = Target {
    name: "decoder",
    inputs: || {
        let mut start = BytesMut::new();
        startup::encode_session(
            &mut start,
            [("user", "postgres"), ("database", "d"), ("replication", "true")],
        );
        let mut cancel = BytesMut::new();
        startup::encode_cancel(&mut cancel, startup::CancelKey { pid: 7, secret: -1 });
        let mut all = start.clone();
        frontend::query(&mut all, "select 1");
        frontend::parse(&mut all, "s", "select $1", &[23, 0]);
        frontend::describe(&mut all, StatementOrPortal::Statement("s"));
        frontend::execute(&mut all, "", 10);
        frontend::close(&mut all, StatementOrPortal::Portal("p"));
        frontend::flush(&mut all);
        frontend::sync(&mut all);
        frontend::copy_data(&mut all, b"1\t2\n");
        frontend::copy_fail(&mut all, "no");
        frontend::copy_done(&mut all);
        frontend::sasl_initial(&mut all, "SCRAM-SHA-256", b"n,,n=,r=x");
        frontend::terminate(&mut all);
        let bind =
            b"B\0\0\0\x22p\0s\0\0\x02\0\x01\0\0\0\x02\0\0\0\x01\x31\xFF\xFF\xFF\xFF\0\x01\0\x01".to_vec();
        vec![start.to_vec(), cancel.to_vec(), all.to_vec(), [start.to_vec(), bind].concat()]
    },
    words: &["SCRAM-SHA-256-PLUS", "n,,n=,r=x", "_pq_.x", "user", "select 1"],
    memory_bytes: 64 << 10,
    memory_factor: 64,
    open: || Box::new(from_client),
};

fn from_client(input: &[u8]) {
    let mut rest = input;
    if let Ok(Some(len)) = startup::peek(rest) {
        let (packet, more) = rest.split_at(len);
        rest = more;
        if let Ok(Startup::Session(asked)) = startup::decode(packet) {
            let _ = asked.replication();
            assert!(asked.extensions().count() <= asked.parameters.len());
            if asked.version == 3 << 16 {
                let mut again = BytesMut::new();
                startup::encode_session(
                    &mut again,
                    asked.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())),
                );
                assert_eq!(
                    startup::decode(&again).ok(),
                    Some(Startup::Session(asked)),
                    "a startup packet changes"
                );
            }
        }
    }
    while let Ok(Some(frame)) = Frame::peek(rest, FrameLimits::SERVER) {
        let body = frame.body(rest);
        if let Ok(message) = FrontendMessage::decode(frame.kind, body) {
            again(&message);
        }
        if frame.kind == b'p' {
            let _ = frontend::decode_sasl_initial(body);
        }
        rest = &rest[frame.len..];
    }
}

/// Encodes what was decoded, and decodes that.
fn again(message: &FrontendMessage<'_>) {
    let mut out = BytesMut::new();
    match *message {
        FrontendMessage::Query(sql) => {
            frontend::query(&mut out, sql);
            if let Ok(Some(ReplicationCommand::Show(name))) = parse_command(sql) {
                assert!(name.len() <= sql.len());
            }
        }
        FrontendMessage::Parse(parse) => {
            frontend::parse(&mut out, parse.name, parse.sql, &parse.types().collect::<Vec<_>>());
        }
        FrontendMessage::Bind(bind) => {
            assert_eq!(bind.parameters().count(), bind.parameter_count());
            let _ = (bind.parameter_formats.of(0), bind.result_formats.of(usize::from(u16::MAX)));
            return;
        }
        FrontendMessage::Describe(what) => frontend::describe(&mut out, what),
        FrontendMessage::Close(what) => frontend::close(&mut out, what),
        FrontendMessage::Execute { portal, rows_max } => frontend::execute(&mut out, portal, rows_max),
        FrontendMessage::CopyData(data) => frontend::copy_data(&mut out, data),
        FrontendMessage::CopyFail(why) => frontend::copy_fail(&mut out, why),
        _ => return,
    }
    let frame = Frame::peek(&out, FrameLimits::CLIENT).ok().flatten().expect("what is encoded is a message");
    assert_eq!(
        FrontendMessage::decode(frame.kind, frame.body(&out)).as_ref(),
        Ok(message),
        "a message changes"
    );
}

/// What a server sends, as our clients and standbys read it.
pub const FROM_SERVER: Target = Target {
    name: "client",
    inputs: || {
        let mut out = BytesMut::new();
        backend::authentication_sasl(&mut out, &["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]);
        backend::authentication_ok(&mut out);
        backend::parameter_status(&mut out, "server_version", "15.0");
        backend::ready_for_query(&mut out, backend::TransactionStatus::Idle);
        backend::parameter_description(&mut out, [23, 25].into_iter());
        backend::text_row(&mut out, &[Some("1"), None, Some("text")]);
        backend::command_complete(&mut out, "SELECT 1");
        backend::copy_data(&mut out, |data| {
            data.extend_from_slice(b"w\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03log")
        });
        let error = b"E\0\0\0\x26SERROR\0VERROR\0C42P01\0Mno table\0P15\0\0".to_vec();
        let columns = b"T\0\0\0\x1c\0\x01id\0\0\0\0\x07\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0".to_vec();
        vec![out.to_vec(), [error, columns].concat()]
    },
    words: &["SCRAM-SHA-256", "ERROR", "C42P01", "SELECT 1"],
    memory_bytes: 64 << 10,
    memory_factor: 256,
    open: || Box::new(from_server),
};

fn from_server(input: &[u8]) {
    let mut rest = Bytes::copy_from_slice(input);
    while let Ok(Some(frame)) = Frame::peek(&rest, FrameLimits::CLIENT) {
        let mut whole = rest.split_to(frame.len);
        let body = whole.split_off(Frame::HEADER);
        let Ok(message) = BackendMessage::decode(frame.kind, body) else { continue };
        match message {
            BackendMessage::CopyData(data) => {
                let _ = FromPrimary::decode(&data);
            }
            BackendMessage::DataRow(row) => {
                let texts = (0..row.len()).filter(|at| row.text(*at).is_some()).count();
                assert!(texts <= row.values().len());
            }
            BackendMessage::Error(report) | BackendMessage::Notice(report) => {
                let mut out = BytesMut::new();
                report.encode(&mut out);
                let frame =
                    Frame::peek(&out, FrameLimits::CLIENT).ok().flatten().expect("a report is a message");
                BackendMessage::decode(frame.kind, out.freeze().slice(Frame::HEADER..))
                    .expect("a report is read again");
            }
            _ => {}
        }
    }
}

/// Commands and messages of replication, as a primary reads them.
pub const REPLICATION: Target = Target {
    name: "replication",
    inputs: || {
        [
            "IDENTIFY_SYSTEM",
            "SHOW data_directory_mode",
            "CREATE_REPLICATION_SLOT \"s\" TEMPORARY PHYSICAL RESERVE_WAL",
            "CREATE_REPLICATION_SLOT s LOGICAL p (SNAPSHOT 'nothing', TWO_PHASE)",
            "DROP_REPLICATION_SLOT s WAIT",
            "READ_REPLICATION_SLOT s",
            "START_REPLICATION SLOT \"s\" PHYSICAL 0/3000000 TIMELINE 1",
            "TIMELINE_HISTORY 2",
            "BASE_BACKUP (LABEL 'x', PROGRESS, CHECKPOINT 'fast', WAL, WAIT 0, MAX_RATE 1024, TABLESPACE_MAP, \
             VERIFY_CHECKSUMS 0, MANIFEST 'force-encode', MANIFEST_CHECKSUMS 'SHA256', TARGET 'server', TARGET_DETAIL '/x', \
             COMPRESSION 'zstd', COMPRESSION_DETAIL 'level=3')",
            "PLIMSOLL READ_FILE (PATH 'x', OFFSET 1, LENGTH 2)",
            "r\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x01",
            "h\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    },
    words: &[
        "SLOT",
        "PHYSICAL",
        "LOGICAL",
        "TIMELINE",
        "0/0",
        "FFFFFFFF/FFFFFFFF",
        "(",
        ")",
        ",",
        "'",
        "\"",
        ";",
        "--",
        "/*",
    ],
    memory_bytes: 64 << 10,
    memory_factor: 256,
    open: || {
        Box::new(|input| {
            let _ = FromStandby::decode(input);
            if let Ok(text) = std::str::from_utf8(input) {
                let _ = parse_command(text);
            }
        })
    },
};
