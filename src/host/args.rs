//! Extractors: how a host function's parameters are made from a host call.

use std::any::{Any, TypeId};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::cx::{CallShared, Cx};
use super::function::{self, Begun, Started};
use super::future::HostFuture;
use super::local::{Borrowed, Local};
use super::object::{HostObject, Object};
use super::record::{Caller, Context, Waits};
use super::registry::Entry;
use super::reply::Reply;
use super::timer::Sleep;
use crate::Error;
use crate::error::{HostResult, refused};
use crate::value::{Few, Run, few};

/// The arguments of one host call, taken from the front.
pub struct Args<'a> {
    run: Run<'a>,
    /// The interpreter and the call that it came from.
    pub(crate) context: &'a Context,
    /// The function, for messages.
    pub(crate) entry: &'a Entry,
    taken: u32,
    /// Made if the function asks for a [`Cx`].
    pub(crate) shared: Option<Rc<CallShared>>,
    /// What became of the call, if it does not fit into the frame.
    pub(crate) started: Option<Started>,
    /// In the frame of the call.
    pub(crate) few: &'a mut Few,
}

impl<'a> Args<'a> {
    #[inline]
    pub(crate) fn new(run: Run<'a>, context: &'a Context, entry: &'a Entry, few: &'a mut Few) -> Self {
        Args { run, context, entry, taken: 0, shared: None, started: None, few }
    }

    #[inline]
    pub(crate) fn start(&mut self, started: Started) -> Begun {
        // A function begins once: there is nothing to drop, which the compiler does not see.
        std::mem::forget(self.started.replace(started));
        Begun::Started
    }

    /// The function is over.
    #[inline]
    pub(crate) fn ready<R: Serialize>(&mut self, outcome: HostResult<R>) -> Begun {
        let outcome = match outcome {
            Ok(value) => match few(&value, self.few) {
                Some(count) => return Begun::Few(count),
                None => function::encode(&value),
            },
            Err(e) => Err(e),
        };
        self.start(Started::Ready(outcome))
    }

    /// The function could not begin.
    #[cold]
    pub(crate) fn fail(&mut self, error: Error) -> Begun {
        self.start(Started::Ready(Err(error.into())))
    }

    /// The function goes on in a future.
    #[inline]
    pub(crate) fn pending(&mut self, future: impl Future<Output = HostResult<Reply>> + 'static) -> Begun {
        self.start(Started::Pending(HostFuture::new(future)))
    }

    /// The function only waits for so long, on the interpreter's own timers, and has no results.
    #[inline]
    pub(crate) fn sleep(&mut self, duration: Duration) -> Begun {
        self.start(Started::Pending(HostFuture::Sleep(Sleep::new(self.local().clone(), duration))))
    }

    /// What a future of the call may use of its function.
    ///
    /// # Safety
    ///
    /// `part` is part of the host function that is called, and stays as it is.
    #[inline]
    pub(crate) unsafe fn hold<F>(&self, part: &F) -> Held<F> {
        Held { part, _local: self.local().clone() }
    }

    /// The interpreter it came from.
    #[inline]
    pub(crate) fn local(&self) -> &'a Rc<Local> {
        &self.context.local
    }

    /// The call it came from.
    #[inline]
    pub(crate) fn caller(&self) -> &'a Caller {
        &self.context.caller
    }

    /// The next argument.
    #[inline]
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.taken += 1;
        match self.run.number() {
            Some(value) => Ok(value),
            None => self.take_any(),
        }
    }

    #[inline(never)]
    fn take_any<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        match self.run.next(&mut self.context.local.resolver(self.entry.own)) {
            Ok(value) => Ok(value),
            Err(e) => Err(self.error(&e)),
        }
    }

    /// The host object that is the next argument, lent for as long as the host function runs.
    #[inline]
    pub(crate) fn object<T: HostObject>(&mut self) -> Result<Borrowed<'a, T>, Error> {
        if let Some(lent) = self.run.object().and_then(|key| self.context.local.lend(key)) {
            self.run.pass_scalar();
            self.taken += 1;
            return Ok(lent);
        }
        Err(self.take::<Object<T>>().expect_err("what cannot be lent cannot be taken either"))
    }

    #[cold]
    fn error(&self, e: &dyn std::fmt::Display) -> Error {
        Error::Convert { place: format!("{}, argument {}", self.entry.name, self.taken), message: e.to_string() }
    }
}

/// Part of a host function, for as long as one of its futures lives. The interpreter's table has the function, so that a count of
/// the interpreter's own thread is enough.
pub(crate) struct Held<F> {
    part: *const F,
    _local: Rc<Local>,
}

impl<F> Deref for Held<F> {
    type Target = F;
    #[inline]
    fn deref(&self) -> &F {
        // SAFETY: it is part of a host function (`Args::hold`), and those are called by way of the table of their interpreter
        // (`host_call::begin`), which has them for as long as it lives.
        unsafe { &*self.part }
    }
}

/// What can be a parameter of a host function.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a host function",
    note = "arguments are `Cx`, `State<T>`, `Ext<T>`, `Rest<T>`, or any type that implements `serde::Deserialize`"
)]
pub trait FromCall: Sized {
    /// Takes what it needs from the call.
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error>;
}

impl<T: DeserializeOwned> FromCall for T {
    #[inline]
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        args.take()
    }
}

impl FromCall for Cx {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        if args.shared.is_some() {
            return Err(Error::Refused {
                name: refused::BAD_SETTING,
                message: format!("{} asks for two `Cx`: a host call has one guest call at a time", args.entry.name),
            });
        }
        let shared = CallShared::of(args.context);
        args.shared = Some(shared.clone());
        Ok(Cx(shared))
    }
}

/// A value given to [`Builder::state`](crate::Builder::state): one of each type, shared by all calls.
#[derive(Debug)]
pub struct State<T>(pub Arc<T>);

impl<T: Send + Sync + 'static> FromCall for State<T> {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        let found = args.local().states.get(TypeId::of::<T>());
        found.and_then(downcast).map(State).ok_or_else(|| missing::<T>(args, "state", "Builder::state"))
    }
}

/// A value given to [`Call::ext`](crate::Call::ext): one of each type, for this call only.
#[derive(Debug)]
pub struct Ext<T>(pub Arc<T>);

impl<T: Send + Sync + 'static> FromCall for Ext<T> {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        let found = args.caller().extensions.get(TypeId::of::<T>());
        found.and_then(downcast).map(Ext).ok_or_else(|| missing::<T>(args, "extension", "Call::ext"))
    }
}

fn downcast<T: Send + Sync + 'static>(any: &Arc<dyn Any + Send + Sync>) -> Option<Arc<T>> {
    any.clone().downcast().ok()
}

fn missing<T>(args: &Args<'_>, kind: &str, setter: &str) -> Error {
    Error::Convert {
        place: args.entry.name.clone(),
        message: format!("no {kind} of type {} was given ({setter})", std::any::type_name::<T>()),
    }
}

/// What the fiber that called has done so far, its tasks not included.
#[derive(Debug, Default)]
pub struct Done {
    /// Which it is.
    #[cfg_attr(not(feature = "php"), expect(dead_code, reason = "pages are the only ones"))]
    pub fiber: u64,
    /// Host calls begun, this one included.
    pub host_calls: u64,
    /// How long it waited in them, where its call's statistics are wanted.
    pub waited: Duration,
    /// The function that it waited for last, and for how long.
    pub last: Option<(String, Duration)>,
}

impl Done {
    /// By a fiber.
    pub fn of(context: &Context) -> Done {
        let Waits { total, last, .. } = context.tally.waits.get();
        let named = |(function, took)| Some((context.local.registry.name(function)?.to_owned(), took));
        Done {
            fiber: context.caller.id,
            host_calls: context.tally.host_calls.get(),
            waited: total,
            last: last.and_then(named),
        }
    }
}

impl FromCall for Done {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        Ok(Done::of(args.context))
    }
}

/// All arguments that are left. As a function's result: that many results.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rest<T>(pub Vec<T>);

impl<T: DeserializeOwned> FromCall for Rest<T> {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        let mut rest = Vec::with_capacity(args.run.left() as usize);
        while args.run.left() > 0 {
            rest.push(args.take()?);
        }
        Ok(Rest(rest))
    }
}

impl<T: Serialize> Serialize for Rest<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for item in &self.0 {
            tuple.serialize_element(item)?;
        }
        tuple.end()
    }
}

impl<T> Deref for State<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for Ext<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
