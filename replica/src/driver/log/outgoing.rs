//! What goes out on a stream: bytes in memory, or of a mapped segment, which the kernel takes from the page
//! cache without a copy.

use bytes::{Buf, Bytes};
use host::Mapping;
use host::net::{TcpStream, kernel_socket};
use nix::errno::Errno;
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::uio::pread;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::UnixStream;

/// Some bytes that go out as they are. Cloning and cutting copy none.
#[derive(Clone, Debug)]
pub(in crate::driver) struct Outgoing {
    bytes: Bytes,
    /// The segment that they lie in, and where.
    place: Option<(Arc<dyn Mapping>, u64)>,
}

/// Lets [`Bytes`] hold a share of a mapping.
struct Shared(Arc<dyn Mapping>, Range<usize>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.get(self.1.clone()).unwrap_or_default()
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, place: None }
    }
}

impl Outgoing {
    /// The bytes of a segment in this range; None if the file is too short for it.
    pub(in crate::driver) fn of_segment(mapping: Arc<dyn Mapping>, range: Range<usize>) -> Option<Self> {
        mapping.get(range.clone())?;
        let offset = range.start as u64;
        let place = mapping.file().is_some().then(|| (mapping.clone(), offset));
        Some(Self { bytes: Bytes::from_owner(Shared(mapping, range)), place })
    }
    pub(in crate::driver) fn len(&self) -> usize {
        self.bytes.len()
    }
    pub(in crate::driver) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// The file that they can be sent from, and their offset in it.
    pub(in crate::driver) fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        let (mapping, offset) = self.place.as_ref()?;
        Some((mapping.file()?, *offset))
    }
    /// The bytes in this range of them.
    pub(in crate::driver) fn slice(&self, range: Range<usize>) -> Self {
        let place =
            self.place.as_ref().map(|(mapping, offset)| (mapping.clone(), offset + range.start as u64));
        Self { bytes: self.bytes.slice(range), place }
    }
    /// Drops the first `count` bytes.
    pub(in crate::driver) fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some((_, offset)) = &mut self.place {
            *offset += count as u64;
        }
    }
}

/// What one call of [`Outlet::poll_send_file`] sends: some bytes, and then a part of a file.
#[derive(Clone, Copy, Debug)]
pub struct FilePart<'a> {
    /// The bytes in front, which may be none.
    pub head: &'a [u8],
    /// The file.
    pub file: BorrowedFd<'a>,
    /// Where the part begins in it, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: usize,
}

impl FilePart<'_> {
    /// Sends what goes without waiting; how many bytes that were, `head` counted in. `WouldBlock` if none.
    fn send_on(&self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let more =
            MsgFlags::from_bits_retain(nix::libc::MSG_MORE) | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let head = if self.head.is_empty() { 0 } else { send(socket.as_raw_fd(), self.head, more)? };
        if head < self.head.len() {
            return Ok(head);
        }
        let mut offset = i64::try_from(self.offset).map_err(io::Error::other)?;
        match sendfile(socket, self.file, Some(&mut offset), self.len) {
            Ok(0) if head == 0 => Err(shorter()),
            Ok(sent) => Ok(head + sent),
            Err(Errno::EAGAIN | Errno::EINTR) if head > 0 => Ok(head),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// A connection that log goes out on.
pub trait Outlet: AsyncRead + AsyncWrite + Unpin {
    /// Sends the first bytes of `part`, all or not; how many, of the head and the file together.
    fn poll_send_file(&mut self, context: &mut Context<'_>, part: &FilePart<'_>) -> Poll<io::Result<usize>>;
}

impl Outlet for TcpStream {
    fn poll_send_file(&mut self, context: &mut Context<'_>, part: &FilePart<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = kernel_socket(self) else {
            return poll_copying(Pin::new(self), context, part);
        };
        let send = || socket.try_io(Interest::WRITABLE, || part.send_on(socket.as_fd()));
        poll_sending(|| socket.poll_write_ready(context), send)
    }
}

impl Outlet for UnixStream {
    fn poll_send_file(&mut self, context: &mut Context<'_>, part: &FilePart<'_>) -> Poll<io::Result<usize>> {
        let send = || self.try_io(Interest::WRITABLE, || part.send_on(self.as_fd()));
        poll_sending(|| self.poll_write_ready(context), send)
    }
}

/// Sends what fits into a block, by a copy: for a connection that the kernel does not know.
fn poll_copying(
    stream: Pin<&mut TcpStream>,
    context: &mut Context<'_>,
    part: &FilePart<'_>,
) -> Poll<io::Result<usize>> {
    if !part.head.is_empty() {
        return stream.poll_write(context, part.head);
    }
    let mut block = [0; 8 << 10];
    let wanted = part.len.min(block.len());
    let offset = i64::try_from(part.offset).map_err(io::Error::other)?;
    let read = pread(part.file, block.get_mut(..wanted).unwrap_or_default(), offset)?;
    if read == 0 {
        return Poll::Ready(Err(shorter()));
    }
    stream.poll_write(context, block.get(..read).unwrap_or_default())
}

fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the WAL segment's file has become shorter")
}

/// Sends once the socket is ready, again if it was not after all.
fn poll_sending(
    mut poll_ready: impl FnMut() -> Poll<io::Result<()>>,
    send: impl Fn() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(poll_ready())?;
        match send() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            other => return Poll::Ready(other),
        }
    }
}
