//! The engine's environment in a browser worker: turns, slices, time and randomness.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used)]

use kvass::env::Env;
use kvass::storage::MemoryStorage;
use kvass::wasm::env::WebEnv;
use kvass::wasm::storage::WebStorage;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen]
extern "C" {
    type Channel;
    #[wasm_bindgen(constructor, js_class = "MessageChannel")]
    fn new() -> Channel;
    #[wasm_bindgen(method, getter)]
    fn port1(this: &Channel) -> Port;
    #[wasm_bindgen(method, getter)]
    fn port2(this: &Channel) -> Port;

    type Port;
    #[wasm_bindgen(method, setter)]
    fn set_onmessage(this: &Port, handler: &js_sys::Function);
    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &Port, message: u32);
}

fn env() -> WebEnv {
    WebEnv::new(Rc::new(WebStorage::Memory(MemoryStorage::new())))
}

#[wasm_bindgen_test]
async fn turns_let_waiting_messages_in() {
    let env = env();
    let channel = Channel::new();
    let taken_in = Rc::new(Cell::new(0));
    let count = taken_in.clone();
    let handler = Closure::<dyn FnMut()>::new(move || count.set(count.get() + 1));
    channel.port1().set_onmessage(handler.as_ref().unchecked_ref());
    for message in 0..10 {
        channel.port2().post_message(message);
    }
    // Between two ports no order is promised, so it may take a few.
    let mut turns = 0;
    while taken_in.get() < 10 {
        env.turn().await;
        turns += 1;
        assert!(turns < 1_000, "{} messages after {turns} turns", taken_in.get());
    }
}

#[wasm_bindgen_test]
async fn turns_may_overlap_and_be_given_up() {
    let env = Rc::new(env());
    let done = Rc::new(Cell::new(0));
    for _ in 0..5 {
        let (env, done) = (env.clone(), done.clone());
        wasm_bindgen_futures::spawn_local(async move {
            env.turn().await;
            done.set(done.get() + 1);
        });
    }
    drop(env.turn());
    while done.get() < 5 {
        env.turn().await;
    }
}

#[wasm_bindgen_test]
async fn turns_that_many_wait_for_wake_each_of_them_once() {
    const TASKS: u32 = 300;
    let env = Rc::new(env());
    let (polls, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    for _ in 0..TASKS {
        let (env, polls, done) = (env.clone(), polls.clone(), done.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let mut turn = pin!(env.turn());
            poll_fn(|context| {
                polls.set(polls.get() + 1);
                turn.as_mut().poll(context)
            })
            .await;
            done.set(done.get() + 1);
        });
    }
    while done.get() < TASKS {
        env.turn().await;
    }
    assert!(polls.get() <= 2 * TASKS, "{} polls of {TASKS} tasks", polls.get());
}

/// Whether there is time left after `begin`, which begins a slice: in one of many tries, for on a
/// busy machine a slice may have passed before anybody looks.
async fn begins_a_slice(env: &WebEnv, begin: impl AsyncFn()) -> bool {
    for _ in 0..1_000 {
        while !env.slice_used_up() {}
        begin().await;
        if !env.slice_used_up() {
            return true;
        }
    }
    false
}

#[wasm_bindgen_test]
async fn a_slice_is_used_up_after_a_while_and_new_after_a_turn() {
    let env = env();
    assert!(begins_a_slice(&env, async || env.turn().await).await);
    let asked = begins_a_slice(&env, async || env.asked()).await;
    assert!(asked, "a request that comes in after a while has a slice of its own");
    assert!(!begins_a_slice(&env, async || ()).await, "nothing else begins one");
}

#[wasm_bindgen_test]
fn every_byte_is_random_however_many_are_asked_for() {
    let env = env();
    let mut bytes = vec![0; 200_000];
    env.fill_random(&mut bytes);
    for part in bytes.chunks(1_000) {
        assert!(part.iter().any(|byte| *byte != 0));
    }
}

#[wasm_bindgen_test]
fn the_time_is_the_clock_of_javascript() {
    let before = js_sys::Date::now() as u64;
    let now = env().now_ms();
    assert!((before..=js_sys::Date::now() as u64).contains(&now));
}
