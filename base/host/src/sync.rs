//! Locks and channels between threads. Whoever waits for one blocks its thread.

pub use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
};
pub use std::sync::mpsc::{Receiver, RecvError, SendError, SyncSender as Sender, sync_channel as channel};
