//! `plimsoll demo`: the main job told as a story, with the program's own commands, and figures at its end.
//!
//! Initialise a primary, load a real data set, run transfers from eight clients; clone a standby meanwhile,
//! follow it, make it synchronous; kill the primary in the middle of the load, promote the standby; prove
//! that nothing that both had acknowledged is lost; bring the old primary back, see it fenced, rewind it with
//! the report of what it alone had, and hand its role back to it. Fails loudly when any of this is not so.

mod bank;
mod nodes;
mod watch;

use crate::cli::DemoArgs;
use crate::output::say;
use crate::signals::Signals;
use anyhow::{Context, Result, anyhow, bail, ensure};
use bank::{ACCOUNTS, Acknowledged, CLIENTS, Load, OPENING_BALANCE, audit, open_bank};
use nodes::{DemoFolder, DemoNode};
use protocol::Client;
use std::time::{Duration, Instant};
use watch::{LagWatch, bytes_text};

/// The real data set: Unicode's character database (its licence lies beside the file).
const UNICODE_DATA: &str = include_str!("../../../data/UnicodeData.txt");

/// How long any one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Runs the demo in a temporary folder that is removed afterwards, also when it is interrupted.
pub fn run(arguments: &DemoArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = DemoFolder::create()?;
    let told = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let told = tokio::select! {
            told = tell(arguments, &folder) => told,
            () = signals.next() => Err(anyhow!("interrupted")),
        };
        let ended = folder.end_servers().await;
        told.and(ended)
    });
    let path = folder.path();
    if arguments.keep {
        say!("\nThe demo's folder is left at {}", path.display());
    } else {
        std::fs::remove_dir_all(path).with_context(|| format!("could not remove {}", path.display()))?;
    }
    told
}

/// What the demo measured, in the order of its table.
#[derive(Default)]
struct Figures(Vec<(&'static str, String)>);

impl Figures {
    fn add(&mut self, name: &'static str, value: impl ToString) {
        self.0.push((name, value.to_string()));
    }

    fn print(&self) {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        say!("");
        for (name, value) in &self.0 {
            say!("  {name:<width$}  {value:>16}");
        }
    }
}

fn chapter(text: &str) {
    say!("\n\u{2014} {text}");
}

async fn tell(arguments: &DemoArgs, folder: &DemoFolder) -> Result<()> {
    let begun = Instant::now();
    let mut figures = Figures::default();

    chapter("A primary is initialised and started");
    let primary = DemoNode::init(folder, "primary").await?;
    primary.start(&[]).await?;
    say!("  {} listens on port {}", primary.name(), primary.port());
    let mut client = connect(&primary).await?;

    chapter("It loads Unicode's character database over the wire");
    let rows = load_unicode(&mut client).await?;
    figures.add("rows loaded", rows);

    chapter(&format!("{CLIENTS} clients transfer money between {ACCOUNTS} accounts"));
    open_bank(&mut client).await?;
    let load = Load::start(&primary.conninfo(), arguments.seed).await?;
    wait_for("the first transfers", || async { Ok(load.acknowledged.total() > 100) }).await?;
    say!("  {} transfers are acknowledged so far", load.acknowledged.total());

    chapter("A standby is cloned from the live primary while the load goes on");
    let cloning = Instant::now();
    let standby = DemoNode::clone_of(folder, "standby", &primary).await?;
    let clone_time = cloning.elapsed();
    standby.start(&[]).await?;
    say!("  cloned in {:.2} s; it listens on port {}", clone_time.as_secs_f64(), standby.port());
    figures.add("clone, seconds", format!("{:.2}", clone_time.as_secs_f64()));

    chapter("The standby follows; its lag, live");
    let watch = LagWatch::start(&primary.conninfo()).await?;
    wait_for("the standby streams", || async { Ok(watch.is_streaming()) }).await?;
    watch.print_for(Duration::from_secs(3)).await?;

    chapter("The standby becomes synchronous: a commit now waits until it is durable on both");
    client.query("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
    client.query("SELECT pg_reload_conf()").await?;
    wait_for("the standby is synchronous", || async { Ok(watch.is_synchronous()) }).await?;
    let at_switch = load.acknowledged.total();
    wait_for("transfers at the new level", || async { Ok(load.acknowledged.total() > at_switch + 500) })
        .await?;
    say!("  {} transfers were acknowledged by both", load.acknowledged.total() - at_switch);
    let wal_bytes = text_of(&mut client, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").await?;
    figures.add("WAL position, bytes", wal_bytes);

    commit_alone(&mut client, &standby).await?;

    chapter("The primary is killed with SIGKILL in the middle of the load");
    primary.kill_9().await?;
    let acknowledged = load.await_loss().await?;
    let worst = watch.stop().await;
    say!("  the clients were told of {} commits", acknowledged.total());
    figures.add("worst lag, bytes", bytes_text(worst.bytes));
    figures.add("worst lag, ms", format!("{:.1}", worst.seconds * 1000.0));

    let mut successor = promote(&standby, &mut figures).await?;
    check_nothing_is_lost(&mut successor, &acknowledged, rows, &mut figures).await?;

    chapter("The old primary is started again, and hears of its successor");
    fence_old_primary(&primary, &standby).await?;
    rewind_old_primary(&primary, &standby, &mut figures).await?;
    drop((client, successor));
    hand_role_back(&standby, &primary, &acknowledged, &mut figures).await?;

    primary.stop().await?;
    standby.stop().await?;
    figures.add("the whole story, seconds", format!("{:.1}", begun.elapsed().as_secs_f64()));
    figures.print();
    Ok(())
}

/// The primary commits something that the standby never gets, for which it waits for nobody.
async fn commit_alone(client: &mut Client, standby: &DemoNode<'_>) -> Result<()> {
    chapter("The standby loses its primary, which commits once more, at level local");
    let mut there = connect(standby).await?;
    there.query("ALTER SYSTEM SET primary_conninfo = ''").await?;
    there.query("SELECT pg_reload_conf()").await?;
    let receives = "SELECT count(*) FROM pg_stat_wal_receiver";
    let begun = Instant::now();
    while text_of(&mut there, receives).await? != "0" {
        ensure!(begun.elapsed() < STEP_LIMIT, "the standby goes on receiving");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.query("SET synchronous_commit = local").await?;
    client.query("INSERT INTO journal (client, sequence, amount) VALUES (-1, 1, 100)").await?;
    say!("  acknowledged by one server; the load's commits wait for both");
    Ok(())
}

/// The standby becomes the primary; gives a connection to it.
async fn promote(standby: &DemoNode<'_>, figures: &mut Figures) -> Result<Client> {
    chapter("The standby is promoted");
    let promoting = Instant::now();
    standby.promote().await?;
    let mut successor = connect(standby).await?;
    ensure!(
        text_of(&mut successor, "SELECT pg_is_in_recovery()").await? == "f",
        "the promoted standby is still in recovery"
    );
    successor.query("CREATE TABLE after_the_promotion (note text)").await?;
    let promotion_time = promoting.elapsed();
    let timeline =
        text_of(&mut successor, "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").await?;
    say!(
        "  it takes writes on timeline {} after {} ms",
        timeline.trim_start_matches('0'),
        promotion_time.as_millis()
    );
    figures.add("promotion, ms", promotion_time.as_millis());
    Ok(successor)
}

/// Everything is on the successor that a client was told of, and all rows that were loaded.
async fn check_nothing_is_lost(
    successor: &mut Client,
    acknowledged: &Acknowledged,
    rows: u64,
    figures: &mut Figures,
) -> Result<()> {
    chapter("Is everything there that was acknowledged?");
    let audit = audit(successor, acknowledged).await?;
    let unicode = text_of(successor, "SELECT count(*) FROM unicode").await?;
    figures.add("transfers acknowledged", acknowledged.total());
    figures.add("transfers lost", audit.lost);
    figures.add("sum of balances", audit.sum);
    ensure!(unicode == rows.to_string(), "{unicode} of {rows} loaded rows are on the promoted standby");
    ensure!(audit.lost == 0, "{} acknowledged transfers are lost", audit.lost);
    ensure!(
        audit.sum == ACCOUNTS * OPENING_BALANCE,
        "the balances sum to {}, not to {}",
        audit.sum,
        ACCOUNTS * OPENING_BALANCE
    );
    say!(
        "  yes: {} transfers are in the journal, and the balances sum to {} as at the start",
        audit.found,
        audit.sum
    );
    Ok(())
}

/// The old primary must refuse to acknowledge anything once it has met the new timeline.
async fn fence_old_primary(primary: &DemoNode<'_>, successor: &DemoNode<'_>) -> Result<()> {
    primary.start(&[("plimsoll.peers", successor.conninfo())]).await?;
    wait_for("the old primary is fenced", || async {
        let mut old = connect(primary).await?;
        match old.query("INSERT INTO journal (client, sequence) VALUES (-1, -1)").await {
            Ok(_) => bail!("the old primary acknowledged a write after the promotion"),
            Err(error) => {
                let text = error.to_string();
                if text.contains("fenced") {
                    say!("  it refuses to write: {text}");
                    return Ok(true);
                }
                Ok(false)
            }
        }
    })
    .await
}

/// The old primary gives up what it alone has, and follows its successor.
async fn rewind_old_primary(
    primary: &DemoNode<'_>,
    successor: &DemoNode<'_>,
    figures: &mut Figures,
) -> Result<()> {
    chapter("It is rewound: what it alone has is told, kept in a file, and discarded");
    primary.stop().await?;
    let rewinding = Instant::now();
    let said = primary.rewind_to(successor).await?;
    let rewind_time = rewinding.elapsed();
    // Each commit is a line with its changes, indented, below it.
    let commits: Vec<&str> = said.split("\nxid ").skip(1).collect();
    let alone = commits.iter().find(|commit| commit.contains("client='-1'"));
    let alone = alone.ok_or_else(|| anyhow!("the rewind tells of no commit at level local:\n{said}"))?;
    if commits.len() > 1 {
        say!("  {} transfers of which no client was told, and", commits.len() - 1);
    }
    say!("  xid {}", alone.lines().next().unwrap_or_default());
    for change in alone.lines().skip(1).take_while(|line| line.starts_with(' ')) {
        say!("  {change}");
    }
    primary.start(&[]).await?;
    wait_for("the old primary streams as a standby", || async {
        let mut there = connect(successor).await?;
        let state = "SELECT state FROM pg_stat_replication WHERE application_name = 'primary'";
        Ok(text_of(&mut there, state).await? == "streaming")
    })
    .await?;
    let mut old = connect(primary).await?;
    ensure!(
        text_of(&mut old, "SELECT count(*) FROM journal WHERE client = -1").await? == "0",
        "the discarded commit is still there"
    );
    say!("  rewound in {:.2} s; it streams from the new primary", rewind_time.as_secs_f64());
    figures.add("commits discarded", commits.len());
    figures.add("rewind, ms", rewind_time.as_millis());
    Ok(())
}

/// A planned change of roles, back to where the story began.
async fn hand_role_back(
    from: &DemoNode<'_>,
    to: &DemoNode<'_>,
    acknowledged: &Acknowledged,
    figures: &mut Figures,
) -> Result<()> {
    chapter("A switchover makes it the primary again");
    let switching = Instant::now();
    from.switch_over_to(to).await?;
    let switch_time = switching.elapsed();
    let mut primary = connect(to).await?;
    wait_for("the other follows it", || async {
        let mut there = connect(to).await?;
        let state = "SELECT state FROM pg_stat_replication WHERE application_name = 'standby'";
        Ok(text_of(&mut there, state).await? == "streaming")
    })
    .await?;
    // At the level that waits for both.
    primary.query("INSERT INTO after_the_promotion VALUES ('home again')").await?;
    let found = audit(&mut primary, acknowledged).await?;
    ensure!(found.lost == 0, "{} acknowledged transfers are lost", found.lost);
    say!("  in {} ms; it takes writes, all transfers are there, and both have them", switch_time.as_millis());
    figures.add("switchover, ms", switch_time.as_millis());
    Ok(())
}

async fn connect(node: &DemoNode<'_>) -> Result<Client> {
    Client::connect_to(&node.conninfo())
        .await
        .with_context(|| format!("could not connect to the {}", node.name()))
}

async fn text_of(client: &mut Client, sql: &str) -> Result<String> {
    let result = client.query(sql).await.with_context(|| sql.to_owned())?;
    Ok(result.text(0, 0).unwrap_or_default().to_owned())
}

/// Polls a condition until it holds; fails after the limit of a step.
async fn wait_for<F: Future<Output = Result<bool>>>(what: &str, mut probe: impl FnMut() -> F) -> Result<()> {
    let begun = Instant::now();
    let mut interval = tokio::time::interval(Duration::from_millis(20));
    while !probe().await? {
        ensure!(begun.elapsed() < STEP_LIMIT, "{what}: not within {} s", STEP_LIMIT.as_secs());
        interval.tick().await;
    }
    Ok(())
}

/// Loads the data set by COPY; returns how many rows it has.
async fn load_unicode(client: &mut Client) -> Result<u64> {
    client
        .query(
            "CREATE TABLE unicode (code text PRIMARY KEY, name text, category text, combining int, bidi text, \
             decomposition text, digit_decimal text, digit text, number text, mirrored text, old_name text, \
             comment text, upper text, lower text, title text)",
        )
        .await?;
    let loading = Instant::now();
    let mut copy = client.copy_in("COPY unicode FROM STDIN WITH (DELIMITER ';')").await?;
    for chunk in UNICODE_DATA.as_bytes().chunks(64 << 10) {
        copy.send(chunk).await?;
    }
    copy.finish().await?;
    let rows = UNICODE_DATA.lines().count() as u64;
    let found = text_of(client, "SELECT count(*) FROM unicode").await?;
    ensure!(found == rows.to_string(), "{found} of {rows} rows were loaded");
    let anchor = text_of(client, "SELECT name FROM unicode WHERE code = '2693'").await?;
    ensure!(anchor == "ANCHOR", "U+2693 is {anchor:?}, not ANCHOR");
    say!("  {rows} characters in {:.2} s; U+2693 is {anchor}", loading.elapsed().as_secs_f64());
    let categories = client
        .query("SELECT category, count(*) FROM unicode GROUP BY category ORDER BY count(*) DESC LIMIT 3")
        .await?;
    for row in 0..categories.rows.len() {
        say!(
            "  category {}: {} characters",
            categories.text(row, 0).unwrap_or(""),
            categories.text(row, 1).unwrap_or("")
        );
    }
    Ok(rows)
}
