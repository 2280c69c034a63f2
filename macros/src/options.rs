//! What stands in the attribute's brackets.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Result, Token};

/// Where the function runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    Thread,
    Fiber,
}

/// What threads may do that are no interpreter threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    Reject,
    Owner,
    Attach,
}

pub struct Options {
    pub on_error: Option<Expr>,
    pub out: Option<Span>,
    pub stack: Option<(Stack, Span)>,
    pub no_callback: Option<Span>,
    pub foreign: Option<(Foreign, Span)>,
    pub name: Option<LitStr>,
}

const KNOWN: &str = "the options are `on_error = VALUE`, `out`, `stack = thread | fiber`, `no_callback`, \
                     `foreign = reject | owner | attach` and `name = \"C_NAME\"`";

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options =
            Options { on_error: None, out: None, stack: None, no_callback: None, foreign: None, name: None };
        let list = Punctuated::<One, Token![,]>::parse_terminated(input)?;
        for One { key, value } in list {
            let twice = || Error::new(key.span(), format!("`{key}` is given twice"));
            let again = match key.to_string().as_str() {
                "on_error" => options.on_error.replace(wanted(&key, value)?).is_some(),
                "out" => options.out.replace(alone(&key, value)?).is_some(),
                "no_callback" => options.no_callback.replace(alone(&key, value)?).is_some(),
                "stack" => {
                    let chosen = choose(&key, value, &[("thread", Stack::Thread), ("fiber", Stack::Fiber)])?;
                    options.stack.replace((chosen, key.span())).is_some()
                }
                "foreign" => {
                    let all = [("reject", Foreign::Reject), ("owner", Foreign::Owner), ("attach", Foreign::Attach)];
                    options.foreign.replace((choose(&key, value, &all)?, key.span())).is_some()
                }
                "name" => options.name.replace(text(&key, value)?).is_some(),
                _ => return Err(Error::new(key.span(), format!("there is no option `{key}`: {KNOWN}"))),
            };
            if again {
                return Err(twice());
            }
        }
        Ok(options)
    }
}

struct One {
    key: Ident,
    value: Option<Expr>,
}

impl Parse for One {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.parse().map_err(|e| Error::new(e.span(), KNOWN))?;
        let value = if input.parse::<Option<Token![=]>>()?.is_some() { Some(input.parse()?) } else { None };
        Ok(One { key, value })
    }
}

fn wanted(key: &Ident, value: Option<Expr>) -> Result<Expr> {
    value.ok_or_else(|| Error::new(key.span(), format!("`{key}` needs a value: `{key} = …`")))
}

fn alone(key: &Ident, value: Option<Expr>) -> Result<Span> {
    match value {
        None => Ok(key.span()),
        Some(value) => Err(Error::new_spanned(value, format!("`{key}` takes no value"))),
    }
}

fn choose<T: Copy>(key: &Ident, value: Option<Expr>, all: &[(&str, T)]) -> Result<T> {
    let value = wanted(key, value)?;
    let found = match &value {
        Expr::Path(path) => all.iter().find(|(name, _)| path.path.is_ident(name)),
        _ => None,
    };
    found.map(|(_, chosen)| *chosen).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|(name, _)| format!("`{name}`")).collect();
        Error::new_spanned(&value, format!("`{key}` is one of {}", names.join(", ")))
    })
}

fn text(key: &Ident, value: Option<Expr>) -> Result<LitStr> {
    let value = wanted(key, value)?;
    let wrong = Error::new_spanned(&value, "a C identifier in quotes is wanted");
    let Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = value else { return Err(wrong) };
    let name = text.value();
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(letters) {
        return Err(wrong);
    }
    Ok(text)
}
