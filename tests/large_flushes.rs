//! Large values that are flushed on their way: a flush that fails may have given up bytes of others
//! in their file, and the next one does not tell.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::large::value;
use common::{START_MS, Store, commit, key, set, tiny};
use kvass::db::{Db, Options};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::Code;
use kvass::history::Retention;
use kvass::limits::{Budgets, RETRY_MS};
use kvass::rng::Rng;
use kvass::storage::Durability;
use kvass::storage::simulated::{Call, Fault, SimulatedStorage};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

fn options() -> Options {
    let budgets = Budgets { large_value_bytes: 1_000, blob_bytes: 10_000, ..Budgets::default() };
    Options { budgets, ..Options::default() }
}

fn name(n: u64) -> Vec<u8> {
    key(&[&format!("{n:04}")])
}

#[test]
fn a_flush_that_fails_on_the_way_of_a_value_loses_none_that_was_acknowledged() {
    for nth in 0.. {
        let disk = SimulatedStorage::new(nth);
        let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, 1);
        let budgets = Budgets { stretch_bytes: 65_536, ..options().budgets };
        let options = Options { budgets, ..options() };
        let db = block_on(Db::open(env, options.clone())).expect("a new database opens");
        disk.inject(Some(Call::Sync), nth, Fault::Short);
        // They go into one group: the first is written and not flushed when the second comes.
        let lens = [(1, 5_000), (2, 200_000), (3, 5_000)];
        let pairs = lens.map(|(n, len)| (name(n), value(n, len)));
        let all = pairs.each_ref().map(|(k, v)| commit(vec![], vec![set(k, v)]));
        let outcomes = block_on(db.commit(&all.each_ref()));
        let flushed = block_on(db.flush());
        let is_over = !disk.gave_up();
        assert!(!is_over || flushed.is_ok() && outcomes.iter().all(Result::is_ok), "{nth}");
        let disk = disk.crash(&Rng::new(nth));
        let env = ManualEnv::new(Rc::new(disk), START_MS, 2);
        let db = block_on(Db::open(env, options)).expect("it opens again");
        for ((n, len), outcome) in lens.into_iter().zip(outcomes) {
            let found = block_on(db.get(&name(n), db.snapshot())).expect("it reads");
            let found = found.map(|(_, value)| value.to_vec());
            assert!(found.is_some() || flushed.is_err() || outcome.is_err(), "{nth}: {n} is lost");
            assert!(found.is_none_or(|found| found == value(n, len)), "{nth}: {n} is another");
        }
        if is_over {
            assert!(nth > 4, "a flush on the way is among those that failed");
            return;
        }
    }
}

/// Polls both until both are over, by turns of chance.
fn side_by_side<T>(rng: &Rng, futures: [impl Future<Output = T>; 2]) -> [T; 2] {
    let mut futures = futures.map(Box::pin);
    let mut outputs = [None, None];
    while let [first, second] = &outputs
        && (first.is_none() || second.is_none())
    {
        let turn = rng.below(2) as usize;
        if outputs[turn].is_none()
            && let Poll::Ready(output) =
                futures[turn].as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            outputs[turn] = Some(output);
        }
    }
    outputs.map(|output| output.expect("it is over"))
}

#[test]
fn a_flush_that_fails_beside_that_of_a_group_loses_none_that_was_acknowledged() {
    for (seed, nth) in (0..300).flat_map(|seed| (3..9).map(move |nth| (seed, nth))) {
        let disk = SimulatedStorage::new(seed);
        let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, 1);
        let budgets = Budgets { stretch_bytes: 3_000, ..options().budgets };
        let options = Options { budgets, durability: Durability::Strict, ..options() };
        let db = block_on(Db::open(env, options.clone())).expect("a new database opens");
        disk.set_polls_max(4);
        disk.inject(Some(Call::Sync), nth, Fault::Short);
        // The first leaves values in two files to be flushed, and the other is flushed on its way.
        let sets = |lens: &[(u64, usize)]| {
            lens.iter().map(|(n, len)| (name(*n), value(*n, *len))).collect::<Vec<_>>()
        };
        let lens = [vec![(1, 2_000), (2, 4_000), (3, 2_000)], vec![(4, 4_000)]];
        let pairs = [sets(&lens[0]), sets(&lens[1])];
        let all = pairs
            .each_ref()
            .map(|pairs| commit(vec![], pairs.iter().map(|(k, v)| set(k, v)).collect()));
        let both = all.each_ref().map(|one| {
            let db = db.clone();
            async move { db.commit(&[one]).await.pop().expect("an answer") }
        });
        let outcomes = side_by_side(&Rng::new(seed), both);
        disk.set_polls_max(0);
        let disk = disk.crash(&Rng::new(seed));
        let env = ManualEnv::new(Rc::new(disk), START_MS, 2);
        let db = block_on(Db::open(env, options)).expect("it opens again");
        for (lens, outcome) in lens.iter().zip(outcomes) {
            for (n, len) in lens.iter().filter(|_| outcome.is_ok()) {
                let found = block_on(db.get(&name(*n), db.snapshot())).expect("it reads");
                let found = found.map(|(_, value)| value.to_vec());
                assert!(found == Some(value(*n, *len)), "seed {seed}, {nth}: {n} is lost");
            }
        }
    }
}

#[test]
fn a_file_that_a_failed_commit_has_left_behind_is_in_no_later_commits_way() {
    for nth in 0..16 {
        let disk = SimulatedStorage::new(nth);
        let history = Retention { bytes: 0, ms: u64::MAX };
        let options = Options { budgets: tiny(), history, ..Options::default() };
        let mut store = Store::open(Rc::new(disk.clone()), options, 1).expect("it opens");
        let put = |store: &mut Store<_>, n| {
            let (key, value) = (name(n), value(n, 400));
            store.commit_one(commit(vec![], vec![set(&key, &value)]))
        };
        (0..10).for_each(|n| assert!(put(&mut store, n).is_ok()));
        let pairs: Vec<_> = (20..30).map(|n| (name(n), value(n, 400))).collect();
        let many = commit(vec![], pairs.iter().map(|(k, v)| set(k, v)).collect());
        disk.inject(Some(Call::Write), nth, Fault::Fail(Code::Io));
        let failed = store.commit_one(many).is_err();
        assert!(failed || nth > 10, "{nth}");
        block_on(store.db.upkeep());
        store.advance(RETRY_MS);
        block_on(store.db.upkeep());
        put(&mut store, 13).expect("nothing fails any more");
    }
}
