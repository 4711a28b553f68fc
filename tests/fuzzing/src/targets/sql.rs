//! SQL text, through parser, analysis and planning, and a query to its rows.

use super::SQL_WORDS;
use crate::Target;
use server::{InitOptions, LocalSession, Server, ServerOptions, StopMode};
use sql_interface::{Fetch, Flow, RowSink};
use sql_language::parse::SqlCommand;
use sql_types::Datum;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Statements.
pub const SQL: Target = Target {
    name: "sql",
    inputs: || {
        let golden = [
            include_str!("../../../../sql/session/tests/golden/statements.sql"),
            include_str!("../../../../sql/session/tests/golden/indexes.sql"),
            include_str!("../../../../sql/session/tests/golden/sequences.sql"),
            include_str!("../../../../sql/session/tests/golden/views.sql"),
        ];
        golden.iter().flat_map(|file| file.split(";\n")).map(|text| text.as_bytes().to_vec()).collect()
    },
    words: SQL_WORDS,
    // A page of the pool, a batch of rows, work_mem.
    memory_bytes: 32 << 20,
    memory_factor: 16 << 10,
    open: || {
        let server = Running::new();
        let mut session = server.session();
        Box::new(move |input| {
            if let Ok(text) = std::str::from_utf8(input) {
                server.take(&mut session, text);
            }
        })
    },
};

/// So many rows of a query are fetched.
const ROWS_MAX: usize = 1000;

/// Who keeps no row.
struct Dropped;

impl RowSink for Dropped {
    fn row(&mut self, _values: &[Datum]) -> sql_interface::Result<Flow> {
        Ok(Flow::More)
    }
    fn copy_data(&mut self, _line: &[u8]) -> Flow {
        Flow::More
    }
}

/// A server in this process, with a table.
struct Running {
    runtime: Runtime,
    server: Option<Server>,
    _dir: TempDir,
}

impl Running {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let server = runtime.block_on(async {
            server::init(&InitOptions::new(data.clone())).await.expect("init succeeds");
            let sockets = dir.path().display().to_string();
            let options = ServerOptions { log: Arc::new(|_| {}), ..ServerOptions::new(data) };
            let options = options
                .with("listen_addresses", "")
                .with("unix_socket_directories", &sockets)
                .with("shared_buffers", "8MB")
                .with("statement_timeout", "500ms")
                .with("fsync", "off");
            let server = Server::start(options).await.expect("the server starts");
            server.wait_ready().await;
            server
        });
        let running = Self { runtime, server: Some(server), _dir: dir };
        let mut session = running.session();
        for text in [
            "create table t (id int primary key, a int, b text default 'dflt', c numeric(6,2), d timestamp, e bool)",
            "create index t_a on t (a)",
            "create view v as select id, b from t where a > 1",
            "insert into t select g, g % 3, 'x' || g, g / 7.0, now(), g % 2 = 0 from generate_series(1, 20) g",
        ] {
            running.runtime.block_on(session.run(text, &[], Vec::new())).expect("a statement succeeds");
            running.runtime.block_on(session.finish()).expect("a statement succeeds");
        }
        running
    }

    fn session(&self) -> LocalSession {
        let embedded = self.server.as_ref().expect("it runs").embedded();
        self.runtime.block_on(embedded.session("postgres", "postgres")).expect("a session")
    }

    fn take(&self, session: &mut LocalSession, text: &str) {
        self.runtime.block_on(async {
            let prepared = match session.prepare(text, &[]).await {
                Ok(prepared) => prepared,
                Err(error) => {
                    let position =
                        error.fields().position.map_or(0, |at| usize::try_from(at).unwrap_or(usize::MAX));
                    assert!(position <= text.chars().count() + 1, "an error's position lies behind the text");
                    let _ = session.finish().await;
                    return;
                }
            };
            // What changes nothing is run, too.
            let is_query = matches!(
                sql_language::parse::parse(text, 1 << 20).ok().as_deref(),
                Some([one]) if matches!(one.command, SqlCommand::Query(_))
            );
            if is_query
                && prepared.parameter_types().is_empty()
                && let Ok(mut portal) = session.open(prepared, Vec::new()).await
            {
                // A query may have no end.
                while let Ok(Fetch::More) = session.fetch(&mut portal, ROWS_MAX, &mut Dropped).await {}
            }
            let _ = session.finish().await;
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(StopMode::Immediate);
            let _ = self.runtime.block_on(server.join());
        }
    }
}
