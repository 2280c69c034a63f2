//! Tasks: fibers that a script starts and may wait for.

use std::any::TypeId;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::given_out::GivenOut;
use crate::Error;
use crate::call::Function;
use crate::call::inbox::Message;
use crate::call::job::{Completion, Extensions, Job, Over, Settings, Work};
use crate::call::reference::Reference;
use crate::call::stats::Stats;
use crate::error::HostResult;
use crate::host::account::{Account, Charge};
use crate::host::args::{Args, FromCall};
use crate::host::parked::{Wait, tell};
use crate::host::{HostObject, Members, Module, Object, Rest};
use crate::value::{Flat, Many, Results, Value};

pub fn add(module: Module) -> Module {
    module
        .object::<Task>()
        .function_by_reference("spawn", async |parent: Parent, function: Function, Rest(args): Rest<Value>| {
            Ok(Object::new(Task::start(&parent, &function, args, Outlives::Response).await?))
        })
        .function_by_reference("background", async |parent: Parent, function: Function, Rest(args): Rest<Value>| {
            Ok(Object::new(Task::start(&parent, &function, args, Outlives::Deadline).await?))
        })
}

/// A fiber that a script started. Dropping it does not end the fiber.
pub struct Task(pub Arc<State>);

/// The fiber that starts a task, and what the task has from it: an extractor.
pub struct Parent {
    /// The task that the fiber is, if it is one.
    pub task: Option<Arc<State>>,
    deadline: Option<Instant>,
    memory: Option<usize>,
    label: Option<String>,
    extensions: Extensions,
    detect_deadlock: bool,
    stats: Option<Stats>,
    account: Account,
}

impl FromCall for Parent {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        let account = Account::from_call(args)?;
        let caller = args.caller();
        let task = caller.extensions.get(TypeId::of::<Own>()).and_then(|any| any.clone().downcast::<Own>().ok());
        Ok(Parent {
            task: task.and_then(|own| own.0.upgrade()),
            deadline: caller.deadline,
            memory: caller.memory,
            label: caller.label.clone(),
            extensions: caller.extensions.clone(),
            detect_deadlock: caller.detect_deadlock,
            stats: caller.stats.as_ref().map(|stats| Stats { own: false, ..stats.clone() }),
            account,
        })
    }
}

/// Among a task's extensions: the task itself.
struct Own(Weak<State>);

impl Parent {
    fn extensions_for(&self, state: &Arc<State>) -> Extensions {
        let mut extensions = self.extensions.clone();
        extensions.insert(TypeId::of::<Own>(), Arc::new(Own(Arc::downgrade(state))));
        extensions
    }
}

/// How long a task may live.
pub enum Outlives {
    /// It outlives the response, but keeps the deadline of the call that started it.
    Response,
    /// It outlives that too.
    Deadline,
}

impl HostObject for Task {
    const NAME: &'static str = "Task";

    fn members(members: &mut Members<Self>) {
        members
            .method_by_reference("join", async |this: &Self| Ok(Rest(this.0.clone().ended().await?)))
            .method("cancel", |this: &Self| {
                this.0.cancel();
                Ok(())
            })
            .get("done", |this: &Self| Ok(this.0.is_over()))
            .given_out(|this| this.0.given_out.note());
    }
}

impl Task {
    /// Starts a function on a fiber of its own, on this interpreter.
    pub async fn start(parent: &Parent, function: &Function, args: Vec<Value>, outlives: Outlives) -> HostResult<Task> {
        let bytes = args.iter().map(Value::size).sum::<usize>();
        let charge = parent.account.charge(size_of::<State>() + size_of::<Job>() + bytes).await?;
        let mut flat = Flat::new();
        flat.push_args(&Rest(args))
            .map_err(|e| Error::Convert { place: "arguments of a task".into(), message: e.to_string() })?;
        let state = Arc::new(State {
            function: function.0.clone(),
            outcome: Mutex::default(),
            cancelled: AtomicBool::new(false),
            fiber: Default::default(),
            left_behind: Mutex::default(),
            given_out: GivenOut::default(),
            charge: Mutex::new(charge),
        });
        let deadline = match outlives {
            Outlives::Response => parent.deadline.map(|at| at.saturating_duration_since(Instant::now())),
            Outlives::Deadline => Some(std::time::Duration::MAX),
        };
        function.0.inbox.submit(Box::new(Job {
            work: Work::Function { token: function.0.clone(), args: flat, by_reference: true },
            settings: Settings {
                deadline,
                memory: parent.memory,
                cpu: None,
                label: parent.label.clone(),
                extensions: parent.extensions_for(&state),
                detect_deadlock: parent.detect_deadlock,
                stats: parent.stats.clone(),
            },
            begun: Instant::now(),
            completion: Some(state.clone()),
            started: false,
        }))?;
        Ok(Task(state))
    }
}

/// The task's outcome, for any number of fibers that wait for it.
pub struct State {
    function: Arc<Reference>,
    outcome: Mutex<Outcome>,
    cancelled: AtomicBool,
    fiber: (AtomicU64, AtomicU64),
    /// Tasks of groups that this task was in when it was cancelled: they were cancelled too, and may still be ending.
    left_behind: Mutex<Vec<Arc<State>>>,
    /// So was a handle of it, which may cancel it.
    given_out: GivenOut,
    /// What it takes of the host's memory, charged to the fiber that started it: its arguments, its results.
    charge: Mutex<Charge>,
}

#[derive(Default)]
struct Outcome {
    result: Option<Result<Vec<Value>, Failure>>,
    waiting: Vec<Waker>,
}

/// An error that several may get: the original source goes to the first.
struct Failure {
    error: Option<Error>,
    message: String,
    code: Option<String>,
    traceback: String,
}

impl Failure {
    fn new(error: Error) -> Self {
        let traceback = match &error {
            Error::Script { traceback, .. } => traceback.clone(),
            _ => String::new(),
        };
        Failure { message: error.to_string(), code: error.code().map(String::from), traceback, error: Some(error) }
    }

    fn get(&mut self) -> Error {
        self.error.take().unwrap_or_else(|| Error::Script {
            message: self.message.clone(),
            code: self.code.clone(),
            traceback: self.traceback.clone(),
            source: None,
        })
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.lock().result.is_some()
    }

    /// Cancels it, if it has not ended.
    pub fn cancel(self: &Arc<Self>) {
        if !self.cancelled.swap(true, Ordering::AcqRel) && !self.is_over() {
            self.function.inbox.send(Message::Cancel(self.clone()));
        }
    }

    fn wait(&self) -> Wait {
        let id = self.fiber.1.load(Ordering::Relaxed);
        Wait { which: (id != 0).then(|| format!("fiber {id}")), ..self.given_out.wait() }
    }

    /// Polls for its end.
    pub fn poll_end(&self, task: &Context<'_>) -> Poll<Result<Vec<Value>, Error>> {
        let mut outcome = self.lock();
        match &mut outcome.result {
            Some(Ok(values)) => Poll::Ready(Ok(values.clone())),
            Some(Err(failure)) => Poll::Ready(Err(failure.get())),
            None => {
                if !outcome.waiting.iter().any(|waker| waker.will_wake(task.waker())) {
                    outcome.waiting.push(task.waker().clone());
                }
                tell(|| self.wait());
                Poll::Pending
            }
        }
    }

    /// Leaves tasks behind that have been cancelled.
    pub fn leave_behind(&self, tasks: impl Iterator<Item = Arc<State>>) {
        let mut left = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|task| !task.is_over());
        left.extend(tasks);
    }

    /// Polls for the end of what an ended task left behind.
    pub fn poll_left_behind(&self, task: &Context<'_>) -> Poll<()> {
        let left = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pending = left.iter().any(|state| match state.poll_end(task) {
            Poll::Ready(_) => state.poll_left_behind(task).is_pending(),
            Poll::Pending => true,
        });
        if pending { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Waits for its end.
    pub fn ended(self: Arc<Self>) -> impl Future<Output = Result<Vec<Value>, Error>> {
        struct Ended(Arc<State>);
        impl Future for Ended {
            type Output = Result<Vec<Value>, Error>;
            fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
                self.0.poll_end(task)
            }
        }
        Ended(self)
    }
}

impl Completion for State {
    fn complete(&self, outcome: Result<Results<'_>, Error>, _over: Over<'_>) -> Option<Waker> {
        let result = outcome.and_then(|mut results| {
            let values = results.decode::<Many<Value>>();
            let values = values
                .map(|values| values.0)
                .map_err(|e| Error::Convert { place: "results of a task".into(), message: e.to_string() })?;
            let mut charge = self.charge.lock().unwrap_or_else(PoisonError::into_inner);
            charge.grow_now(values.iter().map(Value::size).sum())?;
            Ok(values)
        });
        let waiting = {
            let mut outcome = self.lock();
            if outcome.result.is_some() {
                return None;
            }
            outcome.result = Some(result.map_err(Failure::new));
            std::mem::take(&mut outcome.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
        None
    }

    fn abandoned(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn fiber(&self) -> (&AtomicU64, &AtomicU64) {
        (&self.fiber.0, &self.fiber.1)
    }
}
