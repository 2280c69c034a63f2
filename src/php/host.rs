//! The host functions of the SAPI (`csrc/php/page.c`).

use super::exchange::{Exchange, Seat};
use crate::host::{Ext, Module, Rest};
use crate::{Bytes, HostResult, Raise, Value};
use std::sync::Arc;

/// A hidden module: scripts have PHP's own functions for all of it.
pub(crate) fn module() -> Module {
    Module::new("sidestack.page")
        .hidden()
        .function("request", |seat: Ext<Seat>| {
            Ok(Rest(match (seat.page(), &seat.post) {
                (Some(page), _) => request(&page),
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
        .function("finish", async |seat: Ext<Seat>, bytes: Bytes| {
            page(&seat)?.finish(bytes.0.into()).await;
            Ok(())
        })
        .function("last", async |seat: Ext<Seat>, bytes: Bytes| {
            page(&seat)?.last(bytes.0.into()).await;
            Ok(())
        })
        .function("read", async |seat: Ext<Seat>, most: u32| {
            Ok(Bytes::from(page(&seat)?.read(most as usize).await.as_ref()))
        })
        .function("next", async |seat: Ext<Seat>, leave: bool| match &seat.post {
            Some(post) => Ok(post.next(&seat, leave).await),
            None => Err(Raise::new("not_a_worker", "this script was not started as a worker").into()),
        })
}

fn page(seat: &Seat) -> HostResult<Arc<Exchange>> {
    seat.page().ok_or_else(|| Raise::new("no_page", "there is no request to answer").into())
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
