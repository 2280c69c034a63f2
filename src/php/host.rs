//! The host functions of the SAPI (`csrc/php/page.c`).

use std::sync::Arc;

use serde::ser::{Serialize, SerializeSeq, SerializeTuple, Serializer};

use super::exchange::{Exchange, Seat};
use crate::host::{Cx, Done, Ext, Module};
use crate::{Bytes, HostResult, Raise};

/// A hidden module: scripts have PHP's own functions for all of it.
pub(crate) fn module() -> Module {
    Module::new("sidestack.page")
        .hidden()
        .function("request", |seat: Ext<Seat>, done: Done| {
            Ok(match (seat.page(), &seat.post) {
                (Some(page), post) => {
                    if let Some(post) = post {
                        post.begin(done);
                    }
                    Asked::For(page)
                }
                (None, Some(_)) => Asked::Later,
                (None, None) => Asked::Never,
            })
        })
        .function("variables", |seat: Ext<Seat>| Ok(Variables(page(&seat)?)))
        .function("headers", |seat: Ext<Seat>| Ok(Headers(page(&seat)?)))
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

/// What a call is asked for.
enum Asked {
    For(Arc<Exchange>),
    /// A place for pages, and none there yet.
    Later,
    Never,
}

/// In the order of `enum` in csrc/php/page.c. Nothing is copied on the way into the run of values.
impl Serialize for Asked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let page = match self {
            Asked::For(exchange) => exchange.page(),
            Asked::Later => return (true,).serialize(serializer),
            Asked::Never => return serializer.serialize_unit(),
        };
        let basics = page.basics();
        let mut values = serializer.serialize_tuple(10)?;
        values.serialize_element(&Raw(basics.method.as_bytes()))?;
        values.serialize_element(&Raw(basics.query.as_bytes()))?;
        values.serialize_element(&basics.content_type.as_deref().map(Raw))?;
        values.serialize_element(&basics.content_length)?;
        values.serialize_element(&basics.cookies.as_deref().map(Raw))?;
        values.serialize_element(&basics.authorization.as_deref().map(Raw))?;
        values.serialize_element(&basics.protocol)?;
        values.serialize_element(&Raw(&basics.name))?;
        values.serialize_element(&Raw(basics.script))?;
        values.serialize_element(&Raw(basics.root))?;
        values.end()
    }
}

/// Bytes that are somebody else's.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Names and values, in turn.
struct Variables(Arc<Exchange>);

impl Serialize for Variables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        self.0.page().variables(|name, value| pair(&mut list, name, value))?;
        list.end()
    }
}

/// As [`Variables`].
struct Headers(Arc<Exchange>);

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        self.0.page().headers(|name, value| pair(&mut list, name, value))?;
        list.end()
    }
}

fn pair<L: SerializeSeq>(list: &mut L, name: &str, value: &[u8]) -> Result<(), L::Error> {
    list.serialize_element(&Raw(name.as_bytes()))?;
    list.serialize_element(&Raw(value))
}
