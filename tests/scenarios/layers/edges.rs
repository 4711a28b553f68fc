//! Every dependency of a workspace member is named in its code: an edge that no code uses goes.

use super::metadata;
use super::rooms::{flatten, is_test};
use super::sources::rust_files;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// Crates whose code says another name than the manifest.
const OTHER_NAMES: &[(&str, &str)] = &[("md-5", "md5"), ("rustls-webpki", "webpki")];
/// Dependencies that stand in a manifest for their features only: crate, dependency, reason.
const FEATURES_ONLY: &[(&str, &str, &str)] = &[];
/// Members that consist of tests and measurements: whatever any target of theirs names counts.
const TESTS_ONLY: &[&str] = &["scenarios", "benches"];

#[test]
fn every_dependency_is_named_in_the_code_that_has_it() {
    let metadata = metadata();
    let mut unused = Vec::new();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let member = package["name"].as_str().expect("a name");
        let product = named(&folders(package, &["lib", "bin"]), TESTS_ONLY.contains(&member));
        let all = named(&folders(package, &["lib", "bin", "test", "bench", "example"]), true);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("a name");
            let other = OTHER_NAMES.iter().find(|(manifest, _)| *manifest == name);
            let in_code = other.map_or_else(|| name.replace('-', "_"), |(_, code)| (*code).to_owned());
            let for_tests = dependency["kind"] == "dev" || TESTS_ONLY.contains(&member);
            let names = if for_tests { &all } else { &product };
            seen += 1;
            let excepted = FEATURES_ONLY.iter().any(|(of, on, _)| (*of, *on) == (member, name));
            match (names.contains(&in_code), excepted) {
                (false, false) => unused.push(format!("{member} depends on {name} and does not name it")),
                (true, true) => unused.push(format!("{member} names {name}: its exception can go")),
                _ => {}
            }
        }
    }
    println!("{seen} dependencies of workspace members");
    assert!(seen > 100, "only {seen} dependencies were seen: is the manifest's form still read?");
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

/// The folders of a package's targets of these kinds.
pub(super) fn folders(package: &serde_json::Value, kinds: &[&str]) -> BTreeSet<PathBuf> {
    let targets = package["targets"].as_array().expect("targets");
    let of_kind = |target: &&serde_json::Value| {
        let found = target["kind"].as_array().expect("kinds");
        found.iter().any(|kind| kinds.contains(&kind.as_str().expect("a kind")))
    };
    let folder = |target: &serde_json::Value| {
        let path = Path::new(target["src_path"].as_str().expect("a path"));
        path.parent().expect("a folder").to_path_buf()
    };
    targets.iter().filter(of_kind).map(folder).collect()
}

/// The first names of all paths that the code in these folders has, which are its crates, modules and types.
fn named(folders: &BTreeSet<PathBuf>, with_tests: bool) -> BTreeSet<String> {
    let counts = |name: &str| with_tests || !["tests", "tests.rs"].contains(&name);
    let mut first = FirstNames { with_tests, found: BTreeSet::new() };
    for path in folders.iter().flat_map(|folder| rust_files(folder, &counts)) {
        let text = fs::read_to_string(&path).expect("a source file");
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        first.visit_file(&syntax);
    }
    first.found
}

struct FirstNames {
    with_tests: bool,
    found: BTreeSet<String>,
}

impl FirstNames {
    /// What stands before a `::` in tokens that are not parsed.
    fn take_tokens(&mut self, tokens: &str) {
        let text = tokens.replace(" ::", "::");
        for (end, _) in text.match_indices("::") {
            let word = text[..end].rsplit(|sign: char| !(sign.is_alphanumeric() || sign == '_')).next();
            self.found.insert(word.unwrap_or_default().to_owned());
        }
    }
    fn skips(&self, attributes: &[syn::Attribute]) -> bool {
        !self.with_tests && is_test(attributes)
    }
}

impl<'a> Visit<'a> for FirstNames {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if self.skips(&item.attrs) {
            return;
        }
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        self.found.extend(paths.into_iter().filter_map(|path| path.into_iter().next()));
    }
    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.segments.len() > 1
            && let Some(first) = path.segments.first()
        {
            self.found.insert(first.ident.to_string());
        }
        visit::visit_path(self, path);
    }
    fn visit_macro(&mut self, item: &'a syn::Macro) {
        self.take_tokens(&item.tokens.to_string());
        visit::visit_macro(self, item);
    }
    fn visit_meta_list(&mut self, list: &'a syn::MetaList) {
        self.take_tokens(&list.tokens.to_string());
        visit::visit_meta_list(self, list);
    }
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !self.skips(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !self.skips(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !self.skips(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }
}
