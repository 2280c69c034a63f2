//! What the attribute makes of a function: the function as it is; what starts it with C's arguments; its C symbol; its entry
//! in the list of exports.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Result};

use crate::options::{Foreign, Options, Stack};
use crate::signature::{self, Kind, Outcome, Signature, lasting};

pub fn export(options: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let function: ItemFn =
        syn::parse2(function).map_err(|e| Error::new(e.span(), "only functions can be exported to C"))?;
    let signature = signature::read(&function)?;
    check(&options, &function, &signature)?;
    let made = if matches!(options.stack, Some((Stack::Fiber, _))) {
        leaf(&options, &function, &signature)
    } else {
        crossing(&options, &function, &signature)
    };
    let cfgs = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    Ok(quote! {
        #function
        #(#cfgs)*
        #[allow(
            unsafe_code,
            non_snake_case,
            clippy::undocumented_unsafe_blocks,
            clippy::unused_unit,
            reason = "generated: sidestack::export keeps these promises, see its module `shape`"
        )]
        const _: () = { #made };
    })
}

/// What cannot be, whatever the types are.
fn check(options: &Options, function: &ItemFn, signature: &Signature) -> Result<()> {
    let name = &function.sig.ident;
    let result = function.sig.output.span();
    match &signature.outcome {
        Outcome::Fallible { whole, .. } if options.on_error.is_none() && options.out.is_none() => {
            return Err(Error::new_spanned(
                whole,
                format!(
                    "`{name}` returns a Result: say what C gets on an error, by `on_error = VALUE`, \
                     or by `out` for a status and an out parameter"
                ),
            ));
        }
        Outcome::Fallible { status: true, .. } => {
            if let Some(out) = options.out {
                return Err(Error::new(
                    out,
                    format!("`{name}` has no value to put out: `on_error = -1` makes it a status"),
                ));
            }
        }
        Outcome::Plain(ty) => {
            if let Some(out) = options.out {
                return Err(Error::new(
                    out,
                    format!("`out` is for a function that returns a Result: `{name}` does not"),
                ));
            }
            let nothing = matches!(ty, syn::Type::Tuple(tuple) if tuple.elems.is_empty());
            if let (true, Some(value)) = (nothing, &options.on_error) {
                return Err(Error::new_spanned(value, format!("`{name}` returns nothing, also on an error")));
            }
        }
        Outcome::Fallible { .. } => {}
    }
    if let (Some((Foreign::Attach, span)), Some(what)) = (&options.foreign, signature.needs_interpreter()) {
        return Err(Error::new(
            *span,
            format!("with `foreign = attach` there may be no interpreter, which `{what}` needs"),
        ));
    }
    let Some((Stack::Fiber, _)) = options.stack else { return Ok(()) };
    let refuse = |span: Span, why: &str| Err(Error::new(span, format!("on the fiber's stack {why}")));
    if function.sig.unsafety.is_none() {
        return refuse(
            function.sig.fn_token.span,
            "only an `unsafe fn` may run: a leaf that never waits, calls no C, owns nothing to drop and does not panic",
        );
    }
    if let Some(token) = &function.sig.asyncness {
        return refuse(token.span, "nothing may wait: this function cannot be async");
    }
    if let Outcome::Fallible { .. } = signature.outcome {
        return refuse(result, "no Rust error may be: it would have to be dropped");
    }
    if let Some(value) = &options.on_error {
        return refuse(value.span(), "nothing can fail: there is no use for `on_error`");
    }
    if let Some((_, foreign)) = options.foreign {
        return refuse(foreign, "a function runs where it is called, on any thread: there is no use for `foreign`");
    }
    for parameter in &signature.parameters {
        if !matches!(parameter.kind, Kind::Value) {
            return refuse(parameter.ty.span(), "parameters are plain values: take the pointer and the length");
        }
    }
    Ok(())
}

fn private() -> TokenStream {
    quote!(::sidestack::export::__private)
}

/// A function on the fiber's stack: the C symbol calls it.
fn leaf(options: &Options, function: &ItemFn, signature: &Signature) -> TokenStream {
    let p = private();
    let (name, c_name) = (&function.sig.ident, c_name(options, function));
    let Outcome::Plain(result) = &signature.outcome else { unreachable!("checked") };
    let names: Vec<Ident> = (0..signature.parameters.len()).map(|i| format_ident!("a{i}")).collect();
    let types: Vec<_> = signature.parameters.iter().map(|parameter| lasting(&parameter.ty)).collect();
    let entry = entry(options, function, signature, quote!(#p::C::Void), quote!(#p::leaf_is_not_started));
    quote! {
        #entry
        const _: () = {
            #(#p::assert_leaf_parameter::<#types>();)*
            #p::assert_leaf_result::<#result>();
        };
        #[unsafe(export_name = #c_name)]
        unsafe extern "C" fn __sidestack_symbol(#(#names: #types),*) -> #result {
            unsafe { #name(#(#names),*) }
        }
    }
}

/// A function on the thread's stack.
fn crossing(options: &Options, function: &ItemFn, signature: &Signature) -> TokenStream {
    let p = private();
    let (name, c_name) = (&function.sig.ident, c_name(options, function));
    let mut fields = TokenStream::new();
    let mut given = TokenStream::new();
    let mut taken = TokenStream::new();
    let mut converted = TokenStream::new();
    let mut extracted = TokenStream::new();
    let mut passed = Vec::new();
    for (i, parameter) in signature.parameters.iter().enumerate() {
        let (field, len) = (format_ident!("a{i}"), format_ident!("a{i}_len"));
        let (ty, text) = (&parameter.ty, &parameter.name);
        let span = ty.span();
        passed.push(field.clone());
        match &parameter.kind {
            Kind::Value => {
                let lasting = lasting(ty);
                let raw = quote_spanned!(span=> <#lasting as #p::Arg<'static>>::Raw);
                fields.extend(quote!(#field: #raw,));
                given.extend(quote!(#field: #raw,));
                taken.extend(quote!(#field,));
                converted.extend(quote_spanned! {span=>
                    let #field = match unsafe { #p::argument::<#ty>(args.#field, #text, &scope) } {
                        Ok(value) => value,
                        Err(error) => return Err(error),
                    };
                });
            }
            Kind::Slice { item, mutable } => {
                let pointer = if *mutable { quote!(*mut #item) } else { quote!(*const #item) };
                let convert = if *mutable { quote!(slice_mut) } else { quote!(slice) };
                fields.extend(quote!(#field: #pointer, #len: usize,));
                given.extend(quote!(#field: #pointer, #len: usize,));
                taken.extend(quote!(#field, #len,));
                converted.extend(quote_spanned! {span=>
                    let #field = match unsafe { #p::#convert::<#item>(args.#field, args.#len, #text, &scope) } {
                        Ok(value) => value,
                        Err(error) => return Err(error),
                    };
                });
            }
            Kind::Handle { object } => {
                fields.extend(quote!(#field: u64,));
                given.extend(quote!(#field: u64,));
                taken.extend(quote!(#field,));
                extracted.extend(quote_spanned! {span=>
                    let #field = match #p::object::<#object>(&call, args.#field, #text) {
                        Ok(value) => value,
                        Err(error) => return #p::refused(error),
                    };
                });
            }
            Kind::Extracted => extracted.extend(quote_spanned! {span=>
                let #field = match #p::extract::<#ty>(&mut call) {
                    Ok(value) => value,
                    Err(error) => return #p::refused(error),
                };
            }),
        }
    }

    // With the spans of the type, so that the compiler tells once what is wrong with it.
    let (value, span, unwrap) = match &signature.outcome {
        outcome @ (Outcome::Plain(ty) | Outcome::Fallible { whole: ty, .. }) if outcome.is_object() => {
            extracted.extend(quote!(let home = #p::home(&call);));
            let unwrap = match outcome {
                Outcome::Plain(_) => quote_spanned!(ty.span()=> #p::plain_object),
                Outcome::Fallible { .. } => quote_spanned!(ty.span()=> #p::fallible_object),
            };
            (quote!(u64), ty.span(), unwrap)
        }
        Outcome::Plain(ty) => (quote!(#ty), ty.span(), quote_spanned!(ty.span()=> #p::plain)),
        Outcome::Fallible { whole, .. } => {
            let span = whole.span();
            (quote_spanned!(span=> <#whole as #p::Fallible>::Value), span, quote_spanned!(span=> #p::fallible))
        }
    };
    let called = quote!(#name(#(#passed),*));
    let called = if function.sig.unsafety.is_some() { quote!(unsafe { #called }) } else { called };
    // The function is called outside of any unsafe block of ours.
    let (block, begin) = if function.sig.asyncness.is_some() {
        (quote!(async move), quote!(suspending))
    } else {
        (quote!(move ||), quote!(ready))
    };
    let home = signature.outcome.is_object().then(|| quote!(&home,));
    let awaited = function.sig.asyncness.map(|_| quote!(.await));
    let start = quote! {
        let run = #block {
            let scope = #p::Scope::new();
            let _ = &scope;
            #converted
            #unwrap(#home #called #awaited)
        };
        unsafe { #p::#begin(result, run) }
    };

    let result = quote_spanned!(span=> <#value as #p::Ret>::C);
    let raw = quote_spanned!(span=> <#value as #p::Ret>::Raw);
    let failed = match &options.on_error {
        Some(value) => quote!(#value),
        None if options.out.is_some() => quote!(-1),
        None => quote_spanned!(span=> <#value as #p::Ret>::ZERO),
    };
    let status = options.out.is_some() || matches!(signature.outcome, Outcome::Fallible { status: true, .. });
    let (returned, succeeded) =
        if status { (quote!(i32), quote!(0)) } else { (quote!(#raw), quote!(unsafe { result.assume_init() })) };
    let nonzero = status.then(|| {
        quote!(
            const _: () = assert!(__SIDESTACK_FAILED != 0, "0 is what C gets on success: choose another `on_error`");
        )
    });
    let arguments = quote!((&raw const args).cast());
    let body = if options.out.is_some() {
        given.extend(quote!(out: *mut #raw));
        quote! {
            if #p::no_place(out, &__SIDESTACK_EXPORT) {
                return __SIDESTACK_FAILED;
            }
            if unsafe { #p::call(&__SIDESTACK_EXPORT, #arguments, out.cast()) } { 0 } else { __SIDESTACK_FAILED }
        }
    } else {
        quote! {
            let mut result = ::core::mem::MaybeUninit::<#raw>::uninit();
            if unsafe { #p::call(&__SIDESTACK_EXPORT, #arguments, result.as_mut_ptr().cast()) } {
                #succeeded
            } else {
                __SIDESTACK_FAILED
            }
        }
    };
    let entry = entry(options, function, signature, result, quote!(__sidestack_start));
    quote! {
        #entry
        #[repr(C)]
        struct __SidestackArgs { #fields }
        const __SIDESTACK_FAILED: #returned = #failed;
        #nonzero
        const _: () = #p::assert_thin::<__SidestackArgs, #raw>();

        unsafe fn __sidestack_start(
            args: *const (),
            result: *mut (),
            mut call: ::core::option::Option<&mut #p::Call<'_>>,
        ) -> #p::Started {
            let args = unsafe { args.cast::<__SidestackArgs>().read() };
            let result = result.cast::<#raw>();
            let _ = (&args, &mut call);
            #extracted
            #start
        }

        #[unsafe(export_name = #c_name)]
        unsafe extern "C" fn __sidestack_symbol(#given) -> #returned {
            let args = __SidestackArgs { #taken };
            #body
        }
    }
}

fn c_name(options: &Options, function: &ItemFn) -> String {
    options.name.as_ref().map_or_else(|| function.sig.ident.to_string(), syn::LitStr::value)
}

/// The function's entry in the list of exports.
fn entry(
    options: &Options,
    function: &ItemFn,
    signature: &Signature,
    result: TokenStream,
    start: TokenStream,
) -> TokenStream {
    let p = private();
    let c_name = c_name(options, function);
    let on_fiber = matches!(options.stack, Some((Stack::Fiber, _)));
    let suspends = function.sig.asyncness.is_some();
    let extracts = signature.needs_interpreter().is_some();
    let never_calls_back = options.no_callback.is_some();
    let foreign = match options.foreign {
        Some((Foreign::Owner, _)) => quote!(Owner),
        Some((Foreign::Attach, _)) => quote!(Attach),
        Some((Foreign::Reject, _)) | None => quote!(Reject),
    };
    let mut parameters = TokenStream::new();
    for parameter in &signature.parameters {
        let name = &parameter.name;
        match &parameter.kind {
            Kind::Value => {
                let ty = lasting(&parameter.ty);
                let c = quote_spanned!(ty.span()=> <#ty as #p::Arg<'static>>::C);
                parameters.extend(quote!(#p::Parameter { name: #name, c: #c },));
            }
            Kind::Slice { item, mutable } => {
                let len = format!("{name}_len");
                let c = quote_spanned! {item.span()=>
                    #p::C::Pointer { to: &<#item as #p::CType>::C, constant: !#mutable }
                };
                parameters.extend(quote! {
                    #p::Parameter { name: #name, c: #c },
                    #p::Parameter { name: #len, c: #p::C::Name("size_t") },
                });
            }
            Kind::Handle { .. } => {
                parameters.extend(quote!(#p::Parameter { name: #name, c: #p::C::Name("uint64_t") },))
            }
            Kind::Extracted => {}
        }
    }
    let given = options.on_error.as_ref().map(text);
    let (result, on_error) = match &signature.outcome {
        _ if options.out.is_some() => {
            parameters
                .extend(quote!(#p::Parameter { name: "out", c: #p::C::Pointer { to: &#result, constant: false } },));
            let value = given.unwrap_or_else(|| "-1".into());
            (quote!(#p::C::Name("int32_t")), quote!(#p::OnError::Status(#value)))
        }
        Outcome::Fallible { status: true, .. } => {
            let value = given.expect("checked");
            (quote!(#p::C::Name("int32_t")), quote!(#p::OnError::Status(#value)))
        }
        Outcome::Plain(ty) if on_fiber => (quote!(<#ty as #p::Ret>::C), quote!(#p::OnError::Never)),
        _ => match given {
            Some(value) => (result, quote!(#p::OnError::Value(#value))),
            None => (result, quote!(#p::OnError::Zero)),
        },
    };
    let doc = documentation(function);
    quote! {
        #[#p::linkme::distributed_slice(#p::EXPORTS)]
        #[linkme(crate = #p::linkme)]
        static __SIDESTACK_EXPORT: #p::Export = #p::Export {
            name: #c_name,
            doc: #doc,
            result: #result,
            parameters: &[#parameters],
            on_error: #on_error,
            on_fiber: #on_fiber,
            suspends: #suspends,
            never_calls_back: #never_calls_back,
            foreign: #p::Foreign::#foreign,
            extracts: #extracts,
            entry: ::std::sync::OnceLock::new(),
            start: #start,
        };
    }
}

/// A value as a C programmer would write it.
fn text(value: &Expr) -> String {
    let text = quote!(#value).to_string().replace(' ', "");
    if text.ends_with("null()") || text.ends_with("null_mut()") {
        return "NULL".into();
    }
    limit(&text).unwrap_or(text)
}

/// `i64::MIN` as C has it.
fn limit(text: &str) -> Option<String> {
    let (ty, end) = text.split_once("::")?;
    if end != "MIN" && end != "MAX" {
        return None;
    }
    let c = match ty {
        "i8" | "i16" | "i32" | "i64" => format!("INT{}_{end}", &ty[1..]),
        "u8" | "u16" | "u32" | "u64" if end == "MAX" => format!("UINT{}_MAX", &ty[1..]),
        "usize" if end == "MAX" => "SIZE_MAX".into(),
        "isize" => format!("PTRDIFF_{end}"),
        _ => return None,
    };
    Some(c)
}

/// The first paragraph of the documentation.
fn documentation(function: &ItemFn) -> String {
    let mut lines = Vec::new();
    for attribute in function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let syn::Meta::NameValue(meta) = &attribute.meta else { continue };
        let Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &meta.value else { continue };
        let line = line.value();
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_string());
    }
    lines.join(" ").replace("*/", "* /")
}
