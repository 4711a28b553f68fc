//! Shell commands: functions that the simulator has installed for a machine.
//!
//! A command runs as a fiber of the life that has started it, so it ends with it, and time passes in it by
//! what its function awaits. A signal drops its future where it waits.
//!
//! Not simulated: what a command prints, processes that it leaves behind, and commands that do not listen to
//! SIGTERM.

use crate::fiber;
use crate::task;
use crate::thread::{self, Thread};
use crate::world::NodeId;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Notify;

/// The exit code of a command that nobody knows.
const NOT_FOUND: u8 = 127;

/// What a command does, and the code that it exits with: 128 and a signal's number if that has ended what the
/// shell has run.
pub type Running = Pin<Box<dyn Future<Output = u8> + Send>>;
/// Interprets commands: their text, and the folder that they run in.
pub type Interpreter = Arc<dyn Fn(&str, &Path) -> Running + Send + Sync>;

thread_local! {
    static INSTALLED: RefCell<BTreeMap<NodeId, Interpreter>> = const { RefCell::new(BTreeMap::new()) };
}

/// Says what runs the commands of a machine's programs from now on. Without that no command is found.
pub fn install(node: NodeId, interpreter: Interpreter) {
    INSTALLED.with_borrow_mut(|installed| installed.insert(node, interpreter));
}

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has exited with this code.
    Exited(u8),
    /// This signal has ended the shell itself.
    Signalled(u8),
}

/// A running command. Dropped before it has ended, it is killed.
pub struct Command(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// How it has ended, and who waits for that.
    end: Mutex<(Option<Status>, Vec<Thread>)>,
    signal: Mutex<Option<u8>>,
    signalled: Notify,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({:?})", self.0.end.lock().0)
    }
}

impl Command {
    /// Starts a command on the machine that asks; None outside of a simulation.
    pub fn spawn(command: &str, folder: &Path) -> Option<Self> {
        let node = fiber::current_node()?;
        let interpreter = INSTALLED.with_borrow(|installed| installed.get(&node).cloned());
        let running = match interpreter {
            Some(interpreter) => interpreter(command, folder),
            None => Box::pin(async { NOT_FOUND }),
        };
        let shared = Arc::new(Shared::default());
        tokio::spawn(task::task(run(running, shared.clone())));
        Some(Self(shared))
    }

    /// Waits until it has ended. Blocks.
    pub fn wait(&self) -> Status {
        loop {
            {
                let mut end = self.0.end.lock();
                if let Some(status) = end.0 {
                    return status;
                }
                end.1.push(thread::current());
            }
            thread::park();
        }
    }

    /// Ends it by a signal, unless it has ended.
    pub fn signal(&self, number: u8) {
        self.0.signal.lock().get_or_insert(number);
        self.0.signalled.notify_one();
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        const SIGKILL: u8 = 9;
        self.signal(SIGKILL);
    }
}

async fn run(running: Running, shared: Arc<Shared>) {
    let status = tokio::select! {
        biased;
        () = shared.signalled.notified() => Status::Signalled(shared.signal.lock().unwrap_or_default()),
        code = running => Status::Exited(code),
    };
    let waiting = {
        let mut end = shared.end.lock();
        end.0 = Some(status);
        std::mem::take(&mut end.1)
    };
    waiting.iter().for_each(Thread::unpark);
}
