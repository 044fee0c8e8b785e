//! The tasks of a run, polled one at a time in an order that the seed decides.

use kvass::rng::Rng;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A task and who has asked to poll it again.
struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Woken>,
    label: u64,
}

/// What is under way.
pub struct Tasks<T> {
    tasks: Vec<Task<T>>,
}

/// What a poll led to.
pub enum Polled<T> {
    /// A task ended.
    Done(T),
    /// A task is still pending.
    Pending,
    /// There are no tasks.
    Idle,
    /// All tasks are pending and nothing will ever wake one.
    Stalled,
}

impl<T> Tasks<T> {
    pub fn new() -> Tasks<T> {
        Tasks { tasks: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Takes up a task, polled once at once: what is handed in first stands first in every line.
    pub fn spawn(&mut self, label: u64, future: impl Future<Output = T> + 'static) -> Polled<T> {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.push(Task { future: Box::pin(future), woken, label });
        self.poll_at(self.tasks.len() - 1)
    }

    /// Polls one of the tasks that were woken.
    pub fn poll(&mut self, rng: &Rng) -> Polled<T> {
        if self.tasks.is_empty() {
            return Polled::Idle;
        }
        let woken = |task: &Task<T>| task.woken.0.load(Ordering::Relaxed);
        let ready = self.tasks.iter().filter(|task| woken(task)).count() as u64;
        if ready == 0 {
            return Polled::Stalled;
        }
        let chosen = rng.below(ready) as usize;
        let mut ready = (0..self.tasks.len()).filter(|place| woken(&self.tasks[*place]));
        match ready.nth(chosen) {
            Some(place) => self.poll_at(place),
            None => Polled::Idle,
        }
    }

    fn poll_at(&mut self, place: usize) -> Polled<T> {
        let task = &mut self.tasks[place];
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(task.woken.clone());
        match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => {
                self.tasks.swap_remove(place);
                Polled::Done(done)
            }
            Poll::Pending => Polled::Pending,
        }
    }

    /// Drops a task where it stands; returns its label.
    pub fn abandon(&mut self, rng: &Rng) -> Option<u64> {
        let chosen = rng.below(self.tasks.len() as u64) as usize;
        (chosen < self.tasks.len()).then(|| self.tasks.swap_remove(chosen).label)
    }

    /// Drops all of them.
    pub fn clear(&mut self) {
        self.tasks.clear();
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
