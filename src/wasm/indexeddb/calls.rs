//! From events to futures: the calls that wait for an event, by number.

use super::bindings::Target;
use crate::wasm::js::Tried;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::prelude::*;

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A connection. A database that is not there is made, or else refused.
    Open { create: bool },
    /// So many results.
    Read { results: usize },
    /// The completion of a transaction, which the owner record decides.
    Write,
}

/// A call that has not ended.
pub struct Call {
    pub kind: Kind,
    /// Nobody waits for it any more; it is forgotten when it ends.
    pub abandoned: bool,
    pub results: Vec<JsValue>,
    outcome: Option<Tried<()>>,
    waker: Option<Waker>,
}

/// The calls that have not ended.
#[derive(Default)]
pub struct Calls {
    /// Few at a time: they are looked for one after the other.
    calls: RefCell<Vec<(u32, Call)>>,
    last: Cell<u32>,
}

impl Calls {
    /// Begins a call. The targets of its events are to be marked with it.
    pub fn begin(self: &Rc<Self>, kind: Kind) -> Pending {
        let id = self.last.get().wrapping_add(1);
        self.last.set(id);
        let call = Call { kind, abandoned: false, results: Vec::new(), outcome: None, waker: None };
        self.calls.borrow_mut().push((id, call));
        Pending { calls: self.clone(), id }
    }

    /// Looks at the call that `target` is marked with, where it has not ended.
    pub fn with<T>(&self, target: &Target, look: impl FnOnce(&mut Call) -> T) -> Option<T> {
        let id = target.call()?;
        find(&mut self.calls.borrow_mut(), id).map(look)
    }

    /// Ends the call that `target` is marked with. The first outcome counts.
    pub fn end(&self, target: &Target, outcome: Tried<()>) {
        let ended = self.with(target, |call| {
            call.outcome.get_or_insert(outcome);
            (call.abandoned, call.waker.take())
        });
        match (ended, target.call()) {
            (Some((true, _)), Some(id)) => self.forget(id),
            (Some((false, Some(waker))), _) => waker.wake(),
            _ => (),
        }
    }

    fn forget(&self, id: u32) {
        self.calls.borrow_mut().retain(|(other, _)| *other != id);
    }

    /// How many calls have not ended.
    pub fn count(&self) -> usize {
        self.calls.borrow().len()
    }
}

fn find(calls: &mut [(u32, Call)], id: u32) -> Option<&mut Call> {
    calls.iter_mut().find(|(other, _)| *other == id).map(|(_, call)| call)
}

/// The future of a call: its results.
pub struct Pending {
    calls: Rc<Calls>,
    id: u32,
}

impl Pending {
    /// Marks a request or transaction whose events are the call's.
    pub fn mark(&self, target: &JsValue) {
        target.unchecked_ref::<Target>().set_call(self.id);
    }

    /// Forgets a call that no event will end.
    pub fn forget(self) {
        self.calls.forget(self.id);
    }
}

impl Future for Pending {
    type Output = Tried<Vec<JsValue>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut calls = self.calls.calls.borrow_mut();
        let Some(call) = find(&mut calls, self.id) else { return Poll::Pending };
        let Some(outcome) = call.outcome.take() else {
            call.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let results = std::mem::take(&mut call.results);
        drop(calls);
        self.calls.forget(self.id);
        Poll::Ready(outcome.map(|()| results))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut calls = self.calls.calls.borrow_mut();
        let Some(call) = find(&mut calls, self.id) else { return };
        call.abandoned = true;
        if call.outcome.is_some() {
            drop(calls);
            self.calls.forget(self.id);
        }
    }
}
