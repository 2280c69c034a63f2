//! Channels between fibers, and waiting for the first of several.

use std::time::Duration;

use async_channel::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use futures_util::future::{Either, select, select_all};

use super::given_out::GivenOut;
use super::time::duration;
use crate::error::{HostResult, Raise};
use crate::host::account::{Account, Charge};
use crate::host::parked::telling;
use crate::host::{Cx, HostObject, Members, Module, Object};
use crate::value::Value;

/// The largest capacity: room for all of it is made at once.
const CAPACITY: u32 = 1024;
/// Values for which a channel without a capacity makes room at once.
const ROOM: usize = 32;

pub fn add(module: Module) -> Module {
    module
        .object::<Channel>()
        .function("channel", async |account: Account, capacity: Option<u32>| {
            if let Some(capacity) = capacity.filter(|capacity| *capacity == 0 || *capacity > CAPACITY) {
                let message =
                    format!("a channel's capacity is 1 to {CAPACITY}, not {capacity}; without one it is not limited");
                return Err(Raise::new("bad_argument", message).into());
            }
            let room = capacity.map_or(ROOM, |capacity| capacity as usize);
            let charge = account.charge(size_of::<Channel>() + room * size_of::<Sent>()).await?;
            let ends = capacity.map_or_else(async_channel::unbounded, |_| async_channel::bounded(room));
            Ok(Object::new(Channel::of(ends, charge)))
        })
        .function("select", first_of)
}

/// A channel: values in, in order, out. Guest values pass uncopied. The room for them is charged to the fiber that made it.
struct Channel {
    sender: Sender<Sent>,
    receiver: Receiver<Sent>,
    given_out: GivenOut,
    _room: Charge,
}

/// A value, charged to the fiber that sent it until it is received.
struct Sent {
    value: Value,
    _charge: Charge,
}

impl Sent {
    async fn new(value: Value, account: &Account) -> HostResult<Sent> {
        if value.is_nil() {
            return Err(Raise::new("bad_argument", "nil cannot be sent: it is what a closed channel gives").into());
        }
        let charge = account.charge(size_of::<Charge>() + value.size()).await?;
        Ok(Sent { value, _charge: charge })
    }
}

impl Channel {
    fn of((sender, receiver): (Sender<Sent>, Receiver<Sent>), room: Charge) -> Self {
        Channel { sender, receiver, given_out: GivenOut::default(), _room: room }
    }

    async fn send(&self, sent: Sent) -> Result<(), SendError<Sent>> {
        telling(self.sender.send(sent), || self.given_out.wait()).await
    }

    async fn recv(&self) -> Result<Value, RecvError> {
        telling(self.receiver.recv(), || self.given_out.wait()).await.map(|sent| sent.value)
    }

    fn try_recv(&self) -> Result<Value, TryRecvError> {
        self.receiver.try_recv().map(|sent| sent.value)
    }
}

fn closed() -> anyhow::Error {
    Raise::new("closed", "the channel is closed").into()
}

impl HostObject for Channel {
    const NAME: &'static str = "Channel";

    fn members(members: &mut Members<Self>) {
        members
            .method_by_reference("send", async |this: &Self, account: Account, value: Value| {
                this.send(Sent::new(value, &account).await?).await.map_err(|_| closed())
            })
            .method_by_reference("try_send", async |this: &Self, account: Account, value: Value| {
                match this.sender.try_send(Sent::new(value, &account).await?) {
                    Ok(()) => Ok(true),
                    Err(TrySendError::Full(_)) => Ok(false),
                    Err(TrySendError::Closed(_)) => Err(closed()),
                }
            })
            .method_by_reference("recv", async |this: &Self| Ok(this.recv().await.ok()))
            .method_by_reference("try_recv", |this: &Self| match this.try_recv() {
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
        match channel.try_recv() {
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
