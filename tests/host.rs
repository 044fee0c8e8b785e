//! The host as its clients meet it: frames in, frames out.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::harness::{CLIENT, Harness, decode, put, responses, value_of};
use common::{START_MS, commit, delete, delete_range, frame, key, number, set};
use kvass::env::manual::block_on;
use kvass::error::Code;
use kvass::host::{FLUSH_DELAY_MS, Host};
use kvass::rng::Rng;
use kvass::stamp::Stamp;
use kvass::wire::{
    self, Blob, Change, Changes, Entry, Event, Failure, List, Page, Request, RequestFrame,
    Response, Watch,
};
use std::rc::Rc;

#[test]
fn a_read_sees_the_writes_before_it_in_its_frame_and_not_those_after() {
    let mut harness = Harness::new();
    let (k, one, two) = (key(&["k"]), number(1.0), number(2.0));
    let get = || Request::Get(Blob(&k));
    let answer = harness.send(1, vec![get(), put(&k, &one), get(), put(&k, &two), get()]);
    let answers = responses(&answer);
    assert_eq!(value_of(&answers[0]), None);
    assert_eq!(value_of(&answers[2]), Some(one));
    assert_eq!(value_of(&answers[4]), Some(two));
}

#[test]
fn a_frame_of_a_thousand_commits_is_one_write_and_one_answer() {
    let mut harness = Harness::new();
    let keys: Vec<_> = (0..1_000).map(|index| key(&[&format!("{index:04}")])).collect();
    let one = number(1.0);
    let answer = harness.send(1, keys.iter().map(|key| put(key, &one)).collect());
    let stamps: Vec<_> = responses(&answer)
        .into_iter()
        .map(|response| match response {
            Response::Committed(stamp) => Stamp::from_bytes(stamp),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(stamps.len(), 1_000);
    assert!(stamps.is_sorted_by(|a, b| a < b), "in the order of the calls");
    assert!(harness.posted.borrow().is_empty());
}

#[test]
fn a_list_of_many_pages_is_one_snapshot() {
    let mut harness = Harness::new();
    let keys: Vec<_> = (0..100).map(|index| key(&["p", &format!("{index:03}")])).collect();
    let (one, two) = (number(1.0), number(2.0));
    harness.send(1, keys.iter().map(|key| put(key, &one)).collect());
    let (mut start, end) = (key(&["p"]), key(&["q"]));
    let (mut lease, mut values) = (None, Vec::new());
    loop {
        let list = List {
            start: Blob(&start),
            end: Blob(&end),
            reverse: false,
            limit: 7,
            lease,
            keep: true,
            keys_only: false,
        };
        let answer = harness.send(1, vec![Request::List(list)]);
        let answers = responses(&answer);
        let Response::Page(page) = &answers[0] else { panic!("{answers:?}") };
        let entries = entries(page);
        start = [entries.last().expect("a page is never empty here").0.as_slice(), &[0]].concat();
        values.extend(entries.into_iter().map(|(_, value)| value));
        lease = page.lease;
        assert_eq!(page.lease.is_none(), page.done);
        if page.done {
            break;
        }
        harness.send(1, vec![put(&keys[99], &two), put(&key(&["p", "x"]), &two)]);
    }
    assert_eq!(values, vec![one; 100]);
}

#[test]
fn a_list_that_ends_within_its_page_is_one_snapshot_also_where_the_page_ends_first() {
    let mut harness = Harness::new();
    let (one, two) = ([&[3][..], &[1; 30_000]].concat(), number(2.0));
    let keys: Vec<_> = (0..40).map(|index| key(&["p", &format!("{index:03}")])).collect();
    keys.iter().for_each(|key| drop(harness.send(1, vec![put(key, &one)])));
    let (mut start, end) = (key(&["p"]), key(&["q"]));
    let (mut lease, mut seen, mut pages) = (None, 0, 0);
    while seen < keys.len() {
        // All that is left is asked for, so that no lease seems to be needed.
        let limit = (keys.len() - seen) as u32;
        let (start_of_page, end) = (Blob(&start[..]), Blob(&end[..]));
        let list = List {
            start: start_of_page,
            end,
            reverse: false,
            limit,
            lease,
            keep: false,
            keys_only: false,
        };
        let answer = harness.send(1, vec![Request::List(list)]);
        let answers = responses(&answer);
        let Response::Page(page) = &answers[0] else { panic!("{answers:?}") };
        let entries = entries(page);
        assert!(entries.iter().all(|(_, value)| *value == one), "page {pages}");
        (lease, seen, pages) = (page.lease, seen + entries.len(), pages + 1);
        start = [entries.last().expect("a page is never empty here").0.as_slice(), &[0]].concat();
        keys.iter().for_each(|key| drop(harness.send(1, vec![put(key, &two)])));
    }
    assert!(pages > 1 && lease.is_none(), "{pages} pages");
}

fn entries(page: &Page<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut bytes = page.entries.0;
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let key = kvass::varint::take_bytes(&mut bytes).expect("a key").to_vec();
        bytes = &bytes[10..];
        let value = kvass::varint::take_bytes(&mut bytes).expect("a value").to_vec();
        entries.push((key, value));
    }
    assert_eq!(entries.len(), page.count as usize);
    entries
}

#[test]
fn a_list_goes_on_with_its_lease_or_for_as_long_as_its_snapshot_can_be_read() {
    let mut harness = Harness::new();
    harness.connect(2);
    let keys: Vec<_> = (0..3).map(|index| key(&[&index.to_string()])).collect();
    let one = number(1.0);
    harness.send(1, keys.iter().map(|key| put(key, &one)).collect());
    let list = |lease| {
        let (start, end) = (Blob(&[2]), Blob(&[3]));
        Request::List(List {
            start,
            end,
            reverse: false,
            limit: 1,
            lease,
            keep: true,
            keys_only: false,
        })
    };
    let answer = harness.send(1, vec![list(None)]);
    let answers = responses(&answer);
    let Response::Page(Page { lease: Some(lease), .. }) = answers[0] else { panic!("a lease") };
    let expired = |answer: &[u8]| match &responses(answer)[0] {
        Response::Error(failure) => failure.code == Code::SnapshotExpired as u8,
        _ => false,
    };
    let overwrite = |harness: &mut Harness| harness.send(1, vec![put(&keys[2], &number(2.0))]);
    overwrite(&mut harness);
    assert!(!expired(&harness.send(1, vec![list(Some(lease))])));
    // Another client is granted one of its own, which does not end with this one.
    assert!(!expired(&harness.send(2, vec![list(Some(lease)), Request::Release(lease.id)])));
    harness.host.disconnect(2);
    overwrite(&mut harness);
    assert!(!expired(&harness.send(1, vec![list(Some(lease))])));
    harness.host.db().env().set_now_ms(START_MS + 61_000);
    assert!(!expired(&harness.send(1, vec![list(Some(lease)), Request::Release(lease.id + 2)])));
    overwrite(&mut harness);
    assert!(expired(&harness.send(1, vec![list(Some(lease))])));
}

#[test]
fn a_watch_begins_with_the_present_and_follows_every_commit_to_its_keys() {
    let mut harness = Harness::new();
    let (a, b, one) = (key(&["a"]), key(&["b"]), number(1.0));
    harness.send(1, vec![put(&a, &one)]);
    let watch = Watch { id: 5, keys: vec![Blob(&b), Blob(&a), Blob(&b)] };
    let answer = harness.send(1, vec![Request::Watch(watch)]);
    let frame = decode(&answer);
    let [Event::Watch { id: 5, entries, .. }] = &frame.events[..] else { panic!("{frame:?}") };
    let there: Vec<_> = entries.iter().map(|(place, entry)| (*place, entry.is_some())).collect();
    assert_eq!(there, [(0, false), (1, true), (2, false)]);
    let other = key(&["c"]);
    let answer = harness.send(1, vec![put(&b, &one), put(&other, &one)]);
    let frame = decode(&answer);
    let [Event::Watch { entries, .. }] = &frame.events[..] else { panic!("{frame:?}") };
    assert_eq!(entries.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 2]);
    let answer = harness.send(1, vec![Request::Unsubscribe(5), put(&b, &one)]);
    assert_eq!(decode(&answer).events, []);
}

#[test]
fn a_watch_hears_once_of_each_key_however_many_changes_of_a_commit_touch_it() {
    let mut harness = Harness::new();
    let keys: Vec<_> = (0..1_000).map(|index| key(&[&format!("{index:04}")])).collect();
    let (one, two) = (number(1.0), number(2.0));
    // One of them is watched twice.
    let watched = keys.iter().chain([&keys[500]]).skip(1).map(|key| Blob(key)).collect();
    harness.send(1, vec![Request::Watch(Watch { id: 5, keys: watched })]);
    let (first, last) = (&keys[0], &keys[900]);
    let mut mutations = vec![set(&keys[950], &one), set(&keys[950], &two), delete(&keys[960])];
    mutations.extend((0..998).map(|_| delete_range(first, last)));
    mutations.extend([set(&keys[500], &one), delete_range(&keys[10], &keys[10])]);
    let answer = harness.send(1, vec![Request::Commit(commit(vec![], mutations))]);
    let frame = decode(&answer);
    let [Event::Watch { entries, .. }] = &frame.events[..] else { panic!("{frame:?}") };
    let mut states: Vec<_> = entries
        .iter()
        .map(|(place, entry)| (*place, entry.as_ref().map(|entry| entry.value.to_vec())))
        .collect();
    states.sort();
    let mut wanted: Vec<_> = (0..899).map(|place| (place, None)).collect();
    wanted[499].1 = Some(one.clone());
    wanted.extend([(949, Some(two)), (959, None), (999, Some(one))]);
    assert_eq!(states, wanted);
}

#[test]
fn another_client_hears_of_every_commit_in_order() {
    let mut harness = Harness::new();
    harness.connect(2);
    let (a, z, one) = (key(&["a"]), key(&["z"]), number(1.0));
    let (start, end) = (key(&["a"]), key(&["m"]));
    let ranges = vec![(Blob(&start[..]), Blob(&end[..]))];
    harness.send(2, vec![Request::Changes(Changes { id: 1, ranges, since: None })]);
    let gone = Request::Commit(commit(vec![], vec![delete(&a), set(&z, &one)]));
    harness.send(1, vec![put(&a, &one), put(&z, &one), gone]);
    harness.host.post_all();
    let posted = harness.posted.borrow();
    let [(2, bytes)] = &posted[..] else { panic!("one frame for client 2: {posted:?}") };
    let events = decode(bytes).events;
    let [Event::Changes { changes: first, .. }, Event::Changes { changes: second, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(first, &[Change::Set { key: Blob(&a), value: wire::Value::Inline(Blob(&one)) }]);
    assert_eq!(second, &[Change::Delete { key: Blob(&a) }]);
}

#[test]
fn a_reader_of_changes_hears_of_what_touches_any_of_its_ranges_however_they_lie() {
    let mut harness = Harness::new();
    let (rng, one) = (Rng::new(11), number(1.0));
    let keys: Vec<_> = (0..60).map(|index| key(&[&format!("{index:02}")])).collect();
    let some = || rng.below(60) as usize;
    for id in 0..40 {
        let two_of = || {
            let (a, b) = (some(), some());
            (a.min(b), a.max(b))
        };
        let places: Vec<_> = (0..rng.below(5) + 1).map(|_| two_of()).collect();
        let ranges = places.iter().map(|(a, b)| (Blob(&keys[*a]), Blob(&keys[*b]))).collect();
        harness.send(1, vec![Request::Changes(Changes { id, ranges, since: None })]);
        for _ in 0..30 {
            let (at, (from, to)) = (some(), two_of());
            let in_range = |place: &&(usize, usize)| (place.0..place.1).contains(&at);
            let overlaps = |place: &&(usize, usize)| from < place.1 && place.0 < to;
            let mutations = vec![delete_range(&keys[from], &keys[to]), set(&keys[at], &one)];
            let wanted = [
                places.iter().find(in_range).is_some(),
                from < to && places.iter().filter(|(a, b)| a < b).find(overlaps).is_some(),
            ];
            let answer = harness.send(1, vec![Request::Commit(commit(vec![], mutations))]);
            let frame = decode(&answer);
            let changes = match &frame.events[..] {
                [Event::Changes { changes, .. }] => changes.as_slice(),
                events => {
                    assert_eq!(events, []);
                    &[]
                }
            };
            let is_set = |change: &Change<'_>| matches!(change, Change::Set { .. });
            let told = [changes.iter().any(is_set), changes.iter().any(|one| !is_set(one))];
            assert_eq!(told, wanted, "{places:?}: {at}, {from} to {to}");
        }
        harness.send(1, vec![Request::Unsubscribe(id)]);
    }
}

#[test]
fn an_entry_is_gone_at_its_millisecond_and_watchers_are_told() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let mutation = kvass::wire::Mutation::Set {
        key: Blob(&k),
        value: Blob(&one),
        expire_in_ms: Some(100),
        stamp_key: false,
    };
    let ranges = vec![(Blob(&[1][..]), Blob(&[0xff][..]))];
    let subscribe = Request::Changes(Changes { id: 1, ranges, since: None });
    harness.send(1, vec![subscribe, Request::Commit(commit(vec![], vec![mutation]))]);
    block_on(harness.host.tick());
    assert_eq!(harness.host.db().next_expiry_ms(), START_MS + 100);
    let get = || Request::Get(Blob(&k));
    harness.host.db().env().set_now_ms(START_MS + 99);
    assert_eq!(value_of(&responses(&harness.send(1, vec![get()]))[0]), Some(one.clone()));
    harness.host.db().env().set_now_ms(START_MS + 100);
    assert_eq!(value_of(&responses(&harness.send(1, vec![get()]))[0]), None);
    harness.posted.borrow_mut().clear();
    block_on(harness.host.tick());
    let posted = harness.posted.borrow();
    let events = decode(&posted[0].1).events;
    let [Event::Changes { changes, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(changes, &[Change::Expire { key: Blob(&k) }]);
    assert_eq!(harness.host.db().next_expiry_ms(), u64::MAX);
    assert!(harness.host.next_tick_ms() <= START_MS + 100 + FLUSH_DELAY_MS, "flushed soon too");
}

#[test]
fn an_entry_written_again_does_not_expire_by_its_old_time() {
    let mut harness = Harness::new();
    let (k, one, two) = (key(&["k"]), number(1.0), number(2.0));
    let lasting = |ms, value| {
        Request::Commit(commit(
            vec![],
            vec![kvass::wire::Mutation::Set {
                key: Blob(&k),
                value: Blob(value),
                expire_in_ms: ms,
                stamp_key: false,
            }],
        ))
    };
    harness.send(1, vec![lasting(Some(100), &one), lasting(Some(300), &two)]);
    harness.host.db().env().set_now_ms(START_MS + 200);
    block_on(harness.host.tick());
    assert_eq!(
        value_of(&responses(&harness.send(1, vec![Request::Get(Blob(&k))]))[0]),
        Some(two.clone())
    );
    harness.send(1, vec![lasting(None, &one)]);
    harness.host.db().env().set_now_ms(START_MS + 1_000);
    block_on(harness.host.tick());
    assert_eq!(value_of(&responses(&harness.send(1, vec![Request::Get(Blob(&k))]))[0]), Some(one));
}

#[test]
fn relaxed_commits_are_flushed_a_moment_later() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    block_on(harness.host.tick());
    harness.send(1, vec![put(&k, &one)]);
    assert!(harness.host.db().unflushed());
    let due = harness.host.next_tick_ms();
    assert_eq!(due, START_MS + FLUSH_DELAY_MS);
    harness.host.db().env().set_now_ms(due);
    block_on(harness.host.tick());
    assert!(!harness.host.db().unflushed());
    assert_eq!(harness.host.next_tick_ms(), u64::MAX);
}

#[test]
fn a_malformed_frame_is_a_typed_error_and_changes_nothing() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let whole = frame(CLIENT, 1, vec![put(&k, &one), put(&k, &one)]);
    let refused = |host: &Rc<Host<_>>, bytes: Vec<u8>| {
        block_on(host.clone().frame(1, bytes, Vec::new())).err().map(|error| error.code())
    };
    for length in 0..whole.len() {
        let cut = refused(&harness.host, whole[..length].to_vec());
        assert_eq!(cut, Some(Code::MalformedFrame), "cut at {length}");
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(refused(&harness.host, longer), Some(Code::MalformedFrame));
    let mut of_another = whole.clone();
    of_another[0] ^= 1;
    assert_eq!(refused(&harness.host, of_another), Some(Code::MalformedFrame));
    assert_eq!(harness.host.db().visible().counter, 0, "nothing was committed");
    assert!(harness.host.take_outbox(1).is_none());
    let answer = harness.send(1, vec![Request::Get(Blob(&k))]);
    assert_eq!(value_of(&responses(&answer)[0]), None);
}

#[test]
fn a_frame_of_more_items_than_a_frame_may_hold_is_refused_before_they_are_made() {
    let harness = Harness::new();
    let mut bytes = CLIENT.to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 1]);
    kvass::varint::put(&mut bytes, 2_000_000);
    bytes.resize(bytes.len() + 2_000_000, 8);
    let refused =
        block_on(harness.host.clone().frame(1, bytes, Vec::new())).expect_err("too many requests");
    assert_eq!(refused.code(), Code::MalformedFrame);
}

#[test]
fn random_bytes_and_flipped_frames_never_panic() {
    let mut harness = Harness::new();
    let seed = 42;
    println!("seed {seed}");
    let rng = Rng::new(seed);
    let (k, one) = (key(&["k"]), number(1.0));
    let start = key(&["a"]);
    for round in 0..3_000 {
        let list = List {
            start: Blob(&start),
            end: Blob(&[3]),
            reverse: true,
            limit: 10,
            lease: None,
            keep: true,
            keys_only: false,
        };
        let requests = vec![put(&k, &one), Request::List(list), Request::Get(Blob(&k))];
        let mut bytes = frame(CLIENT, round, requests);
        for _ in 0..1 + rng.below(3) {
            let place = 16 + rng.below(bytes.len() as u64 - 16) as usize;
            bytes[place] ^= 1 << rng.below(8);
        }
        // Whatever it means now, it is answered or refused.
        let _ = block_on(harness.host.clone().frame(1, bytes, Vec::new()));
        harness.host.take_outbox(1);
    }
    harness.connect(3);
    assert_eq!(responses(&harness.send(3, vec![Request::Stats])).len(), 1);
}

#[test]
fn bytes_that_are_no_key_or_value_are_refused_one_by_one() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let requests = vec![
        put(&[0x00, b'E'], &one),
        put(&k, &[99]),
        put(&k, &[2, 1]),
        Request::Get(Blob(&[])),
        put(&k, &one),
    ];
    let answer = harness.send(1, requests);
    let answers = responses(&answer);
    for response in &answers[..4] {
        let Response::Error(Failure { code, .. }) = response else { panic!("{response:?}") };
        assert_eq!(*code, Code::MalformedFrame as u8);
    }
    assert!(matches!(answers[4], Response::Committed(_)));
}

#[test]
fn a_range_that_reaches_below_the_user_keys_shows_none_of_the_engines_own() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let mutation = kvass::wire::Mutation::Set {
        key: Blob(&k),
        value: Blob(&one),
        expire_in_ms: Some(1_000),
        stamp_key: false,
    };
    harness.send(1, vec![Request::Commit(commit(vec![], vec![mutation]))]);
    for reverse in [false, true] {
        let (start, end) = (Blob(&[]), Blob(&[0xff]));
        let list =
            List { start, end, reverse, limit: 10, lease: None, keep: false, keys_only: false };
        let answer = harness.send(1, vec![Request::List(list)]);
        let answers = responses(&answer);
        let Response::Page(page) = &answers[0] else { panic!("{answers:?}") };
        assert_eq!(entries(page), [(k.clone(), one.clone())]);
    }
}

#[test]
fn a_request_past_its_deadline_is_not_carried_out() {
    let harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let frame = RequestFrame {
        client: CLIENT,
        epoch: 0,
        deadline_ms: START_MS - 1,
        acked_through: 0,
        resend_of: 0,
        first: 1,
        requests: vec![put(&k, &one)],
    };
    let bytes = postcard::to_allocvec(&frame).expect("it encodes");
    block_on(harness.host.clone().frame(1, bytes, Vec::new())).expect("it is well-formed");
    let answer = harness.host.take_outbox(1).expect("an answer").bytes;
    let answers = responses(&answer);
    let Response::Error(Failure { code, .. }) = answers[0] else { panic!("{answers:?}") };
    assert_eq!(code, Code::Timeout as u8);
    assert_eq!(harness.host.db().visible().counter, 0);
}

#[test]
fn a_closed_database_answers_closed() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    block_on(harness.host.db().close()).expect("it closes");
    let answer = harness.send(1, vec![put(&k, &one), Request::Get(Blob(&k)), Request::Flush]);
    for response in responses(&answer) {
        let Response::Error(Failure { code, .. }) = response else { panic!("{response:?}") };
        assert_eq!(code, Code::Closed as u8);
    }
}

#[test]
fn an_entry_carries_the_stamp_of_its_commit() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let answer = harness.send(1, vec![put(&k, &one), Request::Get(Blob(&k))]);
    let answers = responses(&answer);
    let Response::Committed(stamp) = answers[0] else { panic!("{answers:?}") };
    let entry = Entry { versionstamp: stamp, value: wire::Value::Inline(Blob(&one)) };
    assert_eq!(answers[1], Response::Entry(Some(entry)));
}

#[test]
fn a_flush_is_not_put_off_by_the_commits_that_follow() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    block_on(harness.host.tick());
    for at_ms in [0, 100, 200] {
        harness.host.db().env().set_now_ms(START_MS + at_ms);
        harness.send(1, vec![put(&k, &one)]);
        assert_eq!(harness.host.next_tick_ms(), START_MS + FLUSH_DELAY_MS);
    }
}

#[test]
fn an_expiry_is_flushed_a_moment_later() {
    let mut harness = Harness::new();
    let (k, one) = (key(&["k"]), number(1.0));
    let (key, value, expire_in_ms) = (Blob(&k[..]), Blob(&one[..]), Some(1_000));
    let lasting = kvass::wire::Mutation::Set { key, value, expire_in_ms, stamp_key: false };
    let requests = vec![Request::Commit(commit(vec![], vec![lasting])), Request::Flush];
    harness.send(1, requests);
    // What was due for the commit finds nothing to do.
    let expiry_ms = START_MS + 1_000;
    harness.host.db().env().set_now_ms(expiry_ms);
    block_on(harness.host.tick());
    assert!(harness.host.db().unflushed());
    let due_ms = harness.host.next_tick_ms();
    assert!(due_ms <= expiry_ms + FLUSH_DELAY_MS, "{} too late", due_ms - expiry_ms);
    harness.host.db().env().set_now_ms(due_ms);
    block_on(harness.host.tick());
    assert!(!harness.host.db().unflushed());
    assert_eq!(harness.host.next_tick_ms(), u64::MAX);
}
