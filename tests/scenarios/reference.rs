//! The reference pages of docs/ say what the program's own tables say.
//!
//! `PLIMSOLL_WRITE_DOCS=1 cargo test -p scenarios --test reference` writes them anew.

use scenarios::project_root;
use server::reference::{Column, Returns};
use settings::{Context, Definition, Kind, Meaning, Value, definitions, flag};
use sql_language::reference::FunctionKind;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

#[test]
fn the_page_of_settings_says_what_the_table_says() {
    let mut page = String::from(
        "# Settings\n\n\
         Settings are set as in PostgreSQL: in `postgresql.conf`, by `ALTER SYSTEM`, for one run on the command line with\n\
         `-c name=value`, and those of a session by `SET`. Names are PostgreSQL's; what is new begins with `plimsoll.`. An unknown name is an\n\
         error that names the nearest. The view `pg_settings` shows the values in force.\n\n\
         The column \"when\" says when a change counts: at a restart, at a reload (`SELECT pg_reload_conf()`), for new sessions,\n\
         or at once for the session; \"superuser\" means that only a superuser may set it for a session.\n",
    );
    let shown = || definitions().iter().filter(|one| !one.has(flag::NO_SHOW_ALL));
    let mut used: BTreeMap<&str, Vec<&Definition>> = BTreeMap::new();
    for one in shown().filter(|one| one.meaning() == Meaning::Used) {
        used.entry(one.category).or_default().push(one);
    }
    for (category, settings) in &used {
        let _ = write!(
            page,
            "\n## {category}\n\n| setting | default | range | when | what it does |\n|---|---|---|---|---|\n"
        );
        for one in settings {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                one.name,
                default(one),
                range(one),
                when(one.context),
                cell(one.description())
            );
        }
    }
    page.push_str(
        "\n## Accepted without an effect\n\n\
         PostgreSQL 15 has these settings. Here they are checked and shown, and do nothing, because what they adjust does not\n\
         exist here or needs no adjustment.\n\n",
    );
    let mut accepted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in shown().filter(|one| one.meaning() == Meaning::Accepted) {
        accepted.entry(one.category).or_default().push(format!("`{}`", one.name));
    }
    for (category, names) in &accepted {
        let _ = writeln!(page, "- {category}: {}.", names.join(", "));
    }
    assert_page("settings.md", &page);
}

#[test]
fn the_page_of_views_says_what_the_tables_say() {
    let mut page = String::from(
        "# Views\n\n\
         System views and catalogue tables are PostgreSQL's in name and columns, as far as there is something to show. What is\n\
         new begins with `plimsoll_`. None of them is stored: each is made up when it is asked for.\n\n\
         ## Of the server\n",
    );
    let one = |page: &mut String, name: &str, about: &str, columns: Vec<(&str, &str)>| {
        let columns: Vec<String> = columns.iter().map(|(name, of)| format!("`{name}` {of}")).collect();
        let _ = write!(page, "\n### {name}\n\n{about}\n\n{}\n", columns.join(", "));
    };
    for view in server::reference::views() {
        let columns = view.columns.iter().map(|column| (column.name, column.data_type)).collect();
        one(&mut page, view.name, view.about, columns);
    }
    page.push_str("\n## Of the catalogue\n");
    for table in sql_language::reference::system_tables() {
        one(&mut page, &format!("{}.{}", table.schema, table.name), table.about, table.columns);
    }
    assert_page("views.md", &page);
}

#[test]
fn the_page_of_functions_says_what_the_tables_say() {
    let mut page = String::from(
        "# Functions\n\nFunctions are PostgreSQL's in name, arguments and results. What is new begins with `plimsoll_`.\n",
    );
    let table = |page: &mut String, title: &str, rows: Vec<(String, String, &str)>| {
        let _ = write!(page, "\n## {title}\n\n| function | result | what it gives |\n|---|---|---|\n");
        for (call, result, about) in rows {
            let _ = writeln!(page, "| `{call}` | {} | {} |", cell(&result), cell(about));
        }
    };
    for (title, kind) in [
        ("Of values", FunctionKind::Scalar),
        ("Aggregates", FunctionKind::Aggregate),
        ("That give rows", FunctionKind::Set),
    ] {
        let of_kind =
            sql_language::reference::functions().into_iter().filter(|function| function.kind == kind);
        let rows = of_kind.map(|function| {
            let rest = if function.variadic { ", ..." } else { "" };
            let call = format!("{}({}{rest})", function.name, function.arguments.join(", "));
            (call, function.result.to_owned(), function.about)
        });
        table(&mut page, title, rows.collect());
    }
    let rows = server::reference::functions().into_iter().map(|function| {
        let arguments: Vec<String> = function
            .arguments
            .iter()
            .map(|argument| {
                let text = format!("{} {}", argument.name, argument.data_type);
                if argument.optional { format!("[{text}]") } else { text }
            })
            .collect();
        let columns = |columns: &[Column]| {
            let columns: Vec<String> =
                columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
            columns.join(", ")
        };
        let result = match &function.returns {
            Returns::Value(of) => (*of).to_owned(),
            Returns::Record(of) => format!("a row of {}", columns(of)),
            Returns::Rows(of) => format!("rows of {}", columns(of)),
        };
        (format!("{}({})", function.name, arguments.join(", ")), result, function.about)
    });
    table(&mut page, "Of the server", rows.collect());
    assert_page("functions.md", &page);
}

#[test]
fn the_page_of_metrics_says_what_the_table_says() {
    let mut page = String::from(
        "# Metrics\n\n\
         With `plimsoll.metrics_listen` a server answers `GET /metrics` in Prometheus' text form. A metric without a sample (of\n\
         standbys, where there is none) is left out; of standbys with one name the worst figure is shown.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in server::reference::metrics() {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            metric.labels.join(", "),
            cell(metric.help)
        );
    }
    assert_page("metrics.md", &page);
}

/// The default, as SHOW prints it.
fn default(of: &Definition) -> String {
    match Value::boot(of).show(of).as_str() {
        "" => "empty".to_owned(),
        text => format!("`{}`", cell(text)),
    }
}

/// The values allowed, in the words of the setting's unit.
fn range(of: &Definition) -> String {
    let bound = |number: String| {
        let parsed = Value::parse(of, &number).map(|value| value.show(of));
        parsed.unwrap_or(number)
    };
    match of.kind {
        Kind::Bool { .. } => "on, off".to_owned(),
        Kind::Integer { min, max, .. } => format!("{} to {}", bound(min.to_string()), bound(max.to_string())),
        Kind::Real { min, max, .. } => format!("{} to {}", bound(min.to_string()), bound(max.to_string())),
        Kind::Text { .. } => "text".to_owned(),
        Kind::Choice { words, .. } => words.join(", "),
    }
}

fn when(context: Context) -> &'static str {
    match context {
        Context::Internal => "never: it is computed",
        Context::Postmaster => "restart",
        Context::Sighup => "reload",
        Context::SuperuserBackend => "new sessions, superuser",
        Context::Backend => "new sessions",
        Context::Superuser => "at once, superuser",
        Context::User => "at once",
    }
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Compares a page with what it shall be, or writes it.
fn assert_page(name: &str, text: &str) {
    let path = project_root().join("docs").join(name);
    let note = "<!-- Made by tests/scenarios/reference.rs from the program's own tables. -->\n";
    let expected = format!("{note}{text}");
    if std::env::var_os("PLIMSOLL_WRITE_DOCS").is_some() {
        fs::write(&path, &expected).expect("the page is written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert!(
        expected == found,
        "docs/{name} differs from the program's tables, first here: {differs:?}\n\
         Write it anew with PLIMSOLL_WRITE_DOCS=1 cargo test -p scenarios --test reference"
    );
}
