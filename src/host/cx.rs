//! What a host function knows of its call, and how it calls back into the guest.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::local::Local;
use super::record::{Caller, Context as FiberContext};
use super::timer::Sleep;
use crate::Error;
use crate::call::Function;
use crate::call::reference::Reference;
use crate::error::refused;
use crate::value::{Flat, Results};

/// A host function's view of its own call: an extractor.
///
/// It belongs to the interpreter thread and to the host function that asked for it.
pub struct Cx(pub(crate) Rc<CallShared>);

/// The part of a host call that its future and the crossing share.
pub struct CallShared {
    /// The interpreter.
    pub local: Rc<Local>,
    fiber: u64,
    deadline: Option<Instant>,
    label: Option<String>,
    /// The guest call in progress.
    pub nested: RefCell<Nested>,
    /// The host function is async: somebody will see what its future asks for.
    pub may_call_guest: Cell<bool>,
}

/// The one nested guest call that a host call may have (fine print 4).
pub enum Nested {
    /// None.
    Idle,
    /// Asked for; the crossing passes it to the guest when the poll returns.
    Requested(Request),
    /// The guest runs it; the waker is of whoever awaits it.
    Running(Waker),
    /// The guest runs it and nobody awaits it any more: to be cancelled down to the call's frame. A later guest call of
    /// the same host call waits for that, with this waker.
    Abandoned(Option<Waker>),
    /// It ended.
    Answered(Result<Box<Flat>, Error>),
}

/// A guest call that is asked for.
pub struct Request {
    /// What to call.
    pub function: Arc<Reference>,
    /// With what.
    pub args: Box<Flat>,
    /// Results cross uncopied.
    pub by_reference: bool,
    waker: Waker,
}

impl CallShared {
    /// For a host call of the fiber with this context. The last one's memory is used again, if that call is over.
    pub fn of(context: &FiberContext) -> Rc<Self> {
        let mut last = context.last_cx.borrow_mut();
        if let Some(shared) = last.as_mut().and_then(Rc::get_mut) {
            let caller = &context.caller;
            shared.fiber = caller.id;
            shared.deadline = caller.deadline;
            shared.label.clone_from(&caller.label);
            // It holds nothing: see the drop of `Cx`.
            *shared.nested.get_mut() = Nested::Idle;
            shared.may_call_guest.set(false);
        } else {
            *last = Some(CallShared::new(context.local.clone(), &context.caller));
        }
        last.clone().expect("just put there")
    }

    fn new(local: Rc<Local>, caller: &Caller) -> Rc<Self> {
        Rc::new(CallShared {
            local,
            fiber: caller.id,
            deadline: caller.deadline,
            label: caller.label.clone(),
            nested: RefCell::new(Nested::Idle),
            may_call_guest: Cell::new(false),
        })
    }

    /// Takes the guest call that the last poll asked for, and marks it as running.
    pub fn take_request(&self) -> Option<(Arc<Reference>, Box<Flat>, bool)> {
        let mut nested = self.nested.borrow_mut();
        if !matches!(*nested, Nested::Requested(_)) {
            return None;
        }
        match std::mem::replace(&mut *nested, Nested::Idle) {
            Nested::Requested(Request { function, args, by_reference, waker }) => {
                *nested = Nested::Running(waker);
                Some((function, args, by_reference))
            }
            _ => unreachable!("just seen"),
        }
    }

    /// Whether the last poll asked for a guest call.
    pub fn requested(&self) -> bool {
        matches!(*self.nested.borrow(), Nested::Requested(_))
    }

    /// Leaves the guest call's outcome for the future that awaits it, and wakes it, unless its waker is the fiber's own: the
    /// crossing polls next anyway.
    pub fn answer(&self, outcome: Result<Box<Flat>, Error>, own: &Waker) {
        let mut nested = self.nested.borrow_mut();
        let waker = match std::mem::replace(&mut *nested, Nested::Idle) {
            Nested::Running(waker) => {
                *nested = Nested::Answered(outcome);
                Some(waker)
            }
            Nested::Abandoned(waker) => waker,
            _ => None,
        };
        drop(nested);
        if let Some(waker) = waker.filter(|waker| !waker.will_wake(own)) {
            waker.wake();
        }
    }

    /// Whether a guest call runs that nobody awaits.
    pub fn abandoned(&self) -> bool {
        matches!(*self.nested.borrow(), Nested::Abandoned(_))
    }
}

impl Drop for Cx {
    /// What nobody took goes with the host function, and not with the next one.
    fn drop(&mut self) {
        let untaken = matches!(*self.0.nested.borrow(), Nested::Requested(_) | Nested::Answered(_));
        if untaken {
            drop(self.0.nested.replace(Nested::Idle));
        }
    }
}

impl Cx {
    /// Calls a guest function on this fiber, below this host call, and waits for its result.
    ///
    /// A tuple is an argument list, anything else one argument. An error that the guest raises comes back as
    /// [`Error::Script`]; the host function may catch it and call again. In a plain host function it is
    /// [`refused::FROM_PLAIN`]. One call at a time; for more, see
    /// [`Function::call`]. Dropping the future cancels the guest's call; a later call waits until it has gone.
    ///
    /// Rust code with a synchronous callback (a comparator, an SQL function) that must call the guest belongs into a
    /// [`blocking_function`](crate::Module::blocking_function): there the callback may wait for
    /// [`Function::call`] by [`blocking`](crate::Call::blocking), which is a fiber of its own.
    pub async fn call<R: DeserializeOwned>(&mut self, function: &Function, args: impl Serialize) -> Result<R, Error> {
        self.start(function, &args, false).await
    }

    /// As `call`, with results passed uncopied.
    pub(crate) async fn call_by_reference<R: DeserializeOwned>(
        &mut self,
        function: &Function,
        args: impl Serialize,
    ) -> Result<R, Error> {
        self.start(function, &args, true).await
    }

    fn start<R: DeserializeOwned>(
        &mut self,
        function: &Function,
        args: &impl Serialize,
        by_reference: bool,
    ) -> Nest<R> {
        let mut flat = super::reply::take();
        let args = match flat.push_args(args) {
            Ok(()) => Ok(flat),
            Err(e) => Err(Error::Convert { place: "arguments of a guest call".into(), message: e.to_string() }),
        };
        Nest {
            shared: self.0.clone(),
            stage: Stage::New(Some(args.map(|args| (function.0.clone(), args, by_reference)))),
            result: PhantomData,
        }
    }

    /// Waits on the interpreter thread's own timers; no async runtime is needed. Never too short; up to a tenth of a millisecond too
    /// long, or a whole one after waits of more than 60, if the thread is free.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + use<> {
        Sleep::new(self.0.local.clone(), duration)
    }

    /// When the call that this fiber runs will be ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// The fiber's id, unique in the process.
    pub fn fiber(&self) -> u64 {
        self.0.fiber
    }

    /// What the fiber is called now: the call's label, or what a worker has in hand.
    #[cfg_attr(not(feature = "php"), expect(dead_code, reason = "only workers change it"))]
    pub(crate) fn now(&self) -> Option<String> {
        self.0.local.inbox.roster.label(self.0.fiber)
    }

    /// Gives the fiber another name, if it has a label.
    #[cfg_attr(not(feature = "php"), expect(dead_code, reason = "only workers change it"))]
    pub(crate) fn rename(&self, label: String) {
        self.0.local.inbox.roster.rename(self.0.fiber, label);
    }

    /// The call's label.
    pub fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }
}

/// The future of a nested guest call.
struct Nest<R> {
    shared: Rc<CallShared>,
    stage: Stage,
    result: PhantomData<fn() -> R>,
}

type Asked = (Arc<Reference>, Box<Flat>, bool);

enum Stage {
    New(Option<Result<Asked, Error>>),
    Asked,
    Over,
}

impl<R: DeserializeOwned> Future for Nest<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.shared.clone();
        let mut nested = shared.nested.borrow_mut();
        match &mut self.stage {
            Stage::New(_) if !shared.may_call_guest.get() => {
                self.stage = Stage::Over;
                Poll::Ready(Err(Error::Refused {
                    name: refused::FROM_PLAIN,
                    message: "a plain host function cannot call the guest: make it an async one".into(),
                }))
            }
            Stage::New(asked) => {
                match &mut *nested {
                    Nested::Idle => {}
                    // An earlier call of this host call is still being cancelled; or it runs on, because its future
                    // was forgotten instead of dropped, and has to be.
                    Nested::Abandoned(_) | Nested::Running(_) => {
                        *nested = Nested::Abandoned(Some(cx.waker().clone()));
                        return Poll::Pending;
                    }
                    Nested::Requested(_) | Nested::Answered(_) => *nested = Nested::Idle,
                }
                let (function, args, by_reference) = match asked.take().expect("a stage is left once") {
                    Ok(asked) => asked,
                    Err(error) => {
                        self.stage = Stage::Over;
                        return Poll::Ready(Err(error));
                    }
                };
                *nested = Nested::Requested(Request { function, args, by_reference, waker: cx.waker().clone() });
                self.stage = Stage::Asked;
                Poll::Pending
            }
            Stage::Asked => {
                if let Nested::Running(waker) = &mut *nested {
                    waker.clone_from(cx.waker());
                    return Poll::Pending;
                }
                if !matches!(*nested, Nested::Answered(_)) {
                    return Poll::Pending;
                }
                let Nested::Answered(outcome) = std::mem::replace(&mut *nested, Nested::Idle) else {
                    unreachable!("just seen")
                };
                drop(nested);
                self.stage = Stage::Over;
                Poll::Ready(outcome.and_then(|flat| {
                    let decoded = Results::of(&flat).decode();
                    super::reply::give(flat);
                    decoded
                        .map_err(|e| Error::Convert { place: "result of a guest call".into(), message: e.to_string() })
                }))
            }
            Stage::Over => panic!("polled after it was ready"),
        }
    }
}

impl<R> Drop for Nest<R> {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Asked) {
            return;
        }
        let mut nested = self.shared.nested.borrow_mut();
        let left = std::mem::replace(&mut *nested, Nested::Idle);
        if let Nested::Running(_) = left {
            *nested = Nested::Abandoned(None);
        }
        // What was asked for and never begun, or ended and never looked at, is dropped here, with the cell free again:
        // it may hold a host object with a `Drop` of its own.
        drop(nested);
        drop(left);
    }
}
