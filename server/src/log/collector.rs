//! logging_collector: messages of all threads go into a queue, and one thread writes them into files.
//!
//! Nobody who logs waits for the disk. The queue is bounded; what does not fit is dropped, and the log says
//! how much that was as soon as there is room. So a log that cannot be written stops nothing.

use super::LogSink;
use super::files::{FileSettings, Format, Writer};
use host::Clock;
use host::sync::{Condvar, Mutex};
use host::thread::JoinHandle;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where so many bytes wait to be written, no more come in: a message of any size fits before that.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// How long a flush waits for a disk that does not answer.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Longest time between two looks at the clock, which may be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What the writing thread is given to do.
pub(super) enum Item {
    /// Lines for the file of this format.
    Lines(Format, String),
    /// Go on in new files.
    Rotate,
    /// The settings have changed.
    Configure(Box<FileSettings>),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// Messages that did not fit since the last time that the thread looked.
    lost: u64,
    /// Items that were ever put in, and of them those that are done.
    put: u64,
    done: u64,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was put in.
    filled: Condvar,
    /// Something was done.
    emptied: Condvar,
    /// The file of each format, as current_logfiles names it.
    current: Mutex<Vec<(Format, String)>>,
}

/// The queue's end at which messages come in. The thread ends with [`Collector::end`].
pub(super) struct Collector {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Collector {
    /// Starts the thread, which opens its files.
    pub(super) fn start(
        data_dir: &Path,
        settings: FileSettings,
        clock: Arc<dyn Clock>,
        fallback: LogSink,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut writer = Writer::new(data_dir, settings, clock, fallback);
        *shared.current.lock() = writer.current();
        let working = shared.clone();
        let thread = host::thread::spawn("logger", move || work(&working, &mut writer))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Puts lines into the queue, if there is room for them.
    pub(super) fn put(&self, format: Format, text: String) {
        let mut queue = self.shared.queue.lock();
        if queue.bytes >= QUEUE_BYTES_MAX {
            queue.lost += 1;
            return;
        }
        queue.bytes += text.len();
        self.push(&mut queue, Item::Lines(format, text));
    }

    fn push(&self, queue: &mut Queue, item: Item) {
        queue.items.push_back(item);
        queue.put += 1;
        self.shared.filled.notify_one();
    }

    pub(super) fn rotate(&self) {
        self.push(&mut self.shared.queue.lock(), Item::Rotate);
    }

    pub(super) fn configure(&self, settings: FileSettings) {
        self.push(&mut self.shared.queue.lock(), Item::Configure(Box::new(settings)));
    }

    pub(super) fn current_file(&self, format: Option<Format>) -> Option<String> {
        let current = self.shared.current.lock();
        let wanted = |(of, _): &&(Format, String)| format.is_none_or(|format| *of == format);
        current.iter().find(wanted).map(|(_, name)| name.clone())
    }

    /// Waits until all that was put in before is written, or the disk does not answer.
    pub(super) fn flush(&self) {
        let mut queue = self.shared.queue.lock();
        let upto = queue.put;
        while queue.done < upto {
            if self.shared.emptied.wait_for(&mut queue, FLUSH_LIMIT).timed_out() {
                return;
            }
        }
    }

    /// Has all written that was put in, and ends the thread; one that hangs on its disk is left behind.
    pub(super) fn end(&self) {
        self.flush();
        let mut queue = self.shared.queue.lock();
        queue.ended = true;
        let has_ended = queue.done == queue.put;
        drop(queue);
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && has_ended
        {
            // One that has panicked has said so, and there is nothing to be done about it.
            let _ = thread.join();
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.queue.lock().ended = true;
        self.shared.filled.notify_one();
    }
}

/// Writes what comes until the end.
fn work(shared: &Shared, writer: &mut Writer) {
    loop {
        let (items, lost, ended) = {
            let mut queue = shared.queue.lock();
            if queue.items.is_empty() && queue.lost == 0 && !queue.ended {
                let wait = writer.until_rotation().map_or(LOOK_INTERVAL, |wait| wait.min(LOOK_INTERVAL));
                shared.filled.wait_for(&mut queue, wait);
            }
            queue.bytes = 0;
            (std::mem::take(&mut queue.items), std::mem::take(&mut queue.lost), queue.ended)
        };
        let count = items.len() as u64;
        let is_last = ended && items.is_empty();
        writer.rotate_if_due();
        for item in items {
            match item {
                Item::Lines(format, text) => writer.put(format, &text),
                Item::Rotate => writer.rotate_all(),
                Item::Configure(settings) => writer.configure(*settings),
            }
        }
        if lost > 0 {
            writer.tell(&format!(
                "{lost} log messages were lost because they came faster than they could be written"
            ));
        }
        writer.flush();
        *shared.current.lock() = writer.current();
        shared.queue.lock().done += count;
        shared.emptied.notify_all();
        if is_last {
            return;
        }
    }
}
