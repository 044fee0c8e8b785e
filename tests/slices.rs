//! Nothing holds up requests for long: between two turns of the event loop, flushes, compactions
//! and expiry do a bounded amount of work, whatever the size of the data and however many ranges
//! were deleted, and a writer waits for a bounded amount of it.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::meter::{Meter, Store, Upkeep, Work, open, reopen};
use common::{commit, delete_range, key, number, set};
use kvass::commit::Outcome;
use kvass::db::{Options, Range};
use kvass::env::Env;
use kvass::error::Result;
use kvass::limits::{Budgets, RANGE_BYTES_MAX, RANGES_MAX, REST_MS};
use kvass::rng::Rng;
use kvass::snapshot::Snapshot;
use kvass::wire::{Blob, Mutation};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// A quarter of the usual, so that a test reaches the third level.
fn budgets() -> Budgets {
    let full = Budgets::default();
    Budgets {
        memtable_bytes: full.memtable_bytes / 4,
        range_bytes: full.range_bytes / 4,
        table_bytes: full.table_bytes / 4,
        level1_bytes: full.level1_bytes / 16,
        level_growth: 4,
        ..full
    }
}

fn options() -> Options {
    Options { budgets: budgets(), ..Options::default() }
}

const ENTRIES: u64 = 40_000;
const KIB: u64 = 1024;

/// The sorted runs of tables that a scan merges.
fn runs(levels: &[(u32, u64)]) -> usize {
    let deeper = levels.iter().skip(1).filter(|(tables, _)| *tables > 0).count();
    levels.first().map_or(0, |(tables, _)| *tables as usize) + deeper
}

#[test]
fn flushes_and_compactions_do_a_bounded_amount_of_work_between_two_turns() {
    let (db, meter) = open(options());
    let mut upkeep = Upkeep::new(&db, &meter);
    let (mut waits, rng) = (Vec::new(), Rng::new(5));
    for index in 0..ENTRIES {
        let key = key(&[&format!("{:08}", index * 7919 % ENTRIES)]);
        // Of the kind of bytes, which can't be compressed.
        let value = [&[3][..], &rng.bytes(100)].concat();
        let commit = commit(vec![], vec![set(&key, &value)]);
        let (outcomes, steps) = upkeep.during(db.commit(&[&commit]));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        waits.push(steps);
        // Too little for it: it needs writers to wait.
        if index % 64 == 0 {
            upkeep.step();
        }
    }
    upkeep.finish();
    let levels = meter.run(db.stats()).expect("it has a size").levels;
    assert!(levels.get(2).is_some_and(|(tables, _)| *tables > 0), "{levels:?}");
    db.env().advance(REST_MS);
    upkeep.finish();
    let rested = meter.run(db.stats()).expect("it has a size").levels;
    assert!(runs(&rested) < runs(&levels), "{levels:?}, at rest {rested:?}");
    waits.sort_unstable();
    let (p999, most) = (waits[waits.len() * 999 / 1000], waits[waits.len() - 1]);
    let Work { read, written, flushed, calls, .. } = meter.take();
    println!("{read}, {written}, {flushed}, {calls}; waits {p999} and {most}; {levels:?}");
    assert!(read <= 768 * KIB, "{read} bytes read");
    assert!(written <= 256 * KIB, "{written} bytes written");
    assert!(flushed <= 1280 * KIB, "{flushed} bytes flushed");
    assert!(calls <= 32, "{calls} calls of the storage");
    assert!(p999 <= 2 && most <= 4, "a commit waited for {most} steps of work");
}

#[test]
fn a_large_value_is_written_read_and_checked_in_steps_between_which_requests_run() {
    const STRETCH: u64 = 1024 * KIB;
    let (db, meter) = open(Options::default());
    let (small, large) = (key(&["small"]), key(&["large"]));
    let value = [&[3][..], &Rng::new(8).bytes(8 * STRETCH as usize)].concat();
    let put = |key: &[u8], value: &[u8]| {
        let commit = commit(vec![], vec![set(key, value)]);
        meter.run(db.commit(&[&commit])).pop().expect("an answer").expect("it commits");
    };
    put(&small, &[3, 1]);
    put(&large, &value);
    let found = meter.run(db.get(&large, db.snapshot())).expect("it reads");
    assert!(found.expect("it is there").1.to_vec() == value, "it comes back whole");
    assert_eq!(meter.run(db.verify()).expect("it reads").damage, []);
    let Work { read, written, flushed, .. } = meter.take();
    for (what, bytes) in [("read", read), ("written", written), ("flushed", flushed)] {
        assert!(bytes <= STRETCH + 128 * KIB, "{bytes} bytes are {what} in a row");
    }
}

#[test]
fn a_reader_of_changes_reads_little_of_what_it_has_heard_of() {
    let (db, meter) = open(Options::default());
    let storage = db.env().storage().clone();
    let rng = Rng::new(6);
    let write = |db: &Store, index: u64| {
        let (key, value) = (place(index), [&[3][..], &rng.bytes(1_000)].concat());
        let commit = commit(vec![], vec![set(&key, &value)]);
        let outcome = meter.run(db.commit(&[&commit])).pop().expect("an answer");
        let Ok(Outcome::Committed(stamp)) = outcome else { panic!("{outcome:?}") };
        stamp
    };
    let stamps: Vec<_> = (0..3_000).map(|index| write(&db, index)).collect();
    let read = |db: &Store, behind: usize| {
        meter.take();
        let reader = db.read_changes(stamps[stamps.len() - 1 - behind]).expect("it is kept");
        let mut told = 0;
        let whole = meter.run(db.next_changes(&reader, |_, _| true, |_| told += 1));
        assert_eq!((whole, told), (Ok(true), behind));
        meter.take().read
    };
    assert!(read(&db, 10) <= 192 * KIB);
    drop(db);
    // The next one knows from what it has replayed.
    let db = reopen(&storage, &meter, Options::default());
    assert!(read(&db, 10) <= 192 * KIB);
}

const RANGES: u64 = 30_000;

/// A key, and a range of `width` keys from it on.
fn place(index: u64) -> Vec<u8> {
    key(&[&format!("{index:08}")])
}

/// Deletes many ranges of so many keys, four keys apart, in a scattered order, in commits of ten.
/// Every fourth key has an entry before; a list that goes on has all of it stay.
fn with_deleted_ranges(width: u64) -> (Store, Rc<Meter>, Snapshot) {
    let (db, meter) = open(options());
    let mut upkeep = Upkeep::new(&db, &meter);
    let scattered = |index| index * 79_907 % RANGES * 4;
    let mut apply = |mutations: Vec<Mutation<'_>>| {
        let commit = commit(vec![], mutations);
        let (outcomes, _) = upkeep.during(db.commit(&[&commit]));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        upkeep.step();
    };
    for first in (0..RANGES / 10).step_by(10) {
        let keys: Vec<_> = (first..first + 10).map(|index| place(index * 40 + 3)).collect();
        apply(keys.iter().map(|key| set(key, &[3, 1])).collect());
    }
    let snapshot = db.snapshot();
    db.snapshots().lease(1, snapshot, db.now_ms()).expect("a lease");
    for first in (0..RANGES).step_by(10) {
        let range = |index| (place(scattered(index)), place(scattered(index) + width));
        let ranges: Vec<_> = (first..first + 10).map(range).collect();
        apply(ranges.iter().map(|(start, end)| delete_range(start, end)).collect());
    }
    upkeep.finish();
    (db, meter, snapshot)
}

#[test]
fn many_deleted_ranges_make_no_step_longer_than_few_do() {
    for (width, left) in [(2, RANGES / 10), (20, 0)] {
        let (db, meter, before) = with_deleted_ranges(width);
        let levels = meter.run(db.stats()).expect("it has figures").levels;
        let tables: u32 = levels.iter().map(|(tables, _)| tables).sum();
        assert!(tables > 10, "{tables} tables");
        let check = |what: &str, read_max: u64| {
            let work = meter.take();
            println!("{width} keys, {what}: {work:?}");
            assert!(work.read <= read_max, "{what}: {work:?}");
            assert!(work.written <= 96 * KIB && work.calls <= 32, "{what}: {work:?}");
            assert!(work.allocated <= 8_000, "{what}: {work:?}");
        };
        check("commits and upkeep", 384 * KIB);
        let storage = db.env().storage().clone();
        let db = reopen(&storage, &meter, options());
        check("open", 256 * KIB);
        for index in 0..1_000 {
            let (key, snapshot) = (place(index * 799 + 3), db.snapshot());
            meter.run(db.get(&key, snapshot)).expect("it reads");
        }
        check("get", 128 * KIB);
        let range = |reverse| Range { start: &[1], end: &[0xff], reverse };
        for reverse in [false, true] {
            let mut more = 100;
            let list = db.list(range(reverse), before, |_| {
                more -= 1;
                more > 0
            });
            assert_eq!(meter.run(list), Ok(false));
            check("the first entries of a list", 128 * KIB);
            let mut found = 0;
            let list = db.list(range(reverse), db.snapshot(), |_| {
                found += 1;
                true
            });
            assert_eq!((meter.run(list), found), (Ok(true), left));
            check("list", 128 * KIB);
            let count = meter.run(db.count(range(reverse), db.snapshot()));
            assert_eq!(count, Ok(left));
            check("count", 128 * KIB);
        }
        assert_eq!(meter.run(db.verify()).expect("it reads").damaged, 0);
        check("verify", 256 * KIB);
    }
}

#[test]
fn a_check_of_everything_reads_logs_and_looks_for_large_values_in_steps() {
    let (db, meter) = open(Options::default());
    let rng = Rng::new(7);
    let write = |index: u64, value_bytes: usize| {
        let (key, value) = (place(index), [&[3][..], &rng.bytes(value_bytes)].concat());
        let commit = commit(vec![], vec![set(&key, &value)]);
        assert!(meter.run(db.commit(&[&commit])).iter().all(Result::is_ok));
    };
    // One large value between many small ones, in a table and its log, then in the log alone.
    for _ in 0..2 {
        (0..9_000).for_each(|index| write(index * 7919 % 9_000, 300));
        write(9_000, 40_000);
    }
    meter.run(db.upkeep());
    let stats = meter.run(db.stats()).expect("it has figures");
    assert!(stats.levels.iter().any(|(tables, _)| *tables > 0), "{stats:?}");
    assert!(stats.wal_bytes > 1024 * KIB, "{stats:?}");
    meter.take();
    let (found, turns) = turns(&meter, db.verify());
    let (work, found) = (meter.take(), found.expect("it reads"));
    println!("{turns} turns, {work:?}, {found:?}");
    assert_eq!(found.damage, []);
    assert!(work.read <= 192 * KIB && work.calls <= 8, "{work:?}");
    assert!(turns >= found.bytes / (128 * KIB), "{turns} turns for {} bytes", found.bytes);
}

/// Runs a future to its end; returns how often it gave way.
fn turns<T>(meter: &Meter, future: impl Future<Output = T>) -> (T, u64) {
    let (mut future, mut turns) = (pin!(future), 0);
    loop {
        match meter.poll(future.as_mut()) {
            Poll::Ready(output) => return (output, turns),
            Poll::Pending => turns += 1,
        }
    }
}

#[test]
fn a_read_gives_way_where_it_finds_nothing() {
    const KEYS: u64 = 10_000;
    const EXPIRE_IN_MS: u64 = 1_000;
    let small = Budgets { memtable_bytes: 64 * 1024, ..budgets() };
    for (in_tables, budgets) in [(false, Budgets::default()), (true, small)] {
        let (db, meter) = open(Options { budgets, ..Options::default() });
        let write = |mutation_of: &dyn Fn(&[u8]) -> Mutation<'_>| {
            for first in (0..KEYS).step_by(100) {
                let keys: Vec<_> = (first..first + 100).map(place).collect();
                let mutations = keys.iter().map(|key| mutation_of(key)).collect();
                let outcomes = meter.run(db.commit(&[&commit(vec![], mutations)]));
                assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
                meter.run(db.upkeep());
            }
        };
        // A list at this snapshot has all versions stay.
        let none_yet = db.snapshot();
        db.snapshots().lease(1, none_yet, db.now_ms()).expect("a lease");
        write(&|key| {
            let (key, value) = (Blob(key), Blob(&[3, 1]));
            Mutation::Set { key, value, expire_in_ms: Some(EXPIRE_IN_MS), stamp_key: false }
        });
        let expired = Snapshot { time_ms: db.now_ms() + EXPIRE_IN_MS, ..db.snapshot() };
        write(&|key| Mutation::Delete { key: Blob(key) });
        let newer = ("newer", none_yet);
        let cases = [newer, ("expired", expired), ("deleted", db.snapshot())];
        // Tables without anything that old are not read at all.
        for (what, snapshot) in cases.into_iter().skip(usize::from(in_tables)) {
            for reverse in [false, true] {
                let range = Range { start: &[1], end: &[0xff], reverse };
                let (list, list_turns) = turns(&meter, db.list(range, snapshot, |_| true));
                let (count, count_turns) = turns(&meter, db.count(range, snapshot));
                println!("{what}: {list_turns} and {count_turns} turns");
                assert_eq!((list, count), (Ok(true), Ok(0)));
                assert!(list_turns.min(count_turns) >= KEYS / 400, "{what}");
            }
        }
    }
}

#[test]
fn a_long_commit_and_a_batch_of_many_are_taken_in_in_steps() {
    const KEYS: u64 = 20_000;
    let keys: Vec<_> = (0..KEYS).map(place).collect();
    let one = number(1.0);
    let sum = |key| Mutation::Sum { key: Blob(key), value: Blob(&one) };
    let sets = || keys.iter().map(|key| set(key, &one));
    let short = sets().map(|set| vec![set]).collect();
    let cases: [(&str, Vec<Vec<Mutation<'_>>>); 4] = [
        ("one that sets", vec![sets().collect()]),
        ("one that adds", vec![keys.iter().map(|key| sum(key)).collect()]),
        ("one that sets and then adds", vec![sets().chain([sum(&keys[0])]).collect()]),
        ("many that set", short),
    ];
    for (what, mutations) in cases {
        let (db, meter) = open(Options::default());
        let commits: Vec<_> = mutations.into_iter().map(|some| commit(vec![], some)).collect();
        let batch: Vec<_> = commits.iter().collect();
        meter.take();
        let (outcomes, turns) = turns(&meter, db.commit(&batch));
        let work = meter.take();
        println!("{what}: {turns} turns, {work:?}");
        assert!(outcomes.iter().all(Result::is_ok), "{what}: {outcomes:?}");
        let rows = KEYS / Budgets::default().mutations_in_a_row as u64;
        assert!(turns >= rows, "{what}: {turns} turns");
        assert!(work.allocated <= 4_000, "{what}: {work:?}");
    }
}

#[test]
fn a_commit_that_deletes_many_ranges_is_taken_in_in_steps() {
    let (db, meter) = open(Options::default());
    let places: Vec<_> = (0..8_000).map(place).collect();
    let ranges: Vec<_> = places.chunks(2).map(|two| delete_range(&two[0], &two[1])).collect();
    let mut ranges = ranges.into_iter();
    for _ in 0..4 {
        let commit = commit(vec![], ranges.by_ref().take(RANGES_MAX).collect());
        meter.take();
        let (outcomes, turns) = turns(&meter, db.commit(&[&commit]));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let rows = RANGES_MAX / Budgets::default().mutations_in_a_row;
        let work = meter.take();
        println!("{turns} turns, {work:?}");
        assert!(turns >= rows as u64 && work.allocated <= 6_000, "{turns} turns, {work:?}");
    }
}

#[test]
fn a_compaction_gives_way_where_all_is_hidden_by_deleted_ranges() {
    const KEYS: u64 = 20_000;
    let (db, meter) = open(options());
    let rng = Rng::new(9);
    for index in 0..KEYS {
        let (key, value) = (place(index), [&[3][..], &rng.bytes(200)].concat());
        let commit = commit(vec![], vec![set(&key, &value)]);
        assert!(meter.run(db.commit(&[&commit])).iter().all(Result::is_ok));
    }
    meter.run(db.upkeep());
    for start in (0..KEYS).step_by(50) {
        let (start, end) = (place(start), place(start + 50));
        let commit = commit(vec![], vec![delete_range(&start, &end)]);
        assert!(meter.run(db.commit(&[&commit])).iter().all(Result::is_ok));
    }
    meter.take();
    meter.run(db.upkeep());
    let work = meter.take();
    let levels = meter.run(db.stats()).expect("it has figures").levels;
    assert!(levels.iter().all(|(tables, _)| *tables == 0), "{levels:?}");
    println!("{work:?}");
    assert!(work.read <= 256 * KIB && work.calls <= 32, "{work:?}");
}

#[test]
fn ranges_of_keys_as_long_as_a_commit_may_delete_make_no_step_longer_than_their_bytes() {
    let (db, meter) = open(Options::default());
    let stored: Vec<_> = (0..2_000).map(place).collect();
    let commit_of = |mutations| {
        let outcomes = meter.run(db.commit(&[&commit(vec![], mutations)]));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    };
    commit_of(stored.iter().map(|key| set(key, &[3, 1])).collect());
    let rng = Rng::new(10);
    let long = |index: u64| {
        let text: String = rng.bytes(490).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        key(&[&format!("{index:08}"), &text])
    };
    let ranges: Vec<_> = (0..1_000).map(|index| (long(2 * index), long(2 * index + 1))).collect();
    commit_of(ranges.iter().map(|(start, end)| delete_range(start, end)).collect());
    let check = |what: &str| {
        let work = meter.take();
        println!("{what}: {work:?}");
        let most = RANGE_BYTES_MAX as u64 + 128 * KIB;
        assert!(work.read.max(work.written).max(work.flushed) <= most, "{what}: {work:?}");
    };
    check("commit");
    commit_of(vec![set(&stored[0], &[3, 2])]);
    meter.run(db.upkeep());
    let tables = meter.run(db.stats()).expect("it has figures").levels;
    assert!(tables.iter().any(|(tables, _)| *tables > 0), "{tables:?}");
    check("flush");
    assert!(meter.run(db.get(&place(9), db.snapshot())).is_ok_and(|found| found.is_none()));
    check("get");
    let range = Range { start: &[1], end: &[0xff], reverse: false };
    assert_eq!(meter.run(db.count(range, db.snapshot())), Ok(1_000));
    check("count");
    assert_eq!(meter.run(db.verify()).expect("it reads").damaged, 0);
    check("verify");
}

#[test]
fn an_open_has_little_to_do_for_a_range_that_was_deleted_again_and_again() {
    let (db, meter) = open(options());
    let (start, end) = (place(0), place(1));
    let commit = commit(vec![], vec![delete_range(&start, &end)]);
    for _ in 0..40_000 {
        assert!(meter.run(db.commit(&[&commit])).iter().all(Result::is_ok));
    }
    meter.take();
    let storage = db.env().storage().clone();
    let db = reopen(&storage, &meter, options());
    let Work { read, allocated, .. } = meter.take();
    let memory = meter.run(db.stats()).expect("it has figures").memtable_bytes;
    println!("{read} bytes read, {allocated} allocations, {memory} bytes of memory");
    assert!(read <= 1024 * KIB && allocated <= 64_000 && memory <= 256 * KIB);
}

#[test]
fn a_database_is_closed_in_the_midst_of_a_compaction() {
    let (db, meter) = open(options());
    let mut upkeep = Upkeep::new(&db, &meter);
    let rng = Rng::new(5);
    let level0 =
        |db: &Store| meter.run(db.stats()).expect("it is known").levels.first().map_or(0, |l| l.0);
    // Each is written out as soon as it is there, until there are enough to be merged.
    for index in 0.. {
        let key = key(&[&format!("{:08}", index * 7919 % ENTRIES)]);
        let value = [&[3][..], &rng.bytes(100)].concat();
        meter.run(db.commit(&[&commit(vec![], vec![set(&key, &value)])]));
        upkeep.step();
        if level0(&db) >= 4 {
            break;
        }
    }
    (0..4).for_each(|_| upkeep.step());
    assert!(db.wants_upkeep());
    let mut close = pin!(db.close());
    let mut steps = 0;
    while meter.poll(close.as_mut()).is_pending() {
        upkeep.step();
        steps += 1;
    }
    assert!(steps < 10, "{steps} steps of a compaction");
}

#[test]
fn who_has_closed_touches_no_file_any_more() {
    for steps in 0..30 {
        let (db, meter) = open(options());
        let mut upkeep = Upkeep::new(&db, &meter);
        let rng = Rng::new(5);
        for index in 0.. {
            let key = key(&[&format!("{index:08}")]);
            let value = [&[3][..], &rng.bytes(1_000)].concat();
            meter.run(db.commit(&[&commit(vec![], vec![set(&key, &value)])]));
            if db.wants_upkeep() {
                break;
            }
        }
        (0..steps).for_each(|_| upkeep.step());
        let mut close = pin!(db.close());
        while meter.poll(close.as_mut()).is_pending() {
            upkeep.step();
        }
        meter.take();
        upkeep.finish();
        assert_eq!(meter.take().calls, 0, "after {steps} steps of upkeep");
    }
}
