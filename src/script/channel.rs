//! Channels between fibers, and waiting for the first of several.

use std::time::Duration;

use async_channel::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use futures_util::future::{Either, select, select_all};

use super::given_out::GivenOut;
use super::time::duration;
use crate::error::{HostResult, Raise};
use crate::host::parked::telling;
use crate::host::{Cx, HostObject, Members, Module, Object};
use crate::value::Value;

/// The largest capacity: room for all of it is made at once, and it is the host's memory.
const CAPACITY: u32 = 1024;

/// The most that a channel without a capacity holds: what scripts do not receive must not fill the host's memory.
const UNRECEIVED: usize = 1 << 20;

pub fn add(module: Module) -> Module {
    module
        .object::<Channel>()
        .function("channel", |capacity: Option<u32>| match capacity {
            Some(capacity) if capacity == 0 || capacity > CAPACITY => {
                let message =
                    format!("a channel's capacity is 1 to {CAPACITY}, not {capacity}; without one it is not limited");
                Err(Raise::new("bad_argument", message).into())
            }
            Some(capacity) => Ok(Object::new(Channel::of(async_channel::bounded(capacity as usize)))),
            None => Ok(Object::new(Channel::of(async_channel::unbounded()))),
        })
        .function("select", first_of)
}

/// A channel: values in, in order, out. Guest values pass uncopied.
struct Channel {
    sender: Sender<Value>,
    receiver: Receiver<Value>,
    given_out: GivenOut,
}

impl Channel {
    fn of((sender, receiver): (Sender<Value>, Receiver<Value>)) -> Self {
        Channel { sender, receiver, given_out: GivenOut::default() }
    }

    async fn send(&self, value: Value) -> Result<(), SendError<Value>> {
        telling(self.sender.send(value), || self.given_out.wait()).await
    }

    async fn recv(&self) -> Result<Value, RecvError> {
        telling(self.receiver.recv(), || self.given_out.wait()).await
    }
}

fn closed() -> anyhow::Error {
    Raise::new("closed", "the channel is closed").into()
}

/// More values than a channel without a capacity may hold are refused, also to those that would wait: nothing else bounds them.
fn not_flooded(channel: &Channel) -> HostResult<()> {
    if channel.receiver.len() < UNRECEIVED {
        return Ok(());
    }
    Err(Raise::new("channel_full", format!("{UNRECEIVED} values are in the channel, and nobody receives them")).into())
}

fn not_nil(value: Value) -> HostResult<Value> {
    match value {
        Value::Nil => Err(Raise::new("bad_argument", "nil cannot be sent: it is what a closed channel gives").into()),
        value => Ok(value),
    }
}

impl HostObject for Channel {
    const NAME: &'static str = "Channel";

    fn members(members: &mut Members<Self>) {
        members
            .method_by_reference("send", async |this: &Self, value: Value| {
                not_flooded(this)?;
                this.send(not_nil(value)?).await.map_err(|_| closed())
            })
            .method_by_reference("try_send", |this: &Self, value: Value| {
                not_flooded(this)?;
                match this.sender.try_send(not_nil(value)?) {
                    Ok(()) => Ok(true),
                    Err(TrySendError::Full(_)) => Ok(false),
                    Err(TrySendError::Closed(_)) => Err(closed()),
                }
            })
            .method_by_reference("recv", async |this: &Self| Ok(this.recv().await.ok()))
            .method_by_reference("try_recv", |this: &Self| match this.receiver.try_recv() {
                Ok(value) => Ok((true, Some(value))),
                Err(TryRecvError::Empty) => Ok((false, None)),
                Err(TryRecvError::Closed) => Ok((true, None)),
            })
            .method("close", |this: &Self| Ok(this.sender.close()))
            .get("closed", |this: &Self| Ok(this.sender.is_closed()))
            .get("len", |this: &Self| Ok(this.receiver.len()))
            .given_out(|this| this.given_out.note());
    }
}

/// The first value that any of the channels gives, with its number from 1; no number: the time was over. A closed and
/// empty channel gives nil at once.
async fn first_of(
    cx: Cx,
    channels: Vec<Object<Channel>>,
    seconds: Option<f64>,
) -> HostResult<(Option<usize>, Option<Value>)> {
    if channels.is_empty() {
        return Err(Raise::new("bad_argument", "select needs at least one channel").into());
    }
    // In order: what is there already is taken from the first channel that has any.
    for (at, channel) in channels.iter().enumerate() {
        match channel.receiver.try_recv() {
            Ok(value) => return Ok((Some(at + 1), Some(value))),
            Err(TryRecvError::Closed) => return Ok((Some(at + 1), None)),
            Err(TryRecvError::Empty) => {}
        }
    }
    let first = select_all(channels.iter().map(|channel| Box::pin(channel.recv())));
    let after = seconds.map_or(Ok(Duration::MAX), duration)?;
    if after == Duration::MAX {
        let (value, at, _) = first.await;
        return Ok((Some(at + 1), value.ok()));
    }
    match select(first, std::pin::pin!(cx.sleep(after))).await {
        Either::Left(((value, at, _), _)) => Ok((Some(at + 1), value.ok())),
        Either::Right(_) => Ok((None, None)),
    }
}
