//! A clock that jumps: ahead and back again, within an open and between two.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::harness::{CLIENT, Harness, put, responses, value_of};
use common::{START_MS, Store, commit, key, number, tiny_options};
use kvass::db::Options;
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::history::Retention;
use kvass::host::FLUSH_DELAY_MS;
use kvass::limits::HISTORY_RECENT_MS;
use kvass::sessions::Origin;
use kvass::stamp::Stamp;
use kvass::wire::{Blob, Mutation, Request, RequestFrame, Response};

const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1_000;

fn lasting<'a>(key: &'a [u8], value: &'a [u8], ms: u64) -> Mutation<'a> {
    let expire_in_ms = Some(ms);
    Mutation::Set { key: Blob(key), value: Blob(value), expire_in_ms, stamp_key: false }
}

#[test]
fn time_goes_on_where_the_clock_is_set_back() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let back_ms = START_MS - YEAR_MS;
    harness.host.db().now_ms();
    harness.host.db().env().set_now_ms(back_ms);
    let set = Request::Commit(commit(vec![], vec![lasting(&k, &one, 100)]));
    harness.send(1, vec![set]);
    let mut found = |at_ms| {
        harness.host.db().env().set_now_ms(at_ms);
        block_on(harness.host.tick());
        value_of(&responses(&harness.send(1, vec![Request::Get(Blob(&k))]))[0])
    };
    assert_eq!(found(back_ms + 99), Some(one.clone()));
    assert_eq!(found(back_ms + 100), None);
    assert_eq!(harness.host.db().now_ms(), START_MS + 100);
    harness.send(1, vec![put(&k, &one)]);
    assert!(harness.host.next_tick_ms() <= harness.host.db().now_ms() + FLUSH_DELAY_MS);
    harness.host.db().env().set_now_ms(back_ms + 100 + FLUSH_DELAY_MS);
    block_on(harness.host.tick());
    assert!(!harness.host.db().unflushed());
}

#[test]
fn calls_are_not_late_where_the_clock_is_set_back() {
    let harness = Harness::new();
    let back_ms = START_MS - YEAR_MS;
    harness.host.db().now_ms();
    harness.host.db().env().set_now_ms(back_ms);
    let k = key(&["k"]);
    let answer = |deadline_ms, first| {
        let frame = RequestFrame {
            client: CLIENT,
            epoch: 0,
            deadline_ms,
            acked_through: 0,
            resend_of: 0,
            first,
            requests: vec![Request::Get(Blob(&k))],
        };
        let bytes = postcard::to_allocvec(&frame).expect("it encodes");
        block_on(harness.host.clone().frame(1, bytes, vec![])).expect("it is well-formed");
        let frame = harness.host.take_outbox(1).expect("an answer").bytes;
        matches!(responses(&frame)[0], Response::Error(_))
    };
    assert!(!answer(back_ms + 1, 1));
    assert!(answer(back_ms - 1, 2));
}

#[test]
fn a_clock_that_was_far_ahead_once_keeps_nothing_for_years() {
    let history = Retention { bytes: u64::MAX, ms: 1_000 };
    let mut store = Store::open_in_memory(Options { history, ..tiny_options() }, 1);
    let write = |store: &mut Store, n: u32, ms| {
        let (k, value) = (key(&[&n.to_string()]), number(f64::from(n)));
        store.commit_one(commit(vec![], vec![lasting(&k, &value, ms)])).expect("it commits");
        block_on(store.db.upkeep());
    };
    store.advance(10 * YEAR_MS);
    (0..300).for_each(|n| write(&mut store, n, YEAR_MS));

    store.rewind(10 * YEAR_MS);
    store.reopen();
    assert_eq!(store.db.now_ms(), START_MS);
    write(&mut store, 300, 100);
    store.advance(100);
    assert_eq!(store.get(&key(&["300"])), None);
    let first = Stamp { epoch: 1, counter: 1 };
    assert!(store.db.read_changes(first).is_ok(), "it is as old as the open");
    store.advance(HISTORY_RECENT_MS);
    (301..600).for_each(|n| write(&mut store, n, 1));
    let Err(gone) = store.db.read_changes(first) else { panic!("its time has passed") };
    assert_eq!(gone.code(), Code::HistoryGone);
}

#[test]
fn answers_by_a_clock_that_was_far_ahead_once_are_kept_no_longer_than_others() {
    let mut store = Store::open_in_memory(tiny_options(), 1);
    store.advance(10 * YEAR_MS);
    let origin = Origin { client: CLIENT, first: 1, acked_through: 0, resend_of: 0 };
    let (k, one) = (key(&["k"]), number(1.0));
    let put = commit(vec![], vec![lasting(&k, &one, YEAR_MS)]);
    block_on(store.db.commit_from(Some(&origin), &[&put])).pop().expect("an answer").expect("ok");
    store.rewind(10 * YEAR_MS);
    store.reopen();
    let is_known = |store: &Store| matches!(store.db.sessions().answer(&origin, 1), Some(Ok(_)));
    assert!(is_known(&store));
    store.advance(YEAR_MS);
    for n in 0..300 {
        let k = key(&[&n.to_string()]);
        store.commit_one(commit(vec![], vec![lasting(&k, &one, YEAR_MS)])).expect("it commits");
        block_on(store.db.upkeep());
    }
    assert!(!is_known(&store));
}
