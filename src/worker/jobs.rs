//! From a job to a fiber, and from a fiber's end to the next job.

use std::cell::OnceCell;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fiber::{Fiber, State};
use super::{Next, Worker};
use crate::Error;
use crate::abi::ss_export_entry;
use crate::call::job::{Completion, Extensions, Job, Settings, Source, Work};
use crate::call::ledger::{Ledger, To};
use crate::call::outcomes::Failure;
use crate::call::stats::Stats;
use crate::call::wake::FiberKey;
use crate::crossing::cancel;
use crate::crossing::fence::{Panicked, drop_fenced, fence};
use crate::crossing::finish;
use crate::guest::{FiberSetup, Interpreter, Task, Values};
use crate::host::local::Local;
use crate::host::record::{Caller, Cancel, Cpu, Reason};
use crate::value::Flat;

impl<I: Interpreter> Worker<I> {
    /// Starts a job now, or puts it where it waits.
    pub(super) fn accept(&mut self, job: Box<Job>) {
        if self.loads_first(&job) {
            self.books().held.push(job);
        } else if self.live >= self.settings.fibers || self.recycle.holds(&job) {
            let books = self.books();
            let until = books.times.waits_until(&job);
            books.backlog.push(job, until);
        } else {
            self.start(job);
        }
    }

    /// Whether a job calls a script that is still being loaded here. Whatever the loading script itself starts does not
    /// wait: the script may wait for it.
    fn loads_first(&self, job: &Job) -> bool {
        matches!(job.work, Work::Export { script, .. } if self.loading.contains(&script))
    }

    /// Tells the inbox of the jobs that left the queue: once for many, because callers write to the same place.
    pub(super) fn count_started(&mut self) {
        let left = std::mem::take(&mut self.books().left);
        self.local.inbox.started(left);
    }

    /// Starts what waits, as far as there is room.
    pub(super) fn accept_backlog(&mut self) {
        while self.live < self.settings.fibers && !self.recycle.holding() {
            let Some(job) = self.books().backlog.pop() else { break };
            self.start(job);
        }
        self.count_started();
    }

    /// A caller gave up before its job had a fiber.
    pub(super) fn forget(&mut self, completion: &Arc<dyn Completion>) {
        let own = |own: &Arc<dyn Completion>| Arc::ptr_eq(own, completion);
        let books = self.books();
        let held =
            books.held.iter().position(|job| job.completion.as_ref().is_some_and(own)).map(|at| books.held.remove(at));
        if let Some(job) = held.or_else(|| books.backlog.remove(completion)) {
            self.local.inbox.started(1);
            self.local.inbox.outcomes.count(Failure::Cancelled);
            refuse(&self.local, job, Error::Cancelled);
        }
    }

    /// Jobs whose deadline passed while they waited.
    pub(super) fn run_backlog_deadlines(&mut self, now: Instant) {
        while let Some(job) = self.books().backlog.due(now) {
            self.local.inbox.started(1);
            let error = self.books().times.waited(&job);
            refuse(&self.local, job, error);
        }
    }

    /// Loads a script for this incarnation alone, with nobody to tell.
    pub(super) fn reload_script(&mut self, script: u32, source: Arc<Source>) {
        let (work, settings) = (Work::Load { script, source }, Settings::default());
        // Calls of it are held from now on, also if its load has to wait for a place.
        self.loading.push(script);
        let job = Job { work, settings, begun: Instant::now(), completion: None, started: false };
        self.local.inbox.requeue(Box::new(job), false);
    }

    fn start(&mut self, mut job: Box<Job>) {
        self.books().left += 1;
        let abandoned = job.completion.as_ref().is_some_and(|completion| completion.abandoned());
        if abandoned || self.books().is_over() {
            let why = if abandoned { Failure::Cancelled } else { Failure::CancelledByShutdown };
            self.local.inbox.outcomes.count(why);
            return refuse(&self.local, job, Error::Cancelled);
        }
        if let Err(error) = self.try_start(&mut job) {
            return refuse(&self.local, job, error);
        }
        self.recycle.count(&job, self.settings.max_calls);
        let key = self.new_key();
        self.place(key, job);
    }

    /// What can fail before a fiber exists.
    fn try_start(&mut self, job: &mut Job) -> Result<(), Error> {
        // Where the interpreter was busy it could not look at who waits.
        let times = self.books().times;
        if times.waits_until(job).is_some_and(|until| Instant::now() >= until) {
            return Err(times.waited(job));
        }
        job.settings.deadline = job.settings.deadline.or(self.settings.deadline);
        if let Work::Function { token, .. } = &job.work {
            token.slot_in(&self.local.inbox)?;
        }
        if let Some(args) = job.work.args_mut() {
            self.local.bind(args)?;
        }
        Ok(())
    }

    /// Gives a job its fiber.
    fn place(&mut self, key: FiberKey, mut job: Box<Job>) {
        let stack = match self.pool.get() {
            Ok(stack) => stack,
            Err(error) => {
                self.free.push(key.index);
                return refuse(&self.local, job, error);
            }
        };
        if let Some(completion) = &job.completion {
            let (index, id) = completion.fiber();
            index.store(u64::from(key.index), Ordering::Relaxed);
            id.store(key.id, Ordering::Relaxed);
        }
        let mut fiber = self.new_fiber();
        if let Work::Load { script, .. } = job.work {
            fiber.loads = Some(script);
            if !self.loading.contains(&script) {
                self.loading.push(script);
            }
        }
        let memory = job.settings.memory.unwrap_or(self.settings.fiber_memory);
        let caller = Caller {
            id: key.id,
            deadline: job.settings.deadline.and_then(|after| job.begun.checked_add(after)),
            memory: job.settings.memory,
            most: memory,
            account: OnceCell::new(),
            label: job.settings.label.clone(),
            // Once it begins.
            extensions: Extensions::default(),
            detect_deadlock: job.settings.detect_deadlock,
            stats: job.settings.stats.take(),
        };
        if let Some(Stats { call, own: true }) = &caller.stats {
            call.begun(key.id);
        }
        self.quiet.asking += usize::from(caller.detect_deadlock);
        let deadline = caller.deadline;
        fiber.asked = job.begun;
        if let Some(label) = &caller.label {
            self.local.inbox.roster.enter(key.id, label, job.begun);
            fiber.listed = true;
        }
        fiber.begin(key, stack, caller, &self.local);
        fiber.record.grace = if I::KILLS { self.settings.grace } else { Duration::MAX };
        fiber.record.cpu = job.settings.cpu.or(self.settings.cpu).map(Cpu::new);
        if let Work::Foreign { run } = &job.work {
            let run = ptr::from_ref(&run.0).cast_mut().cast();
            fiber.enter(ss_export_entry, run);
        }
        let setup = FiberSetup { id: key.id, memory };
        // SAFETY: this is the thread's own stack and no fiber runs: nobody else uses the interpreter now. The job's box stays where it
        // is.
        unsafe { (*self.interpreter.get()).prepare(&mut fiber.run, &setup, &task(&mut job.work)) };
        // Not earlier: a job that makes this panic is not to start again on the next incarnation.
        self.books().place(key.index as usize, job, deadline);
        let index = key.index as usize;
        self.fibers[index] = Some(fiber);
        self.live += 1;
        self.recent = self.recent.max(self.live);
        self.peak = self.peak.max(self.live);
        self.set_limit(key.index);
        self.ready.push_back(Next::Ready(key.index));
    }

    /// A free place in the table and a new id.
    pub(super) fn new_key(&mut self) -> FiberKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.fibers.push(None);
            u32::try_from(self.fibers.len() - 1).expect("fewer fibers than that")
        });
        FiberKey { index, id: self.ids.take() }
    }

    /// An ended fiber to reuse, or a new one.
    pub(super) fn new_fiber(&mut self) -> Box<Fiber<I>> {
        self.spare.pop().unwrap_or_else(|| {
            // SAFETY: as in `place`.
            let (run, entry) = unsafe {
                let interpreter = &mut *self.interpreter.get();
                (interpreter.new_run(), interpreter.entry())
            };
            Box::new(Fiber::new(run, entry, &self.local, self.thread))
        })
    }

    /// A fiber's entry has returned.
    pub(super) fn end(&mut self, index: u32) {
        let Some(mut fiber) = self.fibers[index as usize].take() else { return };
        debug_assert!(fiber.record.returned, "an entry calls ss_return before it returns");
        if let Some(coroutine) = fiber.coroutine.take() {
            self.pool.put(coroutine.into_stack());
        }
        self.ended_with(fiber, true);
    }

    /// Ends a fiber that never had the thread: no guest code ever runs for it.
    pub(super) fn end_unbegun(&mut self, index: u32, reason: Reason) {
        let Some(mut fiber) = self.fibers[index as usize].take() else { return };
        if let Some(coroutine) = fiber.coroutine.take() {
            // SAFETY: it was never resumed: there is no C frame on its stack.
            self.pool.put(unsafe { coroutine.abandon() });
        }
        cancel::note(&raw const fiber.record, reason);
        let (job, to) = self.books().leave(index as usize);
        fiber.record.job = job;
        let error = fiber.record.cancel_error(reason);
        if let Some(job) = fiber.record.job.take() {
            fail(&self.local, job, to, error);
        }
        self.ended_with(fiber, false);
    }

    /// What a fiber's end leaves to do, its stack given back.
    fn ended_with(&mut self, mut fiber: Box<Fiber<I>>, returned: bool) {
        let index = fiber.record.key.index;
        self.free.push(index);
        self.limits.set(index, None);
        // Nothing is there any more where its outcome was told.
        drop_fenced(self.books().leave(index as usize));
        self.live -= 1;
        self.untidy = true;
        self.quiet.asking -= usize::from(fiber.record.context.caller.detect_deadlock);
        fiber.state = State::Done;
        if std::mem::take(&mut fiber.listed) {
            self.local.inbox.roster.leave(fiber.record.key.id);
        }
        // SAFETY: as in `place`.
        unsafe { (*self.interpreter.get()).ended(&mut fiber.run, returned) };
        self.attached.fiber_end(fiber.record.key.id);
        let caller = Rc::get_mut(&mut fiber.record.context).map(|context| std::mem::take(&mut context.caller));
        if caller.as_ref().is_some_and(|caller| !caller.extensions.is_empty()) {
            drop_fenced(caller);
        }
        if fiber.record.calls.len() + fiber.record.errors.len() + fiber.record.replies.len() > 0
            || fiber.record.job.is_some()
        {
            let record = &mut fiber.record;
            for (_, flat) in &mut record.replies {
                self.local.unbind(flat);
            }
            if let Some(job) = &mut record.job {
                self.local.unbind_args(job);
            }
            let left = (
                std::mem::take(&mut record.calls),
                std::mem::take(&mut record.errors),
                std::mem::take(&mut record.replies),
                record.job.take(),
            );
            drop_fenced(left);
        }
        if let Some(script) = fiber.loads.take() {
            self.loaded(script);
        }
        let largest = matches!(fiber.record.cancel, Some(Cancel { reason: Reason::Memory, .. }));
        self.spare.push(fiber);
        if largest {
            // What it held is garbage now, and the others are at the cap.
            self.collect();
        }
        if !self.books().backlog.is_empty() {
            self.accept_backlog();
        }
    }

    /// Cancels every fiber, and refuses what has not begun.
    pub(super) fn cancel_all(&mut self) {
        let keys: Vec<FiberKey> = self.fibers.iter().flatten().map(|fiber| fiber.record.key).collect();
        for key in keys {
            self.cancel(key, Reason::Shutdown);
        }
        let next = |books: &mut Ledger| books.held.pop().or_else(|| books.backlog.pop());
        while let Some(job) = next(self.books()) {
            self.local.inbox.started(1);
            self.local.inbox.outcomes.count(Failure::CancelledByShutdown);
            refuse(&self.local, job, Error::Cancelled);
        }
    }

    /// The largest fiber gives way when the interpreter's memory is used up.
    #[inline]
    pub(super) fn relieve_memory(&mut self) {
        // SAFETY: as in `place`.
        if let Some(id) = unsafe { (*self.interpreter.get()).over_memory() } {
            self.relieve(id);
        }
        if self.local.accounts.asks() {
            self.relieve_host();
        }
    }

    /// The same for the host's memory.
    #[cold]
    fn relieve_host(&mut self) {
        match self.local.accounts.answer() {
            Some(id) => self.relieve(id),
            None => self.collect_for_host(),
        }
    }

    #[cold]
    fn relieve(&mut self, id: u64) {
        let found = self.fibers.iter().flatten().find(|fiber| fiber.record.key.id == id);
        let Some(key) = found.map(|fiber| fiber.record.key) else { return };
        self.cancel(key, Reason::Memory);
        // Before anybody else: the others are over the cap until it has gone.
        if let Some(at) = self.ready.iter().position(|next| *next == Next::Ready(key.index)) {
            self.ready.remove(at);
            self.resume(key.index);
        }
    }
}

/// Tells a caller, of whom the books know, that its call fails; unless somebody has told it something else.
pub(super) fn fail(local: &Local, mut job: Box<Job>, to: To, error: Error) {
    match to {
        To::Caller(completion) => job.completion = Some(completion),
        To::Nobody => {}
        To::Told => {
            local.unbind_args(&mut job);
            return drop_fenced(job);
        }
    }
    refuse(local, job, error);
}

/// Tells a caller that its call did not start.
pub(super) fn refuse(local: &Local, mut job: Box<Job>, error: Error) {
    local.inbox.outcomes.failed(&error);
    tracing::debug!(target: "sidestack", label = job.settings.label.as_deref(), %error, "a call fails");
    local.unbind_args(&mut job);
    if job.completion.is_none() {
        tracing::error!(target: "sidestack", %error, "a script could not be loaded again");
    }
    let Some(completion) = job.completion.take() else { return drop_fenced(job) };
    let mut job = Some(job);
    let mut over = || {
        job.as_mut()?.spend();
        job.take()
    };
    match fence(|| completion.complete(Err(error), &mut over)) {
        Ok(waker) => {
            drop_fenced(completion);
            finish::wake(waker);
        }
        Err(Panicked(message)) => tracing::error!(target: "sidestack", %message, "a refused call's drop panicked"),
    }
    drop_fenced(job);
}

/// A job's work as the guest is told of it.
fn task(work: &mut Work) -> Task<'_> {
    match work {
        Work::Export { script, name, args } => Task::Call { script: *script, export: name, args: values(args) },
        Work::Function { token, args, by_reference } => {
            Task::CallFunction { slot: token.slot, args: values(args), by_reference: *by_reference }
        }
        Work::Eval { source, args } => {
            Task::Eval { name: &source.name, folder: &source.folder, source: &source.text, args: values(args) }
        }
        Work::Main { source, args } => {
            Task::Main { name: &source.name, folder: &source.folder, source: &source.text, args: values(args) }
        }
        Work::Load { script, source } => {
            Task::Load { script: *script, name: &source.name, folder: &source.folder, source: &source.text }
        }
        // The guest keeps its books as for a call, but its entry does not run.
        Work::Foreign { .. } => {
            Task::Call { script: u32::MAX, export: "", args: Values { first: ptr::null(), count: 0 } }
        }
    }
}

fn values(args: &mut Flat) -> Values {
    let (first, count) = args.as_raw();
    Values { first, count }
}
