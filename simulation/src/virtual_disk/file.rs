//! Open files, mappings and locks.

use super::VirtualDisk;
use super::faults::{Call, FaultKind, eio, enospc};
use super::state::State;
use host::{File, LockGuard, Mapping};
use std::io;
use std::ops::Deref;
use std::path::PathBuf;

#[derive(Debug)]
pub(super) struct VirtualFile {
    pub(super) disk: VirtualDisk,
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

impl VirtualFile {
    /// Makes a call that changes the file.
    fn change<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut State, Option<FaultKind>) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.writable && call != Call::Sync {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        self.disk.call(call, &self.path, act)
    }
}

impl File for VirtualFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk
            .call(Call::Read, &self.path, |state, _| Ok(state.file(self.number)?.live().read(buf, offset)))
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.change(Call::Write, |state, fault| {
            let len = match fault {
                Some(FaultKind::Short(len)) => len.min(buf.len().saturating_sub(1)),
                _ => buf.len(),
            };
            let end =
                offset.checked_add(len as u64).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
            state.check_growth(self.number, end)?;
            if len > 0 {
                state.file_mut(self.number)?.write(buf.get(..len).unwrap_or_default(), offset);
            }
            Ok(len)
        })
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Call::Allocate, |state, _| {
            let end = offset.checked_add(len).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
            state.check_growth(self.number, end)?;
            if end > state.file(self.number)?.live().len() {
                state.file_mut(self.number)?.set_len(end);
            }
            Ok(())
        })
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Call::Allocate, |state, _| {
            let end = offset.checked_add(len).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
            state.check_growth(self.number, end)?;
            state.file_mut(self.number)?.reserve(end);
            Ok(())
        })
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Call::Truncate, |state, _| {
            state.check_growth(self.number, len)?;
            state.file_mut(self.number)?.set_len(len);
            Ok(())
        })
    }
    fn sync(&self) -> io::Result<()> {
        self.change(Call::Sync, |state, fault| {
            let file = state.file_mut(self.number)?;
            match fault {
                Some(kind) => {
                    file.lose_dirty();
                    Err(if kind == FaultKind::NoSpace { enospc() } else { eio() })
                }
                None => {
                    file.sync();
                    Ok(())
                }
            }
        })
    }
    fn len(&self) -> io::Result<u64> {
        self.disk.call(Call::Metadata, &self.path, |state, _| Ok(state.file(self.number)?.live().len()))
    }
}

#[derive(Debug)]
pub(super) struct VirtualMapping(pub(super) Vec<u8>);

impl Deref for VirtualMapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapping for VirtualMapping {}

#[derive(Debug)]
pub(super) struct VirtualLock(pub(super) VirtualFile);

impl LockGuard for VirtualLock {
    fn file(&self) -> &dyn File {
        &self.0
    }
}

impl Drop for VirtualLock {
    fn drop(&mut self) {
        self.0.disk.shared.locked.lock().remove(&self.0.number);
    }
}
