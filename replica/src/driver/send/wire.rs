//! The connection of a stream: what is queued for it goes out in order, parts of segment files by reference.

use crate::driver::extensions::BEGINS;
use crate::driver::log::{FilePart, Outgoing, Outlet};
use bytes::{BufMut, BytesMut};
use protocol::backend;
use protocol::replication::{XLOG_DATA_HEADER_BYTES, encode_extension};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use wal::Lsn;

/// Messages that wait for the socket, from which on no more news are added to them.
const QUEUED_MAX: usize = 256;

/// The next part of a segment file and the bytes in front of it, if those are one piece or none.
fn first_file(output: &VecDeque<Outgoing>) -> Option<FilePart<'_>> {
    let (first, second) = (output.front()?, output.get(1));
    let (head, part) = match first.file() {
        Some(_) => (&[][..], first),
        None => (first.bytes(), second?),
    };
    part.file().map(|(file, offset)| FilePart { head, file, offset, len: part.len() })
}

/// The first pieces as far as they are in memory, but for the one that goes out with a part of a file.
fn first_in_memory<'a, 'b>(
    output: &'a VecDeque<Outgoing>,
    slices: &'b mut [IoSlice<'a>],
) -> &'b [IoSlice<'a>] {
    let in_memory = output.iter().take_while(|piece| piece.file().is_none()).count();
    let count = if in_memory < output.len() { in_memory.saturating_sub(1) } else { in_memory };
    let count = count.min(slices.len());
    for (slice, piece) in slices.iter_mut().zip(output) {
        *slice = IoSlice::new(piece.bytes());
    }
    slices.get(..count).unwrap_or_default()
}

/// The connection, read and written in turns by one task. Nothing is lost when a wait is dropped.
pub(super) struct Wire<'a, S> {
    pub(super) io: &'a mut S,
    pub(super) input: &'a mut BytesMut,
    pub(super) output: VecDeque<Outgoing>,
    /// Bytes of each message in `output` that are still to go out.
    messages: VecDeque<usize>,
    /// Some of the first one's have gone out.
    begun: bool,
    /// CopyDone is queued.
    copy_done: bool,
    /// Gets what is left of a message that has begun to go out, when the stream ends: whatever follows on the
    /// connection has to begin where the standby's reading is.
    rest: &'a mut BytesMut,
}

impl<S> Drop for Wire<'_, S> {
    fn drop(&mut self) {
        let mut left = self.messages.front().copied().filter(|_| self.begun).unwrap_or(0);
        for piece in &self.output {
            let bytes = piece.bytes();
            let taken = bytes.get(..left).unwrap_or(bytes);
            self.rest.extend_from_slice(taken);
            left -= taken.len();
            if left == 0 {
                break;
            }
        }
    }
}

impl<'a, S: Outlet> Wire<'a, S> {
    pub(super) fn new(io: &'a mut S, input: &'a mut BytesMut, rest: &'a mut BytesMut) -> Self {
        let (output, messages) = (VecDeque::new(), VecDeque::new());
        Self { io, input, output, messages, begun: false, copy_done: false, rest }
    }

    /// Queues a message.
    pub(super) fn put(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        let mut message = BytesMut::with_capacity(64);
        fill(&mut message);
        self.messages.push_back(message.len());
        self.output.push_back(message.freeze().into());
    }

    /// Queues a CopyData whose payload `fill` writes. After CopyDone the standby takes none: what is news by
    /// then it is told when its next stream begins.
    pub(super) fn put_data(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        if !self.copy_done {
            self.put(|out| backend::copy_data(out, fill));
        }
    }

    /// Queues a message between Plimsoll nodes.
    pub(super) fn put_extension(&mut self, kind: u8, rest: &[u8]) {
        self.put_data(|out| encode_extension(out, kind, rest));
    }

    /// Queues where what follows begins.
    pub(super) fn put_begin(&mut self, at: Lsn) {
        self.put_extension(BEGINS, &at.get().to_be_bytes());
    }

    /// Queues a CopyData of WAL, behind a header that `fill` writes; the state machine asks for none after
    /// CopyDone.
    pub(super) fn put_wal(&mut self, fill: impl FnOnce(&mut BytesMut), wal: Outgoing) {
        assert!(!self.copy_done, "WAL after CopyDone");
        self.put(|out| {
            let payload = XLOG_DATA_HEADER_BYTES + wal.len();
            backend::copy_data_header(out, u32::try_from(payload).unwrap_or(u32::MAX));
            fill(out);
        });
        if let Some(message) = self.messages.back_mut() {
            *message += wal.len();
        }
        self.output.push_back(wal);
    }

    /// Queues CopyDone.
    pub(super) fn put_copy_done(&mut self) {
        self.copy_done = true;
        self.put(backend::copy_done);
    }

    /// Whether news may be queued. To a standby that does not read they are told later, the newest alone.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < QUEUED_MAX
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Waits until something was written to the end of the queue, or read if `reads` says so; false if the
    /// peer has closed.
    pub(super) async fn progress(&mut self, reads: bool) -> io::Result<bool> {
        poll_fn(|context| {
            let wrote = self.poll_write(context)?;
            let read = if reads { self.poll_read(context)? } else { Poll::Pending };
            match read {
                Poll::Ready(open) => Poll::Ready(Ok(open)),
                Poll::Pending if wrote => Poll::Ready(Ok(true)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            self.poll_write(context)?;
            if self.output.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Writes as much as goes; true if the queue has become empty by this.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let had = !self.output.is_empty();
        while !self.output.is_empty() {
            let polled = match first_file(&self.output) {
                Some(part) => self.io.poll_send_file(context, &part),
                None => {
                    let mut slices = [IoSlice::new(&[]); 8];
                    let slices = first_in_memory(&self.output, &mut slices);
                    Pin::new(&mut *self.io).poll_write_vectored(context, slices)
                }
            };
            match polled {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(self.broken(error)),
                Poll::Ready(Ok(0)) => return Err(self.broken(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.consume(written),
            }
        }
        Ok(had)
    }

    /// The connection takes no more, or a file has no more for it: nobody sends the rest.
    fn broken(&mut self, error: io::Error) -> io::Error {
        self.begun = false;
        error
    }

    /// So many bytes of the first messages have gone out.
    fn count(&mut self, mut written: usize) {
        while let Some(left) = self.messages.front_mut() {
            if written < *left {
                *left -= written;
                self.begun |= written > 0;
                return;
            }
            written -= *left;
            self.messages.pop_front();
            self.begun = false;
        }
    }

    pub(super) fn consume(&mut self, mut written: usize) {
        self.count(written);
        while let Some(first) = self.output.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.output.pop_front();
        }
    }

    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> io::Result<Poll<bool>> {
        let mut chunk = [0; 4096];
        let mut buffer = ReadBuf::new(&mut chunk);
        let polled = Pin::new(&mut *self.io).poll_read(context, &mut buffer);
        match polled {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => {
                self.input.put_slice(buffer.filled());
                Ok(Poll::Ready(!buffer.filled().is_empty()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use host::net::{TcpListener, TcpStream};
    use host::{Disk, Mapping, OpenMode, RealDisk};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    /// Heads, parts of a file and bytes in memory in turns, and all of them as they have to arrive.
    fn pieces(mapping: &Arc<dyn Mapping>) -> (VecDeque<Outgoing>, Vec<u8>) {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut output, mut whole) = (VecDeque::new(), Vec::new());
        for number in 0..60u8 {
            for _ in 0..random.usize(0..4) {
                output.push_back(Outgoing::from(Bytes::from(vec![number; random.usize(1..2000)])));
            }
            let start = random.usize(0..mapping.len());
            let end = random.usize(start + 1..=mapping.len());
            let part = Outgoing::of_segment(mapping.clone(), start..end).unwrap();
            output.push_back(part.slice(0..part.len()));
        }
        output.iter().for_each(|piece| whole.extend_from_slice(piece.bytes()));
        (output, whole)
    }

    async fn arrives<S: Outlet>(mut io: S, mut other: S, mapping: &Arc<dyn Mapping>) {
        let (output, whole) = pieces(mapping);
        assert!(output.iter().any(|piece| piece.file().is_some()));
        let (mut input, mut rest) = (BytesMut::new(), BytesMut::new());
        let mut wire = Wire::new(&mut io, &mut input, &mut rest);
        wire.output = output;
        let mut got = vec![0; whole.len()];
        let (sent, read) = tokio::join!(wire.flush(), other.read_exact(&mut got));
        sent.unwrap();
        read.unwrap();
        assert!(got == whole);
    }

    #[tokio::test]
    async fn parts_of_files_and_bytes_in_memory_arrive_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let mut random = fastrand::Rng::with_seed(8);
        let contents: Vec<u8> = (0..1 << 20).map(|_| random.u8(..)).collect();
        RealDisk.open(&path, OpenMode::Create).unwrap().write_all_at(&contents, 0).unwrap();
        let mapping: Arc<dyn Mapping> = RealDisk.map_sealed(&path).unwrap().into();
        std::fs::remove_file(&path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, theirs) = tokio::join!(connecting, listener.accept());
        arrives(ours.unwrap(), theirs.unwrap().0, &mapping).await;
        let (ours, theirs) = UnixStream::pair().unwrap();
        arrives(ours, theirs, &mapping).await;
    }

    #[tokio::test]
    async fn a_stream_that_ends_hands_over_the_rest_of_a_message_that_has_begun() {
        // More than a socket takes by itself.
        let wal = vec![7; 4 << 20];
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut input, mut rest) = (BytesMut::new(), BytesMut::new());
        let mut wire = Wire::new(&mut ours, &mut input, &mut rest);
        wire.put_begin(Lsn::new(1));
        wire.put_wal(|out| out.put_bytes(0, XLOG_DATA_HEADER_BYTES), Bytes::from(wal.clone()).into());
        wire.put_copy_done();
        let mut got = vec![0; 1000];
        tokio::select! {
            flushed = wire.flush() => panic!("all has gone out: {flushed:?}"),
            read = theirs.read_exact(&mut got) => { read.unwrap(); }
        }
        drop(wire);
        assert!(!rest.is_empty());
        rest.extend_from_slice(b"farewell");
        let sent = async {
            ours.write_all(&rest).await.unwrap();
            drop(ours);
        };
        let (_, read) = tokio::join!(sent, theirs.read_to_end(&mut got));
        read.unwrap();
        let mut expected = BytesMut::new();
        backend::copy_data(&mut expected, |out| encode_extension(out, BEGINS, &1_u64.to_be_bytes()));
        let payload = XLOG_DATA_HEADER_BYTES + wal.len();
        backend::copy_data_header(&mut expected, u32::try_from(payload).unwrap());
        expected.put_bytes(0, XLOG_DATA_HEADER_BYTES);
        expected.extend_from_slice(&wal);
        expected.extend_from_slice(b"farewell");
        assert!(got == expected, "{} bytes, {} expected", got.len(), expected.len());
    }

    #[tokio::test]
    async fn a_stream_that_ends_between_two_messages_hands_nothing_over() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut input, mut rest) = (BytesMut::new(), BytesMut::new());
        let mut wire = Wire::new(&mut ours, &mut input, &mut rest);
        wire.put_begin(Lsn::new(1));
        wire.flush().await.unwrap();
        wire.put_copy_done();
        drop(wire);
        assert!(rest.is_empty());
        drop(ours);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.first(), Some(&b'd'));
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_ends_the_stream() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = RealDisk.open(&path, OpenMode::Create).unwrap();
        file.write_all_at(&[1; 100_000], 0).unwrap();
        let mapping: Arc<dyn Mapping> = RealDisk.map_sealed(&path).unwrap().into();
        assert!(Outgoing::of_segment(mapping.clone(), 99_999..100_001).is_none());
        file.truncate(50_000).unwrap();
        let output = VecDeque::from([Outgoing::of_segment(mapping, 40_000..60_000).unwrap()]);
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        let (mut input, mut rest) = (BytesMut::new(), BytesMut::new());
        let mut wire = Wire::new(&mut ours, &mut input, &mut rest);
        wire.output = output;
        assert_eq!(wire.flush().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
