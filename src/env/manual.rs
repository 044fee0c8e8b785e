//! An environment that a test moves by hand: nothing in it happens by itself.

use super::Env;
use crate::rng::Rng;
use crate::storage::Storage;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// An [`Env`] whose clock, randomness and turns are set by the test.
#[derive(Debug)]
pub struct ManualEnv<S> {
    storage: Rc<S>,
    now_ms: Cell<u64>,
    rng: Rng,
    turn_polls: Cell<u32>,
    slice_used_up: Cell<bool>,
}

impl<S: Storage> ManualEnv<S> {
    /// An environment over `storage` at the time `now_ms`; random bytes come from `seed`. Turns
    /// are over at once and slices never used up until the test says otherwise.
    pub fn new(storage: Rc<S>, now_ms: u64, seed: u64) -> ManualEnv<S> {
        ManualEnv {
            storage,
            now_ms: Cell::new(now_ms),
            rng: Rng::new(seed),
            turn_polls: Cell::new(0),
            slice_used_up: Cell::new(false),
        }
    }

    /// Moves the clock to `now_ms`, backwards too.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
    }

    /// Lets each later turn be pending `polls` times before it is over.
    pub fn set_turn_polls(&self, polls: u32) {
        self.turn_polls.set(polls);
    }

    /// Sets what [`Env::slice_used_up`] answers.
    pub fn set_slice_used_up(&self, used_up: bool) {
        self.slice_used_up.set(used_up);
    }
}

impl<S: Storage> Env for ManualEnv<S> {
    type Storage = S;

    fn storage(&self) -> &Rc<S> {
        &self.storage
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.rng.fill(buffer);
    }

    fn turn(&self) -> impl Future<Output = ()> {
        deferred(self.turn_polls.get())
    }

    fn slice_used_up(&self) -> bool {
        self.slice_used_up.get()
    }
}

/// A future that is pending `polls` times, asking to be polled again each time.
pub fn deferred(mut polls: u32) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Runs a future to its end on this thread.
///
/// # Panics
/// When it is pending and nothing has asked to poll it again: it would never end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(woken.0.swap(false, Ordering::Relaxed), "stalled: pending, and nothing wakes it");
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deferred_future_ends_after_its_polls() {
        block_on(deferred(3));
    }

    #[test]
    #[should_panic(expected = "stalled")]
    fn a_future_that_nothing_wakes_is_reported_as_stalled() {
        block_on(std::future::pending::<()>());
    }
}
