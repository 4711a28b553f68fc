//! What the machine allows: servers that do only what a durability level cannot do without, for pgbench's
//! prepared scripts.
//!
//! ```text
//! ceiling answer  --socket DIR --port N
//! ceiling flush   --socket DIR --port N --log FILE
//! ceiling ship    --socket DIR --port N --log FILE --standby ADDRESS
//! ceiling standby --listen ADDRESS --log FILE
//! ```
//!
//! - `answer` takes statements apart and answers them; it stores nothing.
//! - `flush` also makes 200 bytes a writing transaction durable, in groups.
//! - `ship` also sends them on and waits until they were confirmed.
//! - `standby` is the stub at the other end: it writes, calls fdatasync and answers.
//!
//! Codec, runtime and sockets are the server's. A ceiling has no SQL, no rows, no locks, no records and no
//! checksums. Levels compare with: off and reads with `answer`, local with `flush`, the remote ones with
//! `ship`.

use anyhow::{Context as _, bail};
use bytes::{Buf, BytesMut};
use clap::Parser;
use parking_lot::{Mutex, MutexGuard};
use protocol::backend::{self, FieldDescription, Format, TransactionStatus};
use protocol::frame::{Frame, FrameLimits};
use protocol::frontend::{FrontendMessage, StatementOrPortal};
use protocol::startup::{self, CancelKey, Startup};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::Thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use wal::{Lsn, Watermark};

/// Bytes that a transaction leaves in the log.
const TRANSACTION_BYTES: usize = 200;
/// Length of the log's file, which is filled beforehand and used again from its start, in bytes.
const LOG_BYTES: u64 = 64 << 20;
/// After commits met, this many have to come alone before one flushes in place again.
const CROWD_MEMORY: u32 = 16;
const LIMITS: FrameLimits = FrameLimits { large: 1 << 20, small: 10_000 };
/// OID of integer.
const INT4_OID: u32 = 23;

#[derive(Parser)]
#[command(
    about = "Servers that do only what a durability level cannot do without, for pgbench's prepared scripts"
)]
enum Command {
    /// Answers, and stores nothing.
    Answer {
        #[command(flatten)]
        socket: Socket,
    },
    /// Makes 200 bytes a writing transaction durable, in groups.
    Flush {
        #[command(flatten)]
        socket: Socket,
        /// File to write.
        #[arg(long)]
        log: PathBuf,
    },
    /// Makes them durable, sends them on, and waits until they were confirmed.
    Ship {
        #[command(flatten)]
        socket: Socket,
        /// File to write.
        #[arg(long)]
        log: PathBuf,
        /// Where `ceiling standby` listens.
        #[arg(long)]
        standby: SocketAddr,
    },
    /// Takes bytes, writes them, makes them durable, and says so.
    Standby {
        /// Address to listen on; ends with its first connection.
        #[arg(long)]
        listen: SocketAddr,
        /// File to write.
        #[arg(long)]
        log: PathBuf,
    },
}

#[derive(clap::Args)]
struct Socket {
    /// Folder of the Unix socket.
    #[arg(long)]
    socket: PathBuf,
    /// Number in the socket's name.
    #[arg(long)]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Answer { socket } => serve(&socket, None, None),
        Command::Flush { socket, log } => serve(&socket, Some(&log), None),
        Command::Ship { socket, log, standby } => serve(&socket, Some(&log), Some(standby)),
        Command::Standby { listen, log } => stand_by(listen, &log),
    }
}

/// A file full of zeros that are on disk, so that writing it needs no space.
fn prefilled(path: &Path) -> anyhow::Result<File> {
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(path).context("the log")?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..LOG_BYTES / zeros.len() as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Writes bytes that belong at `position` of an endless log.
fn write_at(file: &File, mut bytes: &[u8], position: u64) -> std::io::Result<()> {
    let mut offset = position % LOG_BYTES;
    while !bytes.is_empty() {
        let fits = usize::try_from(LOG_BYTES - offset).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(fits);
        file.write_all_at(now, offset)?;
        (bytes, offset) = (later, 0);
    }
    Ok(())
}

/// The stub standby: one connection, one thread, no state but a position.
fn stand_by(listen: SocketAddr, path: &Path) -> anyhow::Result<()> {
    let file = prefilled(path)?;
    let (mut stream, _) = TcpListener::bind(listen)?.accept()?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 << 10];
    let mut end = 0_u64;
    loop {
        let taken = stream.read(&mut buffer)?;
        if taken == 0 {
            return Ok(());
        }
        write_at(&file, buffer.get(..taken).unwrap_or_default(), end)?;
        file.sync_data()?;
        end += taken as u64;
        stream.write_all(&end.to_be_bytes())?;
    }
}

/// The log: appended to in memory, made durable in groups by whoever comes first, or by a thread where
/// several come.
struct Log {
    file: Mutex<File>,
    /// What is not written yet, and where it ends.
    tail: Mutex<(Vec<u8>, u64)>,
    flushed: Watermark,
    /// What the standby has confirmed; commits wait for it if there is one.
    confirmed: Option<Watermark>,
    requested: AtomicU64,
    requests: AtomicU32,
    crowd: AtomicU32,
    flusher: Mutex<Option<Thread>>,
}

impl Log {
    fn open(path: &Path, ships: bool) -> anyhow::Result<Arc<Self>> {
        let log = Arc::new(Self {
            file: Mutex::new(prefilled(path)?),
            tail: Mutex::default(),
            flushed: Watermark::new(Lsn::new(0)),
            confirmed: ships.then(|| Watermark::new(Lsn::new(0))),
            requested: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            crowd: AtomicU32::new(0),
            flusher: Mutex::new(None),
        });
        let thread = std::thread::spawn({
            let log = log.clone();
            move || log.run_flusher()
        });
        *log.flusher.lock() = Some(thread.thread().clone());
        Ok(log)
    }

    fn lead(&self, file: MutexGuard<'_, File>) -> std::io::Result<()> {
        let (bytes, end) = {
            let mut tail = self.tail.lock();
            (std::mem::take(&mut tail.0), tail.1)
        };
        write_at(&file, &bytes, end - bytes.len() as u64)?;
        file.sync_data()?;
        drop(file);
        self.flushed.advance(Lsn::new(end));
        Ok(())
    }

    /// Flushes for those who asked, round after round.
    fn run_flusher(&self) {
        loop {
            if self.requested.load(Ordering::SeqCst) <= self.flushed.get().get() {
                std::thread::park();
                continue;
            }
            let file = self.file.lock();
            let together = self.requests.swap(0, Ordering::Relaxed);
            if self.lead(file).is_err() {
                self.flushed.stop();
                return;
            }
            let left = self.crowd.load(Ordering::Relaxed);
            let left = if together > 1 { CROWD_MEMORY } else { left.saturating_sub(1) };
            self.crowd.store(left, Ordering::Relaxed);
        }
    }

    async fn commit(&self) -> anyhow::Result<()> {
        let end = {
            let mut tail = self.tail.lock();
            let (bytes, end) = &mut *tail;
            bytes.extend_from_slice(&[7; TRANSACTION_BYTES]);
            *end += TRANSACTION_BYTES as u64;
            *end
        };
        let alone = self.crowd.load(Ordering::Relaxed) == 0;
        if let Some(file) = alone.then(|| self.file.try_lock()).flatten() {
            self.lead(file)?;
        } else {
            self.crowd.fetch_max(CROWD_MEMORY, Ordering::Relaxed);
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.requested.fetch_max(end, Ordering::SeqCst);
            if let Some(flusher) = &*self.flusher.lock() {
                flusher.unpark();
            }
            self.flushed.wait(Lsn::new(end)).await?;
        }
        if let Some(confirmed) = &self.confirmed {
            confirmed.wait(Lsn::new(end)).await?;
        }
        Ok(())
    }

    /// Sends what is durable, and takes what comes back.
    async fn ship(self: Arc<Self>, standby: TcpStream) -> anyhow::Result<()> {
        standby.set_nodelay(true)?;
        standby.set_nonblocking(true)?;
        let (mut answers, mut out) = tokio::net::TcpStream::from_std(standby)?.into_split();
        let log = self.clone();
        tokio::spawn(async move {
            while let (Ok(confirmed), Some(mark)) = (answers.read_u64().await, &log.confirmed) {
                mark.advance(Lsn::new(confirmed));
            }
        });
        let mut sent = Lsn::new(0);
        loop {
            let flushed = self.flushed.wait_past(sent).await?;
            out.write_all(&vec![7; usize::try_from(flushed.bytes_since(sent))?]).await?;
            sent = flushed;
        }
    }
}

fn serve(socket: &Socket, log: Option<&Path>, standby: Option<SocketAddr>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let log = log.map(|path| Log::open(path, standby.is_some())).transpose()?;
    runtime.block_on(async {
        if let (Some(log), Some(standby)) = (&log, standby) {
            let stream = TcpStream::connect(standby).context("the stub standby")?;
            tokio::spawn(log.clone().ship(stream));
        }
        let listener = UnixListener::bind(socket.socket.join(format!(".s.PGSQL.{}", socket.port)))?;
        loop {
            let (stream, _) = listener.accept().await?;
            let session = Session {
                stream,
                input: BytesMut::with_capacity(16 << 10),
                out: BytesMut::with_capacity(16 << 10),
                statements: HashMap::new(),
                portal: Statement::Other,
                status: TransactionStatus::Idle,
                wrote: false,
                log: log.clone(),
            };
            // A session's end, good or bad, is the client's business.
            tokio::spawn(session.run());
        }
    })
}

/// What has to be known of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Statement {
    Begin,
    End,
    Select,
    Write,
    Other,
}

impl Statement {
    fn of(sql: &str) -> Self {
        match sql.trim_start().get(..3).unwrap_or_default().to_ascii_lowercase().as_str() {
            "beg" => Self::Begin,
            "end" | "com" => Self::End,
            "sel" => Self::Select,
            "ins" | "upd" | "del" => Self::Write,
            _ => Self::Other,
        }
    }
    fn tag(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::End => "COMMIT",
            Self::Select => "SELECT 1",
            Self::Write => "UPDATE 1",
            Self::Other => "SET",
        }
    }
}

struct Session {
    stream: UnixStream,
    input: BytesMut,
    out: BytesMut,
    statements: HashMap<String, Statement>,
    portal: Statement,
    status: TransactionStatus,
    /// Something is to be committed.
    wrote: bool,
    log: Option<Arc<Log>>,
}

impl Session {
    async fn run(mut self) -> anyhow::Result<()> {
        self.start().await?;
        loop {
            while let Some(frame) = Frame::peek(&self.input, LIMITS)? {
                let mut body = self.input.split_to(frame.len);
                body.advance(Frame::HEADER);
                let message = FrontendMessage::decode(frame.kind, &body)?;
                if message == FrontendMessage::Terminate {
                    return Ok(());
                }
                self.message(message).await?;
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.input.reserve(16 << 10);
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the client has left");
        }
        Ok(())
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        loop {
            let Some(len) = startup::peek(&self.input)? else {
                self.read().await?;
                continue;
            };
            let packet = self.input.split_to(len);
            match startup::decode(&packet)? {
                Startup::Ssl | Startup::GssEncryption => self.stream.write_all(b"N").await?,
                Startup::Cancel(_) => bail!("nothing to cancel"),
                Startup::Session(_) => break,
            }
        }
        backend::authentication_ok(&mut self.out);
        backend::parameter_status(&mut self.out, "server_version", "15.0");
        backend::parameter_status(&mut self.out, "client_encoding", "UTF8");
        backend::backend_key_data(&mut self.out, CancelKey { pid: 1, secret: 1 });
        backend::ready_for_query(&mut self.out, TransactionStatus::Idle);
        self.send().await
    }

    async fn message(&mut self, message: FrontendMessage<'_>) -> anyhow::Result<()> {
        match message {
            FrontendMessage::Parse(parse) => {
                self.statements.insert(parse.name.to_owned(), Statement::of(parse.sql));
                backend::parse_complete(&mut self.out);
            }
            FrontendMessage::Bind(bind) => {
                self.portal = *self.statements.get(bind.statement).context("no such statement")?;
                bind.parameters().for_each(drop);
                backend::bind_complete(&mut self.out);
            }
            FrontendMessage::Describe(StatementOrPortal::Portal(_)) if self.portal == Statement::Select => {
                self.describe()
            }
            FrontendMessage::Describe(_) => backend::no_data(&mut self.out),
            FrontendMessage::Execute { .. } => self.execute(self.portal),
            FrontendMessage::Query(sql) => {
                let statement = Statement::of(sql);
                if statement == Statement::Select {
                    self.describe();
                }
                self.execute(statement);
                self.ready().await?;
            }
            FrontendMessage::Sync => self.ready().await?,
            _ => {}
        }
        Ok(())
    }

    fn describe(&mut self) {
        let column = FieldDescription {
            name: "abalance",
            table: 0,
            column: 0,
            data_type: INT4_OID,
            type_len: 4,
            type_modifier: -1,
            format: Format::Text,
        };
        backend::row_description(&mut self.out, [column].into_iter());
    }

    fn execute(&mut self, statement: Statement) {
        match statement {
            Statement::Begin => self.status = TransactionStatus::Block,
            Statement::End => self.status = TransactionStatus::Idle,
            Statement::Select => backend::text_row(&mut self.out, &[Some("12345")]),
            Statement::Write => self.wrote = true,
            Statement::Other => {}
        }
        backend::command_complete(&mut self.out, statement.tag());
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        if self.status == TransactionStatus::Idle
            && std::mem::take(&mut self.wrote)
            && let Some(log) = &self.log
        {
            log.commit().await?;
        }
        backend::ready_for_query(&mut self.out, self.status);
        self.send().await
    }
}
