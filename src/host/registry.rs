//! All host functions of an engine in one table, and the description of them that guests read.
//!
//! Built once, before any interpreter starts, and never changed: interpreters share it without locks.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

use super::exported;
use super::function::HostCall;
use super::module::{FunctionSpec, Module};
use super::object::GivenOut;
use crate::Error;
use crate::abi::{SS_BY_REFERENCE, ss_class_desc, ss_function_desc, ss_host_desc, ss_leaf, ss_module_desc};
use crate::error::refused;

/// One host function.
pub struct Entry {
    /// Its number, by which guests call it.
    pub id: u32,
    /// With its module or class: "app.nap".
    pub name: String,
    /// What it runs.
    pub call: Arc<dyn HostCall>,
    /// See [`FunctionSpec::own`].
    pub own: bool,
}

/// See the module.
pub struct Registry {
    functions: Vec<Entry>,
    classes: HashMap<TypeId, u32>,
    given_out: HashMap<TypeId, GivenOut>,
    desc: Desc,
}

/// The C description with everything it points into.
struct Desc {
    host: Box<ss_host_desc>,
    // What `host` points into; none of them changes after `Registry::new`.
    _modules: Vec<ss_module_desc>,
    _classes: Vec<ss_class_desc>,
    _functions: Vec<Vec<ss_function_desc>>,
    _leaves: Vec<ss_leaf>,
    _names: Vec<CString>,
}

// SAFETY: the raw pointers in `desc` point into vectors that the registry owns and never changes after `new`; reading
// them from several threads is reading shared data.
unsafe impl Send for Registry {}
// SAFETY: as above.
unsafe impl Sync for Registry {}

impl Registry {
    /// The table of these modules. Two of one name are merged; two functions of one name in a module are an error.
    pub fn new(modules: &[Module]) -> Result<Registry, Error> {
        let mut build = Build::default();
        let mut names: Vec<&str> = Vec::new();
        for module in modules {
            if !names.contains(&module.name.as_str()) {
                names.push(&module.name);
            }
        }
        let mut module_descs = Vec::new();
        for name in names {
            let functions: Vec<FunctionSpec> =
                modules.iter().filter(|m| m.name == name).flat_map(|m| m.functions.iter().cloned()).collect();
            let (first, count) = build.functions(name, &functions)?;
            if modules.iter().any(|m| m.name == name && !m.hidden) {
                module_descs.push(ss_module_desc { name: build.name(name)?, functions: first, nfunctions: count });
            }
        }
        let mut classes = HashMap::new();
        let mut given_out = HashMap::new();
        let mut class_descs = Vec::new();
        // Guests are told of the first numbers: hidden modules' classes have the last ones.
        let (hidden, shown): (Vec<_>, Vec<_>) = modules.iter().partition(|m| m.hidden);
        for (module, class) in
            shown.into_iter().chain(hidden).flat_map(|m| m.classes.iter().map(move |class| (m, class)))
        {
            if classes.contains_key(&class.type_id) {
                continue;
            }
            classes.insert(class.type_id, u32::try_from(classes.len()).expect("fewer classes than that"));
            given_out.extend(class.given_out.clone().map(|note| (class.type_id, note)));
            let (methods, nmethods) = build.functions(class.name, &class.methods)?;
            let (getters, ngetters) = build.functions(class.name, &class.getters)?;
            if !module.hidden {
                class_descs.push(ss_class_desc { name: build.name(class.name)?, methods, nmethods, getters, ngetters });
            }
        }
        let host = Box::new(ss_host_desc {
            modules: module_descs.as_ptr(),
            nmodules: u32::try_from(module_descs.len()).expect("fewer modules than that"),
            classes: class_descs.as_ptr(),
            nclasses: u32::try_from(class_descs.len()).expect("fewer classes than that"),
            leaves: build.leaves.as_ptr(),
            nleaves: u32::try_from(build.leaves.len()).expect("fewer functions than that"),
        });
        let desc = Desc {
            host,
            _modules: module_descs,
            _classes: class_descs,
            _functions: build.descs,
            _leaves: build.leaves,
            _names: build.names,
        };
        Ok(Registry { functions: build.entries, classes, given_out, desc })
    }

    /// The function of this id.
    #[inline]
    pub fn function(&self, id: u32) -> Option<&Entry> {
        self.functions.get(id as usize)
    }

    /// A function's full name: the engine's, or an exported one.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.function(id).map(|entry| entry.name.as_str()).or_else(|| exported::name(id))
    }

    /// The id of a function, by its full name.
    pub fn id(&self, name: &str) -> Option<u32> {
        let place = self.functions.iter().position(|entry| entry.name == name)?;
        u32::try_from(place).ok()
    }

    /// The class of a Rust type.
    pub fn class(&self, type_id: TypeId) -> Option<u32> {
        self.classes.get(&type_id).copied()
    }

    /// An object goes to Rust code that is not the engine's.
    pub fn note_given_out(&self, object: &(dyn Any + Send + Sync)) {
        if let Some(note) = self.given_out.get(&object.type_id()) {
            note(object);
        }
    }

    /// What guests read; valid while the registry lives.
    pub fn desc(&self) -> *const ss_host_desc {
        ptr::from_ref(&*self.desc.host)
    }
}

#[derive(Default)]
struct Build {
    entries: Vec<Entry>,
    descs: Vec<Vec<ss_function_desc>>,
    leaves: Vec<ss_leaf>,
    names: Vec<CString>,
}

impl Build {
    fn name(&mut self, name: &str) -> Result<*const std::ffi::c_char, Error> {
        let name = CString::new(name).map_err(|_| bad(format!("the name {name:?} contains a NUL")))?;
        // The CString's buffer stays where it is when the vector grows.
        self.names.push(name);
        Ok(self.names.last().expect("just pushed").as_ptr())
    }

    fn functions(&mut self, owner: &str, specs: &[FunctionSpec]) -> Result<(*const ss_function_desc, u32), Error> {
        let mut descs = Vec::with_capacity(specs.len());
        for (i, spec) in specs.iter().enumerate() {
            if specs[..i].iter().any(|earlier| earlier.name == spec.name) {
                return Err(bad(format!("{owner}.{} is defined twice", spec.name)));
            }
            let id = u32::try_from(self.entries.len()).expect("fewer functions than that");
            let name = format!("{owner}.{}", spec.name);
            self.entries.push(Entry { id, name, call: spec.call.clone(), own: spec.own });
            self.leaves.push(spec.leaf.0);
            let flags = if spec.by_reference { SS_BY_REFERENCE } else { 0 };
            descs.push(ss_function_desc { name: self.name(&spec.name)?, id, flags });
        }
        let first = descs.as_ptr();
        let count = u32::try_from(descs.len()).expect("fewer functions than that");
        self.descs.push(descs);
        Ok((first, count))
    }
}

fn bad(message: String) -> Error {
    Error::Refused { name: refused::BAD_SETTING, message }
}
