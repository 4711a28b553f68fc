//! A session's connection: bounded buffers, whole messages in, replies out with one write each.

use super::registry::SessionHandle;
use super::socket::Socket;
use bytes::{Buf, BytesMut};
use protocol::frame::{Frame, FrameLimits};
use protocol::tls::TlsError;
use protocol::tls::server::ServerTls;
use protocol::{Report, SqlState};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWrite};

/// Output over which a producer of rows has to let it be sent.
pub(crate) const OUTPUT_BYTES: usize = 64 << 10;
/// Room that a read asks for.
const INPUT_BYTES: usize = 16 << 10;
/// The same before the first packet is there.
const EARLY_INPUT_BYTES: usize = 512;
/// The body of a message up to this size is copied out of the input: a share of the input costs more, since
/// the shares are counted.
const COPIED_BYTES: usize = 512;
/// Buffers that grew over this are given back when they are empty.
const KEEP_BYTES: usize = 256 << 10;

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The client has left, or its connection broke.
    Gone,
    /// The session was told to end: the client is told so.
    Terminated,
    /// The session cannot go on: the client is told why.
    Fatal(Box<Report>),
}

impl From<io::Error> for Exit {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<protocol::ProtocolError> for Exit {
    fn from(error: protocol::ProtocolError) -> Self {
        Self::Fatal(Box::new(Report::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string())))
    }
}

/// A connection with its buffers.
pub(crate) struct Wire {
    socket: Socket,
    pub(crate) input: BytesMut,
    pub(crate) out: BytesMut,
    /// Where the next short message's body goes.
    spare: BytesMut,
    /// Ends waits for the client; there once the session is known to others.
    pub(crate) handle: Option<Arc<SessionHandle>>,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, input: BytesMut::new(), out: BytesMut::new(), spare: BytesMut::new(), handle: None }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Tells the client to begin with TLS, and shakes hands. A connection that fails here cannot be spoken
    /// on.
    pub(crate) async fn encrypt(&mut self, tls: &ServerTls) -> Result<(), TlsError> {
        let socket = std::mem::replace(&mut self.socket, Socket::Closed);
        self.socket = socket.encrypt(tls).await?;
        Ok(())
    }

    /// Sends what is in `out`. Waits as long as the client does not read, unless the session has to end.
    pub(crate) async fn flush(&mut self) -> Result<(), Exit> {
        if self.out.is_empty() && !self.socket.holds_back() {
            return Ok(());
        }
        let (socket, out, handle) = (&mut self.socket, &self.out, self.handle.as_ref());
        let mut done = 0;
        let sent = poll_fn(|cx| {
            while let Some(rest) = out.get(done..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut *socket).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Poll::Ready(Err(Exit::Gone)),
                    Poll::Ready(Ok(sent)) => done += sent,
                    Poll::Pending if handle.is_some_and(|handle| handle.poll_terminated(cx)) => {
                        return Poll::Ready(Err(Exit::Terminated));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => Poll::Ready(Err(Exit::Gone)),
                Poll::Pending if handle.is_some_and(|handle| handle.poll_terminated(cx)) => {
                    Poll::Ready(Err(Exit::Terminated))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        if let Err(exit) = sent {
            // What comes after this must begin where the client's reading is.
            self.out.advance(done);
            return Err(exit);
        }
        if self.out.capacity() > KEEP_BYTES {
            self.out = BytesMut::with_capacity(INPUT_BYTES);
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// Sends what is in `out` if it is much: who appends without end calls this again and again, and waits
    /// for the client here.
    #[inline]
    pub(crate) async fn make_room(&mut self) -> Result<(), Exit> {
        if self.out.len() < OUTPUT_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Sends `out` as far as the client takes it at once, for the last words of a session, and says that
    /// these were the last: TLS tells an end from a connection that was cut.
    pub(crate) async fn close_now(&mut self) {
        let (socket, out) = (&mut self.socket, &self.out);
        let mut rest: &[u8] = out;
        poll_fn(|cx| {
            while !rest.is_empty() {
                match Pin::new(&mut *socket).poll_write(cx, rest) {
                    Poll::Ready(Ok(sent)) if sent > 0 => rest = rest.get(sent..).unwrap_or_default(),
                    _ => break,
                }
            }
            if socket.encryption().is_some() {
                let _ = Pin::new(&mut *socket).poll_shutdown(cx);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Reads more into `input`; `Gone` at the end of the connection.
    pub(crate) async fn read_more(&mut self) -> Result<(), Exit> {
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
            self.input = BytesMut::with_capacity(INPUT_BYTES);
        }
        // Who has not said yet who it is gets little.
        let (least, most) = match self.handle.is_some() {
            true => (INPUT_BYTES, KEEP_BYTES.max(INPUT_BYTES)),
            false => (EARLY_INPUT_BYTES, EARLY_INPUT_BYTES),
        };
        let missing = Frame::missing(&self.input);
        let wanted = missing.clamp(least, most);
        if missing > KEEP_BYTES && self.handle.as_ref().is_some_and(|handle| handle.is_out_of_memory()) {
            let what = format!("A message of {} more bytes has no room.", missing);
            let report = Report::fatal(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(what);
            return Err(Exit::Fatal(Box::new(report)));
        }
        self.input.reserve(wanted);
        let handle = self.handle.as_ref();
        let mut read = pin!(self.socket.read_buf(&mut self.input));
        poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => Poll::Ready(Err(Exit::Gone)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Pending if handle.is_some_and(|handle| handle.poll_terminated(cx)) => {
                Poll::Ready(Err(Exit::Terminated))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Reads until a message is whole, or cannot become one.
    pub(crate) async fn read_whole(&mut self, limits: FrameLimits) -> Result<(), Exit> {
        loop {
            self.read_more().await?;
            if !matches!(Frame::peek(&self.input, limits), Ok(None)) {
                return Ok(());
            }
        }
    }

    /// Lends the connection out until the session has to end, with `input` and `out`. Into `out` goes what is
    /// then left of a message that was sent in part.
    pub(crate) async fn until_terminated<T>(
        &mut self,
        lend: impl AsyncFnOnce(&mut Socket, &mut BytesMut, &mut BytesMut) -> T,
    ) -> Result<T, Exit> {
        let handle = self.handle.as_ref();
        let mut work = pin!(lend(&mut self.socket, &mut self.input, &mut self.out));
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if handle.is_some_and(|handle| handle.poll_terminated(cx)) => {
                Poll::Ready(Err(Exit::Terminated))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// The next message, if it is whole: its type and its body, which [`Wire::done_with`] may get back.
    #[inline]
    pub(crate) fn buffered(&mut self, limits: FrameLimits) -> Result<Option<(u8, BytesMut)>, Exit> {
        let Some(frame) = Frame::peek(&self.input, limits)? else { return Ok(None) };
        if let Some(bytes) = self.input.get(Frame::HEADER..frame.len)
            && bytes.len() <= COPIED_BYTES
        {
            let mut body = std::mem::take(&mut self.spare);
            body.clear();
            body.extend_from_slice(bytes);
            self.input.advance(frame.len);
            return Ok(Some((frame.kind, body)));
        }
        let mut body = self.input.split_to(frame.len);
        body.advance(Frame::HEADER);
        Ok(Some((frame.kind, body)))
    }

    /// Takes the body of a message back, for the next one.
    #[inline]
    pub(crate) fn done_with(&mut self, body: BytesMut) {
        if body.len() <= COPIED_BYTES {
            self.spare = body;
        }
    }

    /// The next message, waiting for it; what is in `out` is sent first if `send` says so.
    pub(crate) async fn next(&mut self, limits: FrameLimits) -> Result<(u8, BytesMut), Exit> {
        loop {
            if let Some(message) = self.buffered(limits)? {
                return Ok(message);
            }
            self.read_more().await?;
        }
    }
}
