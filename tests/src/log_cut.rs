//! A way to a primary on which the log ends after exactly so many bytes, as if the primary had died there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// XLogData before its bytes of log: 'w', start, end, clock.
const XLOG_DATA_HEADER: usize = 1 + 8 + 8 + 8;

/// Forwards connections to a port on the loopback. Streams of log end before the position `cut`; then nothing
/// more is forwarded, and the connection stays open until [`LogCut::end`].
#[derive(Debug)]
pub struct LogCut {
    port: u16,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    cut: u64,
    ended: AtomicBool,
    /// Both ends of each connection.
    streams: Mutex<Vec<TcpStream>>,
}

impl LogCut {
    /// Forwards to a server on `upstream`, whose log is cut at `cut` (the first byte that does not arrive).
    pub fn new(upstream: u16, cut: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the kernel has a port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (ended, streams) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { upstream, cut, ended, streams });
        let accepting = shared.clone();
        let accepts = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                // One that cannot be connected is closed; the standby tries again.
                let _ = accepting.connect(stream);
            }
        });
        Self { port, shared, accepts: Some(accepts) }
    }

    /// primary_conninfo of a standby that is cut off.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres sslmode=disable", self.port)
    }

    /// Closes all connections and takes no more: the primary is gone.
    pub fn end(&mut self) {
        let Some(accepts) = self.accepts.take() else { return };
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = accepts.join();
        for stream in self.shared.streams.lock().expect("no thread panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for LogCut {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, standby: TcpStream) -> io::Result<()> {
        let primary = TcpStream::connect(("127.0.0.1", self.upstream))?;
        for stream in [&standby, &primary] {
            stream.set_nodelay(true)?;
            self.streams.lock().expect("no thread panics").push(stream.try_clone()?);
        }
        let (mut from_standby, mut to_primary) = (standby.try_clone()?, primary.try_clone()?);
        // Both threads end with their connection, at the latest by `end`.
        std::thread::spawn(move || {
            let _ = io::copy(&mut from_standby, &mut to_primary);
            let _ = to_primary.shutdown(Shutdown::Both);
        });
        let cut = self.cut;
        std::thread::spawn(move || {
            let _ = forward(&primary, &standby, cut);
            let _ = standby.shutdown(Shutdown::Both);
        });
        Ok(())
    }
}

/// Forwards messages of the server until the log would pass `cut`, then takes the rest and forwards nothing.
fn forward(mut from: impl Read, mut to: impl Write, cut: u64) -> io::Result<()> {
    loop {
        let mut message = vec![0; 5];
        from.read_exact(&mut message)?;
        let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
        message.resize(1 + length, 0);
        from.read_exact(&mut message[5..])?;
        if let Some(left) = log_left(&message, cut) {
            if left > 0 {
                message.truncate(5 + XLOG_DATA_HEADER + left);
                let length = u32::try_from(message.len() - 1).expect("shorter than it came");
                message[1..5].copy_from_slice(&length.to_be_bytes());
                to.write_all(&message)?;
            }
            return io::copy(&mut from, &mut io::sink()).map(drop);
        }
        to.write_all(&message)?;
    }
}

/// How many bytes of a message's log lie before the cut, if some or all do not. Log that ends at the cut is
/// the last.
fn log_left(message: &[u8], cut: u64) -> Option<usize> {
    let log = message.len().checked_sub(5 + XLOG_DATA_HEADER)?;
    if message[0] != b'd' || message[5] != b'w' {
        return None;
    }
    let start = u64::from_be_bytes(message[6..14].try_into().expect("eight bytes"));
    let left = usize::try_from(cut.saturating_sub(start)).expect("64 bits");
    (log >= left).then_some(left)
}

#[test]
fn log_is_forwarded_up_to_the_cut_and_nothing_after_it() {
    let data = |start: u64, log: &[u8]| {
        let mut payload = vec![b'w'];
        payload.extend(start.to_be_bytes());
        payload.extend([0; 16]);
        payload.extend(log);
        let mut message = vec![b'd'];
        message.extend((payload.len() as u32 + 4).to_be_bytes());
        message.extend(payload);
        message
    };
    let mut sent = b"Z\0\0\0\x05I".to_vec();
    sent.extend(data(100, b"whole"));
    let before = sent.len();
    sent.extend(data(105, b"abcdef"));
    sent.extend(data(111, b"late"));
    for (cut, log) in [(105, None), (106, Some(&b"a"[..])), (108, Some(b"abc")), (111, Some(b"abcdef"))] {
        let mut expected = sent[..before].to_vec();
        expected.extend(log.map(|log| data(105, log)).unwrap_or_default());
        let mut came = Vec::new();
        assert!(forward(&sent[..], &mut came, cut).is_ok());
        assert_eq!(came, expected, "cut at {cut}");
    }
}
