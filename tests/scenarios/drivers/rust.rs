//! tokio-postgres.

use crate::toolbox::{Servers, differing};
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use scenarios::pki::Pki;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

type Done = Result<(), tokio_postgres::Error>;

/// What a run saw, to be compared.
struct Seen(String);

impl Seen {
    fn note(&mut self, what: &str, value: impl Debug) {
        writeln!(self.0, "{what}: {value:?}").expect("memory");
    }
}

/// Where a client connects, over TLS with a password.
struct Server {
    conninfo: String,
    tls: MakeRustlsConnect,
}

impl Server {
    fn new(port: u16, pki: &Pki) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(pki.path("root.crt")).expect("a certificate");
        roots.add(root).expect("a root");
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let conninfo = format!(
            "host=127.0.0.1 port={port} user=app password=opensesame dbname=postgres sslmode=require \
             channel_binding=require"
        );
        Self { conninfo, tls: MakeRustlsConnect::new(tls) }
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.conninfo.parse::<Config>()?.connect(self.tls.clone()).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

async fn values(client: &Client, seen: &mut Seen) -> Done {
    let arrays: (Vec<i32>, Vec<Option<&str>>) = (vec![1, 2], vec![Some("a"), None]);
    let parameters: [&(dyn ToSql + Sync); 6] = [&7_i32, &(1_i64 << 40), &"it's", &true, &arrays.0, &arrays.1];
    let row = client
        .query_one(
            "select $1::int4, $2::int8, $3::text, $4::bool, $5::int4[], $6::text[], null::float8",
            &parameters,
        )
        .await?;
    seen.note("numbers", (row.get::<_, i32>(0), row.get::<_, i64>(1), row.get::<_, &str>(2)));
    seen.note(
        "others",
        (row.get::<_, bool>(3), row.get::<_, Vec<i32>>(4), row.get::<_, Vec<Option<String>>>(5)),
    );
    seen.note("null", row.get::<_, Option<f64>>(6));
    // Types that the driver does not know by heart it asks the catalogue for.
    let row =
        client.query_one("select 'pg_class'::regclass, current_setting('server_encoding')", &[]).await?;
    seen.note(
        "types",
        row.columns().iter().map(|column| column.type_().name().to_owned()).collect::<Vec<_>>(),
    );
    Ok(())
}

async fn statements(client: &mut Client, seen: &mut Seen) -> Done {
    client.batch_execute("create table r (id int primary key, name text, amount float8)").await?;
    let statement =
        client.prepare_typed("insert into r values ($1, $2, $3)", &[Type::INT4, Type::TEXT]).await?;
    seen.note("parameters", statement.params());
    for id in 1..=3 {
        seen.note("inserted", client.execute(&statement, &[&id, &"x", &0.5_f64]).await?);
    }
    let rows = client.query("select id, name from r where id > $1 order by id", &[&1]).await?;
    seen.note("rows", rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>());
    let (one, two) = tokio::join!(client.query_one("select 1", &[]), client.query_one("select 2", &[]));
    seen.note("pipelined", (one?.get::<_, i32>(0), two?.get::<_, i32>(0)));
    let mut transaction = client.transaction().await?;
    let portal = transaction.bind("select id from r order by id", &[]).await?;
    seen.note(
        "portal",
        (
            transaction.query_portal(&portal, 2).await?.len(),
            transaction.query_portal(&portal, 2).await?.len(),
        ),
    );
    let savepoint = transaction.savepoint("s").await?;
    savepoint.execute("delete from r", &[]).await?;
    savepoint.rollback().await?;
    seen.note("after", transaction.query_one("select count(*) from r", &[]).await?.get::<_, i64>(0));
    transaction.rollback().await?;
    for sql in ["selec", "select * from nosuch", "insert into r values (1)", "select 1/0"] {
        let error = client.query(sql, &[]).await.expect_err("it is refused");
        seen.note(
            "error",
            (error.code().map(SqlState::code), error.as_db_error().and_then(|e| e.constraint())),
        );
    }
    Ok(())
}

async fn copies(client: &Client, seen: &mut Seen) -> Done {
    let sink = client.copy_in::<_, bytes::Bytes>("copy r (id, name) from stdin").await?;
    pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"10\tten\n")).await?;
    seen.note("copied", sink.finish().await?);
    let sink = client.copy_in("copy r from stdin binary").await?;
    let writer = BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT, Type::FLOAT8]);
    pin_mut!(writer);
    writer.as_mut().write(&[&11_i32, &"eleven", &None::<f64>]).await?;
    seen.note("copied", writer.finish().await?);
    let stream = client
        .copy_out("copy (select * from r where id >= 10 order by id) to stdout (format binary)")
        .await?;
    let rows: Vec<_> =
        BinaryCopyOutStream::new(stream, &[Type::INT4, Type::TEXT, Type::FLOAT8]).try_collect().await?;
    seen.note(
        "out",
        rows.iter().map(|row| (row.get::<i32>(0), row.get::<Option<String>>(1))).collect::<Vec<_>>(),
    );
    Ok(())
}

/// A statement is cancelled once it sleeps.
async fn cancel(client: &Client, server: &Server, seen: &mut Seen) -> Done {
    let token = client.cancel_token();
    let sleeping = client.query("select pg_sleep(60)", &[]);
    let other = server.connect().await?;
    let cancelling = async {
        // It is active while it is prepared, too.
        let asked = "select count(*) from pg_stat_activity \
                     where wait_event = 'PgSleep' and query = 'select pg_sleep(60)'";
        while other.query_one(asked, &[]).await?.get::<_, i64>(0) == 0 {}
        token.cancel_query(server.tls.clone()).await
    };
    let (slept, cancelled) = tokio::join!(sleeping, cancelling);
    cancelled?;
    seen.note("cancelled", slept.expect_err("it is cancelled").code().map(SqlState::code));
    Ok(())
}

async fn notices(server: &Server, seen: &mut Seen) -> Done {
    let (client, mut connection) = server.conninfo.parse::<Config>()?.connect(server.tls.clone()).await?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let next = std::future::poll_fn(|cx| connection.poll_message(cx)).await;
        if let Some(Ok(AsyncMessage::Notice(notice))) = next {
            sender.send(notice.code().code().to_owned()).expect("it is waited for");
        }
        while std::future::poll_fn(|cx| connection.poll_message(cx)).await.is_some() {}
    });
    client.batch_execute("drop table if exists nosuch").await?;
    let notice = tokio::time::timeout(Duration::from_secs(20), receiver).await;
    seen.note("notice", notice.map(|code| code.ok()).ok());
    Ok(())
}

async fn run(server: &Server) -> Result<String, tokio_postgres::Error> {
    let mut client = server.connect().await?;
    let mut seen = Seen(String::new());
    values(&client, &mut seen).await?;
    statements(&mut client, &mut seen).await?;
    copies(&client, &mut seen).await?;
    cancel(&client, server, &mut seen).await?;
    notices(server, &mut seen).await?;
    client.batch_execute("drop table r").await?;
    Ok(seen.0)
}

#[test]
fn tokio_postgres_works() {
    let servers = Servers::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let [theirs, ours] = [servers.postgresql.port(), servers.node.port()].map(|port| {
        runtime
            .block_on(run(&Server::new(port, &servers.pki)))
            .unwrap_or_else(|error| panic!("port {port}: {error:?}"))
    });
    let differences = differing(&theirs, &ours);
    assert!(differences.is_empty(), "PostgreSQL (-) and here (+) differ\n{differences}");
}
