//! `PLIMSOLL files` and `PLIMSOLL read`: what a rewind reads of this node's directory.
//!
//! Who may make a base backup may read the same files one by one, and no others. The bytes are those of the
//! kernel: a page that is being written may come torn, and who asked tells by its checksum and asks again. A
//! page that a crash left torn is whole in memory alone until the next checkpoint: it is written first.

use super::Failure;
use super::replication::{INT8, TEXT, WalSender, columns};
use crate::connection::wire::Wire;
use crate::error::from_replica;
use basebackup::send::exclude::relation_of;
use basebackup::send::files::{may_be_sent, read_part, sent_files};
use host::task::blocking;
use protocol::replication::{ExtensionCommand, FILES_GO_ON, ReadFile};
use protocol::{Report, SqlState, backend};
use replica::ReplicaError;
use std::io;
use storage::page::PAGE_SIZE;
use storage::store::Store;
use wal::{BlockNumber, Replaced};

impl WalSender {
    /// `PLIMSOLL files (goes_on 'true')`
    pub(super) async fn files(&self, wire: &mut Wire, command: &ExtensionCommand) -> Result<(), Failure> {
        let goes_on = command.options.iter().find(|(name, _)| name == FILES_GO_ON);
        let goes_on = goes_on.and_then(|(_, value)| value.as_text()).is_some_and(|text| text == "true");
        if !goes_on {
            self.check_replaced()?;
        }
        let ground = self.node.ground.clone();
        let listed = blocking(move || sent_files(&*ground.host.disk, &ground.data_dir)).await;
        let listed = listed.unwrap_or_else(|error| Err(io::Error::other(error)));
        let listed = listed.map_err(|error| unreadable("the data directory", &error))?;
        columns(wire, &[("path", TEXT), ("size", INT8), ("kind", TEXT)]);
        for file in &listed {
            let size = file.size.to_string();
            backend::text_row(&mut wire.out, &[Some(&file.path), Some(&size), Some(file.class.name())]);
        }
        backend::command_complete(&mut wire.out, "PLIMSOLL");
        Ok(())
    }

    /// A rewind asks for the list of files before it changes anything. Rewound to a server that was replaced,
    /// a directory would give up what the one that counts has acknowledged since. One that has all pages from
    /// here already may have the rest: there is nothing left to give up.
    fn check_replaced(&self) -> Result<(), Failure> {
        let state = self.node_replication()?.log.state();
        let Some(Replaced { at, by }) = state.replaced else { return Ok(()) };
        let timeline = state.history.target();
        Err(from_replica(&ReplicaError::Replaced { timeline, at, by }).into())
    }

    /// `PLIMSOLL read (path, offset, length)`
    pub(super) async fn read_file(&self, wire: &mut Wire, command: &ExtensionCommand) -> Result<(), Failure> {
        let read =
            ReadFile::parse(command).map_err(|error| Report::error(error.code(), error.to_string()))?;
        if !may_be_sent(&read.path) {
            let what = format!("file \"{}\" is not part of a base backup", read.path);
            return Err(Report::error(SqlState::INSUFFICIENT_PRIVILEGE, what).into());
        }
        let (disk, data_dir) = (self.node.ground.host.disk.clone(), self.node.ground.data_dir.clone());
        let store = self.node.database().map(|database| database.store().clone());
        let name = read.path.clone();
        let content = blocking(move || {
            let content = read_part(&*disk, &data_dir, &read)?;
            let (Some(store), Some(bytes)) = (&store, &content) else { return Ok(content) };
            if mend(store, &read, bytes)? { read_part(&*disk, &data_dir, &read) } else { Ok(content) }
        })
        .await;
        let content = content.unwrap_or_else(|error| Err(io::Error::other(error)));
        let content = content.map_err(|error| unreadable(&format!("file \"{name}\""), &error))?;
        columns(wire, &[("content", TEXT)]);
        if let Some(content) = content {
            backend::data_row(&mut wire.out, 1, |row| {
                backend::value(row, |value| value.extend_from_slice(&content));
            });
        }
        backend::command_complete(&mut wire.out, "PLIMSOLL");
        Ok(())
    }
}

fn unreadable(what: &str, error: &io::Error) -> Report {
    Report::error(SqlState::IO_ERROR, format!("could not read {what}: {}", host::os_message(error)))
}

/// Has pages mended that were read and do not check out; whether it is worth to read them again.
fn mend(store: &Store, read: &ReadFile, bytes: &[u8]) -> io::Result<bool> {
    let page = PAGE_SIZE as u64;
    let block = u32::try_from(read.offset / page).ok();
    let (Some((rel, first)), Some(block), true) =
        (relation_of(&read.path), block, read.offset.is_multiple_of(page))
    else {
        return Ok(false);
    };
    let first = BlockNumber::new(first.get().saturating_add(block));
    store.mend_file(rel, first, bytes).map_err(io::Error::other)
}
