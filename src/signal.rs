//! Waiting, for a single thread: a signal that wakes whoever waits for a condition, and a
//! turnstile that lets one task through at a time, in the order of arrival.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
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

/// Runs tasks side by side until all are over; returns the error of the first one that failed.
pub async fn all<'a, E>(mut tasks: Vec<Task<'a, E>>) -> Result<(), E> {
    let mut outcome = Ok(());
    poll_fn(|context| {
        tasks.retain_mut(|task| match task.as_mut().poll(context) {
            Poll::Ready(done) => {
                if outcome.is_ok() {
                    outcome = done;
                }
                false
            }
            Poll::Pending => true,
        });
        if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcome
}

/// One of the tasks of [`all`].
pub type Task<'a, E> = Pin<Box<dyn Future<Output = Result<(), E>> + 'a>>;

/// A fair mutex over a stretch of code: one task inside at a time, first come, first served.
#[derive(Default)]
pub struct Turnstile {
    /// The task inside, then those that wait, in their order: only the next one is woken.
    line: RefCell<Vec<(u64, Option<Waker>)>>,
    tickets: Cell<u64>,
}

impl Turnstile {
    /// Waits for its turn, and holds it until the [`Turn`] is dropped. A waiter that is dropped
    /// leaves the line.
    pub async fn enter(&self) -> Turn<'_> {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        self.line.borrow_mut().push((ticket, None));
        let turn = Turn { turnstile: self, ticket };
        poll_fn(|context| {
            let mut line = self.line.borrow_mut();
            let place = line.partition_point(|(other, _)| *other < ticket);
            match line.get_mut(place) {
                Some((_, waker)) if place > 0 => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
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
        let mut line = self.turnstile.line.borrow_mut();
        line.retain(|(ticket, _)| *ticket != self.ticket);
        let next = line.first_mut().and_then(|(_, waker)| waker.take());
        drop(line);
        if let Some(waker) = next {
            waker.wake();
        }
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Wake};

    #[test]
    fn tasks_side_by_side_are_all_run_to_their_end_also_where_one_fails() {
        let (gate, open) = (Signal::default(), std::cell::Cell::new(false));
        let ended = std::cell::Cell::new(0);
        let waits = async {
            gate.until(|| open.get().then_some(())).await;
            ended.set(ended.get() + 1);
            Err("second")
        };
        let fails = async { Err("first") };
        let opens = async {
            open.set(true);
            gate.notify();
            ended.set(ended.get() + 1);
            Ok(())
        };
        let tasks: Vec<Task<'_, &str>> = vec![Box::pin(waits), Box::pin(fails), Box::pin(opens)];
        let mut together = Box::pin(all(tasks));
        let mut context = Context::from_waker(Waker::noop());
        assert!(together.as_mut().poll(&mut context).is_pending());
        assert_eq!(together.as_mut().poll(&mut context), Poll::Ready(Err("first")));
        assert_eq!(ended.get(), 2);
    }

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

    #[test]
    fn a_long_line_costs_each_of_its_tasks_two_polls() {
        struct Woken(AtomicU64);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let turnstile = Turnstile::default();
        let woken = Arc::new(Woken(AtomicU64::new(0)));
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let mut first = Box::pin(turnstile.enter());
        let inside = first.as_mut().poll(&mut context);
        let mut line: Vec<_> = (0..1_000).map(|_| Box::pin(turnstile.enter())).collect();
        assert!(line.iter_mut().all(|task| task.as_mut().poll(&mut context).is_pending()));
        drop(inside);
        assert!(line.iter_mut().all(|task| task.as_mut().poll(&mut context).is_ready()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1_000, "each was woken when it was its turn");
    }
}
