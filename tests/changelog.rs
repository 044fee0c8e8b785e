//! The change log: the commits after any stamp come back in order, without a gap or a repeat,
//! whatever has been flushed, compacted, reopened or lost since, or are said to be gone.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, commit, delete, key, number, set, tiny};
use kvass::db::{ChangeKind, CommitEvent, Db, Options, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::{Code, Result};
use kvass::history::{Reader, Retention};
use kvass::limits::{HISTORY_RECENT_MS, LEASE_GRACE_MS, RETRY_MS};
use kvass::rng::Rng;
use kvass::signal::join_all;
use kvass::stamp::Stamp;
use kvass::storage::Storage;
use kvass::storage::simulated::{Call, Fault, SimulatedStorage};
use kvass::wire::{Blob, Mutation};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

type Disk = SimulatedStorage;
type Store = Rc<Db<ManualEnv<Disk>>>;
type State = BTreeMap<Vec<u8>, Vec<u8>>;

const ALL: Retention = Retention { bytes: u64::MAX, ms: u64::MAX };

fn try_open(disk: &Disk, now_ms: u64, history: Retention) -> Result<Store> {
    let env = ManualEnv::new(Rc::new(disk.clone()), now_ms, now_ms);
    let options = Options { budgets: tiny(), history, ..Options::default() };
    block_on(Db::open(env, options))
}

fn open_at(disk: &Disk, now_ms: u64, history: Retention) -> Store {
    try_open(disk, now_ms, history).expect("it opens")
}

fn open(disk: &Disk, history: Retention) -> Store {
    open_at(disk, START_MS, history)
}

/// The commits after `since`, a page after the other.
fn changes_since(db: &Store, since: Stamp) -> Result<Vec<CommitEvent>> {
    let reader = db.read_changes(since)?;
    let mut events = Vec::new();
    while !page(db, &reader, &mut events)? {}
    Ok(events)
}

fn page(db: &Store, reader: &Reader, events: &mut Vec<CommitEvent>) -> Result<bool> {
    block_on(db.next_changes(reader, |_, _| true, |event| events.push(event.clone())))
}

/// How many logs there are with bytes in them.
fn logs_on(disk: &Disk) -> usize {
    let is_log = |file: &u32| disk.contents(*file).starts_with(b"kvasslog");
    disk.file_numbers().into_iter().filter(is_log).count()
}

fn stamps(events: &[CommitEvent]) -> Vec<Stamp> {
    events.iter().map(|event| event.stamp).collect()
}

fn apply(state: &mut State, events: &[CommitEvent]) {
    for change in events.iter().flat_map(|event| &event.changes) {
        match &change.change {
            ChangeKind::Set(value) => drop(state.insert(change.key.to_vec(), value.to_vec())),
            ChangeKind::Delete | ChangeKind::Expire => drop(state.remove(&*change.key)),
            ChangeKind::DeleteRange(end) => {
                state.retain(|key, _| **key < *change.key || **end <= **key);
            }
        }
    }
}

fn state_of(db: &Store) -> State {
    let range = Range { start: &[1], end: &[0xff], reverse: false };
    let entries = block_on(db.entries(range, db.snapshot())).expect("it lists");
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

/// A commit of a few sets and deletes; returns its stamp.
fn write(db: &Store, rng: &Rng) -> Result<Stamp> {
    let keys: Vec<_> = (0..1 + rng.below(3)).map(|_| key(&[&rng.below(60).to_string()])).collect();
    let value = [&[3][..], &rng.bytes(rng.below(80) as usize)].concat();
    let mutations =
        keys.iter().map(|key| if rng.one_in(4) { delete(key) } else { set(key, &value) });
    let commit = commit(vec![], mutations.collect());
    match block_on(db.commit(&[&commit])).pop().expect("an answer")? {
        kvass::commit::Outcome::Committed(stamp) => Ok(stamp),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_commit_after_a_stamp_comes_back_in_order_whatever_was_flushed_since() {
    for seed in 0..20 {
        let (rng, mut disk) = (Rng::new(seed), Disk::new(seed));
        let mut db = open(&disk, ALL);
        let mut written = vec![Stamp::ZERO];
        for step in 0..300 {
            written.push(write(&db, &rng).expect("it commits"));
            match rng.below(40) {
                0 => block_on(db.upkeep()),
                1 => block_on(db.flush()).expect("it flushes"),
                2 => {
                    disk = disk.restart();
                    db = open(&disk, ALL);
                }
                _ => {}
            }
            if step % 20 == 0 {
                let from = rng.below(written.len() as u64) as usize;
                let events = changes_since(&db, written[from]).expect("nothing is gone");
                assert_eq!(stamps(&events), written[from + 1..], "seed {seed}, step {step}");
            }
        }
        let mut state = State::new();
        apply(&mut state, &changes_since(&db, Stamp::ZERO).expect("nothing is gone"));
        assert_eq!(state, state_of(&db), "seed {seed}");
    }
}

#[test]
fn after_any_crash_the_log_tells_of_what_is_there_and_never_of_what_was_lost() {
    for seed in 0..60 {
        let (rng, mut disk) = (Rng::new(seed), Disk::new(seed));
        let mut seen = Vec::new();
        for life in 0..5 {
            let context = format!("seed {seed}, life {life}");
            disk.set_polls_max((seed % 3) as u32);
            let db = open(&disk, ALL);
            let mut state = State::new();
            let events = changes_since(&db, Stamp::ZERO).expect(&context);
            apply(&mut state, &events);
            assert_eq!(state, state_of(&db), "{context}");
            // Any stamp that was ever given is a place to begin, also one that was lost.
            for _ in 0..4 {
                let Some(since) = seen.get(rng.below(seen.len() as u64) as usize) else { break };
                let later: Vec<_> = stamps(&events).into_iter().filter(|s| s > since).collect();
                let found = changes_since(&db, *since).expect(&context);
                assert_eq!(stamps(&found), later, "{context}");
            }
            for _ in 0..rng.below(80) {
                seen.push(write(&db, &rng).expect("nothing fails in this test"));
                if rng.one_in(30) {
                    block_on(db.upkeep());
                }
            }
            drop(db);
            disk = if rng.one_in(2) { disk.crash(&rng) } else { disk.restart() };
        }
    }
}

#[test]
fn a_reader_catches_up_while_commits_flushes_and_compactions_go_on() {
    for seed in 0..20 {
        let (rng, disk) = (Rng::new(seed), Disk::new(seed));
        let db = open(&disk, ALL);
        let mut written: Vec<_> = (0..200).map(|_| write(&db, &rng).expect("commits")).collect();
        disk.set_polls_max(4);
        let reader = db.read_changes(Stamp::ZERO).expect("nothing is gone");
        let mut events = Vec::new();
        let more = std::cell::RefCell::new(Vec::new());
        loop {
            let read = async {
                let read =
                    db.next_changes(&reader, |_, _| true, |event| events.push(event.clone())).await;
                Some(read.expect("nothing is gone"))
            };
            let writes = async {
                for _ in 0..2 {
                    let n = key(&["n"]);
                    let value = number(1.0);
                    let commit = commit(vec![], vec![set(&n, &value)]);
                    let answer = db.commit(&[&commit]).await.pop().expect("an answer");
                    if let Ok(kvass::commit::Outcome::Committed(stamp)) = answer {
                        more.borrow_mut().push(stamp);
                    }
                }
                db.upkeep().await;
                None
            };
            let both: [std::pin::Pin<Box<dyn Future<Output = Option<bool>>>>; 2] =
                [Box::pin(read), Box::pin(writes)];
            let done = block_on(join_all(both.into_iter()))[0] == Some(true);
            if done && events.last().map(|event| event.stamp) == more.borrow().last().copied() {
                break;
            }
        }
        written.extend(more.take());
        assert_eq!(stamps(&events), written, "seed {seed}");
    }
}

#[test]
fn a_page_that_is_given_up_leaves_the_rest_to_the_next_one() {
    let (disk, rng) = (Disk::new(7), Rng::new(7));
    let db = open(&disk, ALL);
    let written: Vec<_> = (0..200).map(|_| write(&db, &rng).expect("it commits")).collect();
    disk.set_polls_max(3);
    let reader = db.read_changes(Stamp::ZERO).expect("nothing is gone");
    let mut events = Vec::new();
    for polls in 0..12 {
        let mut page =
            pin!(db.next_changes(&reader, |_, _| true, |event| events.push(event.clone())));
        block_on(poll_fn(|context| {
            let _over = (0..polls).any(|_| page.as_mut().poll(context).is_ready());
            Poll::Ready(())
        }));
    }
    while !page(&db, &reader, &mut events).expect("nobody else reads") {}
    assert_eq!(stamps(&events), written);
}

#[test]
fn expiries_and_refused_commits_are_told_of_as_they_happened() {
    let disk = Disk::new(1);
    let db = open(&disk, ALL);
    let (k, value) = (key(&["k"]), number(1.0));
    let expiring = Mutation::Set {
        key: Blob(&k),
        value: Blob(&value),
        expire_in_ms: Some(1_000),
        stamp_key: false,
    };
    block_on(db.commit(&[&commit(vec![], vec![expiring])])).pop().expect("one").expect("commits");
    db.env().set_now_ms(START_MS + 1_000);
    block_on(db.expire()).expect("it expires");
    let db = open_at(&disk.restart(), START_MS + 1_000, ALL);
    let events = changes_since(&db, Stamp::ZERO).expect("nothing is gone");
    let changes: Vec<_> = events.iter().flat_map(|event| &event.changes).collect();
    assert_eq!(changes.len(), 2, "rows of the engine's own are not told of: {changes:?}");
    assert!(matches!(changes[0].change, ChangeKind::Set(_)));
    assert!(matches!(changes[1].change, ChangeKind::Expire));
}

#[test]
fn history_is_kept_by_size_and_what_is_gone_is_a_typed_error() {
    let (rng, mut disk) = (Rng::new(2), Disk::new(2));
    let history = Retention { bytes: 20_000, ms: u64::MAX };
    let mut db = open(&disk, history);
    let mut written = vec![Stamp::ZERO];
    for step in 0..2_000 {
        written.push(write(&db, &rng).expect("it commits"));
        block_on(db.upkeep());
        if step % 500 == 0 {
            disk = disk.restart();
            db = open(&disk, history);
            db.env().set_now_ms(START_MS + LEASE_GRACE_MS);
        }
    }
    let readable = |since: &&Stamp| changes_since(&db, **since).is_ok();
    let oldest = written.iter().position(|since| readable(&since)).expect("some history is kept");
    assert!((100..1_950).contains(&oldest), "{oldest} of 2000 are gone");
    let events = changes_since(&db, written[oldest]).expect("it is kept");
    assert_eq!(stamps(&events), written[oldest + 1..]);
    let error = changes_since(&db, written[oldest - 1]).expect_err("it is gone");
    assert_eq!(error.code(), Code::HistoryGone);
    let bytes: usize = disk.file_numbers().iter().map(|file| disk.contents(*file).len()).sum();
    assert!(bytes < 100_000, "{bytes} bytes: files of history that is gone are removed");
    let future = Stamp { epoch: db.epoch(), counter: 1 << 40 };
    assert_eq!(changes_since(&db, future).expect_err("no such commit").code(), Code::HistoryGone);
}

#[test]
fn history_is_kept_for_a_time() {
    let (rng, disk) = (Rng::new(3), Disk::new(3));
    let history = Retention { bytes: u64::MAX, ms: 60_000 };
    let db = open(&disk, history);
    let first = write(&db, &rng).expect("it commits");
    let fill = |db: &Store| {
        for _ in 0..200 {
            write(db, &rng).expect("it commits");
        }
        block_on(db.upkeep());
    };
    fill(&db);
    assert!(changes_since(&db, first).is_ok());
    db.env().set_now_ms(START_MS + 59_999);
    fill(&db);
    assert!(changes_since(&db, first).is_ok());
    db.env().set_now_ms(START_MS + 60_000);
    fill(&db);
    assert_eq!(changes_since(&db, first).expect_err("gone").code(), Code::HistoryGone);
    let db = open_at(&disk.restart(), START_MS + 200_000, history);
    let last = db.visible();
    assert_eq!(stamps(&changes_since(&db, last).expect("the present is there")), []);
}

#[test]
fn history_that_a_failure_has_kept_is_let_go_when_upkeep_is_tried_again() {
    let (rng, disk) = (Rng::new(8), Disk::new(8));
    let db = open(&disk, Retention { bytes: 0, ms: u64::MAX });
    // Somebody listens, and may come back to hear of what is recent.
    db.observe(Some(Rc::new(|_| ())));
    for _ in 0..300 {
        write(&db, &rng).expect("it commits");
        block_on(db.upkeep());
    }
    assert!(changes_since(&db, Stamp::ZERO).is_ok(), "it is recent");
    let due_ms = START_MS + HISTORY_RECENT_MS;
    db.env().set_now_ms(due_ms);
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    block_on(db.upkeep());
    assert_eq!(db.failure().map(|error| error.code()), Some(Code::Io));
    assert!(db.next_release_ms() <= due_ms + RETRY_MS, "a host that rests wakes up for it");
    db.env().set_now_ms(due_ms + RETRY_MS);
    block_on(db.upkeep());
    assert_eq!(db.failure(), None);
    assert_eq!(changes_since(&db, Stamp::ZERO).expect_err("gone").code(), Code::HistoryGone);
    assert_eq!(logs_on(&disk), 1, "its files are gone");
}

#[test]
fn what_a_reader_is_about_to_read_is_kept_while_it_asks_for_more() {
    let (rng, disk) = (Rng::new(4), Disk::new(4));
    let db = open(&disk, Retention { bytes: 0, ms: 0 });
    let mut written = vec![write(&db, &rng).expect("it commits")];
    let reader = db.read_changes(Stamp::ZERO).expect("nothing is gone");
    let fill = |written: &mut Vec<Stamp>| {
        for _ in 0..300 {
            written.push(write(&db, &rng).expect("it commits"));
            block_on(db.upkeep());
        }
    };
    fill(&mut written);
    let mut events = Vec::new();
    while !page(&db, &reader, &mut events).expect("it is kept") {}
    assert_eq!(stamps(&events), written);
    fill(&mut written);
    db.env().set_now_ms(START_MS + 60_000);
    fill(&mut written);
    assert_eq!(page(&db, &reader, &mut events).expect_err("too late").code(), Code::HistoryGone);
    assert_eq!(events.len(), 301);
}

#[test]
fn history_that_is_missing_when_it_is_to_go_keeps_nobody_from_opening() {
    let (rng, disk) = (Rng::new(5), Disk::new(5));
    let db = open(&disk, ALL);
    for _ in 0..300 {
        write(&db, &rng).expect("it commits");
        block_on(db.upkeep());
    }
    let expected = state_of(&db);
    block_on(db.flush()).expect("it flushes");
    let without = |file: u32| {
        let copy = disk.restart();
        block_on(copy.remove(file)).expect("it is there");
        copy
    };
    let none = Retention { bytes: 0, ms: 0 };
    let mut opened = 0;
    for file in disk.file_numbers().into_iter().filter(|file| *file > 1) {
        let is_log = disk.contents(file).starts_with(b"kvasslog");
        // And no log that an open needs.
        if is_log && try_open(&without(file), START_MS, ALL).is_ok() {
            let db = open_at(&without(file), START_MS + 3_600_000, none);
            assert_eq!(state_of(&db), expected, "file {file}");
            // Nor is its number given to another log, which would go with it.
            write(&db, &rng).expect("it commits");
            block_on(db.flush()).expect("it flushes");
            opened += 1;
        }
    }
    assert!(opened > 0);
}

#[test]
fn damage_to_history_is_told_to_its_readers_and_to_nobody_else() {
    let (rng, disk) = (Rng::new(5), Disk::new(5));
    let db = open(&disk, ALL);
    let mut written = vec![Stamp::ZERO];
    for _ in 0..300 {
        written.push(write(&db, &rng).expect("it commits"));
        block_on(db.upkeep());
    }
    let expected = state_of(&db);
    block_on(db.flush()).expect("it flushes");
    let (mut corrupt, mut missing) = (0, 0);
    for file in disk.file_numbers().into_iter().filter(|file| *file > 1) {
        let flipped = disk.restart();
        let length = flipped.contents(file).len() as u64;
        let at = length / 2;
        if !flipped.contents(file).starts_with(b"kvasslog") {
            continue;
        }
        flipped.flip_bit(file, at, 3);
        // A log that an open needs.
        let Ok(db) = try_open(&flipped, START_MS, ALL) else { continue };
        assert_eq!(state_of(&db), expected, "file {file}");
        let reader = db.read_changes(Stamp::ZERO).expect("nothing is gone");
        let mut events = Vec::new();
        let read = loop {
            match page(&db, &reader, &mut events) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(stamps(&events), written[1..=events.len()], "what comes before is told");
        if let Err(error) = read {
            assert_eq!(error.code(), Code::Corruption);
            assert_eq!(error.place().map(|(file, _)| file), Some(file));
            corrupt += 1;
        }
        assert!(write(&db, &rng).is_ok(), "writers go on");

        let lost = disk.restart();
        lost.lose(file);
        let db = open(&lost, ALL);
        assert_eq!(state_of(&db), expected);
        let error = changes_since(&db, Stamp::ZERO).expect_err("a file is missing");
        assert_eq!(error.code(), Code::Corruption);
        missing += 1;
    }
    assert!(corrupt > 1 && missing > 1, "{corrupt} corrupt, {missing} missing");
}

#[test]
fn after_a_failed_write_the_log_begins_anew_and_says_so() {
    let (rng, disk) = (Rng::new(6), Disk::new(6));
    let db = open(&disk, ALL);
    let mut last = Stamp::ZERO;
    for _ in 0..200 {
        last = write(&db, &rng).expect("it commits");
        block_on(db.upkeep());
    }
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    write(&db, &rng).expect_err("the write fails");
    let reader = db.read_changes(last).expect("it has everything");
    assert!(page(&db, &reader, &mut Vec::new()).expect("the repair comes first"));
    assert_eq!(changes_since(&db, Stamp::ZERO).expect_err("gone").code(), Code::HistoryGone);
    let next = write(&db, &rng).expect("it commits");
    assert_eq!(stamps(&changes_since(&db, last).expect("it is there")), [next]);
    assert_eq!(logs_on(&disk), 1, "what can't be read any more takes no space");
}

#[test]
fn who_reads_history_while_it_goes_is_told_so_and_not_of_damage() {
    let (mut gone, mut polls) = (0, 0);
    loop {
        polls += 1;
        let (rng, disk) = (Rng::new(8), Disk::new(8));
        let db = open(&disk, ALL);
        for _ in 0..100 {
            write(&db, &rng).expect("it commits");
            block_on(db.upkeep());
        }
        let reader = db.read_changes(Stamp::ZERO).expect("it has everything");
        disk.set_polls_max(3);
        let mut page = pin!(db.next_changes(&reader, |_, _| true, |_| ()));
        let mut context = Context::from_waker(Waker::noop());
        if (0..polls).any(|_| page.as_mut().poll(&mut context).is_ready()) {
            break;
        }
        disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
        write(&db, &rng).expect_err("the write fails");
        write(&db, &rng).expect("the logs of before are gone");
        if let Err(error) = block_on(page) {
            assert_eq!(error.code(), Code::HistoryGone, "after {polls} polls: {error}");
            gone += 1;
        }
    }
    assert!(gone > 10, "{gone} of {polls}");
}

#[test]
fn history_gives_way_to_commits_where_the_disk_is_full() {
    let (rng, disk) = (Rng::new(7), Disk::new(7));
    let db = open(&disk, ALL);
    disk.set_quota_bytes(Some(60_000));
    for n in 0..1_500 {
        // One that meets the full disk is refused; the next one finds room.
        if let Err(error) = write(&db, &rng) {
            assert_eq!(error.code(), Code::QuotaExceeded, "commit {n}");
            write(&db, &rng).expect("history gave way");
        }
        block_on(db.upkeep());
    }
}
