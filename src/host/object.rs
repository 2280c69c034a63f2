//! Host objects: Rust values that scripts hold by handle and call methods on.

use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::args::{Args, FromCall};
use super::function::{HostCall, Plain, Suspending, encode, extract, shape};
use super::module::FunctionSpec;
use crate::error::HostResult;
use crate::value::attach;

/// A Rust type whose values scripts can hold.
///
/// A class must be known before an engine is built: [`Module::object`](crate::Module::object). A member named `close` is
/// what the guest's own way of closing a scope calls (Lua's `<close>`).
pub trait HostObject: Send + Sync + Sized + 'static {
    /// The class's name in scripts and messages.
    const NAME: &'static str;
    /// Declares methods and getters.
    fn members(members: &mut Members<Self>);
}

/// What runs when an object is given out.
pub type GivenOut = Arc<dyn Fn(&(dyn Any + Send + Sync)) + Send + Sync>;

/// Collects the members of a class.
pub struct Members<T> {
    methods: Vec<FunctionSpec>,
    getters: Vec<FunctionSpec>,
    given_out: Option<GivenOut>,
    class: PhantomData<fn(&T)>,
}

impl<T: HostObject> Members<T> {
    /// Adds a method: `object:name(…)` in Lua.
    pub fn method<M>(&mut self, name: &str, method: impl Method<T, M>) -> &mut Self {
        self.methods.push(FunctionSpec::new(name, method.erase(), false));
        self
    }

    /// As `method`, with guest values passed uncopied, as references.
    pub(crate) fn method_by_reference<M>(&mut self, name: &str, method: impl Method<T, M>) -> &mut Self {
        self.methods.push(FunctionSpec::new(name, method.erase(), true));
        self
    }

    /// Adds a field that scripts can read: `object.name` in Lua.
    pub fn get<M>(&mut self, name: &str, getter: impl Method<T, M>) -> &mut Self {
        self.getters.push(FunctionSpec::new(name, getter.erase(), false));
        self
    }

    /// Runs whenever an object is given to Rust code that is not the engine's.
    pub(crate) fn given_out(&mut self, note: impl Fn(&T) + Send + Sync + 'static) -> &mut Self {
        self.given_out = Some(Arc::new(move |object| {
            if let Some(object) = object.downcast_ref() {
                note(object);
            }
        }));
        self
    }
}

/// Closures that can be methods: `Fn(&T, …)` or `AsyncFn(&T, …)`.
#[diagnostic::on_unimplemented(
    message = "this closure cannot be a method of `{T}`",
    note = "its first parameter is `&{T}`, the others as for a host function; it must return `anyhow::Result<R>` with `R: Serialize`"
)]
pub trait Method<T, M>: Send + Sync + 'static {
    /// Erases the type.
    #[doc(hidden)]
    fn erase(self) -> Arc<dyn HostCall>;
}

macro_rules! methods { ($($A:ident),*) => {
    impl<T, F, R, $($A),*> Method<T, (Plain, R, $($A,)*)> for F
    where
        T: HostObject,
        F: Fn(&T, $($A),*) -> HostResult<R> + Send + Sync + 'static,
        R: Serialize,
        $($A: FromCall,)*
    {
        fn erase(self) -> Arc<dyn HostCall> {
            shape(move |args: &mut Args<'_>| {
                let this = match args.object::<T>() {
                    Ok(this) => this,
                    Err(e) => return args.fail(e),
                };
                extract!(args, $($A),*);
                args.ready(self(&this, $($A),*))
            })
        }
    }

    impl<T, F, R, $($A),*> Method<T, (Suspending, R, $($A,)*)> for F
    where
        T: HostObject,
        F: AsyncFn(&T, $($A),*) -> HostResult<R> + Send + Sync + 'static,
        R: Serialize,
        $($A: FromCall + 'static,)*
    {
        fn erase(self) -> Arc<dyn HostCall> {
            shape(move |args: &mut Args<'_>| {
                let this = match args.take::<Object<T>>() {
                    Ok(this) => this,
                    Err(e) => return args.fail(e),
                };
                extract!(args, $($A),*);
                // SAFETY: this closure is the host function that is called, and holds `self`.
                let method = unsafe { args.hold(&self) };
                args.pending(async move { encode(&(*method)(&this, $($A),*).await?) })
            })
        }
    }
}}

methods!();
methods!(A);
methods!(A, B);
methods!(A, B, C);
methods!(A, B, C, D);

/// A class as declared.
#[derive(Clone)]
pub struct ClassSpec {
    /// The Rust type.
    pub type_id: TypeId,
    /// Its name.
    pub name: &'static str,
    /// Its methods.
    pub methods: Vec<FunctionSpec>,
    /// Its readable fields.
    pub getters: Vec<FunctionSpec>,
    /// See [`Members::given_out`].
    pub given_out: Option<GivenOut>,
}

impl ClassSpec {
    /// The class of `T`.
    pub fn of<T: HostObject>() -> Self {
        let mut members =
            Members::<T> { methods: Vec::new(), getters: Vec::new(), given_out: None, class: PhantomData };
        T::members(&mut members);
        let Members { methods, getters, given_out, .. } = members;
        ClassSpec { type_id: TypeId::of::<T>(), name: T::NAME, methods, getters, given_out }
    }
}

/// A host object as an argument or result: shared, because fibers may use it at the same time.
pub struct Object<T>(Arc<T>);

impl<T: HostObject> Object<T> {
    /// Makes a value one that scripts can hold.
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Object(value.into())
    }

    /// The shared value.
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T> Clone for Object<T> {
    fn clone(&self) -> Self {
        Object(self.0.clone())
    }
}

impl<T> Deref for Object<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: HostObject> fmt::Debug for Object<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", T::NAME)
    }
}

impl<T: HostObject> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach::serialize(serializer, attach::Kind::Object, self.0.clone())
    }
}

impl<'de, T: HostObject> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let any: Arc<dyn Any + Send + Sync> = attach::deserialize(deserializer, attach::Kind::Object)?;
        match any.downcast::<T>() {
            Ok(value) => Ok(Object(value)),
            Err(_) => Err(serde::de::Error::custom(format!("wrong type of host object: expected {}", T::NAME))),
        }
    }
}
