//! What the drivers' tests work with: the drivers, fetched once a target folder, and two servers that a
//! script is run on, ours and a real PostgreSQL 15.

use scenarios::pki::Pki;
use scenarios::{Node, Outcome, PostgreSql, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The password of the role that scripts log in as.
const PASSWORD: &str = "opensesame";

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("drivers").join(name);
    fs::create_dir_all(&folder).expect("the target folder takes a folder");
    folder
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/drivers/scripts").join(name)
}

/// Has `packages` in a folder of their own, which `install` fills; once, whichever test comes first.
fn installed(name: &str, packages: &[&str], install: impl FnOnce(&Path)) -> PathBuf {
    let folder = folder(name);
    let lock = fs::File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("the other test ends");
    let (list, known) = (packages.join("\n"), folder.join("installed"));
    if fs::read_to_string(&known).ok().as_deref() != Some(&list) {
        install(&folder);
        fs::write(&known, list).expect("a note");
    }
    folder
}

fn succeeds(command: &mut Command) {
    let done = run(command);
    assert_eq!(done.code, 0, "{command:?}\n{}\n{}", done.stdout, done.stderr);
}

/// Python with the newest drivers.
pub fn python() -> Command {
    let packages = ["psycopg[binary,pool]", "psycopg2-binary", "asyncpg", "sqlalchemy[asyncio]"];
    let folder = installed("python", &packages, |folder| {
        succeeds(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")));
        succeeds(
            Command::new(folder.join("venv/bin/pip"))
                .args(["install", "--quiet", "--upgrade"])
                .args(packages),
        );
    });
    Command::new(folder.join("venv/bin/python"))
}

/// Node.js with the newest drivers.
pub fn node_js() -> Command {
    let packages = ["pg", "pg-cursor", "pg-query-stream", "pg-copy-streams", "sequelize"];
    let folder = installed("node", &packages, |folder| {
        let options = ["install", "--no-audit", "--no-fund", "--silent", "--prefix"];
        succeeds(Command::new("npm").args(options).arg(folder).args(packages));
    });
    let mut command = Command::new("node");
    command.env("NODE_PATH", folder.join("node_modules"));
    command
}

/// Ours and theirs, both on the loopback, with certificates for it.
pub struct Servers {
    pub node: Node,
    pub postgresql: PostgreSql,
    pub pki: Pki,
}

/// How a script connects.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// Over TCP, trusted.
    Trusted,
    /// Over TLS, with a password by SCRAM; the server's certificate is verified where the driver can. A
    /// server lets the role in no other way.
    Encrypted,
}

/// Who may come how: the role `app` over TLS with its password alone.
const RULES: &str = "local all,replication all trust\n\
                     hostssl all app 127.0.0.1/32 scram-sha-256\n\
                     host all app all reject\n\
                     host all all 127.0.0.1/32 trust\n";

/// Has a program that goes by the variables of libpq log in as the role `app` over TLS, to a server on this
/// port of the loopback.
pub fn encrypted(command: &mut Command, port: u16, pki: &Pki) {
    command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGDATABASE", "postgres");
    command.env("PGUSER", "app").env("PGPASSWORD", PASSWORD);
    command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", pki.path("root.crt"));
    // Node.js has its own.
    command.env("NODE_EXTRA_CA_CERTS", pki.path("root.crt"));
}

/// A server of ours with a certificate and these rules, not started.
pub fn node_with_tls(pki: &Pki) -> Node {
    let node = Node::builder().setting("ssl", "on").init();
    pki.install("server", &node.data());
    fs::write(node.data().join("pg_hba.conf"), RULES).expect("the file is written");
    node
}

/// What makes the role `app`.
pub fn role() -> String {
    format!("CREATE ROLE app LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
}

impl Servers {
    pub fn start() -> Self {
        let pki = Pki::make();
        let node = node_with_tls(&pki);
        node.start();
        let postgresql = PostgreSql::start(&[("listen_addresses", "127.0.0.1")]);
        for file in ["server.crt", "server.key"] {
            postgresql.place(file, &fs::read(pki.path(file)).expect("it is there"));
        }
        postgresql.place("pg_hba.conf", RULES.as_bytes());
        postgresql.configure(&[("ssl", "on")]);
        postgresql.reload();
        for server in [node.conninfo(), postgresql.conninfo()] {
            let mut client = postgres::Client::connect(&server, postgres::NoTls).expect("connects");
            client.batch_execute(&role()).expect("a role");
        }
        Self { node, postgresql, pki }
    }

    fn on(&self, command: &mut Command, port: u16, way: Way) {
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        match way {
            Way::Trusted => {
                command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string());
                command.env("PGDATABASE", "postgres").env("PGUSER", "postgres").env_remove("PGPASSWORD");
            }
            Way::Encrypted => encrypted(command, port, &self.pki),
        }
    }

    /// Runs a script on our server alone.
    pub fn say(&self, command: impl Fn() -> Command) -> Outcome {
        let mut command = command();
        self.on(&mut command, self.node.port(), Way::Trusted);
        run(&mut command)
    }

    /// Runs a script of a driver on both servers: it must end well, and print the same.
    pub fn compare(&self, way: Way, command: impl Fn(u16) -> Command) {
        let [theirs, ours] = [self.postgresql.port(), self.node.port()].map(|port| {
            let mut command = command(port);
            self.on(&mut command, port, way);
            run(&mut command)
        });
        assert_eq!(theirs.code, 0, "the script fails on PostgreSQL\n{}\n{}", theirs.stdout, theirs.stderr);
        assert_eq!(ours.code, 0, "{way:?}\n{}\n{}", ours.stdout, ours.stderr);
        assert!(theirs.stdout.lines().count() > 3, "the script says little: {}", theirs.stdout);
        let differences = differing(&theirs.stdout, &ours.stdout);
        assert!(differences.is_empty(), "{way:?}: PostgreSQL (-) and here (+) differ\n{differences}");
    }
}

/// The lines that differ, by the program diff.
pub fn differing(theirs: &str, ours: &str) -> String {
    let folder = scenarios::scratch_dir();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let (theirs, ours) = (write("theirs", theirs), write("ours", ours));
    run(Command::new("diff").args(["-U", "0"]).arg(theirs).arg(ours)).stdout
}
