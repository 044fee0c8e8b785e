//! Page and host agree on the bytes of frames: these are tests/vectors/frames.json, which
//! tests/client/wire.test.ts holds the page to. After a change of the protocol, write them anew:
//! `KVASS_WRITE_VECTORS=1 cargo test --test wire_vectors`.

#![allow(clippy::expect_used, reason = "a test that fails may panic")]

use kvass::external::External;
use kvass::storage::Durability;
use kvass::wire::hello::{self, Hello};
use kvass::wire::{
    self, Blob, Change, Changes, Check, Commit, Damage, Entry, Event, Failure, FileKind, Lease,
    List, Mutation, Page, Reply, Request, RequestFrame, Response, ResponseFrame, Stats, Status,
    Verified, Watch,
};
use serde_json::{Value, json};

const CLIENT: [u8; 16] = [0x11; 16];
const EPOCH: u32 = 7;
const DATABASE: [u8; 16] = [9; 16];
const STAMP: [u8; 10] = [0, 0, 0, 7, 0, 0, 0, 0, 1, 0x2c];
const STAMP_HEX: &str = "0000000700000000012c";

const LEASE: Lease = Lease { id: 300, stamp: STAMP, time_ms: 1_700_000_000_000 };

/// The keys `["a"]` and `["b"]`; the values `"x"`, `KvU64` 5 and the number 1.
const A: Blob<'_> = Blob(b"\x02a\x00");
const B: Blob<'_> = Blob(b"\x02b\x00");
const TEXT: Blob<'_> = Blob(b"\x01\x61x");
const U64: Blob<'_> = Blob(b"\x02\x05\x00\x00\x00\x00\x00\x00\x00");
const NUMBER: Blob<'_> = Blob(b"\x04\x00\x00\x00\x00\x00\x00\xf0\x3f");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a page sends when it calls what `name` says on a new connection, or, from `first` 2 on,
/// after one answered call.
fn request(name: &str, first: u64, requests: Vec<Request<'_>>) -> Value {
    request_with(name, first, requests, &[])
}

/// The same with attachments.
fn request_with(name: &str, first: u64, requests: Vec<Request<'_>>, large: &[External]) -> Value {
    let client = CLIENT;
    let frame = RequestFrame {
        client,
        epoch: EPOCH,
        deadline_ms: 0,
        acked_through: first - 1,
        resend_of: 0,
        first,
        requests,
    };
    let bytes = postcard::to_allocvec(&frame).expect("encodes");
    assert_eq!(RequestFrame::decode(&bytes, large).expect("decodes"), frame, "{name}");
    let large = attachments(large);
    json!({ "name": name, "direction": "request", "hex": hex(&bytes), "attachments": large })
}

/// A frame of the host, and what the page reads: bytes in hex, integers in decimal.
fn response(name: &str, replies: Vec<Response<'_>>, events: Vec<Event<'_>>, value: Value) -> Value {
    let replies = (1..).zip(replies).map(|(sequence, response)| Reply { sequence, response });
    let frame = ResponseFrame { epoch: EPOCH, replies: replies.collect(), events };
    let bytes = postcard::to_allocvec(&frame).expect("encodes");
    let mut large = Vec::new();
    frame.replies.iter().for_each(|reply| reply.response.attach_to(&mut large));
    frame.events.iter().for_each(|event| event.attach_to(&mut large));
    let (hex, large) = (hex(&bytes), attachments(&large));
    json!({ "name": name, "direction": "response", "hex": hex, "attachments": large,
        "value": value })
}

/// Attachments as the vectors have them: their first byte, of which they are full, and length.
fn attachments(large: &[External]) -> Vec<Value> {
    let shown = large.iter().map(|bytes| json!({ "byte": bytes.first(), "length": bytes.len() }));
    shown.collect()
}

fn large(byte: u8, len: usize) -> External {
    External::from(&vec![byte; len][..])
}

fn one_commit(mutation: Mutation<'_>, durability: Option<Durability>) -> Request<'_> {
    Request::Commit(Commit { checks: vec![], mutations: vec![mutation], durability })
}

fn set(expire_in_ms: Option<u64>, stamp_key: bool) -> Mutation<'static> {
    Mutation::Set { key: A, value: TEXT, expire_in_ms, stamp_key }
}

fn list<'a>(start: &'a [u8], end: &'a [u8], lease: Option<Lease>) -> List<'a> {
    let (start, end) = (Blob(start), Blob(end));
    List { start, end, reverse: false, limit: 100, lease, keep: true, keys_only: false }
}

fn lease_json() -> Value {
    json!({ "id": "300", "versionstamp": STAMP_HEX, "timeMs": "1700000000000" })
}

fn reads() -> Vec<Value> {
    let (start, end) = (b"\x02a\x00\x00", b"\x02a\x00\xff");
    let reverse = List { limit: 5, keep: false, reverse: true, ..list(&A, &B, None) };
    let keys = List { keys_only: true, ..list(start, end, None) };
    let next = List { limit: 400, ..list(b"\x02a\x00\x02z\x00\x00", end, Some(LEASE)) };
    vec![
        request("get", 1, vec![Request::Get(A)]),
        request(
            "three gets in one microtask",
            1,
            vec![Request::Get(A), Request::Get(B), Request::Get(A)],
        ),
        request("getMany", 1, vec![Request::GetMany(vec![A, B])]),
        request("list of a prefix", 1, vec![Request::List(list(start, end, None))]),
        request("list of five in reverse", 1, vec![Request::List(reverse)]),
        request("list of keys", 1, vec![Request::List(keys)]),
        request("count", 1, vec![Request::Count(A, B)]),
        request("second page of a list", 2, vec![Request::List(next)]),
        request("list left early", 2, vec![Request::Release(300)]),
    ]
}

fn writes() -> Vec<Value> {
    let atomic = Commit {
        checks: vec![
            Check { key: A, versionstamp: Some(STAMP) },
            Check { key: B, versionstamp: None },
        ],
        mutations: vec![
            set(None, false),
            Mutation::Delete { key: B },
            Mutation::Sum { key: A, value: U64 },
            Mutation::Min { key: A, value: U64 },
            Mutation::Max { key: A, value: U64 },
            Mutation::Sum { key: B, value: NUMBER },
            Mutation::DeleteRange { start: A, end: B },
        ],
        durability: None,
    };
    let expiring = one_commit(set(Some(60_000), false), Some(Durability::Strict));
    let delete = one_commit(Mutation::Delete { key: A }, Some(Durability::Strict));
    let (start, end) = (Blob(b"\x02a\x00\x00"), Blob(b"\x02a\x00\xff"));
    let delete_range = Mutation::DeleteRange { start, end };
    let long = Blob(&[3; 200]);
    let mutation = Mutation::Set { key: A, value: long, expire_in_ms: None, stamp_key: false };
    vec![
        request("set", 1, vec![one_commit(set(None, false), None)]),
        request_with("set of 32 KiB", 1, vec![one_commit(attached(), None)], &[large(3, 32_768)]),
        request("set with expireIn, strict", 1, vec![expiring]),
        request("set with a versionstamp in its key", 1, vec![one_commit(set(None, true), None)]),
        request("set of 199 bytes", 1, vec![one_commit(mutation, None)]),
        request("delete, strict", 1, vec![delete]),
        request("delete of a range", 1, vec![one_commit(delete_range, None)]),
        request("atomic", 1, vec![Request::Commit(atomic)]),
    ]
}

fn others() -> Vec<Value> {
    let watch = Request::Watch(Watch { id: 1, keys: vec![A, B] });
    let everything = vec![(Blob(b"\x00"), Blob(b"\xff"))];
    let ranges = vec![(Blob(b"\x02a\x00\x00"), Blob(b"\x02a\x00\xff")), (A, B)];
    vec![
        request("watch", 1, vec![watch]),
        request(
            "changes",
            1,
            vec![Request::Changes(Changes { id: 1, ranges: everything, since: None })],
        ),
        request(
            "changes of two ranges",
            1,
            vec![Request::Changes(Changes { id: 1, ranges, since: None })],
        ),
        request(
            "changes since a commit",
            1,
            vec![Request::Changes(Changes { id: 1, ranges: vec![(A, B)], since: Some(STAMP) })],
        ),
        request("more changes", 2, vec![Request::More(1)]),
        request("watch left", 2, vec![Request::Unsubscribe(1)]),
        request("flush", 1, vec![Request::Flush]),
        request("stats", 1, vec![Request::Stats]),
        request("status", 1, vec![Request::Status]),
        request("close", 1, vec![Request::Close]),
        request("verify", 1, vec![Request::Verify]),
    ]
}

/// A set whose value travels beside the frame.
fn attached() -> Mutation<'static> {
    let value = large(3, 32_768);
    Mutation::SetLarge { key: A, kind: 3, value, expire_in_ms: None, stamp_key: false }
}

fn large_entry(byte: u8) -> Entry<'static> {
    Entry { versionstamp: STAMP, value: wire::Value::Attached(3, large(byte, 5)) }
}

fn large_json(byte: u8) -> Value {
    json!({ "kind": "3", "payload": hex(&[byte; 5]) })
}

fn entry() -> Entry<'static> {
    Entry { versionstamp: STAMP, value: wire::Value::Inline(TEXT) }
}

fn entry_json() -> Value {
    json!({ "versionstamp": STAMP_HEX, "value": hex(&TEXT) })
}

/// A frame of one answer.
fn reply(name: &str, reply: Response<'_>, value: Value) -> Value {
    let replies = json!([{ "sequence": "1", "response": value }]);
    let value = json!({ "epoch": "7", "replies": replies, "events": [] });
    response(name, vec![reply], vec![], value)
}

/// Answers whose values travel beside the frame.
fn large_replies() -> Vec<Value> {
    let mut large_rows = vec![3];
    large_rows.extend_from_slice(&A);
    large_rows.extend_from_slice(&STAMP);
    large_rows.extend_from_slice(&[0, 1, 6]);
    let large_page = Page {
        done: false,
        lease: Some(LEASE),
        count: 1,
        entries: Blob(&large_rows),
        attached: vec![large(4, 6)],
    };
    vec![
        reply(
            "large entries",
            Response::Entries(vec![Some(large_entry(1)), Some(entry()), Some(large_entry(2))]),
            json!({ "type": "entries", "entries": [
                { "versionstamp": STAMP_HEX, "value": large_json(1) },
                entry_json(),
                { "versionstamp": STAMP_HEX, "value": large_json(2) },
            ] }),
        ),
        reply(
            "page with a large value",
            Response::Page(large_page),
            json!({ "type": "page", "done": false, "lease": lease_json(), "count": "1",
                "entries": hex(&large_rows), "attached": [hex(&[4; 6])] }),
        ),
    ]
}

fn replies() -> Vec<Value> {
    let mut rows = vec![3];
    rows.extend_from_slice(&A);
    rows.extend_from_slice(&STAMP);
    rows.push(3);
    rows.extend_from_slice(&TEXT);
    let page = Page {
        done: false,
        lease: Some(LEASE),
        count: 1,
        entries: Blob(&rows),
        attached: Vec::new(),
    };
    vec![
        reply(
            "error",
            Response::Error(Failure { code: 7, message: "Falsche Zahl – 數" }),
            json!({ "type": "error", "failure": { "code": "7", "message": "Falsche Zahl – 數" } }),
        ),
        reply("no entry", Response::Entry(None), json!({ "type": "entry", "entry": null })),
        reply(
            "entry",
            Response::Entry(Some(entry())),
            json!({ "type": "entry", "entry": entry_json() }),
        ),
        reply(
            "entries",
            Response::Entries(vec![Some(entry()), None]),
            json!({ "type": "entries", "entries": [entry_json(), null] }),
        ),
        reply(
            "page",
            Response::Page(page),
            json!({ "type": "page", "done": false, "lease": lease_json(), "count": "1",
                "entries": hex(&rows), "attached": [] }),
        ),
        reply(
            "committed",
            Response::Committed(STAMP),
            json!({ "type": "committed", "versionstamp": STAMP_HEX }),
        ),
        reply(
            "check failed",
            Response::CheckFailed(2),
            json!({ "type": "checkFailed", "check": "2" }),
        ),
        reply("done", Response::Done, json!({ "type": "done" })),
    ]
}

fn figures() -> Vec<Value> {
    let stats = Stats {
        entries: 150_000,
        disk_bytes: 9_007_199_254_740_991,
        commits: 128,
        cache_hits: 127,
        cache_misses: 3,
        cache_bytes: 4096,
        memtable_bytes: 5,
        wal_bytes: 6,
        flushes: 7,
        levels: vec![(2, 300), (1, 70_000)],
        memory_bytes: 1_048_576,
    };
    let stats_json = json!({
        "entries": "150000", "diskBytes": "9007199254740991", "commits": "128",
        "cacheHits": "127", "cacheMisses": "3", "cacheBytes": "4096", "memtableBytes": "5",
        "walBytes": "6", "flushes": "7", "memoryBytes": "1048576",
        "levels": [{ "tables": "2", "bytes": "300" }, { "tables": "1", "bytes": "70000" }],
    });
    let status = |durability, reason, failure| Status {
        storage: "indexeddb",
        durability,
        epoch: EPOCH,
        format: 1,
        reason,
        failure,
    };
    let status_json = |durability: &str, reason: Value, failure: Value| {
        json!({ "type": "status", "status": { "storage": "indexeddb", "durability": durability,
            "epoch": "7", "format": "1", "reason": reason, "failure": failure } })
    };
    let failure = Failure { code: 5, message: "short write" };
    let failure_json = json!({ "code": "5", "message": "short write" });
    let value = json!({ "epoch": "7", "events": [], "replies": [
        { "sequence": "1", "response": { "type": "stats", "stats": stats_json } },
        { "sequence": "2", "response": status_json("relaxed", Value::Null, Value::Null) },
        { "sequence": "3", "response": status_json("strict", "no OPFS".into(), failure_json) },
    ] });
    let replies = vec![
        Response::Stats(stats),
        Response::Status(status(Durability::Relaxed, None, None)),
        Response::Status(status(Durability::Strict, Some("no OPFS"), Some(failure))),
    ];
    vec![response("stats and status", replies, vec![], value)]
}

fn verified() -> Vec<Value> {
    let damage = vec![
        Damage { kind: FileKind::Table, file: 7, offset: 4096, message: "a block" },
        Damage { kind: FileKind::Log, file: 300, offset: 9_007_199_254_740_991, message: "–" },
    ];
    let verified = Verified { files: 200, bytes: 1 << 40, damaged: 3, damage };
    let json = json!({ "files": "200", "bytes": "1099511627776", "damaged": "3", "damage": [
        { "kind": "table", "file": "7", "offset": "4096", "message": "a block" },
        { "kind": "log", "file": "300", "offset": "9007199254740991", "message": "–" },
    ] });
    let value = json!({ "epoch": "7", "events": [], "replies": [
        { "sequence": "1", "response": { "type": "verified", "verified": json } },
    ] });
    let counted = json!({ "epoch": "7", "events": [], "replies": [
        { "sequence": "1", "response": { "type": "counted", "count": "1099511627776" } },
    ] });
    vec![
        response("verified", vec![Response::Verified(verified)], vec![], value),
        response("counted", vec![Response::Counted(1 << 40)], vec![], counted),
    ]
}

fn events() -> Vec<Value> {
    let watch =
        Event::Watch { id: 1, versionstamp: STAMP, entries: vec![(0, Some(entry())), (300, None)] };
    let changes = Event::Changes {
        id: 2,
        versionstamp: STAMP,
        changes: vec![
            Change::Set { key: A, value: wire::Value::Inline(TEXT) },
            Change::Delete { key: B },
            Change::Expire { key: A },
            Change::DeleteRange { start: A, end: B },
        ],
    };
    let value = json!({ "epoch": "7", "replies": [], "events": [
        { "type": "watch", "id": "1", "versionstamp": STAMP_HEX, "entries": [
            { "place": "0", "entry": entry_json() }, { "place": "300", "entry": null } ] },
        { "type": "changes", "id": "2", "versionstamp": STAMP_HEX, "changes": [
            { "type": "set", "key": hex(&A), "value": hex(&TEXT) },
            { "type": "delete", "key": hex(&B) },
            { "type": "expire", "key": hex(&A) },
            { "type": "deleteRange", "start": hex(&A), "end": hex(&B) } ] },
        { "type": "lagged", "id": "300", "versionstamp": STAMP_HEX, "missed": "70000" },
    ] });
    let lagged = Event::Lagged { id: 300, versionstamp: STAMP, missed: 70_000 };
    vec![response("events", vec![], vec![watch, changes, lagged], value)]
}

fn greetings() -> Vec<Value> {
    // With an empty build, so that the vectors stay when the version of the package changes.
    let mut welcome = hello::welcome(1, 2, EPOCH, &DATABASE);
    welcome.truncate(12);
    welcome.push(0);
    welcome.extend(DATABASE);
    let database = hex(&DATABASE);
    let value = json!({ "protocol": "1", "format": "2", "epoch": "7", "database": database });
    vec![json!({ "name": "welcome", "direction": "welcome", "hex": hex(&welcome), "value": value })]
}

#[test]
fn frames_have_the_bytes_that_the_page_reads_and_writes() {
    let groups = [
        reads(),
        writes(),
        others(),
        replies(),
        large_replies(),
        figures(),
        verified(),
        events(),
        greetings(),
    ];
    let vectors: Vec<String> =
        groups.iter().flatten().map(|vector| format!("  {vector}")).collect();
    let text = format!("[\n{}\n]\n", vectors.join(",\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/frames.json");
    if std::env::var_os("KVASS_WRITE_VECTORS").is_some() {
        std::fs::write(path, &text).expect("written");
    }
    let stored = std::fs::read_to_string(path).expect("tests/vectors/frames.json");
    assert_eq!(stored, text, "the protocol changed: is that meant?");
}

#[test]
fn the_host_reads_the_hello_of_the_page() {
    // As client/wire/hello.ts writes it.
    let mut bytes = b"KVSH\x03\x00\x03\x00\x02\x00\x02\x00".to_vec();
    bytes.extend_from_slice(&CLIENT);
    bytes.extend_from_slice(b"\x050.1.0");
    let expected = Hello { protocol: (3, 3), format: (2, 2), client: CLIENT };
    assert_eq!(Hello::decode(&bytes).expect("a hello"), expected);
}
