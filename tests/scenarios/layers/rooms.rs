//! Inside the large crates: rooms, which are a crate's top-level modules, lie on floors, and imports point
//! down only.

use super::sources::rust_files;
use scenarios::project_root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use syn::visit::{self, Visit};

/// The rooms of each large crate, by its folder, lowest first. A room imports only from rooms that stand
/// before it here, so there can be no circle. `lib` is the crate's root: what it defines belongs to
/// everybody's callers, above all rooms.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "storage",
        &[
            "error",
            "types",
            "lock_order",
            "interrupt",
            "blocking",
            "pages",
            "changes",
            "tree",
            "visibility",
            "locks",
            "commit",
            "engine",
            "transaction",
            "recovery",
            "database",
        ],
    ),
    ("basebackup", &["manifest", "send", "clone"]),
    (
        "replica",
        &[
            "error",
            "directory_id",
            "sync",
            "timeline",
            "roster",
            "lag",
            "slots",
            "sender",
            "receiver",
            "driver",
        ],
    ),
    (
        "sql/catalogue",
        &[
            "rights",
            "model",
            "schema",
            "permissions",
            "codec",
            "entries",
            "definitions",
            "store",
            "grants",
            "sequences",
            "system",
            "names",
            "bootstrap",
        ],
    ),
    ("sql/language", &["parse", "expr", "plan", "reference"]),
    (
        "server",
        &[
            "error",
            "state",
            "log",
            "statements",
            "tasks",
            "lock_files",
            "connection",
            "auth",
            "configuration",
            "archive",
            "replication",
            "maintenance",
            "node",
            "views",
            "session",
            "lock_waits",
            "metrics",
            "reference",
            "runtime",
            "server",
        ],
    ),
];

/// An import of a room by another one of the same crate.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    to: String,
    file: String,
    name: String,
}

#[test]
fn rooms_of_the_large_crates_import_downwards_only() {
    let mut upwards = Vec::new();
    for (name, rooms) in ROOMS {
        let source = Source::read(name);
        let floor = |room: &str| rooms.iter().position(|known| *known == room);
        let unknown: BTreeSet<&String> =
            source.files.iter().map(|file| &file.room).filter(|room| floor(room).is_none()).collect();
        assert!(unknown.is_empty(), "rooms of {name} that have no floor: {unknown:?}; add them to ROOMS");
        let imports = source.imports();
        let arrows: BTreeSet<(&String, &String)> =
            imports.iter().map(|import| (&import.from, &import.to)).collect();
        let before = upwards.len();
        upwards.extend(
            imports
                .iter()
                .filter(|import| floor(&import.to) >= floor(&import.from))
                .map(|import| format!("{name}: {} imports {} of {}", import.file, import.name, import.to)),
        );
        println!(
            "{name}: {} rooms, {} files, {} imports between rooms along {} arrows, {} upwards",
            rooms.len(),
            source.files.len(),
            imports.len(),
            arrows.len(),
            upwards.len() - before
        );
        assert!(
            imports.len() > rooms.len(),
            "too few imports were seen in {name}: is the code's form still read?"
        );
    }
    assert!(upwards.is_empty(), "imports that point upwards:\n{}", upwards.join("\n"));
}

/// A source file, where it stands, and its syntax.
struct SourceFile {
    room: String,
    /// The module's path in the crate, without the crate's name.
    module: Vec<String>,
    path: PathBuf,
    syntax: syn::File,
}

/// A crate's source without its tests.
struct Source {
    files: Vec<SourceFile>,
    /// Names that lib.rs re-exports, with the room that each comes from.
    exported: BTreeMap<String, String>,
}

impl Source {
    fn read(name: &str) -> Self {
        let root = project_root().join(name).join("src");
        let mut files = Vec::new();
        let mut exported = BTreeMap::new();
        let counts = |name: &str| !["tests", "tests.rs", "testing.rs"].contains(&name);
        for path in rust_files(&root, &counts) {
            let text = fs::read_to_string(&path).expect("a source file");
            let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let inside = path.strip_prefix(&root).expect("below src").with_extension("");
            let mut module: Vec<String> =
                inside.iter().map(|part| part.to_str().expect("a name").to_owned()).collect();
            if module == ["lib"] {
                exported = exports(&syntax);
                continue;
            }
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            files.push(SourceFile { room: module[0].clone(), module, path: inside, syntax });
        }
        Self { files, exported }
    }

    /// All imports from one room by another, each name once a file.
    fn imports(&self) -> Vec<Import> {
        let mut imports = BTreeSet::new();
        for file in &self.files {
            let mut names = Names { module: file.module.clone(), found: BTreeSet::new() };
            names.visit_file(&file.syntax);
            for path in names.found {
                let to = self.exported.get(&path[0]).cloned().unwrap_or_else(|| {
                    let room = self.files.iter().any(|file| file.room == path[0]);
                    if room { path[0].clone() } else { "lib".to_owned() }
                });
                if to != file.room {
                    let file_name = file.path.display().to_string();
                    imports.insert(Import {
                        from: file.room.clone(),
                        to,
                        file: file_name,
                        name: path.join("::"),
                    });
                }
            }
        }
        imports.into_iter().collect()
    }
}

/// What lib.rs re-exports from its modules.
fn exports(syntax: &syn::File) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for item in &syntax.items {
        if let syn::Item::Use(item) = item {
            let mut paths = Vec::new();
            flatten(&item.tree, &mut Vec::new(), &mut paths);
            for path in paths {
                if let [room, .., name] = path.as_slice() {
                    found.insert(name.clone(), room.clone());
                }
            }
        }
    }
    found
}

/// The paths that a `use` names; a renamed one ends in its name here.
pub(super) fn flatten(tree: &syn::UseTree, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, paths);
            before.pop();
        }
        syn::UseTree::Name(name) => paths.push([before.as_slice(), &[name.ident.to_string()]].concat()),
        syn::UseTree::Rename(name) => paths.push([before.as_slice(), &[name.ident.to_string()]].concat()),
        syn::UseTree::Glob(_) => paths.push([before.as_slice(), &["*".to_owned()]].concat()),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, paths);
            }
        }
    }
}

/// Collects the paths below the crate's root that a file names, in whatever way it does.
struct Names {
    module: Vec<String>,
    found: BTreeSet<Vec<String>>,
}

impl Names {
    /// Takes a path as written, resolved from the module that it stands in.
    fn take(&mut self, path: &[String]) {
        let mut module = self.module.clone();
        let mut rest = path;
        match rest.first().map(String::as_str) {
            Some("crate") => {
                module.clear();
                rest = &rest[1..];
            }
            Some("super" | "self") => {
                while let Some(first) = rest.first() {
                    match first.as_str() {
                        "self" => {}
                        "super" => {
                            module.pop();
                        }
                        _ => break,
                    }
                    rest = &rest[1..];
                }
            }
            _ => return,
        }
        module.extend(rest.iter().cloned());
        if !module.is_empty() {
            self.found.insert(module);
        }
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for path in paths {
            self.take(&path);
        }
    }
    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.take(&names);
        visit::visit_path(self, path);
    }
    fn visit_macro(&mut self, item: &'a syn::Macro) {
        // What a macro gets is not parsed; paths stand in its tokens all the same.
        let text = item.tokens.to_string().replace(' ', "");
        for (at, _) in text.match_indices("crate::") {
            let path = text[at..].split(|sign: char| !(sign.is_alphanumeric() || "_:".contains(sign))).next();
            self.take(&path.unwrap_or("").split("::").map(str::to_owned).collect::<Vec<_>>());
        }
        visit::visit_macro(self, item);
    }
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }
}

pub(super) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}
