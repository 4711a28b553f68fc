//! Fibers: coroutines with a stack of their own, each driven by a task of the runtime.

use crate::world::{Life, NodeId, Turn, World};
use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Bytes of a fiber's stack: what is not touched takes no memory.
const STACK_BYTES: usize = 8 << 20;
/// A fiber that lets others go first as often as this sleeps for a moment.
const YIELDS_MAX: u32 = 16;
/// Stacks kept for the next fibers.
const STACKS_KEPT: usize = 64;

type Yields = Yielder<(), ()>;

/// What a fiber is known by.
pub(crate) struct Strand {
    number: u64,
    name: String,
    life: Life,
    /// Somebody has unparked it.
    token: AtomicBool,
    /// Wakes the task that drives it.
    waker: parking_lot::Mutex<Option<Waker>>,
    /// It is to end when it next has nothing to do.
    cancelled: AtomicBool,
    own: Own,
}

/// What only the fiber itself touches, and whoever resumes it.
#[derive(Default)]
struct Own {
    yielder: Cell<Option<NonNull<Yields>>>,
    /// It is suspended in the middle of its work, not between two polls of its future.
    blocked: Cell<bool>,
    /// It has been since its future was last polled.
    was_blocked: Cell<bool>,
    /// How often it let others go first.
    yields: Cell<u32>,
    locals: RefCell<Vec<(usize, Box<dyn Any>)>>,
    /// The lowest address of the stack that it runs on.
    stack_limit: Cell<usize>,
    /// The blocking work that this fiber began, if somebody asks for it.
    brood: RefCell<Option<Brood>>,
}

/// Blocking work that one fiber began.
#[derive(Clone, Default)]
pub(crate) struct Brood(Arc<(AtomicUsize, tokio::sync::Notify)>);

impl Brood {
    /// Counts work until what this gives is dropped.
    pub(crate) fn member(self) -> impl Drop + Send {
        struct Member(Brood);
        impl Drop for Member {
            fn drop(&mut self) {
                let Brood(shared) = &self.0;
                if shared.0.fetch_sub(1, Ordering::SeqCst) == 1 {
                    shared.1.notify_waiters();
                }
            }
        }
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Member(self)
    }
    pub(crate) async fn all_done(&self) {
        loop {
            let told = self.0.1.notified();
            if self.0.0.load(Ordering::SeqCst) == 0 {
                return;
            }
            told.await;
        }
    }
}

/// From now on the blocking work that this fiber begins is counted.
pub(crate) fn raise_brood() -> Brood {
    let brood = Brood::default();
    if let Some(strand) = current() {
        *strand.own.brood.borrow_mut() = Some(brood.clone());
    }
    brood
}

/// Where the blocking work of this fiber is counted.
pub(crate) fn brood() -> Option<Brood> {
    current().and_then(|strand| strand.own.brood.borrow().clone())
}

// SAFETY: a simulation runs in one thread; nothing else ever touches these cells.
unsafe impl Send for Own {}
// SAFETY: as above.
unsafe impl Sync for Own {}

impl fmt::Debug for Strand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fiber {} ({}) of {:?}", self.number, self.name, self.life)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Strand>>> = const { RefCell::new(None) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// The node whose fiber runs; None outside of a simulation.
pub fn current_node() -> Option<NodeId> {
    current().map(|strand| strand.life.node)
}

/// The life whose fiber runs; None outside of a simulation.
pub fn current_life() -> Option<Life> {
    current().map(|strand| strand.life)
}

pub(crate) fn current() -> Option<Arc<Strand>> {
    CURRENT.with_borrow(Option::clone)
}

/// Whether this code runs in a fiber.
pub fn in_fiber() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

impl Strand {
    /// Makes it go on, if only to look whether it may.
    pub(crate) fn wake(&self) {
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn unpark(&self) {
        self.token.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn take_token(&self) -> bool {
        self.token.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn waker(&self) -> Option<Waker> {
        self.waker.lock().clone()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn stack_limit(&self) -> usize {
        self.own.stack_limit.get()
    }

    /// From now on it runs on another stack; gives the limit of that before.
    pub(crate) fn set_stack_limit(&self, limit: usize) -> usize {
        self.own.stack_limit.replace(limit)
    }

    /// Counts that it lets others go first; false every so often, when it had better sleep.
    pub(crate) fn counts_yield(&self) -> bool {
        let yields = self.own.yields.get() + 1;
        self.own.yields.set(yields % YIELDS_MAX);
        yields < YIELDS_MAX
    }

    /// Leaves this fiber, which is the one that runs, until it is next resumed.
    fn leave(&self) {
        let Some(yielder) = self.own.yielder.get() else { unreachable!("a fiber that runs has one") };
        // SAFETY: the yielder lives as long as the fiber's body, on whose stack this runs.
        unsafe { yielder.as_ref() }.suspend(());
    }

    /// A value of this fiber's own, made at first use.
    pub(crate) fn local<T: 'static>(&self, key: usize, make: impl FnOnce() -> T) -> *const T {
        let found = self.own.locals.borrow().iter().find(|(name, _)| *name == key).map(|(_, value)| {
            let value: &dyn Any = value.as_ref();
            value.downcast_ref::<T>().map_or(std::ptr::null(), std::ptr::from_ref)
        });
        found.unwrap_or_else(|| {
            let value = Box::new(make());
            let place = std::ptr::from_ref(value.as_ref());
            self.own.locals.borrow_mut().push((key, value));
            place
        })
    }
}

/// Suspends the fiber that runs until something wakes it, in the middle of its work. May come back for no
/// reason.
pub(crate) fn suspend(strand: &Strand) {
    strand.own.blocked.set(true);
    strand.own.was_blocked.set(true);
    strand.leave();
    strand.own.blocked.set(false);
}

/// Lets the other fibers go first.
pub(crate) fn yield_to_others(strand: &Strand) {
    strand.wake();
    suspend(strand);
}

/// A place where the order of fibers may change: before a lock is taken.
pub(crate) fn at_lock() {
    let Some(world) = World::current().filter(|_| !std::thread::panicking()) else { return };
    if world.lets_others_at_lock()
        && let Some(strand) = current()
    {
        yield_to_others(&strand);
    }
    if let Some(time) = world.stalls_at_lock()
        && in_fiber()
    {
        crate::thread::sleep(time);
    }
}

/// What a fiber does; None if it was cancelled.
type Work<T> = Box<dyn FnOnce(&Arc<Strand>) -> Option<T>>;
type Body = Coroutine<(), (), (), DefaultStack>;

/// A fiber as a future, which drives it.
pub(crate) struct Fiber<T> {
    strand: Arc<Strand>,
    body: Option<Body>,
    result: Arc<parking_lot::Mutex<Option<T>>>,
}

// SAFETY: a simulation runs in one thread; the coroutine never leaves it.
unsafe impl<T> Send for Fiber<T> {}
impl<T> Unpin for Fiber<T> {}

impl<T> fmt::Debug for Fiber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.strand.fmt(f)
    }
}

impl<T: 'static> Fiber<T> {
    /// Work that may block.
    pub(crate) fn of_work(world: World, life: Life, name: &str, work: impl FnOnce() -> T + 'static) -> Self {
        Self::new(world, life, name, |_| Some(work()))
    }

    /// A future whose polls may block.
    pub(crate) fn of_future(
        world: World,
        life: Life,
        name: &str,
        future: impl Future<Output = T> + 'static,
    ) -> Self {
        Self::new(world, life, name, |strand| {
            poll_to_end(strand, Box::pin(future).as_mut(), Strand::leave, is_wanted)
        })
    }

    fn new(
        world: World,
        life: Life,
        name: &str,
        body: impl FnOnce(&Arc<Strand>) -> Option<T> + 'static,
    ) -> Self {
        let strand = Arc::new(Strand {
            number: world.new_fiber(),
            name: name.to_owned(),
            life,
            token: AtomicBool::new(false),
            waker: parking_lot::Mutex::new(None),
            cancelled: AtomicBool::new(false),
            own: Own::default(),
        });
        let result = Arc::new(parking_lot::Mutex::new(None));
        let (itself, slot) = (strand.clone(), result.clone());
        // Only something small can be handed to a new stack.
        let body: Work<T> = Box::new(body);
        let stack = new_stack();
        strand.set_stack_limit(stack.limit().get());
        let body = Coroutine::with_stack(stack, move |yielder, ()| {
            itself.own.yielder.set(Some(NonNull::from(yielder)));
            let done = body(&itself);
            *slot.lock() = done;
        });
        Self { strand, body: Some(body), result }
    }

    pub(crate) fn strand(&self) -> &Arc<Strand> {
        &self.strand
    }
}

fn new_stack() -> DefaultStack {
    let kept = STACKS.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| match DefaultStack::new(STACK_BYTES) {
        Ok(stack) => stack,
        Err(error) => unreachable!("no memory for a fiber's stack: {error}"),
    })
}

/// The waker of a future that a fiber polls. A fiber goes on for other reasons, too: that it has its lock, or
/// that its turn has come. Its future is polled again for none of them, so a wake that nobody sent is missed
/// as it would be by a task.
struct Nudge {
    strand: Arc<Strand>,
    came: AtomicBool,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.came.store(true, Ordering::SeqCst);
        self.strand.wake();
    }
}

/// Polls a future in the fiber that runs until it is done; None if it shall not go on before. `wait` suspends
/// the fiber until it is next resumed.
pub(crate) fn poll_to_end<F: Future>(
    strand: &Arc<Strand>,
    mut future: Pin<&mut F>,
    wait: impl Fn(&Strand),
    goes_on: impl Fn(&Strand) -> bool,
) -> Option<F::Output> {
    let nudge = Arc::new(Nudge { strand: strand.clone(), came: AtomicBool::new(false) });
    let waker = Waker::from(nudge.clone());
    let blocked = &strand.own.was_blocked;
    while goes_on(strand) {
        let blocked_before = blocked.replace(false);
        nudge.came.store(false, Ordering::SeqCst);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let is_blocked = blocked.get();
        blocked.set(blocked_before || is_blocked);
        if let Poll::Ready(done) = polled {
            return Some(done);
        }
        // A wake in the middle of the poll is still to come, unless it has ended a wait in there.
        if !is_blocked {
            wait(strand);
        }
        while goes_on(strand) && !nudge.came.load(Ordering::SeqCst) {
            wait(strand);
        }
    }
    None
}

/// As long as its fiber is not cancelled.
fn is_wanted(strand: &Strand) -> bool {
    !strand.cancelled.load(Ordering::Relaxed)
}

impl<T> Future for Fiber<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Self { strand, body, result } = &mut *self;
        let Some(coroutine) = body else { return Poll::Pending };
        if !advance(strand, coroutine, cx) {
            return Poll::Pending;
        }
        if let Some(coroutine) = body.take() {
            keep_stack(coroutine);
        }
        match result.lock().take() {
            Some(done) => Poll::Ready(done),
            // Cancelled, so nobody asks.
            None => Poll::Pending,
        }
    }
}

/// Lets a fiber go on if it is its turn; whether it has come to its end.
fn advance(strand: &Arc<Strand>, body: &mut Body, cx: &mut Context<'_>) -> bool {
    let Some(world) = World::current() else { return false };
    match world.turn(strand.life, strand.number, cx.waker()) {
        Turn::Go => {}
        Turn::Later => {
            cx.waker().wake_by_ref();
            return false;
        }
        Turn::Held | Turn::Never => return false,
    }
    {
        let mut waker = strand.waker.lock();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
    resume(strand, body)
}

/// The rest of a fiber whose future was dropped in the middle of its work.
struct Rest {
    strand: Arc<Strand>,
    body: Option<Body>,
}

// SAFETY: a simulation runs in one thread; the coroutine never leaves it.
unsafe impl Send for Rest {}

impl Future for Rest {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { strand, body } = &mut *self;
        let Some(coroutine) = body else { return Poll::Ready(()) };
        if !advance(strand, coroutine, cx) {
            return Poll::Pending;
        }
        if let Some(coroutine) = body.take() {
            keep_stack(coroutine);
        }
        Poll::Ready(())
    }
}

impl Drop for Rest {
    /// Only at the simulation's end.
    fn drop(&mut self) {
        std::mem::forget(self.body.take());
    }
}

/// Runs a fiber until it suspends itself; whether it has come to its end.
fn resume(strand: &Arc<Strand>, body: &mut Body) -> bool {
    /// Puts back whose turn it was, also when the fiber panics.
    struct Back(Option<Arc<Strand>>);
    impl Drop for Back {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(|current| *current = self.0.take());
        }
    }
    let _back = Back(CURRENT.with_borrow_mut(|current| current.replace(strand.clone())));
    matches!(body.resume(()), CoroutineResult::Return(()))
}

fn keep_stack(body: Body) {
    let stack = body.into_stack();
    STACKS.with_borrow_mut(|stacks| {
        if stacks.len() < STACKS_KEPT {
            stacks.push(stack);
        }
    });
}

impl<T> Drop for Fiber<T> {
    /// A fiber that is dropped between two polls of its future drops that. One that is suspended in its work
    /// goes on to the end of the poll first, as a thread would; one whose life is over is left as it is.
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if body.done() {
            return;
        }
        let runs = World::current().is_some_and(|world| world.is_running(self.strand.life));
        if !runs {
            std::mem::forget(body);
            return;
        }
        self.strand.cancelled.store(true, Ordering::Relaxed);
        if !body.started() {
            // Its future is dropped here, unpolled.
            return;
        }
        if !self.strand.own.blocked.get() && resume(&self.strand, &mut body) {
            keep_stack(body);
            return;
        }
        tokio::spawn(Rest { strand: self.strand.clone(), body: Some(body) });
    }
}

/// Runs a future as a fiber of a life.
pub fn run_in<T: Send + 'static>(
    life: Life,
    name: &str,
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let Some(world) = World::current() else { unreachable!("a Life is only made in a simulation") };
    tokio::spawn(Fiber::of_future(world, life, name, future))
}
