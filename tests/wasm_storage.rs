//! OPFS and IndexedDB in a browser: the suite of all back ends, and what is special about each.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/browser.rs"]
mod browser;
#[path = "common/storage_suite.rs"]
mod storage_suite;

use browser::{OPEN_DIRECTORY, OPEN_INDEXEDDB, javascript, opfs, sleep, write_number};
use js_sys::{Function, Reflect};
use kvass::db::{Db, Options};
use kvass::error::{Code, Error, Result};
use kvass::storage::{Durability, FileNo, Storage};
use kvass::wasm::env::WebEnv;
use kvass::wasm::indexeddb::IndexedDb;
use kvass::wasm::opfs::{HANDLES_MAX, Opfs, check_written};
use kvass::wasm::storage::{Wanted, WebStorage};
use kvass::wire::{Blob, Commit, Mutation};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

// Synchronous access handles exist in dedicated workers only.
wasm_bindgen_test_configure!(run_in_dedicated_worker);

const RELAXED: Durability = Durability::Relaxed;
const STRICT: Durability = Durability::Strict;

/// Names that no file system takes as they are.
const ODD_NAMES: [&str; 11] =
    ["", " ", ".", "..", "a/b", "a\\b", "%", "con", "A", "a\u{0}b", "käse 🧀"];

#[wasm_bindgen(module = "/target/worker/indexeddb.js")]
extern "C" {
    #[wasm_bindgen(thread_local_v2, js_name = connectionTo)]
    static CONNECTION_TO: Function;
}

async fn indexeddb(name: &str) -> Result<IndexedDb> {
    IndexedDb::open(name, &OPEN_INDEXEDDB.with(Function::clone)).await
}

async fn auto(name: &str) -> Result<WebStorage> {
    let open_indexeddb = OPEN_INDEXEDDB.with(Function::clone);
    let open_directory = OPEN_DIRECTORY.with(Function::clone);
    let opened = WebStorage::open(name, Wanted::Auto, &open_directory, &open_indexeddb).await;
    opened.map(|(storage, _)| storage)
}

struct OpfsOpener(String);

impl storage_suite::Opener for OpfsOpener {
    type Storage = Opfs;

    async fn open(&self) -> Opfs {
        opfs(&self.0).await.unwrap()
    }

    fn persists(&self) -> bool {
        true
    }
}

struct IndexedDbOpener(String);

impl storage_suite::Opener for IndexedDbOpener {
    type Storage = IndexedDb;

    async fn open(&self) -> IndexedDb {
        indexeddb(&self.0).await.unwrap()
    }

    fn persists(&self) -> bool {
        true
    }
}

#[wasm_bindgen_test]
async fn opfs_does_what_every_storage_has_to_do() {
    storage_suite::run(|name| OpfsOpener(name.into())).await;
}

#[wasm_bindgen_test]
async fn indexeddb_does_what_every_storage_has_to_do() {
    storage_suite::run(|name| IndexedDbOpener(name.into())).await;
}

fn code<T>(outcome: Result<T>) -> Option<Code> {
    outcome.err().map(|error| error.code())
}

/// What a future returns when it is polled once, if it does.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn read_number<S: Storage>(storage: &S, file: FileNo) -> Option<FileNo> {
    let mut bytes = [0; 4];
    (storage.read(file, 0, &mut bytes).await.unwrap() == 4).then(|| FileNo::from_le_bytes(bytes))
}

async fn opens_with_odd_names<S: Storage, F: Future<Output = Result<S>>>(open: fn(String) -> F) {
    for (index, name) in ODD_NAMES.iter().enumerate() {
        let storage = open(name.to_string()).await.unwrap();
        storage.write(0, 0, &[index as u8], STRICT).await.unwrap();
        storage.close().await.unwrap();
    }
    for (index, name) in ODD_NAMES.iter().enumerate() {
        let storage = open(name.to_string()).await.unwrap();
        let mut byte = [0xff];
        storage.read(0, 0, &mut byte).await.unwrap();
        assert_eq!(usize::from(byte[0]), index, "{name:?} is a database of its own");
        storage.close().await.unwrap();
    }
}

#[wasm_bindgen_test]
async fn opfs_takes_any_name() {
    opens_with_odd_names(|name| async move { opfs(&name).await }).await;
    assert_eq!(code(opfs(&"x".repeat(256)).await), Some(Code::TooLarge));
}

#[wasm_bindgen_test]
async fn indexeddb_takes_any_name() {
    opens_with_odd_names(|name| async move { indexeddb(&name).await }).await;
}

#[wasm_bindgen_test]
async fn opfs_that_is_open_is_busy_and_its_owner_goes_on() {
    let first = opfs("busy").await.unwrap();
    first.adopt(&[]).await.unwrap();
    assert_eq!(code(opfs("busy").await), Some(Code::Busy));
    let file = write_number(&first).await;
    assert_eq!(read_number(&first, file).await, Some(file));
    first.close().await.unwrap();
    opfs("busy").await.unwrap().close().await.unwrap();
}

#[wasm_bindgen_test]
async fn opfs_flushes_what_an_owner_wrote_that_ended_before_its_flush() {
    let first = opfs("unflushed").await.unwrap();
    first.adopt(&[]).await.unwrap();
    let file = write_number(&first).await;
    drop(first);
    // Its spares are still being made: the handles are closed after that.
    let second = loop {
        match opfs("unflushed").await {
            Err(error) if error.code() == Code::Busy => sleep(10).await,
            opened => break opened.unwrap(),
        }
    };
    second.adopt(&[file]).await.unwrap();
    let count = "self.flushes = 0;
        const { flush } = FileSystemSyncAccessHandle.prototype;
        FileSystemSyncAccessHandle.prototype.flush = function () {
            self.flushes++;
            flush.call(this);
        };";
    javascript(count).await;
    second.sync(file).await.unwrap();
    second.sync(file).await.unwrap();
    assert_eq!(javascript("return self.flushes;").await.as_f64(), Some(1.0));
    second.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn opfs_lets_go_of_everything_when_it_is_dropped() {
    drop(opfs("dropped").await.unwrap());
    opfs("dropped").await.unwrap().close().await.unwrap();
}

#[wasm_bindgen_test]
async fn auto_never_turns_to_another_storage_because_opfs_is_busy() {
    let first = auto("auto").await.unwrap();
    assert_eq!(first.kind(), "opfs");
    assert_eq!(code(auto("auto").await), Some(Code::Busy));
    first.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn auto_takes_indexeddb_where_there_are_no_access_handles() {
    let hide = "self.kept = FileSystemFileHandle.prototype.createSyncAccessHandle;
        delete FileSystemFileHandle.prototype.createSyncAccessHandle;";
    let show = "FileSystemFileHandle.prototype.createSyncAccessHandle = self.kept;";
    javascript(hide).await;
    let opfs = opfs("nowhere").await;
    let auto = auto("nowhere").await;
    javascript(show).await;
    assert_eq!(code(opfs), Some(Code::Unsupported));
    assert_eq!(auto.unwrap().kind(), "indexeddb");
}

#[wasm_bindgen_test]
async fn opfs_answers_at_once_on_open_handles() {
    let storage = opfs("at-once").await.unwrap();
    at_once(storage.adopt(&[])).unwrap().unwrap();
    storage.create().await.unwrap();
    // As soon as there are spares. They are being made by then: what is given up meanwhile has
    // opened nothing.
    let file = loop {
        sleep(20).await;
        if let Some(created) = at_once(storage.create()) {
            break created.unwrap();
        }
    };
    at_once(storage.write(file, 0, b"0123456789", STRICT)).unwrap().unwrap();
    at_once(storage.write(0, 0, b"manifest", STRICT)).unwrap().unwrap();
    let mut buffer = [0; 4];
    assert_eq!(at_once(storage.read(file, 8, &mut buffer)).unwrap().unwrap(), 2);
    assert_eq!(at_once(storage.len(file)).unwrap().unwrap(), 10);
    at_once(storage.sync(file)).unwrap().unwrap();
    at_once(storage.truncate(file, 5)).unwrap().unwrap();
    at_once(storage.remove(file)).unwrap().unwrap();
    at_once(storage.close()).unwrap().unwrap();
}

#[wasm_bindgen_test]
async fn opfs_makes_no_file_anew_that_is_missing() {
    let storage = opfs("missing").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let file = storage.create().await.unwrap();
    storage.close().await.unwrap();
    let remove = format!(
        "const root = await navigator.storage.getDirectory();
        const databases = await root.getDirectoryHandle('kvass');
        await (await databases.getDirectoryHandle('missing')).removeEntry('{file}');"
    );
    javascript(&remove).await;
    let storage = opfs("missing").await.unwrap();
    storage.prepare(&[file], 1).await;
    assert_eq!(code(storage.len(file).await), Some(Code::Corruption));
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn opfs_serves_more_files_than_handles_and_deletes_most_spares() {
    let storage = opfs("many").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let mut files = Vec::new();
    for _ in 0..HANDLES_MAX + 50 {
        files.push(write_number(&storage).await);
    }
    for file in files.iter().chain(&files) {
        assert_eq!(read_number(&storage, *file).await, Some(*file));
    }
    assert_eq!(storage.usage().await.unwrap(), 4 * files.len() as u64);
    for file in &files {
        storage.remove(*file).await.unwrap();
    }
    assert_eq!(storage.usage().await.unwrap(), 0);
    let count = "let count = 0;
        const kvass = await (await navigator.storage.getDirectory()).getDirectoryHandle('kvass');
        for await (const _ of (await kvass.getDirectoryHandle('many')).keys()) count++;
        return count;";
    let mut left = f64::INFINITY;
    while left > 10.0 {
        sleep(20).await;
        left = javascript(count).await.as_f64().unwrap();
    }
    assert!(storage.list().await.unwrap().is_empty());
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn opfs_gives_space_back_of_files_that_are_cut_or_removed() {
    let storage = opfs("given-back").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let before = used_bytes().await;
    let bytes = vec![7; 3 << 20];
    let mut files = Vec::new();
    for _ in 0..5 {
        let file = storage.create().await.unwrap();
        storage.write(file, 0, &bytes, STRICT).await.unwrap();
        files.push(file);
    }
    let cut = files.pop().unwrap();
    assert!(used_bytes().await >= before + 15e6);
    storage.truncate(cut, 8).await.unwrap();
    assert!(used_bytes().await < before + 17e6, "what was cut off is free");
    for file in files {
        storage.remove(file).await.unwrap();
    }
    while used_bytes().await > before + 1e6 {
        sleep(20).await;
    }
    assert_eq!(storage.len(cut).await.unwrap(), 8);
    storage.write(cut, 8, b"more", STRICT).await.unwrap();
    let mut buffer = [0; 8];
    assert_eq!(storage.read(cut, 6, &mut buffer).await.unwrap(), 6);
    assert_eq!(&buffer[..6], b"\x07\x07more");
    storage.close().await.unwrap();
}

/// What the browser counts against the quota.
async fn used_bytes() -> f64 {
    javascript("return (await navigator.storage.estimate()).usage;").await.as_f64().unwrap()
}

#[wasm_bindgen_test]
async fn opfs_tells_whoever_wrote_a_file_that_it_could_not_be_flushed_to_make_room() {
    let storage = opfs("evicted").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let (first, second) = (write_number(&storage).await, write_number(&storage).await);
    let flush = "self.fails = true;
        const { flush } = FileSystemSyncAccessHandle.prototype;
        FileSystemSyncAccessHandle.prototype.flush = function () {
            if (self.fails) throw new DOMException('of the disk', 'UnknownError');
            flush.call(this);
        };";
    javascript(flush).await;
    let mut last = second;
    for _ in 0..HANDLES_MAX {
        // Who opens another file is not to blame.
        last = write_number(&storage).await;
    }
    javascript("self.fails = false;").await;
    // Its handle is the one that it was written by.
    storage.sync(last).await.unwrap();
    assert_eq!(read_number(&storage, first).await, Some(first));
    let failure = storage.sync(first).await.unwrap_err();
    assert!(failure.message().contains("of the disk"), "{failure}");
    storage.sync(first).await.unwrap();
    // Nothing is left of what could not be flushed.
    storage.truncate(second, 0).await.unwrap();
    storage.sync(second).await.unwrap();
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
fn a_short_write_means_that_the_storage_is_full() {
    assert_eq!(check_written(100.0, 100), Ok(()));
    for written in [4_294_967_288.0, 99.0, 0.0, -8.0, f64::NAN] {
        let error: Error = check_written(written, 100).unwrap_err();
        assert_eq!(error.code(), Code::QuotaExceeded, "{written}");
    }
}

#[wasm_bindgen_test]
async fn an_indexeddb_owner_that_was_overtaken_can_write_no_more() {
    let old = indexeddb("fence").await.unwrap();
    old.adopt(&[]).await.unwrap();
    let file = write_number(&old).await;
    let new = indexeddb("fence").await.unwrap();
    let late = old.write(file, 0, b"late", RELAXED).await;
    assert_eq!(code(late), Some(Code::Busy));
    assert_eq!(code(old.remove(file).await), Some(Code::Busy));
    assert_eq!(code(old.read(file, 0, &mut [0; 4]).await), Some(Code::Busy));
    new.adopt(&[file]).await.unwrap();
    assert_eq!(read_number(&new, file).await, Some(file), "nothing of the old owner's arrived");
    new.write(file, 4, b"new", STRICT).await.unwrap();
    old.close().await.unwrap();
    new.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn a_write_that_was_given_up_is_fenced_all_the_same() {
    let old = indexeddb("given-up").await.unwrap();
    old.adopt(&[]).await.unwrap();
    let file = write_number(&old).await;
    let new = indexeddb("given-up").await.unwrap();
    new.adopt(&[file]).await.unwrap();
    assert!(at_once(old.write(file, 0, b"late", RELAXED)).is_none(), "it was begun and dropped");
    // Transactions run in the order in which they were begun.
    assert_eq!(code(old.sync(file).await), Some(Code::Busy));
    assert_eq!(read_number(&new, file).await, Some(file));
    new.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn indexeddb_steps_aside_for_a_version_change_and_comes_back() {
    let storage = indexeddb("aside").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let file = write_number(&storage).await;
    let change_and_abort = "await new Promise((resolve) => {
        const request = indexedDB.open('kvass:aside', 2);
        request.onupgradeneeded = () => request.transaction.abort();
        request.onerror = resolve;
    })";
    javascript(change_and_abort).await;
    assert_eq!(read_number(&storage, file).await, Some(file));
    storage.write(file, 4, b"more", STRICT).await.unwrap();
    assert_eq!(storage.len(file).await.unwrap(), 8);
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn a_connection_that_the_browser_ends_is_made_again() {
    let capture = "const open = IDBFactory.prototype.open;
        IDBFactory.prototype.open = function (...args) {
            const request = open.apply(this, args);
            request.addEventListener('success', () => { self.captured = request.result; });
            IDBFactory.prototype.open = open;
            return request;
        };";
    let ends = [
        "captured.close(); captured.dispatchEvent(new Event('close'));",
        // Closed, and nobody was told.
        "captured.close();",
    ];
    for end in ends {
        javascript(capture).await;
        let storage = indexeddb("ended").await.unwrap();
        storage.adopt(&[]).await.unwrap();
        let file = write_number(&storage).await;
        javascript(end).await;
        assert_eq!(read_number(&storage, file).await, Some(file));
        storage.close().await.unwrap();

        javascript(capture).await;
        let storage = indexeddb("ended").await.unwrap();
        storage.adopt(&[file]).await.unwrap();
        javascript(end).await;
        storage.write(file, 4, b"more", STRICT).await.unwrap();
        assert_eq!(storage.len(file).await.unwrap(), 8);
        storage.close().await.unwrap();
    }
}

#[wasm_bindgen_test]
async fn an_open_waits_for_three_transactions_of_indexeddb() {
    let open = || async {
        let storage = Rc::new(WebStorage::IndexedDb(indexeddb("few").await.unwrap()));
        Db::open(WebEnv::new(storage), Options::default()).await.unwrap()
    };
    let key = [2, b'a', 0];
    let value = [2, 1, 0, 0, 0, 0, 0, 0, 0];
    let (key, value) = (Blob(&key), Blob(&value));
    let set = Mutation::Set { key, value, expire_in_ms: None, stamp_key: false };
    let commit = Commit { checks: vec![], mutations: vec![set], durability: Some(RELAXED) };
    // The database is left as one that crashed, with one log more each time.
    for _ in 0..4 {
        let db = open().await;
        db.commit_from(None, &[&commit]).await.pop().unwrap().unwrap();
    }
    let count = "self.transactions = 0;
        self.begin = IDBDatabase.prototype.transaction;
        IDBDatabase.prototype.transaction = function (...args) {
            self.transactions += 1;
            return self.begin.apply(this, args);
        };";
    javascript(count).await;
    let db = open().await;
    let counted = "IDBDatabase.prototype.transaction = self.begin; return self.transactions";
    assert_eq!(javascript(counted).await.as_f64(), Some(3.0));
    assert!(db.get(&[2, b'a', 0], db.snapshot()).await.unwrap().is_some());
}

#[wasm_bindgen_test]
async fn a_connection_made_beforehand_makes_no_database_and_may_be_lost() {
    let prepared = "const connection = connectionTo(name);
        connection.prepare();
        return { open: () => open(name, () => {}, connection) };";
    let prepared = Function::new_with_args("open, connectionTo, name", prepared);
    let prepare = |name: &str| {
        let functions = (OPEN_INDEXEDDB.with(Function::clone), CONNECTION_TO.with(Function::clone));
        let prepared = prepared.call3(&JsValue::NULL, &functions.0, &functions.1, &name.into());
        let open = Reflect::get(&prepared.unwrap(), &"open".into()).unwrap();
        open.unchecked_into::<Function>()
    };
    let there = "return (await indexedDB.databases()).some(({ name }) => name === 'kvass:before')";
    let delete = "await new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase('kvass:before');
        request.onsuccess = resolve;
        request.onerror = reject;
    })";
    let open = prepare("before");
    sleep(100).await;
    assert_eq!(javascript(there).await, JsValue::FALSE);
    let storage = IndexedDb::open("before", &open).await.unwrap();
    storage.write(0, 0, b"manifest", STRICT).await.unwrap();
    let next = prepare("before");
    sleep(100).await;
    storage.write(0, 8, b" still its own", STRICT).await.unwrap();
    let taken = IndexedDb::open("before", &next).await.unwrap();
    assert_eq!(code(storage.write(0, 0, b"late", STRICT).await), Some(Code::Busy));
    assert_eq!(taken.len(0).await.unwrap(), 22);
    taken.close().await.unwrap();
    storage.close().await.unwrap();

    let open = prepare("before");
    sleep(100).await;
    javascript(delete).await;
    let storage = IndexedDb::open("before", &open).await.unwrap();
    assert_eq!(storage.len(0).await.unwrap(), 0, "it is another one");
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn a_full_indexeddb_is_quota_exceeded_and_changes_nothing() {
    let storage = indexeddb("full").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let file = write_number(&storage).await;
    let fill = "self.put = IDBObjectStore.prototype.put;
        IDBObjectStore.prototype.put = () => {
            throw new DOMException('full', 'QuotaExceededError');
        };";
    javascript(fill).await;
    let full = storage.write(file, 0, &[7; 100_000], RELAXED).await;
    javascript("IDBObjectStore.prototype.put = self.put;").await;
    assert_eq!(code(full), Some(Code::QuotaExceeded));
    assert_eq!(read_number(&storage, file).await, Some(file));
    assert_eq!(storage.len(file).await.unwrap(), 4);
    storage.write(file, 4, b"more", RELAXED).await.unwrap();
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn deleted_data_is_an_error_and_not_a_new_database() {
    let storage = indexeddb("deleted").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let file = write_number(&storage).await;
    let delete = "await new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase('kvass:deleted');
        request.onsuccess = resolve;
        request.onerror = reject;
    })";
    javascript(delete).await;
    assert_eq!(code(storage.read(file, 0, &mut [0; 4]).await), Some(Code::Io));
    assert_eq!(code(storage.write(file, 4, b"x", RELAXED).await), Some(Code::Io));
    let there = "return (await indexedDB.databases()).some(({ name }) => name === 'kvass:deleted')";
    assert_eq!(javascript(there).await, JsValue::FALSE);
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn a_database_of_a_newer_version_is_refused() {
    let make = "await new Promise((resolve) => {
        const request = indexedDB.open('kvass:newer', 2);
        request.onsuccess = () => resolve(request.result.close());
    })";
    javascript(make).await;
    assert_eq!(code(indexeddb("newer").await), Some(Code::NewerFormat));
}

#[wasm_bindgen_test]
async fn a_burst_of_indexeddb_calls_leaves_nothing_behind() {
    let storage = indexeddb("burst").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let file = storage.create().await.unwrap();
    let mut bytes = vec![0; 100];
    let mut memory = 0;
    let mut objects = 0;
    for round in 0..4 {
        for index in 0..500 {
            let offset = (round * 500 + index) * 100;
            storage.write(file, offset, &bytes, RELAXED).await.unwrap();
            storage.read(file, offset, &mut bytes).await.unwrap();
        }
        if round == 0 {
            (memory, objects) = (linear_memory(), live_objects());
        }
    }
    assert_eq!(linear_memory(), memory);
    assert!(live_objects() <= objects, "{} references to JavaScript objects", live_objects());
    storage.close().await.unwrap();
}

fn linear_memory() -> usize {
    core::arch::wasm32::memory_size(0)
}

/// How many JavaScript objects the module holds.
fn live_objects() -> u32 {
    wasm_bindgen::externref_heap_live_count()
}
