//! The commands of README.md and of docs/, run as they stand there.
//!
//! Each page has a network, a /tmp, a home folder and a process tree of its own, so its ports and folders are
//! what it says. The network has the addresses 192.0.2.1 and 192.0.2.2, for pages that speak of two machines.
//! Blocks marked `sh` are run in order in one shell that ends at the first failure. Blocks marked `sql` go to
//! psql and the server on port 5432. A block marked `text` that follows is what the one before it prints;
//! `...` in it stands for anything. Blocks without a mark are not run.

use scenarios::network::namespaces_refused;
use scenarios::{plimsoll, project_root, run, scratch_dir};
use std::fs;
use std::process::Command;

/// A block that is run, and what it shall print.
struct Block {
    line: usize,
    script: String,
    expected: Option<String>,
}

/// One test a page, so that they run beside each other.
macro_rules! pages {
    ($($test:ident => $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $test() {
                run_page($page);
            }
        )*
    };
}

pages! {
    commands_of_the_readme_work => "README.md",
    commands_of_the_quick_start_work => "docs/quick-start.md",
    commands_of_the_page_on_two_machines_work => "docs/two-machines.md",
    commands_of_the_page_on_security_work => "docs/secure.md",
    commands_of_the_page_on_durability_work => "docs/durability.md",
    commands_of_the_page_on_failover_work => "docs/failover.md",
    commands_of_the_page_on_backups_work => "docs/backup-and-recovery.md",
    commands_of_the_page_on_reads_work => "docs/reads-that-follow-writes.md",
    commands_of_the_page_on_administration_work => "docs/administration.md",
    commands_of_the_page_on_monitoring_work => "docs/monitoring.md",
    commands_of_the_page_on_sql_work => "docs/sql.md",
    commands_of_the_page_on_formats_work => "docs/formats.md",
    commands_of_the_page_on_wire_extensions_work => "docs/wire-extensions.md",
}

#[test]
fn every_page_with_commands_has_a_test() {
    let folder = project_root().join("docs");
    for entry in fs::read_dir(folder).expect("docs/") {
        let entry = entry.expect("an entry");
        let page = format!("docs/{}", entry.file_name().to_string_lossy());
        let runs = !blocks(&fs::read_to_string(entry.path()).expect("a page")).is_empty();
        assert_eq!(runs, PAGES.contains(&page.as_str()), "{page}: add it to the pages above, or take it out");
    }
}

#[test]
fn every_page_is_linked_and_every_link_leads_somewhere() {
    let root = project_root();
    let mut pages = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned(), "CHANGELOG.md".to_owned()];
    for entry in fs::read_dir(root.join("docs")).expect("docs/") {
        pages.push(format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy()));
    }
    let mut linked = Vec::new();
    for page in &pages {
        let folder = root.join(page).parent().expect("a folder").to_owned();
        for link in links(&fs::read_to_string(root.join(page)).expect("a page")) {
            let file = link.split('#').next().unwrap_or("");
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let path = folder.join(file);
            assert!(path.exists(), "{page} links to {link}, which does not exist");
            linked.push(path.canonicalize().expect("a path"));
        }
    }
    for page in pages.iter().filter(|page| *page != "README.md") {
        let path = root.join(page).canonicalize().expect("a path");
        assert!(linked.contains(&path), "no page links to {page}");
    }
}

#[test]
fn every_place_that_the_architecture_names_exists() {
    let root = project_root();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("a page");
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('/') && !name.contains(['<', ' ', '-']))
        .collect();
    assert!(named.len() > 40, "only {} places were seen", named.len());
    let gone: Vec<&&str> =
        named.iter().filter(|name| !name.starts_with("base/1") && !root.join(name).exists()).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names what does not exist: {gone:?}");
}

/// The targets of a page's links.
fn links(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// Runs a page's blocks and compares what they print.
fn run_page(page: &str) {
    if let Some(reason) = namespaces_refused() {
        panic!("the commands of a page need a network namespace of their own: {reason}");
    }
    let text = fs::read_to_string(project_root().join(page)).expect("the page");
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "{page} has no block that is run");
    let root = scratch_dir();
    for folder in ["bin", "work", "out"] {
        fs::create_dir(root.path().join(folder)).expect("a folder");
    }
    fs::write(root.path().join("bin/plimsoll"), "").expect("a place for the binary");
    fs::write(root.path().join("page.sh"), script(&blocks)).expect("the script");
    // The binary may lie below /tmp: it is put into the place that becomes /tmp before that one hides it.
    let prepare = "ip link set lo up; for n in 1 2; do ip address add 192.0.2.$n/24 dev lo; done; \
                   mount --bind \"$1\" \"$2/bin/plimsoll\"; mount --rbind \"$2\" /tmp; cd /tmp/work; \
                   PATH=/tmp/bin:$PATH HOME=/tmp/work exec bash ../page.sh";
    let outcome = run(Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["bash", "-euc", prepare, "page"])
        .arg(plimsoll().get_program())
        .arg(root.path())
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env_remove("PGHOST")
        .env_remove("PGPORT")
        .env_remove("PGUSER"));
    let printed = |number: usize| {
        fs::read_to_string(root.path().join("out").join(number.to_string())).unwrap_or_default()
    };
    for (number, block) in blocks.iter().enumerate() {
        let found = printed(number);
        let done = root.path().join("out").join(format!("{number}.done")).exists();
        assert!(
            done,
            "{page}, line {}: failed (exit code {}):\n{}\n-- it printed:\n{found}{}",
            block.line, outcome.code, block.script, outcome.stderr
        );
        if let Some(expected) = &block.expected {
            assert!(
                matches(expected, &found),
                "{page}, line {}: shall print\n{expected}\n-- but printed\n{found}",
                block.line
            );
        }
    }
}

/// A script that runs all blocks in one shell and keeps what each prints.
fn script(blocks: &[Block]) -> String {
    let mut script = String::from("set -eu -o pipefail\n");
    for (number, block) in blocks.iter().enumerate() {
        script.push_str(&format!(
            "{{\n{}\n}} > /tmp/out/{number} 2>&1 < /dev/null\ntouch /tmp/out/{number}.done\n",
            block.script
        ));
    }
    script
}

/// The blocks of a page that are run.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(mark) = line.strip_prefix("```") else { continue };
        let content: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let content = content.join("\n");
        match mark {
            "sh" => blocks.push(Block { line: number + 1, script: content, expected: None }),
            "sql" => blocks.push(Block {
                line: number + 1,
                script: format!(
                    "psql -X -v ON_ERROR_STOP=1 -h localhost -d postgres <<'END OF SQL'\n{content}\nEND OF SQL"
                ),
                expected: None,
            }),
            "text" => {
                let before = blocks.last_mut().expect("a text block follows the one that prints it");
                assert!(before.expected.is_none(), "line {}: a second text block", number + 1);
                before.expected = Some(content);
            }
            _ => {}
        }
    }
    blocks
}

/// Whether a text is what a page says; `...` stands for any text, and spaces at the ends of lines do not
/// count.
fn matches(expected: &str, found: &str) -> bool {
    let trimmed = |text: &str| {
        let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
        lines.join("\n")
    };
    let (expected, found) = (trimmed(expected), trimmed(found));
    let mut parts = expected.split("...");
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = found.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
