//! Many tasks side by side, of which only those are asked that something has woken: to ask all of
//! ten thousand whenever one of them can go on takes seconds.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Tasks that run side by side.
pub struct Crowd<F> {
    /// None where a task is over.
    tasks: Vec<Option<(Pin<Box<F>>, Waker)>>,
    running: usize,
    bell: Arc<Mutex<Bell>>,
}

/// Who is to be asked again.
#[derive(Default)]
struct Bell {
    /// The places of tasks that were woken.
    rung: Vec<usize>,
    /// Wakes the task that the crowd is part of.
    outer: Option<Waker>,
}

/// Wakes one of the tasks.
struct Ringer {
    place: usize,
    bell: Arc<Mutex<Bell>>,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        let mut bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        bell.rung.push(self.place);
        let outer = bell.outer.take();
        drop(bell);
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

impl<F> Default for Crowd<F> {
    fn default() -> Self {
        Crowd { tasks: Vec::new(), running: 0, bell: Arc::default() }
    }
}

impl<F: Future<Output = ()>> Crowd<F> {
    /// Begins another: it is asked for the first time.
    pub fn begin(&mut self, task: F) {
        let place = self.tasks.len();
        let waker = Waker::from(Arc::new(Ringer { place, bell: self.bell.clone() }));
        self.tasks.push(Some((Box::pin(task), waker)));
        self.running += 1;
        self.ask(place);
    }

    /// Asks those that were woken since; ready once all are over.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        bell.outer = Some(context.waker().clone());
        let rung = std::mem::take(&mut bell.rung);
        drop(bell);
        for place in rung {
            self.ask(place);
        }
        if self.running == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn ask(&mut self, place: usize) {
        let Some(slot) = self.tasks.get_mut(place) else { return };
        let Some((task, waker)) = slot else { return };
        if task.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            *slot = None;
            self.running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::manual::{block_on, deferred};
    use crate::signal::Turnstile;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;

    fn run(tasks: impl Iterator<Item = impl Future<Output = ()>>) {
        let mut crowd = Crowd::default();
        tasks.for_each(|task| crowd.begin(task));
        block_on(poll_fn(|context| crowd.poll(context)));
    }

    #[test]
    fn of_many_tasks_those_are_asked_that_can_go_on() {
        const TASKS: usize = 2_000;
        let (turnstile, asked, ended) = (Turnstile::default(), Cell::new(0), Cell::new(0));
        let task = async || {
            let mut task = pin!(async {
                let _turn = turnstile.enter().await;
                deferred(1).await;
                ended.set(ended.get() + 1);
            });
            poll_fn(|context| {
                asked.set(asked.get() + 1);
                task.as_mut().poll(context)
            })
            .await;
        };
        run((0..TASKS).map(|_| task()));
        assert_eq!(ended.get(), TASKS);
        assert!(asked.get() <= 4 * TASKS, "asked {} times", asked.get());
    }

    #[test]
    fn tasks_that_wait_for_later_ones_end() {
        let (turnstile, ended) = (Turnstile::default(), Cell::new(0));
        let task = async || {
            for _ in 0..3 {
                let _turn = turnstile.enter().await;
                deferred(1).await;
            }
            ended.set(ended.get() + 1);
        };
        run((0..500).map(|_| task()));
        assert_eq!(ended.get(), 500);
    }
}
