//! The host's memory that scripts fill: values in channels, what tasks get and give, bodies of HTTP messages. It is charged to the
//! fiber that put it there, as what it has of its guest's heap is there, until nobody holds it any more.
//!
//! Two limits, with the numbers of the guest's heap. Before one refuses anything the guest's garbage is collected, which may hold
//! channels and tasks. Then a fiber that is over its own is refused. At the interpreter's cap the fiber that holds most is
//! named, for the worker to cancel; who asks is refused where that is itself, or where no living fiber holds much: what ended ones
//! left behind is nobody's.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::args::{Args, FromCall};
use crate::{Error, Limit};

/// A fiber that holds less than this part of the cap is not cancelled for it.
const MUCH: usize = 16;
/// Where more than a quarter of the cap is held, each time this part of it was charged garbage is collected.
const PART: usize = 8;

/// The accounts of one interpreter.
#[derive(Debug)]
pub struct Accounts {
    cap: usize,
    held: AtomicUsize,
    /// Charged since garbage was collected.
    charged: AtomicUsize,
    /// Of the fibers that live, by id.
    living: Mutex<HashMap<u64, Account>>,
    /// The worker is to look at what follows.
    asks: AtomicBool,
    /// The fiber that is to give way; 0: none.
    victim: AtomicU64,
    /// Those who wait until garbage has been collected.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Counts collections.
    collected: u64,
    wakers: Vec<Waker>,
}

/// What one fiber has filled: an extractor.
#[derive(Debug, Clone)]
pub struct Account(Arc<Book>);

#[derive(Debug)]
struct Book {
    fiber: u64,
    limit: usize,
    setting: &'static str,
    held: AtomicUsize,
    all: Arc<Accounts>,
}

/// Bytes on an account, until this is dropped; on any thread.
#[derive(Debug)]
pub struct Charge {
    account: Account,
    bytes: usize,
}

/// A fiber's account, while the fiber lives.
#[derive(Debug)]
pub struct Opened(Account);

impl Accounts {
    /// None yet; `cap`: bytes that all of them may hold together.
    pub fn new(cap: usize) -> Arc<Accounts> {
        Arc::new(Accounts {
            cap,
            held: AtomicUsize::new(0),
            charged: AtomicUsize::new(0),
            living: Mutex::default(),
            asks: AtomicBool::new(false),
            victim: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Opens the account of a fiber, which may hold so much by this setting.
    pub fn open(self: &Arc<Self>, fiber: u64, (limit, setting): (usize, &'static str)) -> Opened {
        let account = Account(Arc::new(Book { fiber, limit, setting, held: AtomicUsize::new(0), all: self.clone() }));
        lock(&self.living).insert(fiber, account.clone());
        Opened(account)
    }

    /// Whether the worker is to cancel or to collect something.
    #[inline]
    pub fn asks(&self) -> bool {
        self.asks.load(Ordering::Relaxed)
    }

    /// It does now: the fiber to cancel because the cap was reached, or none: then garbage is to be collected.
    pub fn answer(&self) -> Option<u64> {
        self.asks.store(false, Ordering::Relaxed);
        Some(self.victim.swap(0, Ordering::Relaxed)).filter(|fiber| *fiber != 0)
    }

    /// Garbage was collected, or nothing would come of it now.
    pub fn collected(&self) {
        self.charged.store(0, Ordering::Relaxed);
        let mut waiting = lock(&self.waiting);
        waiting.collected += 1;
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until it was.
    async fn collect(&self) {
        let before = lock(&self.waiting).collected;
        poll_fn(|task| {
            let mut waiting = lock(&self.waiting);
            if waiting.collected != before {
                return Poll::Ready(());
            }
            waiting.wakers.push(task.waker().clone());
            self.asks.store(true, Ordering::Relaxed);
            Poll::Pending
        })
        .await;
    }

    /// The living fiber that holds most, if that is much.
    fn largest(&self) -> Option<u64> {
        let held = |account: &Account| account.0.held.load(Ordering::Relaxed);
        let living = lock(&self.living);
        let (fiber, most) =
            living.iter().map(|(fiber, account)| (*fiber, held(account))).max_by_key(|(_, held)| *held)?;
        (most >= self.cap / MUCH).then_some(fiber)
    }
}

impl Account {
    /// Charges so many bytes, or says which limit they are over. It waits only where they are over one, for a collection.
    pub async fn charge(&self, bytes: usize) -> Result<Charge, Error> {
        let mut charge = Charge { account: self.clone(), bytes: 0 };
        charge.grow(bytes).await?;
        Ok(charge)
    }

    fn fits(&self) -> bool {
        let Book { limit, held, all, .. } = &*self.0;
        held.load(Ordering::Relaxed) <= *limit && all.held.load(Ordering::Relaxed) <= all.cap
    }

    /// Whether all is well, after a collection; somebody else may have to give way for that.
    fn check(&self) -> Result<(), Error> {
        let Book { fiber, limit, setting, held, all } = &*self.0;
        if held.load(Ordering::Relaxed) > *limit {
            return Err(Error::limit(Limit::Memory, *limit as u64, setting));
        }
        if all.held.load(Ordering::Relaxed) > all.cap {
            let Some(largest) = all.largest().filter(|largest| largest != fiber) else {
                return Err(Error::limit(Limit::Memory, all.cap as u64, "memory"));
            };
            all.victim.store(largest, Ordering::Relaxed);
            all.asks.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Charge {
    /// Charges so many more, as [`Account::charge`]; also where that fails: what they are for may be there already.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        self.add(bytes);
        if self.account.fits() {
            return Ok(());
        }
        self.account.0.all.collect().await;
        self.account.check()
    }

    /// The same without a wait.
    pub fn grow_now(&mut self, bytes: usize) -> Result<(), Error> {
        self.add(bytes);
        self.account.check()
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        let Book { held, all, .. } = &*self.account.0;
        held.fetch_add(bytes, Ordering::Relaxed);
        let together = all.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let charged = all.charged.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if together > all.cap / 4 && charged > all.cap / PART {
            all.asks.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Book { held, all, .. } = &*self.account.0;
        held.fetch_sub(self.bytes, Ordering::Relaxed);
        all.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let Book { fiber, all, .. } = &*self.0.0;
        lock(&all.living).remove(fiber);
    }
}

impl FromCall for Account {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        let caller = args.caller();
        let local = args.local();
        let opened = caller.account.get_or_init(|| local.accounts.open(caller.id, local.memory_limit(caller.most)));
        Ok(opened.0.clone())
    }
}

/// Nothing under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
