//! Groups: tasks that end together. A group leaves when its body and all its tasks have ended; the first error cancels the
//! rest; a group that is itself cancelled cancels its tasks.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::given_out::GivenOut;
use super::task::{Outlives, Parent, State, Task};
use crate::Error;
use crate::call::Function;
use crate::error::{HostResult, Raise};
use crate::host::parked::tell;
use crate::host::{Cx, HostObject, Members, Module, Object, Rest};
use crate::value::{Many, Value};

pub fn add(module: Module) -> Module {
    module.object::<Group>().function_by_reference("group", group)
}

/// Tasks that end together.
#[derive(Default)]
struct Group(Mutex<Tasks>, GivenOut);

#[derive(Default)]
struct Tasks {
    running: Vec<Arc<State>>,
    /// Ended, but not what they left behind.
    settling: Vec<Arc<State>>,
    closed: bool,
    /// Of the group's own future.
    waker: Option<Waker>,
}

impl HostObject for Group {
    const NAME: &'static str = "Group";

    fn members(members: &mut Members<Self>) {
        members.method_by_reference(
            "spawn",
            async |this: &Self, parent: Parent, function: Function, Rest(args): Rest<Value>| {
                let ended = || Raise::new("group_ended", "the group has ended");
                if this.0.lock().unwrap_or_else(PoisonError::into_inner).closed {
                    return Err(ended().into());
                }
                let task = Task::start(&parent, &function, args, Outlives::Response).await?;
                let mut tasks = this.0.lock().unwrap_or_else(PoisonError::into_inner);
                if tasks.closed {
                    // While it waited for memory.
                    task.0.cancel();
                    return Err(ended().into());
                }
                tasks.running.push(task.0.clone());
                // The group has not looked at it yet: it runs its body.
                let waker = tasks.waker.take();
                drop(tasks);
                if let Some(waker) = waker {
                    waker.wake();
                }
                Ok(Object::new(task))
            },
        );
        // Another interpreter's fibers may put tasks into it.
        members.given_out(|this| this.1.note());
    }
}

impl Group {
    /// Takes out tasks that have ended well; the first error of any; pending while there are others.
    fn poll_tasks(&self, task: &Context<'_>) -> Poll<Result<(), Error>> {
        tell(|| self.1.wait());
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).running.clone();
        let mut ended = Vec::new();
        let mut failed = None;
        for state in &running {
            match state.poll_end(task) {
                Poll::Ready(Ok(_)) => ended.push(state.clone()),
                Poll::Ready(Err(error)) => {
                    ended.push(state.clone());
                    failed.get_or_insert(error);
                }
                Poll::Pending => {}
            }
        }
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.waker = Some(task.waker().clone());
        tasks.running.retain(|state| !ended.iter().any(|over| Arc::ptr_eq(over, state)));
        tasks.settling.extend(ended);
        tasks.settling.retain(|state| state.poll_left_behind(task).is_pending());
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if tasks.running.is_empty() && tasks.settling.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    fn close(&self) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.closed = true;
        tasks.running.iter().for_each(State::cancel);
    }
}

/// Cancels what is left when the group's own future ends or is dropped. Dropped, it cannot wait: a group that its task is
/// in waits for it.
struct Scope {
    group: Arc<Group>,
    task: Option<Arc<State>>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.group.close();
        let Some(task) = &self.task else { return };
        let mut tasks = self.group.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Tasks { running, settling, .. } = &mut *tasks;
        task.leave_behind(running.drain(..).chain(settling.drain(..)));
    }
}

async fn group(mut cx: Cx, parent: Parent, body: Function) -> HostResult<Rest<Value>> {
    let scope = Scope { group: Arc::new(Group::default()), task: parent.task };
    let group = &scope.group;
    let result = {
        let mut call = pin!(cx.call_by_reference::<Many<Value>>(&body, Object::<Group>::new(group.clone())));
        poll_fn(|task| {
            if let Poll::Ready(result) = call.as_mut().poll(task) {
                return Poll::Ready(result);
            }
            match group.poll_tasks(task) {
                // Leaving drops the body's call, which cancels it.
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            }
        })
        .await
    };
    let outcome = match result {
        Ok(values) => poll_fn(|task| group.poll_tasks(task)).await.map(|()| values),
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        group.close();
        // The others end too before the group leaves; their errors are the cancel's.
        while poll_fn(|task| group.poll_tasks(task)).await.is_err() {}
    }
    Ok(Rest(outcome?.0))
}
