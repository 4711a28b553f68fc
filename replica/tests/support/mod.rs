//! A primary without tables and a standby without redo, over real sockets and files; and a real PostgreSQL as
//! their peer.

#![allow(dead_code, reason = "each test uses its part")]

mod postgres;

#[allow(unused_imports, reason = "each test uses its part")]
pub use postgres::{Postgres, interrupt, postgres_folder, postgres_program};

use bytes::{Buf, BytesMut};
use host::Host;
use host::net::{TcpListener, TcpStream};
use protocol::backend::{self, FieldDescription, Format, TransactionStatus};
use protocol::frame::{Frame, FrameLimits};
use protocol::frontend::FrontendMessage;
use protocol::replication::{OptionValue, ReplicationCommand, StartReplication, parse_command};
use protocol::startup::{self, CancelKey, Startup};
use protocol::{Report, SqlState};
use replica::driver::receive::{self, ReceiveContext, ReceiveHandle, ReceiveObserver, ReceiveSettings};
use replica::driver::send::{self, Confirmations, Ended, SendContext, SendError, StreamRequest};
use replica::driver::{LogPlace, StandbyFeed};
use replica::receiver::ReceiverOptions;
use replica::sender::streams::{SenderInfo, Senders};
use replica::slots::Slots;
use replica::{ReplicaError, sync::SyncNames};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use storage::{Feed, WalFeed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::format::{FORMAT_SETTING, FORMATS};
use wal::history::TimelineHistory;
use wal::timelines::{Place, Standing};
use wal::{
    Live, LogBranch, Lsn, Next, NodeLog, ReaderOptions, RecordBuilder, Rmgr, SegmentFiles, SegmentSize,
    StandbyPositions, SystemId, TimelineId, WalReader, WalWriter, WriteStart, WriterConfig,
};

pub const SYSTEM: SystemId = SystemId::new(4_242);
pub const SEGMENT: u64 = 1 << 20;

pub fn segment_size() -> SegmentSize {
    SegmentSize::new(SEGMENT).unwrap()
}

/// A node that writes log and serves replication.
pub struct Primary {
    pub dir: tempfile::TempDir,
    pub log: NodeLog,
    pub senders: Senders,
    pub slots: Slots,
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    /// Cuts all connections there are.
    cut: Arc<std::sync::Mutex<CancellationToken>>,
    system: SystemId,
    /// The number of its format; 0 as of a program that has none.
    pub format: Arc<AtomicU32>,
    /// What its streams hear when they ask what is confirmed.
    pub confirmed: Arc<Confirmed>,
}

fn writer(dir: &Path, timeline: TimelineId, start: WriteStart) -> WalWriter {
    let config = WriterConfig {
        segment_size: segment_size(),
        recent_bytes: 256 << 10,
        ..WriterConfig::new(SYSTEM, timeline)
    };
    WalWriter::open(&Host::real(), &dir.join("pg_wal"), config, start).unwrap()
}

impl Primary {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["pg_wal", "pg_replslot"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let start = WriteStart {
            insert_at: Lsn::new(SEGMENT),
            previous: Lsn::INVALID,
            overwrites_contrecord: false,
            forked_from: None,
        };
        let live = Live::Primary(writer(dir.path(), TimelineId::FIRST, start));
        let history = TimelineHistory::root(TimelineId::FIRST);
        let log = NodeLog::new(history, live, LogBranch::unrecorded());
        Self::serve(dir, log, SYSTEM).await
    }

    /// Serves a log that is there.
    pub async fn serve(dir: tempfile::TempDir, log: NodeLog, system: SystemId) -> Self {
        Self::serve_with(dir, log, system, |_| {}).await
    }

    /// Serves a log that is there, and passes on what the quorum has reached.
    pub async fn serve_with(
        dir: tempfile::TempDir,
        log: NodeLog,
        system: SystemId,
        on_progress: impl Fn(storage::RemoteProgress) + Send + Sync + 'static,
    ) -> Self {
        let slots = Slots::open(&Host::real(), &dir.path().join("pg_replslot"), 5).unwrap();
        let senders = Senders::new(10, on_progress);
        log.observe(Arc::new(senders.clone()));
        log.observe(Arc::new(slots.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let cut = Arc::new(std::sync::Mutex::new(CancellationToken::new()));
        let format = Arc::new(AtomicU32::new(FORMATS.newest));
        let session = Session {
            pg_wal: dir.path().join("pg_wal"),
            log: log.clone(),
            senders: senders.clone(),
            slots: slots.clone(),
            system,
            format: format.clone(),
            confirmed: Arc::default(),
        };
        let confirmed = session.confirmed.clone();
        let (counted, cutting) = (connections.clone(), cut.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let (session, cut) = (session.clone(), cutting.lock().unwrap().clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = cut.cancelled() => {}
                        _ = session.run(stream, number as i32 + 100) => {}
                    }
                });
            }
        });
        Self { dir, log, senders, slots, port, connections, cut, system, format, confirmed }
    }

    pub fn pg_wal(&self) -> PathBuf {
        self.dir.path().join("pg_wal")
    }
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres sslmode=disable application_name=standby", self.port)
    }
    pub fn writer(&self) -> WalWriter {
        match &self.log.state().live {
            Live::Primary(writer) => writer.clone(),
            Live::Standby(_) => panic!("this node writes nothing"),
        }
    }

    /// Writes and flushes records; the sizes come from the seed.
    pub fn write(&self, records: usize, random: &mut fastrand::Rng) -> Lsn {
        let writer = self.writer();
        let mut end = Lsn::INVALID;
        for _ in 0..records {
            let len = if random.u8(0..10) == 0 { random.usize(0..40_000) } else { random.usize(1..300) };
            let data: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            let record = RecordBuilder::new(Rmgr::LOGICALMSG, 0, 0).main_data(&data);
            end = writer.insert(&mut record.encode().unwrap()).unwrap().end;
        }
        writer.flush(end).unwrap()
    }

    /// As if this node had been a standby that is promoted: its log goes on on another timeline.
    pub fn promote(&self) {
        let old = self.writer();
        let (previous, from) = (old.last_record(), old.timeline());
        let end = old.close().unwrap();
        let history = self.log.state().history.clone();
        let next = from.next().unwrap();
        let branch = wal::history::BranchId::new(next.get().into());
        let history = history.fork(next, end, "test", branch).unwrap();
        history.store(&host::RealDisk, &self.pg_wal()).unwrap();
        let start =
            WriteStart { insert_at: end, previous, overwrites_contrecord: false, forked_from: Some(from) };
        self.log.promote(history, writer(self.dir.path(), next, start), end);
    }

    pub fn cut_connections(&self) {
        let mut cut = self.cut.lock().unwrap();
        cut.cancel();
        *cut = CancellationToken::new();
    }
    pub fn set_names(&self, names: &str) {
        self.senders.set_names(SyncNames::parse(names).unwrap());
    }
}

#[derive(Clone)]
struct Session {
    pg_wal: PathBuf,
    log: NodeLog,
    senders: Senders,
    slots: Slots,
    system: SystemId,
    format: Arc<AtomicU32>,
    confirmed: Arc<Confirmed>,
}

impl Session {
    async fn run(self, mut stream: TcpStream, pid: i32) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut input = BytesMut::new();
        let name = startup(&mut stream, &mut input).await?;
        let mut out = BytesMut::new();
        backend::authentication_ok(&mut out);
        for (name, value) in
            [("server_version", "15.20 (Plimsoll)"), ("integer_datetimes", "on"), ("client_encoding", "UTF8")]
        {
            backend::parameter_status(&mut out, name, value);
        }
        backend::backend_key_data(&mut out, CancelKey { pid, secret: 1 });
        loop {
            backend::ready_for_query(&mut out, TransactionStatus::Idle);
            stream.write_all(&out.split()).await.ok()?;
            let text = next_query(&mut stream, &mut input).await?;
            match parse_command(&text) {
                Ok(Some(ReplicationCommand::StartReplication(request))) => {
                    let info = SenderInfo { pid, application_name: name.clone(), ..SenderInfo::default() };
                    if let Err(error) = self.send(&mut stream, &mut input, info, &request).await? {
                        refuse(&mut out, &error);
                    }
                }
                Ok(Some(command)) => self.answer(&mut out, command, pid),
                _ => Report::error(SqlState::SYNTAX_ERROR, "syntax error").encode(&mut out),
            }
        }
    }

    /// Streams what was asked for; gives the refusal if there is no stream, and None if the connection ends
    /// with it.
    async fn send(
        &self,
        stream: &mut TcpStream,
        input: &mut BytesMut,
        info: SenderInfo,
        request: &StartReplication,
    ) -> Option<Result<(), ReplicaError>> {
        let branch = request.options.iter().find_map(|(name, value)| match value {
            OptionValue::Text(text) if name == "branch" => text.parse().ok(),
            _ => None,
        });
        let stream_request = StreamRequest {
            overlap: None,
            start: Lsn::new(request.start.get()),
            timeline: request.timeline.map(TimelineId::new),
            plimsoll: (!request.options.is_empty()).then_some(branch),
        };
        let slot = request.slot.as_deref().map(|slot| self.slots.acquire(slot, info.pid)).transpose();
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => return Some(Err(error)),
        };
        let context = SendContext {
            host: Host::real(),
            place: LogPlace::new(Host::real().disk, &self.pg_wal, segment_size()),
            log: self.log.clone(),
            row: self.senders.register(info).ok()?,
            slot,
            roster: replica::roster::Roster::new(replica::directory_id::DirectoryId::new(1)),
            seen: replica::roster::Seen::client(None),
            slots: self.slots.clone(),
            times: Box::new(|| send::StreamTimes {
                timeout: Some(Duration::from_secs(60)),
                heartbeat: Duration::from_millis(200),
            }),
            confirmations: self.confirmed.clone(),
            on_doubt: Box::new(|_| {}),
            on_feedback: Box::new(|| {}),
        };
        let mut out = BytesMut::new();
        match send::stream(stream, input, &mut out, &context, &stream_request).await {
            Ok(Ended::Ready) => Some(Ok(())),
            Ok(_) | Err(SendError::Io(_)) => None,
            Err(SendError::Refused { error, streaming: false }) => Some(Err(error)),
            Err(SendError::Refused { error, streaming: true }) => {
                refuse(&mut out, &error);
                stream.write_all(&out).await.ok()?;
                None
            }
        }
    }

    fn answer(&self, out: &mut BytesMut, command: ReplicationCommand, pid: i32) {
        let state = self.log.state();
        match command {
            ReplicationCommand::IdentifySystem => {
                let row = [
                    Some(self.system.to_string()),
                    Some(state.history.target().to_string()),
                    Some(state.flushed().to_string()),
                    None,
                ];
                row_of(out, &["systemid", "timeline", "xlogpos", "dbname"], &row);
            }
            ReplicationCommand::Show(name) if name == FORMAT_SETTING => {
                match self.format.load(Ordering::Relaxed) {
                    0 => {
                        let what = format!("unrecognized configuration parameter \"{name}\"");
                        Report::error(SqlState::UNDEFINED_OBJECT, what).encode(out);
                    }
                    number => row_of(out, &[&name], &[Some(number.to_string())]),
                }
            }
            ReplicationCommand::Show(name) => {
                let value = match name.as_str() {
                    "wal_segment_size" => "1MB",
                    "data_directory_mode" => "0700",
                    _ => "?",
                };
                row_of(out, &[&name], &[Some(value.to_owned())]);
            }
            ReplicationCommand::TimelineHistory(timeline) => {
                let name = TimelineId::new(timeline).history_file_name();
                let content = std::fs::read_to_string(self.pg_wal.join(&name)).ok();
                row_of(out, &["filename", "content"], &[Some(name), content]);
            }
            ReplicationCommand::Extension(command) if command.name == "witnessed" => {
                let seen = self.log.witnessed().unwrap();
                let row = [Some(seen.target().to_string()), Some(seen.text().to_owned())];
                row_of(out, &["timeline", "content"], &row);
            }
            ReplicationCommand::CreateSlot(create) => {
                let lifetime = replica::slots::Lifetime::Permanent;
                match self.slots.create(&create.name, lifetime, Some(&|| Lsn::new(SEGMENT)), pid) {
                    Ok(slot) => row_of(
                        out,
                        &["slot_name", "consistent_point", "snapshot_name", "output_plugin"],
                        &[Some(slot.name), Some("0/0".into()), None, None],
                    ),
                    Err(error) => refuse(out, &error),
                }
            }
            ReplicationCommand::ReadSlot { name } => {
                let slot = self.slots.find(&name).unwrap();
                row_of(
                    out,
                    &["slot_type", "restart_lsn", "restart_tli"],
                    &[Some("physical".into()), Some(slot.restart.to_string()), Some("1".into())],
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Reads the packets before the session; gives its application_name.
async fn startup(stream: &mut TcpStream, input: &mut BytesMut) -> Option<String> {
    loop {
        while startup::peek(input).ok()?.is_none_or(|len| input.len() < len) {
            if stream.read_buf(input).await.ok()? == 0 {
                return None;
            }
        }
        let len = startup::peek(input).ok()??;
        let packet = input.split_to(len);
        match startup::decode(&packet).ok()? {
            Startup::Session(parameters) => {
                return Some(parameters.get("application_name").unwrap_or_default().to_owned());
            }
            _ => stream.write_all(b"N").await.ok()?,
        }
    }
}

/// The next command's text; None at the session's end.
async fn next_query(stream: &mut TcpStream, input: &mut BytesMut) -> Option<String> {
    loop {
        if let Some(frame) = Frame::peek(input, FrameLimits::SERVER).ok()? {
            let mut message = input.split_to(frame.len);
            message.advance(Frame::HEADER);
            match FrontendMessage::decode(frame.kind, &message).ok()? {
                FrontendMessage::Query(text) => return Some(text.to_owned()),
                FrontendMessage::Terminate => return None,
                _ => continue,
            }
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}

fn refuse(out: &mut BytesMut, error: &ReplicaError) {
    Report::error(error.sqlstate(), error.to_string()).encode(out);
}

fn row_of(out: &mut BytesMut, names: &[&str], values: &[Option<String>]) {
    let columns = names.iter().map(|name| FieldDescription {
        name,
        table: 0,
        column: 0,
        data_type: 25,
        type_len: -1,
        type_modifier: -1,
        format: Format::Text,
    });
    backend::row_description(out, columns.collect::<Vec<_>>().into_iter());
    let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
    backend::text_row(out, &values);
    backend::command_complete(out, "SELECT");
}

/// Remembers what the receiver said.
#[derive(Default)]
pub struct Said(pub std::sync::Mutex<Vec<String>>);

impl ReceiveObserver for Said {
    fn started(&self, at: Lsn, timeline: TimelineId, again: bool) {
        let word = if again { "restarted" } else { "started" };
        self.0.lock().unwrap().push(format!("{word} at {at} on timeline {timeline}"));
    }
    fn failed(&self, error: &ReplicaError) {
        self.0.lock().unwrap().push(error.to_string());
    }
    fn ended(&self, error: &ReplicaError) {
        self.failed(error);
    }
    fn followed(&self, history: &TimelineHistory) {
        self.0.lock().unwrap().push(format!("follows timeline {}", history.target()));
    }
    fn confirmed(&self, upto: Lsn) {
        self.0.lock().unwrap().push(format!("confirmed up to {upto}"));
    }
}

/// A node that receives log, reads it as redo would, and applies nothing.
pub struct Standby {
    pub dir: tempfile::TempDir,
    pub feed: Arc<StandbyFeed>,
    pub log: NodeLog,
    pub receiver: Option<ReceiveHandle>,
    pub said: Arc<Said>,
    /// With which it was started.
    pub settings: ReceiveSettings,
    redo: Option<std::thread::JoinHandle<()>>,
}

impl Standby {
    /// Starts in a folder whose pg_wal may hold log already, from `start` on.
    pub fn start(
        dir: tempfile::TempDir,
        conninfo: &str,
        start: Lsn,
        system: SystemId,
        size: SegmentSize,
        slot: Option<&str>,
    ) -> Self {
        let pg_wal = dir.path().join("pg_wal");
        std::fs::create_dir_all(&pg_wal).unwrap();
        let disk = Host::real().disk;
        let place = Place { disk: &disk, pg_wal: &pg_wal, segment_size: size };
        let (current, needed) = (TimelineId::FIRST, Lsn::INVALID);
        let at = Standing { current, replayed: start, needed, received: TimelineId::INVALID };
        let newer = wal::timelines::newer(&place, at).unwrap();
        let history = newer.unwrap_or_else(|| TimelineHistory::root(TimelineId::FIRST));
        let live = Live::Standby(Arc::new(StandbyPositions::new(start)));
        let log = NodeLog::new(history.clone(), live, LogBranch::unrecorded());
        let feed = StandbyFeed::new(&log, Host::real().clock);
        let said = Arc::new(Said::default());
        let place = LogPlace::new(disk.clone(), &pg_wal, size);
        let files = SegmentFiles::new(disk, &pg_wal, size, history);
        let redo = std::thread::spawn({
            let (feed, pg_wal) = (feed.clone(), pg_wal.clone());
            move || redo(&feed, files, size, start, &pg_wal)
        });
        let context = ReceiveContext {
            host: Host::real(),
            place,
            keeps_id: false,
            roster: replica::roster::Roster::new(replica::directory_id::DirectoryId::new(2)),
            feed: feed.clone(),
            log: log.clone(),
            observer: said.clone(),
            needed: Lsn::INVALID,
            wants_confirmed: watch::channel(false).1,
            search: Arc::default(),
        };
        let options = ReceiverOptions {
            system,
            segment_size: size,
            slot: slot.map(str::to_owned),
            follow_latest: true,
            status_interval: Some(Duration::from_secs(1)),
            timeout: Some(Duration::from_secs(60)),
            retry_interval: Duration::from_millis(50),
            feedback: false,
        };
        let settings = ReceiveSettings {
            conninfo: conninfo.to_owned(),
            application_name: "standby".to_owned(),
            options,
            copy_slots: false,
            fsync: true,
        };
        let receiver = Some(receive::start(context, settings.clone()).unwrap());
        Self { dir, feed, log, receiver, said, settings, redo: Some(redo) }
    }

    pub fn of(primary: &Primary, slot: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start(dir, &primary.conninfo(), Lsn::new(SEGMENT), primary.system, segment_size(), slot)
    }

    pub fn pg_wal(&self) -> PathBuf {
        self.dir.path().join("pg_wal")
    }

    /// Stops it; gives its folder, for another life.
    pub async fn stop(mut self) -> tempfile::TempDir {
        self.receiver.take().unwrap().stop().await;
        self.feed.stop();
        self.redo.take().unwrap().join().unwrap();
        self.dir
    }

    pub async fn wait_replayed(&self, upto: Lsn) {
        let positions = self.feed.positions();
        let reached = positions.wait_replayed_past(Lsn::new(upto.get().saturating_sub(1)));
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        let heard = self.said.0.lock().unwrap().clone();
        assert!(reached.is_ok(), "at {} of {upto}; {heard:?}", positions.replayed());
    }
}

fn redo(feed: &StandbyFeed, files: SegmentFiles, size: SegmentSize, start: Lsn, pg_wal: &Path) {
    let mut reader = WalReader::new(files, ReaderOptions::new(size), start);
    let mut read = 0;
    let mut at = start;
    // The log may begin in the middle of a record.
    let mut found = false;
    loop {
        while let Next::Record(record) =
            if found { reader.next() } else { reader.find_next_record(start) }.unwrap()
        {
            (found, at) = (true, record.end().aligned());
        }
        feed.redone(at);
        match feed.wait_past(at) {
            Feed::Available { upto, timeline, generation } => {
                if reader.source().history().target() != timeline {
                    let history = TimelineHistory::load(&host::RealDisk, pg_wal, timeline).unwrap();
                    reader.source_mut().set_history(history);
                }
                reader.source_mut().set_limit(upto);
                if std::mem::replace(&mut read, generation) != generation {
                    reader.seek(at, None);
                }
            }
            Feed::Again { .. } => reader.source_mut().clear_limit(),
            Feed::Stalled => {}
            Feed::Promote { .. } | Feed::Stop => return,
        }
    }
}

/// The bytes of a log as its segment files hold them.
pub fn log_bytes(pg_wal: &Path, timeline: u32, size: SegmentSize, from: Lsn, upto: Lsn) -> Vec<u8> {
    let history = TimelineHistory::load(&host::RealDisk, pg_wal, TimelineId::new(timeline)).unwrap();
    let mut files = SegmentFiles::new(Host::real().disk, pg_wal, size, history);
    files.set_limit(upto);
    let mut bytes = vec![0; usize::try_from(upto.bytes_since(from)).unwrap()];
    let mut done = 0;
    while done < bytes.len() {
        let got = wal::WalSource::read(&mut files, from + done as u64, &mut bytes[done..]).unwrap();
        assert!(got > 0, "no log at {}", from + done as u64);
        done += got;
    }
    bytes
}

/// Says what is confirmed; nothing, until a test says something else.
pub struct Confirmed(pub std::sync::Mutex<Box<dyn FnMut() -> Lsn + Send>>);

impl Default for Confirmed {
    fn default() -> Self {
        Self(std::sync::Mutex::new(Box::new(|| Lsn::INVALID)))
    }
}

impl Confirmations for Confirmed {
    fn confirmed(&self) -> Lsn {
        (self.0.lock().unwrap())()
    }
    fn changes(&self) -> watch::Receiver<Lsn> {
        watch::channel(Lsn::INVALID).1
    }
    fn wanted(&self) {}
}
