//! Modules: named groups of host functions and object classes that scripts `require`.

use std::sync::Arc;

use super::function::{BlockingFn, HostCall, HostFn};
use super::leaf::{Leaf, LeafFn, Thunk};
use super::object::{ClassSpec, HostObject};

/// One function of a module or class, as declared.
#[derive(Clone)]
pub struct FunctionSpec {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub call: Arc<dyn HostCall>,
    /// Guest values cross uncopied (`SS_BY_REFERENCE`).
    pub by_reference: bool,
    /// Only fibers and timers of its interpreter wake its future, which tells what it waits for (`parked`).
    pub own: bool,
    /// How it runs on the fiber's stack, if it can.
    pub leaf: Thunk,
}

impl FunctionSpec {
    /// A function that is no leaf, and not the engine's own.
    pub fn new(name: impl Into<String>, call: Arc<dyn HostCall>, by_reference: bool) -> Self {
        FunctionSpec { name: name.into(), call, by_reference, own: false, leaf: Thunk::NONE }
    }
}

/// A named group of host functions, given to [`Builder::module`](crate::Builder::module).
#[derive(Clone)]
pub struct Module {
    pub(crate) name: String,
    pub(crate) functions: Vec<FunctionSpec>,
    pub(crate) classes: Vec<ClassSpec>,
    /// Guests' shims reach its functions by name, scripts do not.
    pub(crate) hidden: bool,
}

impl Module {
    /// An empty module that scripts know as `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Module { name: name.into(), functions: Vec::new(), classes: Vec::new(), hidden: false }
    }

    /// Adds a function: a plain closure, an async closure or an async fn.
    ///
    /// Its parameters are the script's arguments, or extractors. It runs on the interpreter thread: an async one suspends
    /// only the fiber that called it; a plain one must not block (see [`Module::blocking_function`]).
    pub fn function<M>(self, name: impl Into<String>, function: impl HostFn<M>) -> Self {
        self.add(name, function.erase(), false)
    }

    /// Adds a plain closure that may block: it runs on a thread pool, and only the fiber that called it waits.
    ///
    /// A call that is cancelled does not stop the closure; its result is thrown away.
    pub fn blocking_function<M>(self, name: impl Into<String>, function: impl BlockingFn<M>) -> Self {
        self.add(name, function.erase(), false)
    }

    /// Adds a leaf: a closure that runs on the fiber's own stack, right where the script calls it, at a small part of what
    /// the move to the thread's stack and back costs. For what is called very often and does very little.
    ///
    /// It takes up to four numbers (`i8` to `i64`, `u8` to `u32`, `f32`, `f64`) or `bool`s and returns one, or nothing.
    /// Elsewhere (arguments that have to be converted, or are wrong; a call from PHP, or from host code) it runs as an
    /// ordinary function does, and says the same.
    ///
    /// # Safety
    ///
    /// The closure must do without what the move is for. It
    ///
    /// - does not panic (the process ends, with the panic's message, if it does);
    /// - neither waits nor blocks, and calls no C, no guest and nothing else of Sidestack;
    /// - owns nothing, while it runs, that has to be dropped;
    /// - needs little stack: a few kilobytes;
    /// - computes correctly with the rounding mode that guest code may have set.
    ///
    /// Guests' signals are deferred while it runs, as in any host code. The watchdog does not see it, and a script that is
    /// killed or past its deadline may still call it.
    ///
    /// ```
    /// use sidestack::Module;
    ///
    /// // SAFETY: arithmetic that wraps: it cannot panic, and owns nothing.
    /// let module = unsafe { Module::new("hash").leaf("mix", |a: i64, b: i64| a.wrapping_mul(31).wrapping_add(b)) };
    /// ```
    pub unsafe fn leaf<M>(mut self, name: impl Into<String>, function: impl LeafFn<M>) -> Self {
        let Leaf { call, thunk } = function.erase();
        self.functions.push(FunctionSpec { leaf: thunk, ..FunctionSpec::new(name, call, false) });
        self
    }

    /// As `function`, with guest values passed uncopied, as references.
    pub(crate) fn function_by_reference<M>(self, name: impl Into<String>, function: impl HostFn<M>) -> Self {
        self.add(name, function.erase(), true)
    }

    /// Declares a class, so that its objects can be given to scripts even if no function of this module is called first.
    pub fn object<T: HostObject>(mut self) -> Self {
        self.classes.push(ClassSpec::of::<T>());
        self
    }

    /// Keeps it out of what scripts can `require`.
    #[cfg_attr(
        not(any(feature = "hooks", feature = "php")),
        expect(dead_code, reason = "hooks and pages are the only ones")
    )]
    pub(crate) fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// As `function`, for what has been erased already.
    pub(crate) fn erased(self, name: impl Into<String>, call: Arc<dyn HostCall>) -> Self {
        self.add(name, call, false)
    }

    /// What it has so far is the engine's own: only fibers and timers wake its futures.
    pub(crate) fn own(mut self) -> Self {
        let members = self.classes.iter_mut().flat_map(|class| class.methods.iter_mut().chain(&mut class.getters));
        members.chain(&mut self.functions).for_each(|function| function.own = true);
        self
    }

    fn add(mut self, name: impl Into<String>, call: Arc<dyn HostCall>, by_reference: bool) -> Self {
        self.functions.push(FunctionSpec::new(name, call, by_reference));
        self
    }
}
