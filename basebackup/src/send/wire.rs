//! Events as the messages that answer BASE_BACKUP.
//!
//! | event    | messages                                                                                    |
//! |----------|---------------------------------------------------------------------------------------------|
//! | Start    | result set (recptr text, tli int8), one row                                                 |
//! | Size     | result set (spcoid oid, spclocation text, size int8), one row with NULL, NULL, kilobytes;   |
//! |          | CopyOutResponse                                                                             |
//! | Archive  | CopyData `n`, archive name, tablespace path (empty), both zero-terminated                   |
//! | Data     | CopyData `d`, bytes                                                                         |
//! | Manifest | CopyData `m`                                                                                |
//! | Progress | CopyData `p`, bytes sent as a 64-bit number                                                 |
//! | Warning, | NoticeResponse                                                                              |
//! | Note     |                                                                                             |
//! | End      | CopyDone; result set (recptr, tli); CommandComplete `BASE_BACKUP`                           |
//!
//! ReadyForQuery is the session's.

use super::BackupEvent;
use bytes::{BufMut, BytesMut};
use protocol::backend::{
    CopyDirection, FieldDescription, Format, command_complete, copy_data, copy_done, copy_response,
    row_description, text_row,
};
use protocol::{Report, SqlState};
use wal::{Lsn, TimelineId};

const INT8: u32 = 20;
const TEXT: u32 = 25;
const OID: u32 = 26;

fn position(out: &mut BytesMut, lsn: Lsn, timeline: TimelineId) {
    row_description(
        out,
        [FieldDescription::computed("recptr", TEXT, -1), FieldDescription::computed("tli", INT8, 8)]
            .into_iter(),
    );
    text_row(out, &[Some(&lsn.to_string()), Some(&timeline.to_string())]);
    command_complete(out, "SELECT");
}

/// Appends the event's messages.
pub fn encode(event: &BackupEvent, out: &mut BytesMut) {
    match event {
        BackupEvent::Start { lsn, timeline } => position(out, *lsn, *timeline),
        BackupEvent::Size { kilobytes } => {
            let fields = [
                FieldDescription::computed("spcoid", OID, 4),
                FieldDescription::computed("spclocation", TEXT, -1),
                FieldDescription::computed("size", INT8, 8),
            ];
            row_description(out, fields.into_iter());
            let size = kilobytes.map(|kilobytes| kilobytes.to_string());
            text_row(out, &[None, None, size.as_deref()]);
            command_complete(out, "SELECT");
            copy_response(out, CopyDirection::Out, Format::Text, 0);
        }
        BackupEvent::Archive { name } => copy_data(out, |out| {
            out.put_u8(b'n');
            out.put_slice(name.as_bytes());
            out.put_slice(&[0, 0]);
        }),
        BackupEvent::Data(bytes) => copy_data(out, |out| {
            out.put_u8(b'd');
            out.put_slice(bytes);
        }),
        BackupEvent::Manifest => copy_data(out, |out| out.put_u8(b'm')),
        BackupEvent::Progress { sent_bytes } => copy_data(out, |out| {
            out.put_u8(b'p');
            out.put_u64(*sent_bytes);
        }),
        BackupEvent::End { lsn, timeline } => {
            copy_done(out);
            position(out, *lsn, *timeline);
        }
        BackupEvent::Sound => command_complete(out, "BASE_BACKUP"),
        BackupEvent::Warning(message) => Report::warning(SqlState::WARNING, message).encode(out),
        BackupEvent::Note(report) => report.encode(out),
    }
}
