//! Many clients of one host: none disturbs the others, whatever it sends and however it ends.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::harness::{CLIENT, Harness, decode, hello, put, responses, value_of};
use common::{START_MS, Store, frame, key, number, tiny_options};
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::host::Host;
use kvass::sessions::Origin;
use kvass::stamp::Stamp;
use kvass::wire::{Blob, Changes, Event, List, PROTOCOL, Request, RequestFrame, Response, Watch};

#[test]
fn client_and_host_without_a_common_protocol_say_so() {
    let harness = Harness::new();
    let error =
        harness.host.connect(9, &hello(PROTOCOL + 1, PROTOCOL + 2)).expect_err("a newer client");
    assert_eq!(error.code(), Code::VersionMismatch);
    for length in 0..hello(PROTOCOL, PROTOCOL).len() {
        let error =
            harness.host.connect(9, &hello(PROTOCOL, PROTOCOL)[..length]).expect_err("cut short");
        assert_eq!(error.code(), Code::MalformedFrame);
    }
    harness.host.connect(9, &hello(PROTOCOL, PROTOCOL)).expect("a fair hello");
}

#[test]
fn a_client_that_closes_keeps_answers_it_has_not_heard_and_the_others_go_on() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (k, one) = (key(&["k"]), number(1.0));
    let watch = Request::Watch(Watch { id: 1, keys: vec![Blob(&k)] });
    harness.send(1, vec![put(&k, &one), put(&key(&["l"]), &one), watch]);
    let (start, end) = (Blob(&[1]), Blob(&[0xff]));
    let list =
        List { start, end, reverse: false, limit: 1, lease: None, keep: true, keys_only: false };
    harness.send(1, vec![Request::List(list)]);
    let db = harness.host.db().clone();
    assert!(db.unflushed() && !db.snapshots().is_unused(START_MS));
    assert_eq!(responses(&harness.send(1, vec![Request::Close])), [Response::Done]);
    assert!(!db.unflushed() && db.snapshots().is_unused(START_MS));
    let origin = Origin { client: CLIENT, first: 1, acked_through: 0, resend_of: 0 };
    assert!(matches!(db.sessions().answer(&origin, 1), Some(Ok(_))), "it may ask the next host");
    let answer = harness.send(2, vec![put(&k, &one), Request::Get(Blob(&k))]);
    assert_eq!(value_of(&responses(&answer)[1]), Some(one));
    assert!(harness.host.take_outbox(1).is_none(), "its watch has ended");
}

#[test]
fn a_frame_for_the_host_of_another_epoch_does_nothing() {
    let harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let own = harness.host.db().epoch();
    for (epoch, is_taken) in [(own + 1, false), (own - 1, true), (own, true), (9, false)] {
        let (deadline_ms, acked_through, resend_of, first) = (0, 0, 0, u64::from(epoch) + 1);
        let requests = vec![put(&k, &one), Request::Get(Blob(&k))];
        let frame = RequestFrame {
            client: CLIENT,
            epoch,
            deadline_ms,
            acked_through,
            resend_of,
            first,
            requests,
        };
        let before = harness.host.db().visible();
        let bytes = postcard::to_allocvec(&frame).expect("it encodes");
        block_on(harness.host.clone().frame(1, bytes, Vec::new())).expect("it is well-formed");
        assert_eq!(harness.host.take_outbox(1).is_some(), is_taken, "epoch {epoch}, {own}");
        assert_eq!(harness.host.db().visible() > before, is_taken);
    }
}

fn subscribe(id: u32) -> Request<'static> {
    let ranges = vec![(Blob(b"\x02a"), Blob(b"\x02m"))];
    Request::Changes(Changes { id, ranges, since: None })
}

#[test]
fn a_slow_client_hears_of_how_much_it_missed_and_then_of_what_follows() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (a, z, one) = (key(&["a"]), key(&["z"]), number(1.0));
    let watch = Request::Watch(Watch { id: 7, keys: vec![Blob(&z)] });
    harness.send(2, vec![subscribe(1), watch, put(&a, &one)]);
    harness.host.stall(2, true);
    for _ in 0..100 {
        harness.send(1, vec![put(&a, &one), put(&a, &one)]);
        assert!(harness.host.take_outbox(2).is_none(), "nothing gathers");
    }
    let last = harness.host.db().visible();
    harness.send(1, vec![put(&z, &one), put(&key(&["n"]), &one)]);
    let answer = harness.send(2, vec![Request::Get(Blob(&a))]);
    assert_eq!(value_of(&responses(&answer)[0]), Some(one.clone()), "it is still answered");
    harness.host.stall(2, false);
    harness.send(1, vec![put(&a, &one)]);
    let frame = harness.host.take_outbox(2).expect("events").bytes;
    let [first, second, Event::Changes { id: 1, versionstamp, .. }] = &decode(&frame).events[..]
    else {
        panic!("{:?}", decode(&frame).events)
    };
    let versionstamp_of = |stamp: Stamp| stamp.to_bytes();
    let missed = Event::Lagged { id: 1, versionstamp: versionstamp_of(last), missed: 200 };
    assert_eq!(*first, missed);
    assert_eq!(
        *second,
        Event::Lagged { id: 7, versionstamp: versionstamp_of(last.next()), missed: 1 }
    );
    assert_eq!(*versionstamp, harness.host.db().visible().to_bytes());
    harness.host.stall(2, true);
    harness.host.stall(2, false);
    assert!(harness.host.take_outbox(2).is_none(), "it missed nothing");
}

#[test]
fn a_slow_client_that_catches_up_reads_of_all_commits_all_the_same() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (a, one) = (key(&["a"]), number(1.0));
    harness.send(1, (0..10).map(|_| put(&a, &one)).collect());
    harness.host.stall(2, true);
    let ranges = vec![(Blob(&[1][..]), Blob(&[0xff][..]))];
    let since = Some(Stamp::ZERO.to_bytes());
    let frame = harness.send(2, vec![Request::Changes(Changes { id: 1, ranges, since })]);
    assert_eq!(decode(&frame).events.len(), 10);
    harness.send(1, vec![put(&a, &one)]);
    harness.host.stall(2, false);
    let frame = harness.host.take_outbox(2).expect("an event").bytes;
    assert!(matches!(decode(&frame).events[..], [Event::Lagged { id: 1, missed: 1, .. }]));
}

#[test]
fn commits_that_come_between_the_pages_of_one_that_catches_up_are_read_and_not_missed() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (a, large) = (key(&["a"]), [&[3][..], &vec![1; 30_000]].concat());
    harness.send(1, (0..20).map(|_| put(&a, &large)).collect());
    let ranges = vec![(Blob(&[1][..]), Blob(&[0xff][..]))];
    let since = Some(Stamp::ZERO.to_bytes());
    let frame = harness.send(2, vec![Request::Changes(Changes { id: 1, ranges, since })]);
    assert_eq!(responses(&frame), [Response::Done], "there is more than a page");
    let mut told = decode(&frame).events.len();
    harness.host.stall(2, true);
    harness.send(1, vec![put(&a, &large), put(&a, &large)]);
    harness.host.stall(2, false);
    assert!(harness.host.take_outbox(2).is_none(), "it missed nothing");
    loop {
        let frame = harness.send(2, vec![Request::More(1)]);
        told += decode(&frame).events.len();
        if responses(&frame) != [Response::Done] {
            break;
        }
    }
    assert_eq!(told, 22);
}

#[test]
fn a_watch_that_is_refused_leaves_its_number_to_another_and_hears_of_nothing() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (a, one) = (key(&["a"]), number(1.0));
    let watch = |keys| Request::Watch(Watch { id: 1, keys });
    let refused = harness.send(2, vec![watch(vec![Blob(&a), Blob(&[0xff])])]);
    assert!(matches!(responses(&refused)[..], [Response::Error(_)]));
    harness.send(1, vec![put(&a, &one)]);
    assert!(harness.host.take_outbox(2).is_none());
    let begun = harness.send(2, vec![watch(vec![Blob(&a)])]);
    assert_eq!(responses(&begun), [Response::Done]);
    harness.send(1, vec![put(&a, &one)]);
    let frame = harness.host.take_outbox(2).expect("an event").bytes;
    assert!(matches!(decode(&frame).events[..], [Event::Watch { id: 1, .. }]));
}

#[test]
fn the_answers_to_a_frame_leave_in_parts_where_they_are_many_bytes() {
    const PART_BYTES: usize = 4 * 1024 * 1024;
    let mut harness = Harness::new();
    let (a, value) = (key(&["a"]), [&[3][..], &vec![1; 30_000]].concat());
    harness.send(1, vec![put(&a, &value)]);
    let last = harness.send(1, (0..400).map(|_| Request::Get(Blob(&a))).collect());
    let mut answers = 0;
    for frame in harness.posted.borrow().iter().map(|(_, frame)| frame).chain([&last]) {
        assert!(frame.len() <= PART_BYTES + 2 * value.len(), "{} bytes", frame.len());
        answers += responses(frame).len();
    }
    assert_eq!(answers, 400);
}

#[test]
fn subscriptions_are_known_by_their_numbers_whatever_order_those_come_in() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (a, one) = (key(&["a"]), number(1.0));
    let begun = responses(&harness.send(2, [7, 2, 9, 4].map(subscribe).into())).len();
    assert_eq!(begun, 4);
    let again = harness.send(2, vec![subscribe(4), Request::More(9), Request::More(3)]);
    assert!(matches!(
        responses(&again)[..],
        [Response::Error(_), Response::Committed(_), Response::Error(_)]
    ));
    let end = |id| Request::Unsubscribe(id);
    harness.send(2, vec![end(2), end(3), end(9), subscribe(1), end(9)]);
    harness.send(1, vec![put(&a, &one)]);
    let frame = harness.host.take_outbox(2).expect("events").bytes;
    let told: Vec<u32> = decode(&frame)
        .events
        .iter()
        .map(|event| match event {
            Event::Changes { id, .. } => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [1, 4, 7]);
}

#[test]
fn who_still_listens_is_told_however_many_others_have_ended() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (keys, one): (Vec<_>, _) =
        ((0..300).map(|n| key(&[&n.to_string()])).collect(), number(1.0));
    let watch = |n: u32| Request::Watch(Watch { id: n, keys: vec![Blob(&keys[n as usize])] });
    harness.send(2, vec![subscribe(999)]);
    let told = |harness: &mut Harness, n: u32| {
        harness.send(1, vec![put(&keys[n as usize], &one)]);
        harness.host.take_outbox(2).is_some()
    };
    // In no order of their keys, so often that what is wanted is gathered anew.
    for n in (0..1_200).map(|n| n * 7 % 300) {
        harness.send(2, vec![Request::Unsubscribe(n), watch(n)]);
        assert!(told(&mut harness, n), "{n}");
        harness.send(2, vec![Request::Unsubscribe(n)]);
        assert!(!told(&mut harness, n), "{n} has ended");
        if n % 5 == 0 {
            harness.send(2, vec![watch(n)]);
            assert!(told(&mut harness, n), "{n} again");
        }
    }
    (0..300).for_each(|n| assert_eq!(told(&mut harness, n), n % 5 == 0, "{n}"));
    harness.send(1, vec![put(&key(&["a"]), &one)]);
    assert!(harness.host.take_outbox(2).is_some(), "a reader of changes");
}

#[test]
fn one_connection_of_many_ends_without_disturbing_the_others() {
    let mut harness = Harness::new();
    let (a, one) = (key(&["a"]), number(1.0));
    (2..1_002).for_each(|id| harness.connect(id));
    for id in 2..1_002 {
        harness.send(id, vec![subscribe(id), Request::Get(Blob(&a))]);
    }
    for id in (2..1_002).step_by(2) {
        // What one of them sends or is called makes no difference to the others.
        let refused = block_on(harness.host.clone().frame(id, vec![id as u8; 40], Vec::new()));
        assert_eq!(refused.map_err(|error| error.code()), Err(Code::MalformedFrame));
        assert!(harness.host.connect(id, b"KVSH").is_err());
        harness.host.disconnect(id);
        harness.host.disconnect(id);
    }
    harness.connect(3);
    harness.send(1, vec![put(&a, &one)]);
    harness.host.post_all();
    let told: Vec<u32> = harness.posted.borrow().iter().map(|(id, _)| *id).collect();
    assert_eq!(told, (5..1_002).step_by(2).collect::<Vec<_>>(), "but for 3, which began anew");
    let before_hello = block_on(harness.host.clone().frame(2, Vec::new(), Vec::new()));
    assert!(before_hello.is_err());
}

#[test]
fn a_frame_past_the_last_sequence_is_refused_and_the_database_opens_again() {
    let mut store = Store::open_in_memory(tiny_options(), 1);
    let (k, one) = (key(&["k"]), number(1.0));
    let values: Vec<_> = (0..100).map(|n| (key(&["n", &n.to_string()]), vec![1; 30])).collect();
    let mut outcomes = Vec::new();
    for (first, count) in [(u64::MAX, 0), (u64::MAX, 1), (u64::MAX - 1, 1), (u64::MAX - 9, 10)] {
        let host = Host::new(store.db.clone(), "memory", None, Box::new(|_, _| ()));
        host.connect(1, &hello(PROTOCOL, PROTOCOL)).expect("a fair hello");
        let bytes = frame(CLIENT, first, (0..count).map(|_| put(&k, &one)).collect());
        let outcome = block_on(host.clone().frame(1, bytes, Vec::new()));
        outcomes.push(outcome.map_err(|error| error.code()));
        // What is kept of a client's commits goes into the manifest with a flush.
        for (key, value) in &values {
            let set = common::commit(vec![], vec![common::set(key, value)]);
            block_on(host.db().commit(&[&set])).pop().expect("an answer").expect("it commits");
        }
        block_on(host.upkeep());
        store.reopen();
    }
    assert_eq!(outcomes, vec![Err(Code::MalformedFrame); 4]);
}
