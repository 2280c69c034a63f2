//! Host futures: boxed like any other, but their memory is kept for the next one. A sleep needs no box.
//!
//! Every host call that waits makes one, on its interpreter thread, and gives it up there: a few lists of free blocks, by
//! size, spare the allocator. With thousands of fibers waiting its own caches are long overrun.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::reply::Reply;
use super::timer::Sleep;
use crate::error::HostResult;
use crate::sys::prefetch;

/// A host function's future: polled on the interpreter thread, so it need not be `Send`.
pub enum HostFuture {
    /// Any.
    Boxed(Boxed),
    /// It only waits for a time, and has no results. Nothing of it can panic.
    Sleep(Sleep),
}

/// A future in a block of its own.
pub struct Boxed {
    data: NonNull<u8>,
    kind: &'static Kind,
    stays_here: PhantomData<*mut ()>,
}

/// What there is to know of a future's type.
struct Kind {
    poll: unsafe fn(NonNull<u8>, &mut Context<'_>) -> Poll<HostResult<Reply>>,
    drop: unsafe fn(NonNull<u8>),
    block: Block,
}

/// A size of block.
struct Block {
    layout: Layout,
    /// Its place in the lists, if blocks of it are kept.
    place: Option<usize>,
}

/// Sizes are rounded up to whole steps; above the last one the allocator is asked.
const STEP: usize = 64;
const SIZES: usize = 16;
const ALIGN: usize = 16;
/// Free blocks kept of a size. None for the sanitizer, which would not see a use of a free one.
const KEPT: usize = if cfg!(feature = "sanitizer") { 0 } else { 1024 };

/// Free blocks by size, in steps.
struct Blocks([Vec<NonNull<u8>>; SIZES]);

thread_local! {
    static FREE: RefCell<Blocks> = const { RefCell::new(Blocks([const { Vec::new() }; SIZES])) };
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for (steps, blocks) in (1..).zip(&mut self.0) {
            for block in blocks.drain(..) {
                // SAFETY: `release` put it here, and it was allocated with this layout.
                unsafe { dealloc(block.as_ptr(), rounded(steps)) };
            }
        }
    }
}

/// The layout of a block of this many steps.
const fn rounded(steps: usize) -> Layout {
    match Layout::from_size_align(steps * STEP, ALIGN) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    }
}

impl Block {
    /// One that has room for this.
    const fn of(layout: Layout) -> Block {
        let steps = if layout.size() == 0 { 1 } else { layout.size().div_ceil(STEP) };
        if steps > SIZES || layout.align() > ALIGN {
            return Block { layout, place: None };
        }
        Block { layout: rounded(steps), place: Some(steps - 1) }
    }
}

/// `extern "C"`: nothing unwinds out of it, so that a future that is to be written there needs no place of its own until then.
#[inline]
extern "C" fn acquire(block: &'static Block) -> NonNull<u8> {
    let kept = block.place.and_then(|place| FREE.try_with(|free| free.borrow_mut().0[place].pop()).ok().flatten());
    kept.unwrap_or_else(|| allocate(block.layout))
}

#[cold]
fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout is of at least one step, or larger than all of them.
    let block = unsafe { alloc(layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
///
/// `data` came from `acquire` for such a block, and holds nothing any more.
#[inline]
unsafe fn release(data: NonNull<u8>, block: &'static Block) {
    let kept = block.place.is_some_and(|place| {
        FREE.try_with(|free| {
            let blocks = &mut free.borrow_mut().0[place];
            let room = blocks.len() < KEPT;
            if room {
                blocks.push(data);
            }
            room
        })
        .unwrap_or(false)
    });
    if !kept {
        // SAFETY: `acquire` allocated it with this layout.
        unsafe { dealloc(data.as_ptr(), block.layout) };
    }
}

impl HostFuture {
    /// Boxes a future.
    #[inline]
    pub fn new<F: Future<Output = HostResult<Reply>> + 'static>(future: F) -> HostFuture {
        unsafe fn poll<F: Future>(data: NonNull<u8>, task: &mut Context<'_>) -> Poll<F::Output> {
            // SAFETY: `data` holds an `F`, which stays in its block until it is dropped.
            unsafe { Pin::new_unchecked(data.cast::<F>().as_mut()) }.poll(task)
        }
        unsafe fn drop<F>(data: NonNull<u8>) {
            // SAFETY: `data` holds an `F`, which nobody uses any more.
            unsafe { data.cast::<F>().drop_in_place() };
        }
        struct Of<F>(PhantomData<F>);
        impl<F: Future<Output = HostResult<Reply>>> Of<F> {
            const KIND: Kind = Kind { poll: poll::<F>, drop: drop::<F>, block: Block::of(Layout::new::<F>()) };
        }
        let kind = const { &Of::<F>::KIND };
        let data = acquire(&kind.block);
        // SAFETY: the block is large enough and aligned for an `F`.
        unsafe { data.cast::<F>().write(future) };
        HostFuture::Boxed(Boxed { data, kind, stays_here: PhantomData })
    }

    /// Asks for its memory, or as much as most have.
    #[inline]
    pub fn prefetch(&self) {
        if let HostFuture::Boxed(boxed) = self {
            prefetch::<3>(boxed.data.addr().get());
        }
    }

    /// Polls it. Like any future's, its poll may panic.
    #[inline]
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<HostResult<Reply>> {
        match self {
            // SAFETY: `new` put a future of this kind there.
            HostFuture::Boxed(boxed) => unsafe { (boxed.kind.poll)(boxed.data, task) },
            HostFuture::Sleep(sleep) => Pin::new(sleep).poll(task).map(|()| Ok(None)),
        }
    }
}

impl Drop for Boxed {
    #[inline]
    fn drop(&mut self) {
        /// Gives the block back also if the future's drop panics.
        struct Release(NonNull<u8>, &'static Block);
        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: `HostFuture::new` acquired it for a future of this kind, which is dropped, or lost.
                unsafe { release(self.0, self.1) };
            }
        }
        let _block = Release(self.data, &self.kind.block);
        // SAFETY: `new` put a future of this kind there; this is its only drop.
        unsafe { (self.kind.drop)(self.data) };
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_block_serves_one_future_after_the_other() {
        let token = Rc::new(());
        let mut seen = Vec::new();
        for round in 0..100_u64 {
            let (held, array) = (token.clone(), [round; 9]);
            let mut future = HostFuture::new(async move {
                std::future::ready(()).await;
                assert_eq!((array, Rc::strong_count(&held)), ([round; 9], 2));
                Ok(None)
            });
            let HostFuture::Boxed(boxed) = &future else { unreachable!("it was boxed") };
            seen.push(boxed.data);
            let outcome = future.poll(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(matches!(outcome, Poll::Ready(Ok(None))));
        }
        seen.dedup();
        assert!(seen.len() == 1 || KEPT == 0, "{} blocks", seen.len());
        assert_eq!(Rc::strong_count(&token), 1);
    }

    #[test]
    fn sizes_do_not_mix_and_large_ones_go_back() {
        #[repr(align(64))]
        struct Aligned(#[allow(dead_code, reason = "for its size")] [u8; 64]);
        fn holding<T: 'static>(value: T) -> Boxed {
            let future = HostFuture::new(async move {
                std::future::pending::<()>().await;
                drop(value);
                Ok(None)
            });
            let HostFuture::Boxed(boxed) = future else { unreachable!("it was boxed") };
            boxed
        }
        let mut all = Vec::new();
        for round in 0..3 {
            all.push(holding([round; 8]));
            all.push(holding([round; 100]));
            all.push(holding([round; 5000]));
            all.push(holding(Aligned([round; 64])));
            assert_eq!(all.last().expect("just pushed").data.addr().get() % 64, 0);
            if round == 1 {
                all.clear();
            }
        }
        let mut addresses: Vec<_> = all.iter().map(|future| future.data).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), all.len());
    }
}
