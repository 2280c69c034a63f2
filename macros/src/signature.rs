//! What the signature says, as far as it has to be known before types are: which parameters are C's, which are two of them,
//! and whether the result may be an error.

use syn::spanned::Spanned;
use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{Error, FnArg, GenericArgument, ItemFn, Lifetime, Pat, PathArguments, Result, ReturnType, Type};

pub struct Signature {
    pub parameters: Vec<Parameter>,
    pub outcome: Outcome,
}

pub struct Parameter {
    pub name: String,
    pub ty: Type,
    pub kind: Kind,
}

pub enum Kind {
    /// One C parameter.
    Value,
    /// Two: a pointer to these, and how many.
    Slice { item: Box<Type>, mutable: bool },
    /// A handle: the host object of this type behind it.
    Handle { object: Box<Type> },
    /// None: the interpreter gives it.
    Extracted,
}

pub enum Outcome {
    /// `T`, or `()`.
    Plain(Type),
    /// `Result<T, …>`; `status` where `T` is `()`.
    Fallible { whole: Type, status: bool },
}

/// Extractors, by the last word of their path.
const EXTRACTORS: [&str; 3] = ["Cx", "State", "Ext"];

pub fn read(function: &ItemFn) -> Result<Signature> {
    let signature = &function.sig;
    if let Some(parameter) = signature.generics.params.first() {
        let why = match parameter {
            syn::GenericParam::Lifetime(_) => {
                "what C lends is lent for the call: leave the lifetime out (`&CStr`, not `&'a CStr`)"
            }
            _ => "C knows no generics: an exported function has no type parameters",
        };
        return Err(Error::new_spanned(parameter, why));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(abi, "an ordinary Rust function is wanted: the attribute makes the C one"));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(Error::new_spanned(variadic, "an exported function has no variable arguments"));
    }
    let parameters =
        signature.inputs.iter().enumerate().map(|(i, input)| parameter(i, input)).collect::<Result<_>>()?;
    let outcome = outcome(&signature.output);
    match &outcome {
        Outcome::Plain(ty) => no_c_type(ty, "result")?,
        Outcome::Fallible { whole, .. } => {
            if let Some(value) = first_argument(whole) {
                no_c_type(value, "result")?;
            }
        }
    }
    Ok(Signature { parameters, outcome })
}

fn parameter(index: usize, input: &FnArg) -> Result<Parameter> {
    let FnArg::Typed(input) = input else {
        return Err(Error::new_spanned(input, "a free function is wanted: C has no `self`"));
    };
    let name = match &*input.pat {
        Pat::Ident(name) => name.ident.to_string().trim_start_matches("r#").trim_start_matches('_').to_string(),
        _ => String::new(),
    };
    let name = if name.is_empty() { format!("arg{index}") } else { name };
    let ty = (*input.ty).clone();
    no_c_type(&ty, "parameter")?;
    let object = object(&ty).map(|object| Box::new(object.clone()));
    let kind = match &ty {
        _ if object.is_some() => Kind::Handle { object: object.expect("just seen") },
        Type::Reference(reference) => {
            if let Some(lifetime) = reference.lifetime.as_ref().filter(|lifetime| lifetime.ident != "_") {
                return Err(Error::new_spanned(lifetime, "what C lends is lent for the call: leave the lifetime out"));
            }
            match &*reference.elem {
                Type::Slice(slice) => Kind::Slice { item: slice.elem.clone(), mutable: reference.mutability.is_some() },
                _ => Kind::Value,
            }
        }
        Type::Path(path) if path.path.segments.last().is_some_and(|s| EXTRACTORS.iter().any(|e| s.ident == e)) => {
            Kind::Extracted
        }
        _ => Kind::Value,
    };
    Ok(Parameter { name, ty, kind })
}

fn outcome(output: &ReturnType) -> Outcome {
    let ReturnType::Type(_, ty) = output else { return Outcome::Plain(syn::parse_quote!(())) };
    let fallible = match &**ty {
        Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| last.ident == "Result" || last.ident == "HostResult")
        }
        _ => false,
    };
    if !fallible {
        return Outcome::Plain((**ty).clone());
    }
    let status = matches!(first_argument(ty), Some(Type::Tuple(tuple)) if tuple.elems.is_empty());
    Outcome::Fallible { whole: (**ty).clone(), status }
}

/// `T` of `Object<T>`: a host object, for C a handle.
fn object(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    if path.path.segments.last()?.ident == "Object" { first_argument(ty) } else { None }
}

impl Outcome {
    /// It is a host object: C gets a handle.
    pub fn is_object(&self) -> bool {
        match self {
            Outcome::Plain(ty) => object(ty).is_some(),
            Outcome::Fallible { whole, .. } => first_argument(whole).and_then(object).is_some(),
        }
    }
}

impl Signature {
    /// The first thing in it that only an interpreter can give or take.
    pub fn needs_interpreter(&self) -> Option<&str> {
        let parameter = |parameter: &&Parameter| matches!(parameter.kind, Kind::Extracted | Kind::Handle { .. });
        let parameter = self.parameters.iter().find(parameter).map(|parameter| parameter.name.as_str());
        parameter.or_else(|| self.outcome.is_object().then_some("its result"))
    }
}

/// `T` of `Result<T, …>`.
fn first_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(value) => Some(value),
        _ => None,
    })
}

/// Refuses what is known by its name alone to be no C type: in fewer words than the compiler would.
fn no_c_type(ty: &Type, place: &str) -> Result<()> {
    const OWNED: [&str; 14] = [
        "String", "Vec", "Box", "Rc", "Arc", "CString", "PathBuf", "OsString", "HashMap", "BTreeMap", "char", "i128",
        "u128", "Cow",
    ];
    let named = |ty: &Type| match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| OWNED.iter().any(|name| last.ident == name)),
        Type::Tuple(tuple) => !tuple.elems.is_empty(),
        Type::Array(_) | Type::ImplTrait(_) | Type::TraitObject(_) => true,
        _ => false,
    };
    let refused = match ty {
        Type::Reference(reference) if place == "result" => Some(&*reference.elem),
        Type::Reference(reference) => Some(&*reference.elem).filter(|ty| match ty {
            Type::Slice(slice) => !matches!(*slice.elem, Type::Path(_)) || named(&slice.elem),
            ty => named(ty),
        }),
        ty => Some(ty).filter(|ty| named(ty)),
    };
    if refused.is_none() {
        return Ok(());
    }
    let allowed = match place {
        "result" => "results are `()`, integers, floats, `bool`, raw pointers, or a `Result` of one",
        _ => {
            "parameters are integers, floats, `bool`, `&CStr`, `&str`, `Option` of these two, `&[T]` and `&mut [T]` of \
              numbers, raw pointers, `extern \"C\" fn` pointers; beside them `Cx`, `State<T>`, `Ext<T>`"
        }
    };
    Err(Error::new_spanned(ty, format!("this cannot be the {place} of a function that C calls: {allowed}")))
}

/// The type with `'static` for every lifetime that was left out.
pub fn lasting(ty: &Type) -> Type {
    struct Fill;
    impl VisitMut for Fill {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            match ty {
                // Their elided lifetimes are their own.
                Type::BareFn(_) => return,
                Type::Reference(reference) => {
                    reference.lifetime = Some(Lifetime::new("'static", reference.and_token.span()));
                }
                _ => {}
            }
            visit_type_mut(self, ty);
        }
    }
    let mut ty = ty.clone();
    Fill.visit_type_mut(&mut ty);
    ty
}
