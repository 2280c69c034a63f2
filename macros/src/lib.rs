//! The attribute `export` of the crate `sidestack`, which re-exports and explains it.

mod expand;
mod options;
mod signature;

use proc_macro::TokenStream;

/// Gives C a Rust function by its name, with a typed declaration.
#[proc_macro_attribute]
pub fn export(options: TokenStream, function: TokenStream) -> TokenStream {
    let function = proc_macro2::TokenStream::from(function);
    match expand::export(options.into(), function.clone()) {
        Ok(tokens) => tokens.into(),
        Err(error) => {
            // The function itself stays, so that its callers do not add errors of their own.
            let error = error.into_compile_error();
            quote::quote!(#error #function).into()
        }
    }
}
