//! The host functions of the SAPI (`csrc/php/page.c`).

use super::exchange::{Exchange, Seat};
use crate::host::{Cx, Done, Ext, Module, Rest};
use crate::{Bytes, HostResult, Raise, Value};
use std::sync::Arc;

/// A hidden module: scripts have PHP's own functions for all of it.
pub(crate) fn module() -> Module {
    Module::new("sidestack.page")
        .hidden()
        .function("request", |seat: Ext<Seat>, done: Done| {
            Ok(Rest(match (seat.page(), &seat.post) {
                (Some(page), post) => {
                    if let Some(post) = post {
                        post.begin(done);
                    }
                    request(&page)
                }
                // A place for pages, and none there yet.
                (None, Some(_)) => vec![Value::Bool(true)],
                (None, None) => Vec::new(),
            }))
        })
        .function("head", |seat: Ext<Seat>, status: u16, lines: Vec<Bytes>| {
            page(&seat)?.head(status, &lines);
            Ok(())
        })
        .function("write", async |seat: Ext<Seat>, bytes: Bytes| Ok(page(&seat)?.write(bytes.0.into()).await))
        .function("finish", async |seat: Ext<Seat>, cx: Cx, done: Done, bytes: Bytes| {
            let page = page(&seat)?;
            if let Some(post) = &seat.post {
                post.tell(&page, cx.fiber(), &done);
            }
            page.finish(bytes.0.into()).await;
            Ok(())
        })
        .function("last", async |seat: Ext<Seat>, bytes: Bytes| {
            page(&seat)?.last(bytes.0.into()).await;
            Ok(())
        })
        .function("read", async |seat: Ext<Seat>, most: u32| {
            Ok(Bytes::from(page(&seat)?.read(most as usize).await.as_ref()))
        })
        .function("next", async |seat: Ext<Seat>, cx: Cx, leave: bool| match &seat.post {
            Some(post) => Ok(post.next(&seat, &cx, leave).await),
            None => Err(Raise::new("not_a_worker", "this script was not started as a worker").into()),
        })
        .function("log", |cx: Cx, level: u8, message: Bytes| {
            log(&cx, level, &String::from_utf8_lossy(&message));
            Ok(())
        })
}

fn page(seat: &Seat) -> HostResult<Arc<Exchange>> {
    seat.page().ok_or_else(|| Raise::new("no_page", "there is no request to answer").into())
}

/// A line of PHP's own log, with the severity that it has in syslog.
fn log(cx: &Cx, level: u8, message: &str) {
    let (fiber, label) = (cx.fiber(), cx.now().unwrap_or_default());
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(target: "sidestack::php", fiber, label, "{message}")
        };
    }
    match level {
        0..=3 => event!(error),
        4 => event!(warn),
        5 | 6 => event!(info),
        _ => event!(debug),
    }
}

/// In the order of `enum` in csrc/php/page.c.
fn request(exchange: &Exchange) -> Vec<Value> {
    let page = exchange.page();
    let basics = page.basics();
    let text = |bytes: Option<Vec<u8>>| bytes.map_or(Value::Nil, |bytes| Value::Bytes(bytes.into()));
    let pairs = |pairs: Vec<(String, Vec<u8>)>| {
        let flat = pairs.into_iter().flat_map(|(name, value)| [name.into_bytes(), value]);
        Value::List(flat.map(|bytes| Value::Bytes(bytes.into())).collect())
    };
    vec![
        text(Some(basics.method.into())),
        text(Some(basics.query.into())),
        text(basics.content_type),
        Value::Int(basics.content_length),
        text(basics.cookies),
        text(basics.authorization),
        Value::Int(basics.protocol),
        pairs(page.variables()),
        pairs(page.headers()),
    ]
}
