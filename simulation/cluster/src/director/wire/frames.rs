//! A connection's messages, as far as they tell of streams of log.

use crate::history::reports::Progress;
use bytes::{Buf, Bytes, BytesMut};
use protocol::frame::{Frame, FrameLimits};
use protocol::replication::{FromPrimary, FromStandby, ReplicationCommand, StartReplication, parse_command};
use protocol::startup::{self, ReplicationMode, Startup};
use wal::Lsn;

/// The extension message about handovers, and the word of a standby that takes the role.
const HANDOVER: u8 = b'H';
const PROMOTES: u8 = 1;

/// What a message says.
#[derive(Debug)]
pub(super) enum Heard {
    /// The upstream begins the stream that was asked for.
    Begins(Box<StartReplication>),
    /// One side ends the stream.
    Ended,
    /// Log is sent.
    Data {
        start: Lsn,
        len: u64,
        /// The end of the upstream's log.
        end: Lsn,
    },
    /// A primary offers its role, with the end of its log.
    Offers(Lsn),
    /// A standby takes it.
    Takes,
    /// A standby says how far it is.
    Status(Progress),
    /// A standby says what its snapshots need, or, if not so, that nothing need heed them.
    Feedback(bool),
}

/// What was written to a connection and not understood yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// By the side that wrote it: 0 has opened the connection.
    written: [BytesMut; 2],
    /// The session began.
    begun: bool,
    /// It is no session of replication, or nothing that can be read.
    ignored: bool,
    /// Answers of one byte that come before the session.
    single: usize,
    asked: Option<Box<StartReplication>>,
    streams: bool,
}

impl Frames {
    pub(super) fn add(&mut self, side: usize, bytes: &[u8]) {
        if !self.ignored
            && let Some(written) = self.written.get_mut(side)
        {
            written.extend_from_slice(bytes);
        }
    }

    /// The next message of a side that says something.
    pub(super) fn next(&mut self, side: usize) -> Option<Heard> {
        if side == 0 && !self.begun {
            self.begin();
        }
        if side == 1 && self.single > 0 {
            let answers = self.single.min(self.written[1].len());
            self.written[1].advance(answers);
            self.single -= answers;
        }
        while !self.ignored && (side == 1 || self.begun) {
            let written = self.written.get_mut(side)?;
            let Ok(frame) = Frame::peek(written, FrameLimits::CLIENT) else {
                self.ignored = true;
                break;
            };
            let frame = frame?;
            let mut message = written.split_to(frame.len).freeze();
            message.advance(Frame::HEADER.min(message.len()));
            let heard = match side {
                0 => self.of_standby(frame.kind, &message),
                _ => self.of_upstream(frame.kind, &message),
            };
            if heard.is_some() {
                return heard;
            }
        }
        None
    }

    /// Reads what comes before the first message.
    fn begin(&mut self) {
        while let Ok(Some(len)) = startup::peek(&self.written[0]) {
            let packet = self.written[0].split_to(len);
            match startup::decode(&packet) {
                Ok(Startup::Ssl | Startup::GssEncryption) => self.single += 1,
                Ok(Startup::Session(parameters)) => {
                    self.begun = true;
                    self.ignored = !matches!(
                        parameters.replication(),
                        Ok(ReplicationMode::Physical | ReplicationMode::Database)
                    );
                    return;
                }
                Ok(Startup::Cancel(_)) | Err(_) => {
                    self.ignored = true;
                    return;
                }
            }
        }
    }

    fn of_standby(&mut self, kind: u8, body: &[u8]) -> Option<Heard> {
        match kind {
            b'Q' => {
                let text = body.strip_suffix(b"\0").and_then(|text| std::str::from_utf8(text).ok())?;
                if let Ok(Some(ReplicationCommand::StartReplication(start))) = parse_command(text) {
                    self.asked = Some(Box::new(start));
                }
                None
            }
            b'd' if self.streams => match FromStandby::decode(body) {
                Ok(FromStandby::Status(status)) => Some(Heard::Status(Progress {
                    written: status.written.get(),
                    flushed: status.flushed.get(),
                    replayed: status.applied.get(),
                })),
                Ok(FromStandby::Feedback(feedback)) => Some(Heard::Feedback(feedback.xmin != 0)),
                Ok(FromStandby::Extension(HANDOVER, said)) if said.first() == Some(&PROMOTES) => {
                    Some(Heard::Takes)
                }
                _ => None,
            },
            b'c' => self.ends(),
            _ => None,
        }
    }

    fn of_upstream(&mut self, kind: u8, body: &Bytes) -> Option<Heard> {
        match kind {
            b'W' => {
                self.streams = true;
                self.asked.take().map(Heard::Begins)
            }
            b'd' if self.streams => match FromPrimary::decode(body) {
                Ok(FromPrimary::Data { start, end, wal, .. }) => Some(Heard::Data {
                    start: Lsn::new(start.get()),
                    len: wal.len() as u64,
                    end: Lsn::new(end.get()),
                }),
                Ok(FromPrimary::Extension(HANDOVER, mut said)) => {
                    said.try_get_u64().ok().map(|end| Heard::Offers(Lsn::new(end)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn ends(&mut self) -> Option<Heard> {
        std::mem::take(&mut self.streams).then_some(Heard::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::replication::{StatusUpdate, WireLsn, encode_status_update, encode_xlog_data_header};
    use protocol::{backend, frontend};

    /// A standby's words and its upstream's, on a connection of replication if `replicates`.
    fn words(replicates: bool) -> [BytesMut; 2] {
        let clock = host::Timestamp::from_micros(5);
        let lsn = WireLsn::new;
        let (mut ours, mut theirs, mut payload) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        let mode = if replicates { "true" } else { "false" };
        startup::encode_session(&mut ours, [("user", "u"), ("replication", mode)]);
        frontend::query(&mut ours, "START_REPLICATION PHYSICAL 0/100 TIMELINE 2");
        backend::copy_response(&mut theirs, backend::CopyDirection::Both, backend::Format::Text, 0);
        encode_xlog_data_header(&mut payload, lsn(0x100), lsn(0x200), clock);
        payload.extend_from_slice(b"the log");
        frontend::copy_data(&mut theirs, &payload);
        payload.clear();
        let (written, flushed, applied) = (lsn(0x107), lsn(0x105), lsn(0x103));
        encode_status_update(
            &mut payload,
            &StatusUpdate { written, flushed, applied, clock, reply_requested: false },
        );
        frontend::copy_data(&mut ours, &payload);
        frontend::copy_done(&mut ours);
        [ours, theirs]
    }

    /// All that is heard, of words that come in pieces of some size; the standby's command comes first, then
    /// all of the upstream's, then the rest.
    fn heard([ours, theirs]: &[BytesMut; 2], piece: usize) -> Vec<String> {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        let command = ours.len() - (5 + 34) - 5;
        for (side, bytes) in [(0, &ours[..command]), (1, &theirs[..]), (0, &ours[command..])] {
            for bytes in bytes.chunks(piece) {
                frames.add(side, bytes);
                while let Some(heard) = frames.next(side) {
                    all.push(format!("{heard:?}"));
                }
            }
        }
        all
    }

    #[test]
    fn a_stream_is_understood_however_its_bytes_are_cut() {
        let words = words(true);
        let whole = heard(&words, usize::MAX);
        assert_eq!(whole.len(), 4, "{whole:?}");
        assert!(whole[0].starts_with("Begins") && whole[0].contains("Some(2)"), "{whole:?}");
        assert!(whole[1].starts_with("Data") && whole[1].contains("len: 7"), "{whole:?}");
        assert!(whole[2].contains("written: 263, flushed: 261, replayed: 259"), "{whole:?}");
        assert_eq!(whole[3], "Ended");
        for piece in 1..40 {
            assert_eq!(heard(&words, piece), whole, "{piece}");
        }
    }

    #[test]
    fn other_sessions_say_nothing_of_log() {
        assert!(heard(&words(false), usize::MAX).is_empty());
    }
}
