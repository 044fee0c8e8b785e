//! The host over a storage that answers later, as IndexedDB does: what is on its way when
//! something else begins.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, commit, key, number, set};
use kvass::db::{Db, Options};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::{Code, Result};
use kvass::host::{Frame, Host};
use kvass::manifest::FORMAT;
use kvass::rng::Rng;
use kvass::signal::join_all;
use kvass::storage::Durability;
use kvass::storage::simulated::{Call, Fault, SimulatedStorage};
use kvass::wire::{Blob, Changes, Commit, Event, List, PROTOCOL, Page, Request, RequestFrame};
use kvass::wire::{Response, ResponseFrame, Watch};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

const CLIENT: [u8; 16] = [7; 16];

type Answer = Pin<Box<dyn Future<Output = Result<()>>>>;

struct Harness {
    disk: SimulatedStorage,
    host: Rc<Host<ManualEnv<SimulatedStorage>>>,
    frames: Rc<RefCell<Vec<Vec<u8>>>>,
    /// The connections they were for.
    posted_to: Rc<RefCell<Vec<u32>>>,
    sequence: u64,
}

impl Harness {
    /// A host whose storage takes several polls for each call.
    fn new(seed: u64) -> Harness {
        let disk = SimulatedStorage::new(seed);
        let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, seed);
        env.set_turn_polls(2);
        let db = block_on(Db::open(env, Options::default())).expect("a new database opens");
        disk.set_polls_max(5);
        let frames: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
        let posted_to: Rc<RefCell<Vec<u32>>> = Rc::default();
        let (sink, to) = (frames.clone(), posted_to.clone());
        let post = move |id, frame: Frame| {
            to.borrow_mut().push(id);
            sink.borrow_mut().push(frame.bytes);
        };
        let host = Host::new(db, "memory", None, Box::new(post));
        let harness = Harness { disk, host, frames, posted_to, sequence: 0 };
        harness.connect(1);
        harness
    }

    /// Begins a frame, as a message that arrives does: polls it once.
    fn begin(&mut self, requests: Vec<Request<'_>>) -> Answer {
        self.begin_as(1, requests)
    }

    fn connect(&self, id: u32) {
        let mut hello = b"KVSH".to_vec();
        for version in [PROTOCOL, PROTOCOL, FORMAT, FORMAT] {
            hello.extend_from_slice(&version.to_le_bytes());
        }
        hello.extend_from_slice(&CLIENT);
        hello.push(0);
        self.host.connect(id, &hello).expect("a fair hello");
    }

    fn begin_as(&mut self, id: u32, requests: Vec<Request<'_>>) -> Answer {
        let first = self.sequence + 1;
        self.sequence += requests.len() as u64;
        let (epoch, deadline_ms, acked_through, resend_of) = (0, 0, 0, 0);
        let client = CLIENT;
        let frame =
            RequestFrame { client, epoch, deadline_ms, acked_through, resend_of, first, requests };
        let bytes = postcard::to_allocvec(&frame).expect("it encodes");
        let mut answer: Answer = Box::pin(self.host.clone().frame(id, bytes, Vec::new()));
        let polled = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() { Box::pin(async { Ok(()) }) } else { answer }
    }

    /// Runs what was begun to its end.
    fn finish(&self, answers: Vec<Answer>) {
        let all = answers.into_iter().map(|answer| self.host.posting(answer));
        for answered in block_on(join_all(all)) {
            answered.expect("a well-formed frame");
        }
        self.host.post_all();
    }
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Request<'a> {
    Request::Commit(commit(vec![], vec![set(key, value)]))
}

fn decode(bytes: &[u8]) -> ResponseFrame<'_> {
    postcard::from_bytes(bytes).expect("a response frame")
}

#[test]
fn a_watch_that_begins_while_a_commit_is_on_its_way_misses_nothing() {
    for seed in 0..40 {
        let mut harness = Harness::new(seed);
        let (k, other) = (key(&["k"]), key(&["other"]));
        let (one, two) = (number(1.0), number(2.0));
        let write = harness.begin(vec![put(&k, &one)]);
        let keys = vec![Blob(&k[..]), Blob(&other)];
        let watch = harness.begin(vec![Request::Watch(Watch { id: 1, keys })]);
        let later = harness.begin(vec![put(&k, &two)]);
        harness.finish(vec![watch, write, later]);
        let frames = harness.frames.borrow();
        let mut states = vec![];
        for frame in frames.iter() {
            for event in decode(frame).events {
                let Event::Watch { entries, .. } = event else { panic!("{event:?}") };
                let of_k = entries.into_iter().find(|(place, _)| *place == 0);
                states.extend(of_k.map(|(_, entry)| entry.map(|entry| entry.value.to_vec())));
            }
        }
        assert_eq!(states.last(), Some(&Some(two)), "seed {seed}");
        assert!(!states.contains(&None), "seed {seed}: the first write came first");
    }
}

#[test]
fn a_list_whose_large_values_are_still_read_keeps_its_snapshot_for_the_next_page() {
    for seed in 0..40 {
        let mut harness = Harness::new(seed);
        let (large_key, k) = (key(&["a"]), key(&["b"]));
        let (large, one, two) = (vec![3; 40_000], number(1.0), number(2.0));
        let written = harness.begin(vec![put(&large_key, &large), put(&k, &one)]);
        harness.finish(vec![written]);
        let page = |lease, start| {
            let (start, end) = (Blob(start), Blob(&[0xff][..]));
            let (limit, reverse, keep, keys_only) = (1, false, true, false);
            vec![Request::List(List { start, end, reverse, limit, lease, keep, keys_only })]
        };
        let first = harness.begin(page(None, &large_key));
        // The second of them lets go of what nobody needs any more.
        for _ in 0..2 {
            let over = harness.begin(vec![put(&k, &two)]);
            harness.finish(vec![over]);
        }
        harness.finish(vec![first]);
        let replies: Vec<_> = harness.frames.take();
        let mut replies = replies.iter().flat_map(|frame| decode(frame).replies);
        let lease = replies.find_map(|reply| match reply.response {
            Response::Page(Page { lease, .. }) => lease,
            _ => None,
        });
        let next = harness.begin(page(lease, &k));
        harness.finish(vec![next]);
        let replies = harness.frames.take();
        let Response::Page(page) = &decode(&replies[0]).replies[0].response else {
            panic!("{replies:?}")
        };
        assert_eq!((page.count, page.entries.ends_with(&one)), (1, true), "seed {seed}");
    }
}

#[test]
fn strict_commits_that_wait_together_share_a_flush() {
    let mut harness = Harness::new(1);
    let keys: Vec<_> = (0..8).map(|index| key(&[&index.to_string()])).collect();
    let one = number(1.0);
    let strict = || {
        let strict = Some(Durability::Strict);
        let commits = keys.iter().map(|key| commit(vec![], vec![set(key, &one)]));
        commits.map(|commit| Request::Commit(Commit { durability: strict, ..commit })).collect()
    };
    harness.connect(2);
    // Two clients, because one client's frames wait for each other.
    let first = harness.begin(strict());
    let second = harness.begin_as(2, strict());
    harness.finish(vec![first, second]);
    let stats = block_on(harness.host.db().stats()).expect("it has a size");
    assert_eq!((stats.commits, stats.flushes), (16, 1));
    assert!(!harness.host.db().unflushed());
}

#[test]
fn however_many_flushes_a_frame_asks_for_all_of_them_end() {
    let mut harness = Harness::new(1);
    let (k, one) = (key(&["k"]), number(1.0));
    let flushes = std::iter::repeat_with(|| Request::Flush).take(200);
    let answer = harness.begin([put(&k, &one)].into_iter().chain(flushes).collect());
    harness.finish(vec![answer]);
    assert_eq!(harness.frames.borrow().iter().flat_map(|frame| decode(frame).replies).count(), 201);
    assert!(!harness.host.db().unflushed());
}

#[test]
fn the_commits_of_many_frames_share_appends() {
    let mut harness = Harness::new(1);
    let keys: Vec<_> = (0..100).map(|index| key(&[&index.to_string()])).collect();
    let one = number(1.0);
    harness.disk.inject(Some(Call::Write), 10, Fault::Fail(Code::Io));
    let answers = keys.iter().map(|key| harness.begin(vec![put(key, &one)])).collect();
    harness.finish(answers);
    for reply in harness.frames.borrow().iter().flat_map(|frame| decode(frame).replies) {
        let committed = matches!(reply.response, Response::Committed(_));
        assert!(committed, "{reply:?}: there were more than ten writes for 100 commits");
    }
    assert_eq!(harness.host.db().visible().counter, 100);
}

#[test]
fn the_frames_of_one_client_take_effect_in_order() {
    for seed in 0..40 {
        let mut harness = Harness::new(seed);
        let k = key(&["k"]);
        let values: Vec<_> = (0..6).map(|index| number(f64::from(index))).collect();
        let mut answers = Vec::new();
        for value in &values {
            answers.push(harness.begin(vec![put(&k, value)]));
            answers.push(harness.begin(vec![Request::Get(Blob(&k))]));
        }
        answers.reverse();
        harness.finish(answers);
        let frames = harness.frames.borrow();
        let mut read = Vec::new();
        for reply in frames.iter().flat_map(|frame| decode(frame).replies) {
            if let Response::Entry(entry) = reply.response {
                let value = entry.expect("it was written before").value.to_vec();
                read.push((reply.sequence, value));
            }
        }
        read.sort();
        for ((_, found), written) in read.iter().zip(&values) {
            assert!(found >= written, "seed {seed}: a read before the write it follows");
        }
        assert_eq!(read.len(), values.len());
    }
}

#[test]
fn changes_tell_of_the_commits_after_the_one_that_they_begin_with_and_of_no_other() {
    const LATER: u32 = 6;
    for seed in 0..40 {
        let mut harness = Harness::new(seed);
        let (k, one) = (key(&["k"]), number(1.0));
        let changes = |id| {
            let ranges = vec![(Blob(&[1][..]), Blob(&[0xff][..]))];
            vec![Request::Changes(Changes { id, ranges, since: None })]
        };
        let first = harness.begin(changes(1));
        harness.finish(vec![first]);
        let write = harness.begin(vec![put(&k, &one)]);
        // It waits for its turn to be appended, and those that come meanwhile go with it.
        harness.connect(3);
        let waiting = harness.begin_as(3, vec![put(&k, &one)]);
        // As another client, which does not wait for the writes.
        harness.connect(2);
        let second = harness.begin_as(2, changes(2));
        let asked = harness.sequence;
        let later = harness.begin(vec![put(&k, &one)]);
        let mut under_way = vec![second, write, waiting, later];
        for id in 4..4 + LATER {
            harness.connect(id);
            under_way.push(harness.begin_as(id, vec![put(&k, &one)]));
        }
        // What is asked first is not always what is taken up first.
        if seed % 2 == 0 {
            under_way.reverse();
        }
        harness.finish(under_way);
        let (mut begins, mut told) = (None, vec![]);
        for frame in harness.frames.borrow().iter() {
            let frame = decode(frame);
            for reply in frame.replies.into_iter().filter(|reply| reply.sequence == asked) {
                let Response::Committed(stamp) = reply.response else { panic!("{reply:?}") };
                begins = Some(stamp);
            }
            for event in frame.events {
                let Event::Changes { id, versionstamp, .. } = event else { panic!("{event:?}") };
                let is_early = id == 2 && begins.is_none();
                assert!(!is_early, "seed {seed}: an event before it is said where they begin");
                told.extend((id == 2).then_some(versionstamp));
            }
        }
        let begins = begins.expect("it was answered");
        assert!(told.iter().all(|stamp| *stamp > begins), "seed {seed}");
        assert_eq!(told.len(), 1 + LATER as usize, "seed {seed}: the later commits");
    }
}

#[test]
fn a_subscriber_that_catches_up_misses_nothing_and_hears_nothing_twice() {
    for seed in 0..30 {
        let mut harness = Harness::new(seed);
        let rng = Rng::new(seed);
        let (k, large) = (key(&["k"]), [&[3][..], &vec![1; 30_000]].concat());
        let puts = |count| (0..count).map(|_| put(&k, &large)).collect::<Vec<_>>();
        let first = harness.begin(puts(1));
        harness.finish(vec![first]);
        let before = harness.begin(puts(20 + rng.below(20)));
        harness.finish(vec![before]);
        harness.connect(2);
        let ranges = vec![(Blob(&[1][..]), Blob(&[0xff][..]))];
        let since = Some(stamps_of(&harness, &[])[0]);
        // Some commits are on their way when it subscribes, and between its pages.
        let mut under_way = vec![harness.begin(puts(1 + rng.below(3)))];
        let changes = Request::Changes(Changes { id: 1, ranges, since });
        let mut asked = vec![harness.sequence + 1];
        under_way.push(harness.begin_as(2, vec![changes]));
        loop {
            if rng.one_in(2) {
                under_way.push(harness.begin(puts(1 + rng.below(3))));
            }
            if rng.one_in(2) {
                under_way.reverse();
            }
            harness.finish(std::mem::take(&mut under_way));
            let is_behind = harness.frames.borrow().iter().any(|frame| {
                let mut replies = decode(frame).replies.into_iter();
                replies.any(|reply| {
                    asked.last() == Some(&reply.sequence) && reply.response == Response::Done
                })
            });
            if !is_behind {
                break;
            }
            asked.push(harness.sequence + 1);
            under_way.push(harness.begin_as(2, vec![Request::More(1)]));
        }
        let last = harness.begin(puts(3));
        harness.finish(vec![last]);
        let mut told = vec![];
        for frame in harness.frames.borrow().iter() {
            for event in decode(frame).events {
                let Event::Changes { versionstamp, .. } = event else { panic!("{event:?}") };
                told.push(versionstamp);
            }
        }
        let mut committed = stamps_of(&harness, &asked);
        committed.sort_unstable();
        assert_eq!(told, committed[1..], "seed {seed}");
        assert!(asked.len() > 1, "seed {seed}: more than a page");
    }
}

#[test]
fn who_is_slow_has_not_missed_what_was_decided_before_it_listened() {
    let mut overlaps = 0;
    for seed in 0..20 {
        let mut harness = Harness::new(seed);
        harness.connect(2);
        let (k, one) = (key(&["k"]), number(1.0));
        let ranges = || vec![(Blob(&[1][..]), Blob(&[0xff][..]))];
        let changes = |id| Request::Changes(Changes { id, ranges: ranges(), since: None });
        // Somebody listens, so that commits on their way are told of.
        let first = harness.begin(vec![changes(1)]);
        harness.finish(vec![first]);
        let write = harness.begin(vec![put(&k, &one)]);
        overlaps += u32::from(harness.host.db().visible() < harness.host.db().assigned());
        harness.host.stall(2, true);
        let begun = harness.begin_as(2, vec![changes(2)]);
        harness.finish(vec![begun, write]);
        harness.host.stall(2, false);
        harness.host.post_all();
        for frame in harness.frames.borrow().iter() {
            for event in decode(frame).events {
                assert!(matches!(event, Event::Changes { id: 1, .. }), "seed {seed}: {event:?}");
            }
        }
    }
    assert!(overlaps > 0, "a commit is on its way");
}

#[test]
fn a_watch_of_a_slow_client_hears_of_what_it_missed_after_its_first_state() {
    let mut overlaps = 0;
    for seed in 0..20 {
        let mut harness = Harness::new(seed);
        harness.connect(2);
        let (k, one, large) = (key(&["k"]), number(1.0), vec![3; 40_000]);
        let written = harness.begin(vec![put(&k, &large)]);
        harness.finish(vec![written]);
        harness.frames.borrow_mut().clear();
        // Its first state takes a while to read.
        let watch = Request::Watch(Watch { id: 2, keys: vec![Blob(&k)] });
        let watch = harness.begin_as(2, vec![watch]);
        overlaps += u32::from(harness.host.take_outbox(2).is_none());
        harness.host.stall(2, true);
        let missed = harness.begin(vec![put(&k, &one)]);
        harness.finish(vec![missed]);
        harness.host.stall(2, false);
        harness.finish(vec![watch]);
        let frames = harness.frames.borrow();
        let events: Vec<_> = frames.iter().flat_map(|frame| decode(frame).events).collect();
        let [Event::Watch { id: 2, .. }, Event::Lagged { id: 2, missed: 1, .. }] = &events[..]
        else {
            panic!("seed {seed}: {events:?}")
        };
    }
    assert_eq!(overlaps, 20);
}

#[test]
fn a_connection_that_closes_late_ends_nothing_of_the_next_one_of_its_number() {
    for seed in 0..20 {
        let mut harness = Harness::new(seed);
        harness.connect(2);
        let (a, b, one) = (key(&["a"]), key(&["b"]), number(1.0));
        let written = harness.begin(vec![put(&a, &one), put(&b, &one)]);
        harness.finish(vec![written]);
        // It flushes first, and another comes in its place meanwhile.
        let close = harness.begin_as(2, vec![Request::Close]);
        harness.connect(2);
        let (start, end, lease) = (Blob(&a[..]), Blob(&[0xff][..]), None);
        let (limit, reverse, keep, keys_only) = (1, false, true, false);
        let list = List { start, end, reverse, limit, lease, keep, keys_only };
        let page = harness.begin_as(2, vec![Request::List(list)]);
        harness.finish(vec![page]);
        harness.finish(vec![close]);
        assert!(!harness.host.db().snapshots().is_unused(START_MS), "seed {seed}");
    }
}

#[test]
fn the_next_connection_of_a_number_is_not_sent_the_answers_of_the_one_before() {
    for seed in 0..3 {
        let mut harness = Harness::new(seed);
        harness.connect(2);
        let (a, large, one) = (key(&["a"]), vec![3; 1 << 20], number(1.0));
        let written = harness.begin(vec![put(&a, &large)]);
        harness.finish(vec![written]);
        // More than is gathered for one frame, and a commit, which is carried out.
        let reads = (0..8).map(|_| Request::Get(Blob(&a)));
        let under_way = harness.begin_as(2, reads.chain([put(&a, &one)]).collect());
        harness.connect(2);
        harness.finish(vec![under_way]);
        assert!(!harness.posted_to.borrow().contains(&2), "seed {seed}");
        let db = harness.host.db();
        let found = block_on(db.get(&a, db.snapshot())).expect("it reads");
        assert_eq!(found.map(|(_, value)| value.to_vec()), Some(one));
    }
}

/// The stamps of all commits that were answered; `asked` are the sequences of other requests.
fn stamps_of(harness: &Harness, asked: &[u64]) -> Vec<[u8; 10]> {
    let mut stamps = vec![];
    for frame in harness.frames.borrow().iter() {
        let replies = decode(frame).replies.into_iter();
        for reply in replies.filter(|reply| !asked.contains(&reply.sequence)) {
            let Response::Committed(stamp) = reply.response else { panic!("{reply:?}") };
            stamps.push(stamp);
        }
    }
    stamps
}

#[test]
fn what_a_connection_has_asked_for_ends_with_it_but_for_its_commits() {
    for seed in 0..40 {
        let mut harness = Harness::new(seed);
        harness.connect(2);
        let (a, b, one) = (key(&["a"]), key(&["b"]), number(1.0));
        let large = vec![3; 40_000];
        let written = harness.begin(vec![put(&a, &large), put(&b, &one)]);
        harness.finish(vec![written]);
        harness.posted_to.borrow_mut().clear();
        let (start, end) = (Blob(&a[..]), Blob(&[0xff][..]));
        let (limit, reverse, keep, keys_only, lease) = (1, false, true, false, None);
        let list = || List { start, end, reverse, limit, lease, keep, keys_only };
        let ranges = || vec![(start, end)];
        let under_way = vec![
            harness.begin_as(2, vec![put(&key(&["c"]), &one)]),
            harness.begin_as(2, vec![Request::List(list()), Request::Verify]),
            harness.begin_as(2, vec![Request::Watch(Watch { id: 1, keys: vec![Blob(&a)] })]),
            harness.begin_as(
                2,
                vec![Request::Changes(Changes { id: 2, ranges: ranges(), since: None })],
            ),
            harness.begin_as(2, vec![put(&key(&["d"]), &one), Request::List(list())]),
        ];
        harness.host.disconnect(2);
        // Another one may have its number by then.
        harness.connect(2);
        harness.finish(under_way);
        let last = harness.begin(vec![put(&b, &one)]);
        harness.finish(vec![last]);
        let db = harness.host.db();
        assert!(db.snapshots().is_unused(START_MS), "seed {seed}");
        assert!(!harness.posted_to.borrow().contains(&2), "seed {seed}");
        for name in ["c", "d"] {
            let found = block_on(db.get(&key(&[name]), db.snapshot())).expect("it reads");
            assert!(found.is_some(), "seed {seed}: {name}");
        }
    }
}

#[test]
fn a_read_waits_for_the_commits_of_no_other_client() {
    let mut harness = Harness::new(1);
    harness.connect(2);
    let (a, b, one) = (key(&["a"]), key(&["b"]), number(1.0));
    let written = harness.begin(vec![put(&a, &one)]);
    harness.finish(vec![written]);
    let busy: Vec<_> = (0..1_000).map(|_| harness.begin(vec![put(&b, &one)])).collect();
    harness.frames.borrow_mut().clear();
    drop(harness.begin_as(2, vec![Request::Get(Blob(&a))]));
    let answer = harness.host.take_outbox(2).expect("it is answered at once").bytes;
    assert!(matches!(decode(&answer).replies[0].response, Response::Entry(Some(_))));
    // A commit waits for those that came before it, and shares what they write.
    let own = harness.begin_as(2, vec![put(&a, &one)]);
    harness.disk.inject(Some(Call::Write), 4, Fault::Fail(Code::Io));
    harness.finish(busy.into_iter().chain([own]).collect());
    let frames = harness.frames.borrow();
    let replies = frames.iter().flat_map(|frame| decode(frame).replies);
    let (done, others): (Vec<_>, Vec<_>) =
        replies.partition(|reply| matches!(reply.response, Response::Committed(_)));
    assert_eq!((done.len(), others), (1_001, vec![]), "more than four writes");
}

#[test]
fn a_frame_of_many_reads_and_a_read_of_many_keys_give_way_to_others() {
    let mut harness = Harness::new(1);
    harness.disk.set_polls_max(0);
    let keys: Vec<_> = (0..1_000).map(|index| key(&[&index.to_string()])).collect();
    let one = number(1.0);
    let written = harness.begin(keys.iter().map(|key| put(key, &one)).collect());
    harness.finish(vec![written]);
    harness.frames.take();
    harness.host.db().env().set_slice_used_up(true);
    let gets = keys.iter().map(|key| Request::Get(Blob(key))).collect();
    let many = Request::GetMany(keys.iter().map(|key| Blob(key)).collect());
    for (requests, answers) in [(gets, keys.len()), (vec![many], 1)] {
        let (mut answer, mut turns) = (harness.begin(requests), 1);
        let mut context = Context::from_waker(Waker::noop());
        while answer.as_mut().poll(&mut context).is_pending() {
            turns += 1;
        }
        assert!(turns >= keys.len() / 100, "{turns} turns");
        harness.host.post_all();
        let frames = harness.frames.take();
        let replies = frames.iter().map(|frame| decode(frame).replies.len()).sum::<usize>();
        assert_eq!(replies, answers);
    }
}

#[test]
fn a_frame_of_many_commits_gives_way_to_others() {
    let mut harness = Harness::new(1);
    harness.connect(2);
    harness.disk.set_polls_max(0);
    harness.host.db().env().set_slice_used_up(true);
    let keys: Vec<_> = (0..1_000).map(|index| key(&[&index.to_string()])).collect();
    let one = number(1.0);
    let mut answer = harness.begin(keys.iter().map(|key| put(key, &one)).collect());
    let (mut turns, mut context) = (1, Context::from_waker(Waker::noop()));
    while answer.as_mut().poll(&mut context).is_pending() {
        turns += 1;
        drop(harness.begin_as(2, vec![Request::Get(Blob(&keys[0]))]));
        assert!(harness.host.take_outbox(2).is_some(), "it is answered at once");
    }
    assert!(turns >= 4, "{turns} turns");
    let answers = harness.host.take_outbox(1).expect("it is answered").bytes;
    let mut replies = decode(&answers).replies.into_iter();
    assert!(replies.all(|reply| matches!(reply.response, Response::Committed(_))));
    assert_eq!(harness.host.db().visible().counter, keys.len() as u64);
}

#[test]
fn reads_that_give_way_see_nothing_of_what_their_client_writes_later() {
    let mut harness = Harness::new(1);
    harness.disk.set_polls_max(0);
    harness.host.db().env().set_slice_used_up(true);
    let (k, one, two) = (key(&["k"]), number(1.0), number(2.0));
    let written = harness.begin(vec![put(&k, &one)]);
    harness.finish(vec![written]);
    harness.frames.take();
    let read = || [Request::Get(Blob(&k)), Request::GetMany(vec![Blob(&k)])];
    let reads = harness.begin((0..500).flat_map(|_| read()).collect());
    let write = harness.begin(vec![put(&k, &two)]);
    harness.finish(vec![write, reads]);
    let frames = harness.frames.take();
    let mut found = 0;
    for reply in frames.iter().flat_map(|frame| decode(frame).replies) {
        let value = match reply.response {
            Response::Entry(entry) => entry.map(|entry| entry.value.to_vec()),
            Response::Entries(entries) => entries[0].as_ref().map(|entry| entry.value.to_vec()),
            _ => continue,
        };
        assert_eq!(value, Some(one.clone()));
        found += 1;
    }
    assert_eq!(found, 1_000);
}
