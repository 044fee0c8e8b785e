//! Large values on the wire: they travel beside their frames, in the order in which those speak of
//! them, and a frame that comes without them changes nothing.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, commit, frame, key};
use kvass::db::{Db, Options};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::Code;
use kvass::external::External;
use kvass::host::{Frame, Host};
use kvass::limits::{PAGE_BYTES, REPLY_BYTES};
use kvass::manifest::FORMAT;
use kvass::storage::memory::MemoryStorage;
use kvass::wire::{
    Blob, Entry, Event, Failure, Lease, List, Mutation, PROTOCOL, Request, Response, ResponseFrame,
    Value, Watch,
};
use std::cell::RefCell;
use std::rc::Rc;

const CLIENT: [u8; 16] = [7; 16];

struct Harness {
    host: Rc<Host<ManualEnv<MemoryStorage>>>,
    /// What was too much to wait for the end of its frame.
    posted: Rc<RefCell<Vec<Frame>>>,
    sequence: u64,
}

impl Harness {
    fn new() -> Harness {
        let env = ManualEnv::new(Rc::new(MemoryStorage::new()), START_MS, 1);
        let db = block_on(Db::open(env, Options::default())).expect("a new database opens");
        let posted = Rc::<RefCell<Vec<_>>>::default();
        let sink = posted.clone();
        let post = Box::new(move |_, frame| sink.borrow_mut().push(frame));
        let host = Host::new(db, "memory", None, post);
        let versions = [PROTOCOL, PROTOCOL, FORMAT, FORMAT].map(u16::to_le_bytes).concat();
        let hello = [&b"KVSH"[..], &versions, &CLIENT, &[0]].concat();
        host.connect(1, &hello).expect("a fair hello");
        Harness { host, posted, sequence: 0 }
    }

    fn encode(&mut self, requests: Vec<Request<'_>>) -> Vec<u8> {
        let first = self.sequence + 1;
        self.sequence += requests.len() as u64;
        frame(CLIENT, first, requests)
    }

    fn send(&mut self, requests: Vec<Request<'_>>, large: Vec<External>) -> Frame {
        let bytes = self.encode(requests);
        block_on(self.host.clone().frame(1, bytes, large)).expect("a well-formed frame");
        let posted = self.posted.borrow_mut().pop();
        posted.or_else(|| self.host.take_outbox(1)).expect("every request is answered")
    }

    /// Sets `k` with its number to `len` bytes of it.
    fn set(&mut self, n: u8, len: usize) {
        let (k, large) = (name(n), payload(n, len));
        let frame = self.send(vec![set(&k, &large)], vec![large.clone()]);
        let frame = decode(&frame);
        assert!(matches!(frame.replies[0].response, Response::Committed(_)), "{frame:?}");
    }
}

fn name(n: u8) -> Vec<u8> {
    key(&["k", &n.to_string()])
}

fn payload(n: u8, len: usize) -> External {
    External::from(&vec![n; len][..])
}

fn set<'a>(key: &'a [u8], value: &External) -> Request<'a> {
    let (key, value) = (Blob(key), value.clone());
    let set = Mutation::SetLarge { key, kind: 3, value, expire_in_ms: None, stamp_key: false };
    Request::Commit(commit(vec![], vec![set]))
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Request<'a> {
    Request::Commit(commit(vec![], vec![common::set(key, value)]))
}

fn decode(frame: &Frame) -> ResponseFrame<'_> {
    postcard::from_bytes(&frame.bytes).expect("a response frame")
}

fn list(lease: Option<Lease>, start: &[u8]) -> Request<'_> {
    let (start, end, reverse, limit) = (Blob(start), Blob(&[0xff]), false, 100);
    Request::List(List { start, end, reverse, limit, lease, keep: true, keys_only: false })
}

#[test]
fn a_large_value_travels_beside_its_frame_both_ways() {
    let mut harness = Harness::new();
    for (n, len) in [(1, 40_000), (2, 300_000)] {
        harness.set(n, len);
    }
    let keys = [name(2), name(3), name(1)];
    let keys = keys.iter().map(|key| Blob(key)).collect();
    let frame = harness.send(vec![Request::GetMany(keys)], vec![]);
    assert!(frame.bytes.len() < 100, "{} bytes", frame.bytes.len());
    assert_eq!(frame.attachments, [payload(2, 300_000), payload(1, 40_000)]);
    let frame = decode(&frame);
    let Response::Entries(entries) = &frame.replies[0].response else { panic!("{frame:?}") };
    let shown = entries.iter().map(|entry| match entry {
        Some(Entry { value: Value::Attached(kind, payload), .. }) => (*kind, payload.len()),
        _ => (0, 0),
    });
    assert_eq!(shown.collect::<Vec<_>>(), [(3, 300_000), (0, 0), (3, 40_000)]);
}

#[test]
fn what_many_keys_have_travels_beside_the_frame_past_a_bound() {
    let mut harness = Harness::new();
    let value = |n: u8, len: usize| {
        let kind = if n.is_multiple_of(2) { 3 } else { 5 };
        [&[kind, 0][..], &vec![n.max(1); len]].concat()
    };
    for n in 0..100 {
        harness.send(vec![put(&name(n), &value(n, 30_000))], vec![]);
        harness.send(vec![put(&key(&["s", &n.to_string()]), &value(n, 10))], vec![]);
    }
    let long: Vec<_> = (0..1_000).map(|n| name((n % 100) as u8)).collect();
    let short: Vec<_> = (0..1_000).map(|n| key(&["s", &(n % 100).to_string()])).collect();
    let asked = |keys: &[Vec<u8>]| {
        let keys = keys.iter().map(|key| Blob(key)).collect();
        harness.send(vec![Request::GetMany(keys)], vec![])
    };
    let frames = [&long[..], &short, &[&long[..], &short].concat()].map(asked);
    for (frame, len) in frames.iter().zip([30_000, 10, 0]) {
        assert!(frame.bytes.len() < REPLY_BYTES + 50_000, "{} bytes", frame.bytes.len());
        let frame = decode(frame);
        let Response::Entries(entries) = &frame.replies[0].response else { panic!("{frame:?}") };
        for (n, entry) in (0..1_000).zip(entries).take_while(|_| len > 0) {
            let entry = entry.as_ref().expect("every key has a value");
            assert!(entry.value.to_vec().starts_with(&value((n % 100) as u8, 0)));
        }
        assert_eq!(entries.len(), if len > 0 { 1_000 } else { 2_000 });
    }
    let attached = frames.each_ref().map(|frame| frame.attachments.len());
    assert!(attached[0] > 800 && attached[1] == 0 && attached[2] > 800, "{attached:?}");
    assert!(frames[0].attachments.iter().all(|value| value.len() == 30_001));

    let keys: Vec<_> = long.iter().map(|key| Blob(key)).collect();
    let frame = harness.send(vec![Request::Watch(Watch { id: 1, keys })], vec![]);
    assert!(frame.bytes.len() < REPLY_BYTES + 50_000, "{} bytes", frame.bytes.len());
}

#[test]
fn attachments_that_a_frame_does_not_speak_of_rightly_are_malformed_and_change_nothing() {
    let mut harness = Harness::new();
    let (a, b) = (name(1), name(2));
    let (one, two) = (payload(1, 40_000), payload(2, 50_000));
    let wrong = [
        vec![],
        vec![one.clone()],
        vec![two.clone(), one.clone()],
        vec![one.clone(), one.clone()],
        vec![one.clone(), two.clone(), one.clone()],
        vec![one.clone(), payload(2, 49_999)],
    ];
    for large in wrong {
        let bytes = harness.encode(vec![set(&a, &one), set(&b, &two)]);
        let refused = block_on(harness.host.clone().frame(1, bytes, large));
        assert_eq!(refused.expect_err("it is malformed").code(), Code::MalformedFrame);
    }
    for kind in [0, 2, 4, 5, 6] {
        let (key, value) = (Blob(&a), one.clone());
        let set = Mutation::SetLarge { key, kind, value, expire_in_ms: None, stamp_key: false };
        let request = Request::Commit(commit(vec![], vec![set]));
        let frame = harness.send(vec![request], vec![one.clone()]);
        let frame = decode(&frame);
        let Response::Error(Failure { code, .. }) = frame.replies[0].response else {
            panic!("{frame:?}")
        };
        assert_eq!(code, Code::MalformedFrame as u8);
    }
    assert_eq!(harness.host.db().visible().counter, 0);
}

#[test]
fn a_page_ends_once_its_large_values_are_much_and_always_has_one() {
    let mut harness = Harness::new();
    for (n, len) in [(1, 2 * PAGE_BYTES), (2, PAGE_BYTES / 2), (3, PAGE_BYTES / 2), (4, 40_000)] {
        harness.set(n, len);
    }
    let mut sizes = Vec::new();
    let (mut lease, mut start) = (None, vec![1]);
    loop {
        let frame = harness.send(vec![list(lease, &start)], vec![]);
        sizes.push(frame.attachments.iter().map(|large| large.len()).collect::<Vec<_>>());
        start = [name(frame.attachments.last().expect("it has one")[0]), vec![0]].concat();
        let frame = decode(&frame);
        let Response::Page(page) = &frame.replies[0].response else { panic!("{frame:?}") };
        if page.done {
            break;
        }
        lease = page.lease;
    }
    let half = PAGE_BYTES / 2;
    assert_eq!(sizes, [vec![2 * PAGE_BYTES], vec![half, half], vec![40_000]]);
}

#[test]
fn a_list_of_keys_and_a_count_bring_no_large_value_along() {
    let mut harness = Harness::new();
    for n in 1..4 {
        harness.set(n, 40_000);
    }
    let (start, end) = (Blob(&[1]), Blob(&[0xff]));
    let Request::List(list) = list(None, &[1]) else { panic!("it is a list") };
    let keys = Request::List(List { keys_only: true, ..list });
    let frame = harness.send(vec![keys, Request::Count(start, end)], vec![]);
    assert_eq!(frame.attachments, []);
    let frame = decode(&frame);
    let replies: Vec<_> = frame.replies.iter().map(|reply| &reply.response).collect();
    let [Response::Page(page), Response::Counted(3)] = &replies[..] else { panic!("{frame:?}") };
    assert_eq!((page.count, page.done), (3, true));
}

#[test]
fn those_who_watch_get_large_values_beside_the_event() {
    let mut harness = Harness::new();
    let k = name(1);
    harness.send(vec![Request::Watch(Watch { id: 1, keys: vec![Blob(&k), Blob(&k)] })], vec![]);
    let large = payload(9, 40_000);
    let frame = harness.send(vec![set(&k, &large)], vec![large.clone()]);
    assert_eq!(frame.attachments, [large.clone(), large]);
    let frame = decode(&frame);
    assert!(matches!(&frame.events[..], [Event::Watch { entries, .. }] if entries.len() == 2));
}
