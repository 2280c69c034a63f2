//! Waiting: sleep, timeout, giving way, and the wait for a module that another fiber loads.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::call::Function;
use crate::error::{HostResult, Raise};
use crate::host::function::shape;
use crate::host::{Cx, Module, Rest};
use crate::value::{Many, Value};

pub fn add(module: Module) -> Module {
    let sleep = shape(|args| match args.take().map(duration) {
        Ok(Ok(duration)) => args.sleep(duration),
        Ok(Err(error)) => args.ready(Err::<(), _>(error)),
        Err(error) => args.fail(error),
    });
    module
        .erased("sleep", sleep)
        .function("give_way", async || {
            let mut first = true;
            poll_fn(|task| {
                if std::mem::take(&mut first) {
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            })
            .await
        })
        .function_by_reference("timeout", timeout)
        .function("module_wait", async |cx: Cx| {
            let mut first = true;
            poll_fn(|task| {
                if std::mem::take(&mut first) {
                    cx.0.local.loading.borrow_mut().push(task.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            })
            .await
        })
        // A loader that is killed makes this call too: the crossing wakes them then.
        .function("module_done", |cx: Cx| {
            cx.0.local.module_done();
            Ok(())
        })
}

/// Calls a function on this fiber; when the time is over, what it does is cancelled down to here.
async fn timeout(mut cx: Cx, seconds: f64, function: Function, Rest(args): Rest<Value>) -> HostResult<Rest<Value>> {
    let after = duration(seconds)?;
    let sleep = std::pin::pin!(cx.sleep(after));
    let call = std::pin::pin!(cx.call_by_reference::<Many<Value>>(&function, Rest(args)));
    match select(call, sleep).await {
        Either::Left((results, _)) => Ok(Rest(results?.0)),
        Either::Right(_) => Err(Raise::new("timeout", format!("timed out after {seconds} s")).into()),
    }
}

/// Seconds from a script.
pub fn duration(seconds: f64) -> HostResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Raise::new("bad_argument", format!("{seconds} is no length of time in seconds")).into())
}
