//! The host functions of the SAPI (`csrc/php/page.c`).

use std::sync::Arc;

use serde::ser::{Serialize, SerializeSeq, SerializeTuple, Serializer};

use super::exchange::{Exchange, Seat};
use crate::host::args::{Args, FromCall};
use crate::host::{Cx, Done, Ext, HostObject, Members, Module, Object};
use crate::{Bytes, Error, HostResult, Raise};

/// A hidden module: scripts have PHP's own functions for all of it.
pub(crate) fn module() -> Module {
    Module::new("sidestack.page")
        .hidden()
        .object::<Seat>()
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
        .function("seat", |seat: Ext<Seat>| Ok(Object::<Seat>::new(seat.0)))
        .function("variables", |page: Here| Ok(Variables(page.exchange()?)))
        .function("headers", |page: Here| Ok(Headers(page.exchange()?)))
        .function("head", |page: Here, status: u16, lines: Vec<Bytes>| {
            page.exchange()?.head(status, &lines);
            Ok(())
        })
        .function("write", async |page: Here, bytes: Bytes| Ok(page.exchange()?.write(bytes.0.into()).await))
        .function("finish", async |page: Here, done: Done, bytes: Bytes| {
            let exchange = page.exchange()?;
            if let Some(post) = &page.0.post {
                post.tell(&exchange, &done);
            }
            exchange.finish(bytes.0.into()).await;
            Ok(())
        })
        .function("last", async |page: Here, bytes: Bytes| {
            page.exchange()?.last(bytes.0.into()).await;
            Ok(())
        })
        .function("read", async |page: Here, most: u32| {
            Ok(Bytes::from(page.exchange()?.read(most as usize).await.as_ref()))
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

impl HostObject for Seat {
    const NAME: &'static str = "sidestack.page.Seat";
    fn members(_: &mut Members<Self>) {}
}

/// The page that a call is about: the first argument, a seat that C holds, or none, the calling fiber's own.
struct Here(Arc<Seat>);

impl Here {
    fn exchange(&self) -> HostResult<Arc<Exchange>> {
        self.0.page().ok_or_else(|| Raise::new("no_page", "there is no request to answer").into())
    }
}

impl FromCall for Here {
    fn from_call(args: &mut Args<'_>) -> Result<Self, Error> {
        match args.take::<Option<Object<Seat>>>()? {
            Some(seat) => Ok(Here(seat.into_inner())),
            None => Ok(Here(Ext::from_call(args)?.0)),
        }
    }
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
