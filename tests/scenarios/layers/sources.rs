//! The Rust files that the tests here look at.

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust files below a folder, in order. `counts` is asked for the name of each folder and file.
pub(super) fn rust_files(folder: &Path, counts: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(folder, counts, &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, counts: &dyn Fn(&str) -> bool, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if !counts(name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, counts, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}
