//! Files and functions that a reader can take in: at most 600 lines a file, 70 a function, and comments of at
//! most 110 columns.

use super::sources::rust_files;
use scenarios::project_root;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const COMMENT_COLUMNS_MAX: usize = 110;

/// Functions that are longer, each with its reason. No new one comes in; the aim is 20.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    ("sql/language/src/expr/aggregate.rs::add", "a table: an arm an aggregate"),
    ("sql/language/src/expr/eval.rs::compute", "a table: an arm an expression, on the hot path"),
    ("storage/src/changes/records/describe.rs::describe", "a table: an arm a record"),
];
const LONG_FUNCTIONS_MAX: usize = 3;

#[test]
fn no_file_is_longer_than_a_reader_can_take_in() {
    let files = sources();
    let long: Vec<String> = files
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", shown(path)))
        .collect();
    assert!(files.len() > 300, "only {} files were seen", files.len());
    assert!(long.is_empty(), "files of more than {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_that_do_not_fit_on_a_screen_have_a_reason() {
    let mut found = BTreeSet::new();
    for path in sources() {
        let syntax =
            syn::parse_file(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut functions = Functions { file: shown(&path), long: Vec::new() };
        functions.visit_file(&syntax);
        found.extend(functions.long);
    }
    let allowed: BTreeSet<&str> = LONG_FUNCTIONS.iter().map(|(name, _)| *name).collect();
    let new: Vec<&String> =
        found.iter().map(|(name, _)| name).filter(|name| !allowed.contains(name.as_str())).collect();
    assert!(
        new.is_empty(),
        "functions of more than {FUNCTION_LINES_MAX} lines: split them, or give a reason in LONG_FUNCTIONS: {new:#?}"
    );
    let gone: Vec<&&str> =
        allowed.iter().filter(|name| !found.iter().any(|(found, _)| found == *name)).collect();
    assert!(gone.is_empty(), "these are not long any more, take them out of LONG_FUNCTIONS: {gone:?}");
    assert!(LONG_FUNCTIONS.len() <= LONG_FUNCTIONS_MAX, "too many long functions: {}", LONG_FUNCTIONS.len());
}

#[test]
fn comments_are_no_wider_than_code() {
    let mut wide = Vec::new();
    for path in sources() {
        for (number, line) in read(&path).lines().enumerate() {
            if line.trim_start().starts_with("//") && line.chars().count() > COMMENT_COLUMNS_MAX {
                wide.push(format!("{}:{}", shown(&path), number + 1));
            }
        }
    }
    assert!(
        wide.is_empty(),
        "{} comments of more than {COMMENT_COLUMNS_MAX} columns:\n{}",
        wide.len(),
        wide.join("\n")
    );
}

/// Every Rust file of the workspace.
fn sources() -> Vec<PathBuf> {
    let counts = |name: &str| !name.starts_with('.') && name != "target";
    rust_files(&project_root(), &counts)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source file")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(project_root()).expect("below the root").display().to_string()
}

/// Collects the functions of a file that are too long, as `file::name` with their lines.
struct Functions {
    file: String,
    long: Vec<(String, usize)>,
}

impl Functions {
    fn look(&mut self, name: &syn::Ident, from: proc_macro2::Span, to: proc_macro2::Span) {
        let lines = to.end().line + 1 - from.start().line;
        if lines > FUNCTION_LINES_MAX {
            self.long.push((format!("{}::{name}", self.file), lines));
        }
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.look(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_item_fn(self, item);
    }
    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.look(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_impl_item_fn(self, item);
    }
}
