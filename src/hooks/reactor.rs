//! One thread that waits for all descriptors that fibers wait for.
//!
//! It is a single `epoll` instance. A descriptor is in it once, with all that its waits want together, one-shot: an event
//! takes out the waits that it is for and arms the rest again. The bits are those of `poll`, which `epoll` shares.
//!
//! A wake only means "look again": the call that waited asks the kernel itself. So nothing can go wrong when an event is
//! late, or is that of an earlier file with the same number.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::task::AtomicWaker;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

/// What a wait knows of its events.
#[derive(Debug, Default)]
pub struct Signal {
    state: AtomicU8,
    /// The fiber's.
    pub waker: AtomicWaker,
}

const WAITING: u8 = 0;
const READY: u8 = 1;
const CLOSED: u8 = 2;

/// What became of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Waiting,
    /// Look again.
    Ready,
    /// Guest code closed a descriptor.
    Closed,
}

impl Signal {
    /// What it came to.
    pub fn outcome(&self) -> Outcome {
        match self.state.load(Ordering::Acquire) {
            READY => Outcome::Ready,
            CLOSED => Outcome::Closed,
            _ => Outcome::Waiting,
        }
    }

    fn set(&self, state: u8) {
        // The first word counts: "closed" tells more than an event of the same moment, and comes first if it was.
        let _ = self.state.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// One wait at one descriptor.
struct Waiting {
    events: EventFlags,
    signal: Arc<Signal>,
}

/// One descriptor.
#[derive(Default)]
struct Descriptor {
    /// It was added to the epoll instance at least once: try to change it first.
    known: bool,
    waits: Vec<Waiting>,
}

struct Reactor {
    epoll: OwnedFd,
    /// By number.
    descriptors: Mutex<Vec<Descriptor>>,
}

/// The process's. It is made at the first wait and stays.
fn reactor() -> Result<&'static Reactor, Errno> {
    static REACTOR: OnceLock<Result<Reactor, Errno>> = OnceLock::new();
    static THREAD: OnceLock<bool> = OnceLock::new();
    let made = REACTOR.get_or_init(|| {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Reactor { epoll, descriptors: Mutex::default() })
    });
    let reactor = made.as_ref().map_err(|error| *error)?;
    let runs = THREAD.get_or_init(|| {
        std::thread::Builder::new().name("sidestack-hooks".into()).spawn(move || serve(reactor)).is_ok()
    });
    if *runs { Ok(reactor) } else { Err(Errno::AGAIN) }
}

fn serve(reactor: &'static Reactor) {
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&reactor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(target: "sidestack", %error, "the hooks' epoll instance cannot be waited for");
                return;
            }
        }
        for event in &events {
            reactor.event(event.data.u64(), event.flags);
        }
    }
}

/// Reported whether asked for or not.
const ALWAYS: EventFlags = EventFlags::ERR.union(EventFlags::HUP);

impl Reactor {
    fn lock(&self) -> MutexGuard<'_, Vec<Descriptor>> {
        // Nothing panics under the lock but for want of memory, and each step leaves the table whole.
        self.descriptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, number: u64, flags: EventFlags) {
        let mut woken = Vec::new();
        {
            let mut table = self.lock();
            let Some(descriptor) = usize::try_from(number).ok().and_then(|number| table.get_mut(number)) else {
                return;
            };
            descriptor.waits.retain(|wait| {
                let meant = flags.intersects(wait.events | ALWAYS);
                if meant {
                    woken.push(wait.signal.clone());
                }
                !meant
            });
            if !descriptor.waits.is_empty()
                && let Err(error) = self.arm(descriptor, number)
            {
                // The file has gone: they look, and find out.
                tracing::debug!(target: "sidestack", %error, "a descriptor cannot be waited for any more");
                woken.extend(descriptor.waits.drain(..).map(|wait| wait.signal));
            }
        }
        for signal in woken {
            signal.set(READY);
        }
    }

    /// Asks for the next event that one of the descriptor's waits wants.
    fn arm(&self, descriptor: &mut Descriptor, number: u64) -> Result<(), Errno> {
        let wanted = descriptor.waits.iter().fold(EventFlags::ONESHOT, |all, wait| all | wait.events);
        let data = EventData::new_u64(number);
        // SAFETY: the kernel checks the number: a descriptor that is none is the error EBADF. Nothing is read, written or
        // closed through it.
        let fd = unsafe { BorrowedFd::borrow_raw(number as RawFd) };
        let change = || epoll::modify(&self.epoll, fd, data, wanted);
        let add = || epoll::add(&self.epoll, fd, data, wanted);
        let outcome = if descriptor.known {
            // A new file under an old number has to be added.
            change().or_else(|error| if error == Errno::NOENT { add() } else { Err(error) })
        } else {
            add().or_else(|error| if error == Errno::EXIST { change() } else { Err(error) })
        };
        descriptor.known = outcome.is_ok();
        outcome
    }
}

/// Adds a wait at a descriptor. `Ok(false)`: the file is of a kind that no event ever comes from.
pub fn add(fd: RawFd, events: EventFlags, signal: &Arc<Signal>) -> io::Result<bool> {
    let reactor = reactor()?;
    let Ok(place) = usize::try_from(fd) else { return Ok(false) };
    let mut table = reactor.lock();
    if table.len() <= place {
        table.resize_with(place + 1, Descriptor::default);
    }
    let descriptor = &mut table[place];
    descriptor.waits.push(Waiting { events, signal: signal.clone() });
    match reactor.arm(descriptor, place as u64) {
        Ok(()) => Ok(true),
        Err(error) => {
            descriptor.waits.pop();
            if error == Errno::PERM { Ok(false) } else { Err(error.into()) }
        }
    }
}

/// Takes a wait out again, if it is still there. What epoll still watches for it is ignored when it comes.
pub fn remove(fd: RawFd, signal: &Arc<Signal>) {
    let (Ok(reactor), Ok(place)) = (reactor(), usize::try_from(fd)) else { return };
    if let Some(descriptor) = reactor.lock().get_mut(place) {
        descriptor.waits.retain(|wait| !Arc::ptr_eq(&wait.signal, signal));
    }
}

/// Guest code is about to close a descriptor: who waits for it goes on.
pub fn closing(fd: RawFd) {
    let (Ok(reactor), Ok(place)) = (reactor(), usize::try_from(fd)) else { return };
    let waits = reactor.lock().get_mut(place).map(|descriptor| std::mem::take(&mut descriptor.waits));
    for wait in waits.into_iter().flatten() {
        wait.signal.set(CLOSED);
    }
}
