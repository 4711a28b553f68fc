//! The state page: what the cluster must know at its start and a checkpoint record has no place for. It is a
//! page like any other, logged and redone, so that a standby knows the same. All fields have their numbers
//! here; what a field's bytes say is known to those who keep it.

use crate::changes::records::info;
use crate::changes::store::{Fault, Store};
use crate::changes::writer::{Target, Writer};
use crate::pages::page::{PAGE_SIZE, POINTER_SIZE, PageKind, USABLE_SIZE};
use crate::pages::pool::PageKey;
use crate::{Error, TreeId};
use wal::codec::PutFields;
use wal::{BlockNumber, Record, Rmgr};

/// The relation that holds it.
pub const STATE_FILE: TreeId = TreeId::new(1, 9999);
/// The field with the confirmed position (`commit::pipeline`).
pub(crate) const STATE_CONFIRMED: u16 = 1;
/// The field with the list of early xids (`commit::early_list`).
pub(crate) const STATE_EARLY: u16 = 3;
/// The field with the state of synchronous replication (`commit::sync_record`).
pub(crate) const STATE_SYNC: u16 = 4;
/// The field with what the primary says of itself (`commit::primary_record`).
pub(crate) const STATE_PRIMARY: u16 = 5;
/// The field with the last commit that waited for standbys to replay it (`commit::confirmed_record`).
pub(crate) const STATE_APPLY: u16 = 6;
/// The most bytes that all fields may take together.
pub const STATE_BYTES_MAX: usize = USABLE_SIZE - 64;

const BLOCK: BlockNumber = BlockNumber::new(0);

/// Whether a record changes what the log says of synchronous replication, or its primary of itself.
pub fn changes_sync_state(record: &Record) -> bool {
    let field = record.main_data().first_chunk::<2>().map(|field| u16::from_le_bytes(*field));
    record.rmgr() == Rmgr::ENGINE
        && record.rmgr_info() == info::STATE
        && matches!(field, Some(STATE_SYNC | STATE_PRIMARY))
}

impl Writer<'_> {
    /// Puts one field of the state page, creating the page with the first.
    ///
    /// # Errors
    /// Fails if the page is missing from the pool, the fields are too long, or the log takes no record.
    pub fn put_state(&mut self, field: u16, bytes: &[u8]) -> Result<(), Fault> {
        let file = STATE_FILE.file();
        let relations = &self.store.0.relations;
        let existing = relations.get(file).filter(|relation| relation.page_count() > 0);
        let is_new = existing.is_none();
        let relation = match existing {
            Some(relation) => relation,
            None => {
                let relation = relations.create(file)?;
                self.log_creation(&relation)?;
                relation
            }
        };
        let mut page =
            if is_new { self.new_page(&relation, BLOCK)? } else { self.pin(&relation, BLOCK)?.write() };
        let mut main = Vec::with_capacity(2 + bytes.len());
        main.put_u16(field);
        main.put(bytes);
        let others: usize = page
            .items()
            .filter(|item| !item.starts_with(&field.to_le_bytes()))
            .map(|item| item.len() + POINTER_SIZE)
            .sum();
        let size_bytes = others + main.len() + POINTER_SIZE;
        if size_bytes > STATE_BYTES_MAX {
            return Err(Error::ValueTooLarge { size_bytes, limit_bytes: STATE_BYTES_MAX }.into());
        }
        let target = Target { id: 0, block: BLOCK, init: is_new, data: &[], page: &mut page };
        Ok(self.change(info::STATE, &relation, &main, &mut [target])?)
    }
}

impl Store {
    /// Checks that the state page is there, before anything is read of it or redone.
    ///
    /// Whoever makes a directory puts a field before there is a control file, in all formats that this
    /// program reads; backups and clones copy the file with the rest, and nothing ever cuts or removes it. So
    /// a directory without it has lost it. To go on as if no field had ever been put would show rows that
    /// were rolled back, and forget what is confirmed.
    ///
    /// # Errors
    /// Fails if the file is missing or too short.
    pub fn check_state(&self) -> Result<(), Error> {
        let file = STATE_FILE.file();
        let found = match self.0.relations.get(file) {
            Some(relation) if relation.page_count() > 0 => return Ok(()),
            Some(_) => format!("it has fewer than {PAGE_SIZE} bytes"),
            None => "it is missing".to_owned(),
        };
        let what = format!(
            "{found}, and it holds which transactions were rolled back and what is confirmed; \
             restore the directory from a backup, or clone this server anew from another one"
        );
        Err(Error::corrupt(format!("file {file}"), None, what))
    }

    /// Reads one field of the state page; None if it was never put. Whether the page is lost is told by
    /// [`Store::check_state`].
    ///
    /// # Errors
    /// Fails if the page is not in the pool, or is none.
    pub fn state(&self, field: u16) -> Result<Option<Vec<u8>>, Fault> {
        let file = STATE_FILE.file();
        if self.page_count(file) == 0 {
            return Ok(None);
        }
        let key = PageKey::new(file, BLOCK);
        let page = self.0.pool.pin(key).ok_or(Fault::Miss(key))?.read();
        if page.kind() != Some(PageKind::State) {
            return Err(Error::corrupt_page(file, BLOCK, "not a state page").into());
        }
        Ok(page.items().find_map(|item| item.strip_prefix(&field.to_le_bytes())).map(<[u8]>::to_vec))
    }
}
