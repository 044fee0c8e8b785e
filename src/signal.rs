//! Waiting, for a single thread: a signal that wakes whoever waits for a condition, and a
//! turnstile that lets one task through at a time, in the order of arrival.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Wakes every task that waits for a condition to become true.
#[derive(Default)]
pub struct Signal {
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Makes every waiting task look at its condition again.
    pub fn notify(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Resolves with the first `Some` that `condition` returns; looks at once, then after every
    /// [`Signal::notify`].
    pub async fn until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| match condition() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waiting.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// A fair mutex over a stretch of code: one task inside at a time, first come, first served.
#[derive(Default)]
pub struct Turnstile {
    line: RefCell<Vec<u64>>,
    tickets: Cell<u64>,
    moved: Signal,
}

impl Turnstile {
    /// Waits for its turn, and holds it until the [`Turn`] is dropped. A waiter that is dropped
    /// leaves the line.
    pub async fn enter(&self) -> Turn<'_> {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        self.line.borrow_mut().push(ticket);
        let turn = Turn { turnstile: self, ticket };
        self.moved.until(|| (self.line.borrow().first() == Some(&ticket)).then_some(())).await;
        turn
    }
}

/// A place in the line of a [`Turnstile`], given up when dropped.
pub struct Turn<'a> {
    turnstile: &'a Turnstile,
    ticket: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turnstile.line.borrow_mut().retain(|ticket| *ticket != self.ticket);
        self.turnstile.moved.notify();
    }
}

/// Runs futures side by side; returns their outputs in their order.
pub async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Some(Box::pin(future)), None)).collect();
    poll_fn(|context| {
        let mut pending = false;
        for (future, output) in &mut running {
            if let Some(polled) = future {
                match polled.as_mut().poll(context) {
                    Poll::Ready(ready) => {
                        *output = Some(ready);
                        *future = None;
                    }
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn tasks_pass_in_the_order_of_arrival_and_a_dropped_waiter_blocks_nobody() {
        let turnstile = Turnstile::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(turnstile.enter());
        let Poll::Ready(inside) = first.as_mut().poll(&mut context) else {
            panic!("nobody is inside")
        };
        let mut third = pin!(turnstile.enter());
        {
            let mut second = pin!(turnstile.enter());
            assert!(second.as_mut().poll(&mut context).is_pending());
            assert!(third.as_mut().poll(&mut context).is_pending());
        }
        drop(inside);
        assert!(third.as_mut().poll(&mut context).is_ready());
    }
}
