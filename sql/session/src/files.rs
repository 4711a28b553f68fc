//! Which files the catalogue names, and which lie there besides.

use super::SqlEngine;
use bytes::Bytes;
use host::Host;
use sql_catalogue::codec::{CATALOGUE_TREE, SHARED_TREE};
use sql_catalogue::{Catalogue, store};
use sql_interface::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use storage::{Isolation, KeyRange, Offline, TreeId};
use wal::RelFile;

/// All trees that a catalogue names, itself included, each with the name of its table or index.
fn named(catalogue: &Catalogue) -> BTreeMap<TreeId, String> {
    let mut named = BTreeMap::from([
        (SHARED_TREE, "roles and databases".to_owned()),
        (CATALOGUE_TREE, "catalogue".to_owned()),
    ]);
    for relation in catalogue.relations.values() {
        named.insert(relation.tree, relation.name.clone());
        named.extend(relation.indexes.iter().map(|index| (index.tree, index.name.clone())));
    }
    named
}

impl SqlEngine {
    /// Removes the files of before this server took writes that the catalogue does not name: see
    /// [`storage::Database::drop_unnamed`]. Returns which. Entries of sequences that are gone go with them.
    /// Waits until commits of before this start are decided.
    ///
    /// # Errors
    ///
    /// What storage fails with while the catalogue is read or files are removed.
    pub async fn remove_unnamed_files(&self) -> Result<Vec<TreeId>> {
        let mut transaction = self.database().begin(Isolation::ReadCommitted);
        transaction.begin_complete_statement().await?;
        let catalogue = store::load(&transaction).await?;
        transaction.rollback();
        let named: BTreeSet<TreeId> = named(&catalogue).into_keys().collect();
        let removed = self.database().drop_unnamed(named).await?;
        self.remove_forsaken_states().await?;
        Ok(removed)
    }
}

/// What a check of one relation file found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck {
    /// The file.
    pub file: RelFile,
    /// The table or index that it belongs to; None if the catalogue names none.
    pub name: Option<String>,
    /// Its pages.
    pub pages: u32,
    /// Of these, marked as free.
    pub free: u64,
    /// Of these, in use though nothing leads there.
    pub unreachable: u64,
    /// Why it could not be read as a tree.
    pub damage: Option<String>,
}

/// Looks at all relation files of a server that was stopped cleanly, and changes nothing. Fails if the
/// catalogue cannot be read. Blocks.
///
/// # Errors
///
/// If the directory cannot be opened or the catalogue cannot be read.
pub fn check_files(host: &Host, dir: &Path) -> Result<Vec<FileCheck>> {
    let offline = Offline::open(host, dir)?;
    let entries = |tree, range| {
        let mut entries: Vec<(Bytes, Bytes)> = Vec::new();
        offline.rows::<storage::Error>(tree, range, |key, value| {
            entries.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            Ok(())
        })?;
        Ok::<_, storage::Error>(entries)
    };
    let shared = entries(SHARED_TREE, KeyRange::all())?;
    let catalogue = store::assemble(shared, entries(CATALOGUE_TREE, store::definitions())?)?;
    let mut names = named(&catalogue);
    let mut checks = Vec::new();
    for (file, pages) in offline.relations().into_iter().filter(|(file, _)| offline.is_tree(*file)) {
        let tree = TreeId::new(file.database, file.relation);
        let name = names.remove(&tree);
        let mut check = FileCheck { file, name, pages, free: 0, unreachable: 0, damage: None };
        // What nobody names need not be whole.
        if check.name.is_some() {
            match offline.verify(tree) {
                Ok(verified) => {
                    check.free = verified.free_pages;
                    check.unreachable = verified.lost_pages.len() as u64;
                }
                Err(error) => check.damage = Some(error.to_string()),
            }
        }
        checks.push(check);
    }
    for (tree, name) in names {
        let damage = Some("the file is missing".to_owned());
        let file = tree.file();
        checks.push(FileCheck { file, name: Some(name), pages: 0, free: 0, unreachable: 0, damage });
    }
    Ok(checks)
}
