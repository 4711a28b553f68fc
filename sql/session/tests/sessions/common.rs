//! A database in a temporary folder, and sessions on it that speak text.

use host::Host;
use host::sync::Mutex;
use sql_interface::{
    Canceller, CommandTag, Environment, Fetch, Flow, IsolationLevel, NodeArgument, NodeCall, NodeFunction,
    NodeReturns, NodeRows, NodeTable, PortalKind, QuickSettings, RowSink, SetScope, SettingActor,
    SettingLine, SqlError,
};
use sql_session::{SessionOptions, SqlEngine, SqlSession};
use sql_types::{Datum, Style};
use sqlstate::SqlState;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::{CreateOptions, Database, DatabaseOptions, Error, Opened, StartMode, SyncLevel, WaitEvent};

/// An open database with its engine; the folder goes with it.
pub struct Node {
    pub engine: SqlEngine,
    pub dir: tempfile::TempDir,
}

impl Node {
    pub async fn new() -> Self {
        let host = Host::real();
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Database::create(&host, &data, &CreateOptions::default()).unwrap();
        let db = open(&host, &data, false).unwrap();
        Box::pin(sql_catalogue::bootstrap(&db, "postgres", None)).await.unwrap();
        Self { engine: SqlEngine::new(db, host), dir }
    }

    /// Forgets the open database as a crash would, and opens the folder again.
    pub async fn crash(self) -> Self {
        self.open_again(false).await
    }

    /// Stops, and opens the folder again with commits that are to wait for standbys.
    pub async fn restart_synchronous(self) -> Self {
        self.engine.database().shutdown().await.unwrap();
        self.open_again(true).await
    }

    async fn open_again(self, sync_required: bool) -> Self {
        let Self { engine, dir } = self;
        drop(engine);
        let (host, data) = (Host::real(), dir.path().join("data"));
        // A task may still let go of the locks of a commit.
        let opening = async {
            loop {
                match open(&host, &data, sync_required) {
                    Err(Error::Unusable(_)) => tokio::task::yield_now().await,
                    opened => break opened.unwrap(),
                }
            }
        };
        let db = tokio::time::timeout(Duration::from_secs(60), opening).await.unwrap();
        Self { engine: SqlEngine::new(db, host), dir }
    }

    pub async fn client(&self) -> Client {
        self.client_of("postgres").await
    }

    pub async fn client_of(&self, user: &str) -> Client {
        let environment = Arc::new(TestEnvironment::default());
        let options = SessionOptions { user: user.into(), database: "postgres".into() };
        let session = Box::pin(self.engine.session(options, environment)).await.unwrap();
        Client { session }
    }
}

fn open(host: &Host, dir: &std::path::Path, sync_required: bool) -> Result<Database, Error> {
    let mut options = DatabaseOptions::new(dir);
    options.shared_buffers_bytes = 16 << 20;
    options.sync_required = sync_required;
    match Database::open(host, options, StartMode::Primary)? {
        Opened::Primary { db, .. } => Ok(db),
        Opened::Standby { .. } => panic!("a primary opened as a standby"),
    }
}

/// Polls until a session's statement waits for this.
pub async fn until_it_waits(session: &Canceller, event: WaitEvent) {
    let poll = async {
        while session.waits_for() != Some(event) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.unwrap();
}

/// Rows as text, NULL as None.
pub type Rows = Vec<Vec<Option<String>>>;

#[derive(Default)]
pub struct Collected {
    pub rows: Rows,
    pub copied: Vec<u8>,
}

impl RowSink for Collected {
    fn row(&mut self, values: &[Datum]) -> sql_interface::Result<Flow> {
        self.rows.push(values.iter().map(|value| value.to_text(&Style::default())).collect());
        Ok(Flow::More)
    }
    fn copy_data(&mut self, line: &[u8]) -> Flow {
        self.copied.extend_from_slice(line);
        // Full now and then, to go through that path as well.
        if self.copied.len().is_multiple_of(7) { Flow::Full } else { Flow::More }
    }
}

pub struct Client {
    pub session: SqlSession,
}

/// Futures of sessions are large, and come boxed out of here: a test that holds a hundred of them is compiled
/// in minutes otherwise.
impl Client {
    /// Runs a message as a simple query does; rows of all its statements, and the last tag.
    pub async fn try_run(&mut self, sql: &str) -> Result<(Rows, String), SqlError> {
        let result = Box::pin(self.run_statements(sql, None)).await;
        let synced = Box::pin(self.session.sync()).await;
        let (out, tag) = result?;
        synced?;
        Ok((out.rows, tag))
    }

    async fn run_statements(
        &mut self,
        sql: &str,
        input: Option<&[u8]>,
    ) -> Result<(Collected, String), SqlError> {
        let statements = self.session.start_simple(sql)?;
        let mut out = Collected::default();
        let mut tag = String::new();
        for statement in &statements {
            let prepared = self.session.prepare_statement(statement, &[]).await?;
            let mut portal = self.session.open(prepared, Vec::new()).await?;
            if let PortalKind::CopyIn { .. } = portal.kind() {
                for piece in input.unwrap_or_default().chunks(5) {
                    self.session.copy_feed(&mut portal, piece).await?;
                }
                tag = self.session.copy_finish(&mut portal).await?.to_string();
                continue;
            }
            loop {
                if let Fetch::Complete(done) = self.session.fetch(&mut portal, 0, &mut out).await? {
                    tag = done.to_string();
                    break;
                }
            }
        }
        Ok((out, tag))
    }

    /// Rows of a message that must succeed.
    pub async fn rows(&mut self, sql: &str) -> Rows {
        match self.try_run(sql).await {
            Ok((rows, _)) => rows,
            Err(error) => panic!("{sql}: {error} {:?}", error.fields()),
        }
    }

    /// Rows as one text: columns joined by `|`, rows by `;`, NULL as `-`.
    pub async fn text(&mut self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        let rows: Vec<String> = rows
            .into_iter()
            .map(|row| row.into_iter().map(|v| v.unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join("|"))
            .collect();
        rows.join(";")
    }

    /// The operators of a query's plan, without what they look for and sort by.
    pub async fn operators(&mut self, sql: &str) -> String {
        let lines = self.rows(&format!("explain {sql}")).await;
        let lines = lines.into_iter().flatten().flatten().enumerate();
        let operators = lines.filter(|(at, line)| *at == 0 || line.trim_start().starts_with("->"));
        operators.map(|(_, line)| line).collect::<Vec<_>>().join(";")
    }

    /// The tag of a message that must succeed.
    pub async fn run(&mut self, sql: &str) -> String {
        match self.try_run(sql).await {
            Ok((_, tag)) => tag,
            Err(error) => panic!("{sql}: {error} {:?}", error.fields()),
        }
    }

    /// The error of a message that must fail.
    pub async fn error(&mut self, sql: &str) -> SqlError {
        match self.try_run(sql).await {
            Ok((rows, tag)) => panic!("{sql} succeeded: {tag} {rows:?}"),
            Err(error) => error,
        }
    }

    /// SQLSTATE and message of a message that must fail.
    pub async fn refused(&mut self, sql: &str) -> (String, String) {
        let error = self.error(sql).await;
        (error.code().to_string(), error.message().to_owned())
    }

    pub async fn copy_in(&mut self, sql: &str, data: &str) -> Result<String, SqlError> {
        let result = Box::pin(self.run_statements(sql, Some(data.as_bytes()))).await;
        let synced = Box::pin(self.session.sync()).await;
        let (_, tag) = result?;
        synced?;
        Ok(tag)
    }

    pub async fn copy_out(&mut self, sql: &str) -> String {
        let (out, _) = Box::pin(self.run_statements(sql, None)).await.unwrap();
        Box::pin(self.session.sync()).await.unwrap();
        String::from_utf8(out.copied).unwrap()
    }

    /// Runs a prepared statement as the extended protocol does.
    pub async fn execute(
        &mut self,
        sql: &str,
        parameters: Vec<Datum>,
    ) -> Result<(Rows, CommandTag), SqlError> {
        let result = Box::pin(self.execute_portal(sql, parameters)).await;
        let synced = Box::pin(self.session.sync()).await;
        let result = result?;
        synced?;
        Ok(result)
    }

    pub async fn execute_portal(
        &mut self,
        sql: &str,
        parameters: Vec<Datum>,
    ) -> Result<(Rows, CommandTag), SqlError> {
        let prepared = self.session.prepare(sql, &[]).await?;
        let mut portal = self.session.open(prepared, parameters).await?;
        let mut out = Collected::default();
        loop {
            if let Fetch::Complete(tag) = self.session.fetch(&mut portal, 0, &mut out).await? {
                return Ok((out.rows, tag));
            }
        }
    }
}

/// Settings in a map, one table and a few functions of a node.
pub struct TestEnvironment {
    settings: Mutex<Vec<BTreeMap<String, String>>>,
    /// What SET LOCAL replaced.
    before_local: Mutex<BTreeMap<String, String>>,
    quick: Mutex<Arc<QuickSettings>>,
    tables: Vec<NodeTable>,
    functions: Vec<NodeFunction>,
}

impl Default for TestEnvironment {
    fn default() -> Self {
        let quick = QuickSettings {
            synchronous_commit: SyncLevel::Local,
            default_isolation: IsolationLevel::ReadCommitted,
            default_read_only: false,
            work_mem_bytes: 4 << 20,
            max_stack_depth_bytes: 2 << 20,
            lock_timeout_ms: 0,
            deadlock_timeout: Duration::from_secs(1),
            read_after: None,
            reads_confirmed: false,
            search_path: ["$user", "public"].map(str::to_owned).into(),
            style: Arc::new(Style::default()),
        };
        let settings =
            [("work_mem", "4MB"), ("a.b", "x"), ("synchronous_commit", "local"), ("max_stack_depth", "2MB")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let int4 = sql_types::Type::of(sql_types::TypeId::Int4);
        let text = sql_types::Type::of(sql_types::TypeId::Text);
        Self {
            settings: Mutex::new(vec![settings]),
            before_local: Mutex::default(),
            quick: Mutex::new(Arc::new(quick)),
            tables: vec![NodeTable {
                schema: "pg_catalog",
                name: "pg_numbers",
                oid: 15000,
                columns: vec![("n", int4)],
            }],
            functions: vec![
                NodeFunction {
                    name: "node_twice",
                    arguments: vec![NodeArgument { name: "n", ty: int4, default: Datum::Null }],
                    required: 1,
                    strict: true,
                    returns: NodeReturns::Scalar(int4),
                },
                NodeFunction {
                    name: "node_pair",
                    arguments: vec![NodeArgument { name: "n", ty: int4, default: Datum::Int4(7) }],
                    required: 0,
                    strict: true,
                    returns: NodeReturns::Record(vec![("number", int4), ("word", text)]),
                },
                NodeFunction {
                    name: "pg_reload_conf",
                    arguments: Vec::new(),
                    required: 0,
                    strict: true,
                    returns: NodeReturns::Scalar(sql_types::Type::of(sql_types::TypeId::Bool)),
                },
                NodeFunction {
                    name: "pg_sleep",
                    arguments: vec![NodeArgument {
                        name: "seconds",
                        ty: sql_types::Type::of(sql_types::TypeId::Float8),
                        default: Datum::Null,
                    }],
                    required: 1,
                    strict: true,
                    returns: NodeReturns::Scalar(sql_types::Type::of(sql_types::TypeId::Void)),
                },
            ],
        }
    }
}

impl Environment for TestEnvironment {
    fn reach(
        &self,
        _: sql_interface::ReadToken,
        _: &storage::Interrupt,
    ) -> sql_interface::BoxFuture<'static, sql_interface::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn quick(&self) -> Arc<QuickSettings> {
        self.quick.lock().clone()
    }
    fn changes(&self) -> u64 {
        // Whoever looks again holds what it was given, so that nothing else lies there.
        Arc::as_ptr(&*self.quick.lock()).addr() as u64
    }
    fn show(&self, _: SettingActor, name: &str) -> sql_interface::Result<Option<String>> {
        Ok(self.settings.lock().last().and_then(|top| top.get(&name.to_lowercase()).cloned()))
    }
    fn show_all(&self, _: SettingActor) -> Vec<SettingLine> {
        Vec::new()
    }
    fn set(
        &self,
        _: SettingActor,
        name: &str,
        value: Option<&str>,
        scope: SetScope,
    ) -> sql_interface::Result<()> {
        let mut settings = self.settings.lock();
        let top = settings.last_mut().unwrap();
        if !top.contains_key(name) && !name.contains('.') && name != "default_transaction_isolation" {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("unrecognized configuration parameter \"{name}\""),
            ));
        }
        let before = top.insert(name.to_owned(), value.unwrap_or("default").to_owned());
        if scope == SetScope::Local {
            self.before_local.lock().entry(name.to_owned()).or_insert(before.unwrap_or_default());
        }
        if name == "synchronous_commit" {
            let synchronous_commit = if value == Some("on") { SyncLevel::On } else { SyncLevel::Local };
            let mut quick = self.quick.lock();
            *quick = Arc::new(QuickSettings { synchronous_commit, ..QuickSettings::clone(&quick) });
        }
        if name == "max_stack_depth" {
            let kilobytes = value.and_then(|v| v.strip_suffix("kB")).and_then(|v| v.parse().ok());
            let mut quick = self.quick.lock();
            let max_stack_depth_bytes = kilobytes.unwrap_or(2048) << 10;
            *quick = Arc::new(QuickSettings { max_stack_depth_bytes, ..QuickSettings::clone(&quick) });
        }
        if name == "work_mem" {
            let kilobytes: usize =
                value.and_then(|v| v.strip_suffix("kB")).and_then(|v| v.parse().ok()).unwrap_or(4096);
            let mut quick = self.quick.lock();
            *quick =
                Arc::new(QuickSettings { work_mem_bytes: kilobytes << 10, ..QuickSettings::clone(&quick) });
        }
        Ok(())
    }
    fn reset_all(&self, _: SettingActor) -> sql_interface::Result<()> {
        Ok(())
    }
    fn alter_system(&self, _: SettingActor, _: Option<&str>, _: Option<&str>) -> sql_interface::Result<()> {
        Ok(())
    }
    fn settings_push(&self, _level: u32) {
        let mut settings = self.settings.lock();
        let top = settings.last().unwrap().clone();
        settings.push(top);
    }
    fn settings_pop(&self, level: u32, keep: bool) {
        let mut settings = self.settings.lock();
        let top = settings.last().unwrap().clone();
        settings.truncate(level as usize);
        if keep {
            *settings.last_mut().unwrap() = top;
        }
        if level == 1 {
            settings.last_mut().unwrap().append(&mut self.before_local.lock());
        }
    }
    fn node_tables(&self) -> &[NodeTable] {
        &self.tables
    }
    fn node_rows(&self, _: SettingActor, _table: usize) -> sql_interface::Result<NodeRows> {
        Ok((1..=3).map(|n| vec![Datum::Int4(n)]).collect())
    }
    fn node_functions(&self) -> &[NodeFunction] {
        &self.functions
    }
    fn call(&self, _: SettingActor, function: usize, arguments: &[Datum], _: &Canceller) -> NodeCall {
        let n = arguments.first().and_then(Datum::as_i64).unwrap_or(0) as i32;
        match function {
            2 => NodeCall::Now(Ok(vec![vec![Datum::Bool(true)]])),
            0 => NodeCall::Now(Ok(vec![vec![Datum::Int4(n * 2)]])),
            1 => NodeCall::Now(Ok(vec![vec![Datum::Int4(n), Datum::from("a b")]])),
            _ => NodeCall::Later(Box::pin(async {
                std::future::pending::<()>().await;
                Ok(Vec::new())
            })),
        }
    }
    fn password_verifier(&self, password: &str) -> sql_interface::Result<Option<String>> {
        Ok(Some(format!("SCRAM-SHA-256$4096:{password}")))
    }
    fn backend_pid(&self) -> i32 {
        42
    }
    fn client_address(&self) -> Option<std::net::SocketAddr> {
        None
    }
}
