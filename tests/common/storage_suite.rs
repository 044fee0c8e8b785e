//! What every back end of `Storage` has to do, as one suite that each of them runs: memory
//! natively, OPFS and IndexedDB in a browser.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use kvass::error::Code;
use kvass::rng::Rng;
use kvass::storage::{Durability, MANIFEST_SLOTS, Storage};
use std::future::poll_fn;
use std::task::Poll;

/// Opens the files of one database; each call opens the same ones again.
pub trait Opener {
    type Storage: Storage;

    async fn open(&self) -> Self::Storage;

    /// Whether the files are still there after a close.
    fn persists(&self) -> bool;
}

/// Runs every check on a database of its own; `opener` makes the opener for a name.
pub async fn run<O: Opener>(opener: impl Fn(&str) -> O) {
    a_new_database_is_empty(&opener("new")).await;
    a_file_reads_back_as_one_byte_string_would(&opener("model")).await;
    a_read_ends_at_the_end_of_the_file(&opener("eof")).await;
    small_appends_add_up(&opener("append")).await;
    a_manifest_slot_is_written_over_with_longer_and_shorter_bytes(&opener("slot")).await;
    a_removed_file_is_gone_and_its_number_comes_back_empty(&opener("remove")).await;
    adopting_keeps_the_live_files_and_the_manifest_only(&opener("adopt")).await;
    files_survive_a_close(&opener("close")).await;
    what_is_prepared_is_what_is_there(&opener("prepare")).await;
    misuse_is_a_typed_error_and_changes_nothing(&opener("misuse")).await;
    after_a_close_every_call_fails_with_closed(&opener("closed")).await;
    reads_may_overlap(&opener("overlap")).await;
}

const RELAXED: Durability = Durability::Relaxed;
const STRICT: Durability = Durability::Strict;

/// Bytes that differ from place to place.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    Rng::new(seed).bytes(len)
}

async fn contents<S: Storage>(storage: &S, file: u32) -> Vec<u8> {
    let len = storage.len(file).await.unwrap() as usize;
    let mut bytes = vec![0; len + 1];
    let read = storage.read(file, 0, &mut bytes).await.unwrap();
    assert_eq!(read, len, "the length of file {file} is what can be read of it");
    bytes.truncate(read);
    bytes
}

async fn fresh<O: Opener>(opener: &O) -> O::Storage {
    let storage = opener.open().await;
    storage.adopt(&[]).await.unwrap();
    storage
}

async fn a_new_database_is_empty<O: Opener>(opener: &O) {
    let storage = opener.open().await;
    for slot in MANIFEST_SLOTS {
        assert_eq!(storage.len(slot).await.unwrap(), 0);
        assert_eq!(storage.read(slot, 0, &mut [0; 8]).await.unwrap(), 0);
    }
    assert!(storage.list().await.unwrap().is_empty());
    assert_eq!(storage.usage().await.unwrap(), 0);
    storage.adopt(&[]).await.unwrap();
    let file = storage.create().await.unwrap();
    assert!(!MANIFEST_SLOTS.contains(&file));
    assert_eq!(storage.len(file).await.unwrap(), 0);
    assert!(storage.list().await.unwrap().is_empty(), "a file without a byte is not listed");
    storage.close().await.unwrap();
}

async fn a_file_reads_back_as_one_byte_string_would<O: Opener>(opener: &O) {
    let seed = 7;
    println!("seed {seed}");
    let rng = Rng::new(seed);
    let storage = fresh(opener).await;
    let file = storage.create().await.unwrap();
    let mut model: Vec<u8> = Vec::new();
    for step in 0..200 {
        let data = rng.bytes(rng.below(if rng.one_in(8) { 150_000 } else { 5_000 }) as usize);
        let appends = !rng.one_in(3);
        let offset = if appends { model.len() } else { rng.below(model.len() as u64 + 1) as usize };
        let durability = if rng.one_in(10) { STRICT } else { RELAXED };
        storage.write(file, offset as u64, &data, durability).await.unwrap();
        model.resize(model.len().max(offset + data.len()), 0);
        model[offset..offset + data.len()].copy_from_slice(&data);
        if rng.one_in(6) {
            model.truncate(rng.below(model.len() as u64 + 1) as usize);
            storage.truncate(file, model.len() as u64).await.unwrap();
        }
        assert_eq!(storage.len(file).await.unwrap(), model.len() as u64, "step {step}");
        let from = rng.below(model.len() as u64 + 10) as usize;
        let mut buffer = vec![0; rng.below(100_000) as usize];
        let read = storage.read(file, from as u64, &mut buffer).await.unwrap();
        let rest = model.get(from..).unwrap_or_default();
        assert_eq!(read, rest.len().min(buffer.len()), "step {step}");
        assert!(buffer[..read] == rest[..read], "step {step}: {read} bytes from {from}");
    }
    storage.sync(file).await.unwrap();
    assert!(contents(&storage, file).await == model);
    assert_eq!(storage.usage().await.unwrap(), model.len() as u64);
    storage.close().await.unwrap();
}

async fn a_read_ends_at_the_end_of_the_file<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    let file = storage.create().await.unwrap();
    storage.write(file, 0, &pattern(10, 1), RELAXED).await.unwrap();
    let mut buffer = [0; 8];
    assert_eq!(storage.read(file, 0, &mut buffer).await.unwrap(), 8);
    assert_eq!(storage.read(file, 4, &mut buffer).await.unwrap(), 6);
    assert_eq!(buffer[..6], pattern(10, 1)[4..]);
    assert_eq!(storage.read(file, 10, &mut buffer).await.unwrap(), 0);
    assert_eq!(storage.read(file, 100_000, &mut buffer).await.unwrap(), 0);
    assert_eq!(storage.read(file, 0, &mut []).await.unwrap(), 0);
    storage.close().await.unwrap();
}

async fn small_appends_add_up<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    let (file, other) = (storage.create().await.unwrap(), storage.create().await.unwrap());
    let mut model = Vec::new();
    for round in 0..400 {
        let data = pattern(50 + round as usize % 200, round);
        storage.write(file, model.len() as u64, &data, RELAXED).await.unwrap();
        storage.write(other, round * 3, b"abc", RELAXED).await.unwrap();
        model.extend(data);
    }
    assert!(contents(&storage, file).await == model);
    assert!(contents(&storage, other).await == b"abc".repeat(400));
    storage.close().await.unwrap();
}

async fn a_manifest_slot_is_written_over_with_longer_and_shorter_bytes<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    for (round, len) in [100, 70_000, 40_000, 32_768, 1].into_iter().enumerate() {
        let data = pattern(len, round as u64);
        storage.write(1, 0, &data, STRICT).await.unwrap();
        let mut buffer = vec![0; len];
        assert_eq!(storage.read(1, 0, &mut buffer).await.unwrap(), len);
        assert!(buffer == data);
    }
    assert_eq!(storage.len(1).await.unwrap(), 70_000, "nothing but truncate makes it shorter");
    storage.truncate(1, 10).await.unwrap();
    assert_eq!(storage.len(1).await.unwrap(), 10);
    assert!(storage.list().await.unwrap().is_empty(), "manifest slots are not listed");
    storage.close().await.unwrap();
}

async fn a_removed_file_is_gone_and_its_number_comes_back_empty<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    let mut files = Vec::new();
    for seed in 0..20 {
        let file = storage.create().await.unwrap();
        storage.write(file, 0, &pattern(50_000, seed), RELAXED).await.unwrap();
        files.push(file);
    }
    let kept = files.split_off(10);
    for file in &files {
        storage.remove(*file).await.unwrap();
        assert_eq!(storage.len(*file).await.unwrap_err().code(), Code::Corruption);
    }
    assert_eq!(storage.usage().await.unwrap(), 500_000);
    for _ in 0..20 {
        let file = storage.create().await.unwrap();
        assert!(!kept.contains(&file), "file {file} is in use");
        assert!(contents(&storage, file).await.is_empty());
        storage.write(file, 0, b"new", RELAXED).await.unwrap();
        assert_eq!(contents(&storage, file).await, b"new");
    }
    for (file, seed) in kept.iter().zip(10..) {
        assert!(contents(&storage, *file).await == pattern(50_000, seed));
    }
    storage.close().await.unwrap();
}

async fn adopting_keeps_the_live_files_and_the_manifest_only<O: Opener>(opener: &O) {
    let mut storage = fresh(opener).await;
    let mut files = Vec::new();
    for _ in 0..14 {
        let file = storage.create().await.unwrap();
        storage.write(file, 0, &[file as u8; 40_000], RELAXED).await.unwrap();
        files.push(file);
    }
    storage.write(0, 0, b"manifest", STRICT).await.unwrap();
    if opener.persists() {
        storage.close().await.unwrap();
        storage = opener.open().await;
        let mut listed = storage.list().await.unwrap();
        listed.sort_unstable();
        assert_eq!(listed, files);
        assert_eq!(storage.usage().await.unwrap(), 14 * 40_000 + 8);
    }
    let live = [files[3], files[7], files[12]];
    storage.adopt(&live).await.unwrap();
    let mut listed = storage.list().await.unwrap();
    listed.sort_unstable();
    assert_eq!(listed, live);
    assert_eq!(storage.usage().await.unwrap(), 3 * 40_000 + 8);
    assert_eq!(contents(&storage, 0).await, b"manifest");
    for file in live {
        assert!(contents(&storage, file).await == [file as u8; 40_000]);
    }
    let new = storage.create().await.unwrap();
    assert!(!live.contains(&new));
    assert!(contents(&storage, new).await.is_empty());
    storage.close().await.unwrap();
}

async fn files_survive_a_close<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    if !opener.persists() {
        return;
    }
    let (file, empty) = (storage.create().await.unwrap(), storage.create().await.unwrap());
    storage.write(file, 0, &pattern(100_000, 1), RELAXED).await.unwrap();
    storage.write(file, 100_000, &pattern(100, 2), RELAXED).await.unwrap();
    storage.write(0, 0, b"manifest", STRICT).await.unwrap();
    storage.close().await.unwrap();

    let storage = opener.open().await;
    assert_eq!(contents(&storage, 0).await, b"manifest");
    assert!(contents(&storage, empty).await.is_empty(), "logs are read before files are adopted");
    storage.adopt(&[file]).await.unwrap();
    assert_eq!(storage.len(file).await.unwrap(), 100_100);
    storage.write(file, 100_100, &pattern(100, 3), RELAXED).await.unwrap();
    let all = [pattern(100_000, 1), pattern(100, 2), pattern(100, 3)].concat();
    assert!(contents(&storage, file).await == all);
    storage.close().await.unwrap();

    let storage = opener.open().await;
    storage.adopt(&[file, 999]).await.unwrap();
    assert!(contents(&storage, file).await == all);
    storage.close().await.unwrap();
}

async fn what_is_prepared_is_what_is_there<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    if !opener.persists() {
        return;
    }
    // Longer than what is read ahead of a log, short, without a byte, and those behind the logs.
    let lens = [9 * 512 * 1024 + 7, 100_000, 0, 50_000, 40, 33_000, 70_000];
    let mut live = Vec::new();
    for (seed, len) in lens.into_iter().enumerate() {
        let file = storage.create().await.unwrap();
        for (start, bytes) in pattern(len, seed as u64).chunks(512 * 1024).enumerate() {
            storage.write(file, start as u64 * 512 * 1024, bytes, RELAXED).await.unwrap();
        }
        live.push(file);
    }
    let stray = storage.create().await.unwrap();
    storage.write(stray, 0, b"a table that no manifest names", RELAXED).await.unwrap();
    storage.write(0, 0, b"manifest", STRICT).await.unwrap();
    storage.close().await.unwrap();

    // The second time there is nothing that has to go.
    for round in 0..2 {
        let storage = opener.open().await;
        assert_eq!(contents(&storage, 0).await.len(), 8 + 2 * round);
        storage.prepare(&live, 3).await;
        for (seed, (file, len)) in live.iter().zip(lens).enumerate() {
            assert!(contents(&storage, *file).await == pattern(len, seed as u64), "file {seed}");
            assert_eq!(storage.read(*file, len as u64 + 5, &mut [0]).await.unwrap(), 0);
        }
        storage.adopt(&live).await.unwrap();
        let mut holding: Vec<_> = storage.list().await.unwrap();
        holding.sort_unstable();
        let filled = live.iter().zip(lens).filter(|(_, len)| *len > 0);
        assert_eq!(holding, filled.map(|(file, _)| *file).collect::<Vec<_>>());

        let new = storage.create().await.unwrap();
        assert!(contents(&storage, new).await.is_empty(), "nothing of the stray file is left");
        storage.remove(new).await.unwrap();
        // What was read ahead is not what is there after a change.
        let (short, end) = (live[1], lens[1] as u64);
        storage.write(short, end, b"more", RELAXED).await.unwrap();
        let mut tail = [0; 8];
        assert_eq!(storage.read(short, end, &mut tail).await.unwrap(), 4);
        assert_eq!(tail, *b"more\0\0\0\0");
        storage.truncate(short, end).await.unwrap();
        storage.write(0, 8 + 2 * round as u64, b"!!", STRICT).await.unwrap();
        storage.close().await.unwrap();
    }
}

async fn misuse_is_a_typed_error_and_changes_nothing<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    let file = storage.create().await.unwrap();
    storage.write(file, 0, b"0123456789", RELAXED).await.unwrap();
    let hole = storage.write(file, 11, b"x", RELAXED).await.unwrap_err();
    assert_eq!((hole.code(), hole.place()), (Code::Io, Some((file, 11))));
    assert_eq!(storage.truncate(file, 11).await.unwrap_err().code(), Code::Io);
    assert_eq!(contents(&storage, file).await, b"0123456789");

    let unknown = 77;
    assert_eq!(storage.len(unknown).await.unwrap_err().code(), Code::Corruption);
    let read = storage.read(unknown, 0, &mut [0; 4]).await.unwrap_err();
    assert_eq!(read.code(), Code::Corruption);
    assert_eq!(read.place().map(|(file, _)| file), Some(unknown));
    let write = storage.write(unknown, 0, b"x", RELAXED).await.unwrap_err();
    assert_eq!(write.code(), Code::Corruption);
    assert_eq!(storage.remove(unknown).await.unwrap_err().code(), Code::Corruption);
    assert_eq!(storage.sync(unknown).await.unwrap_err().code(), Code::Corruption);
    assert_eq!(storage.list().await.unwrap(), [file]);
    storage.close().await.unwrap();
}

async fn after_a_close_every_call_fails_with_closed<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    let file = storage.create().await.unwrap();
    storage.write(file, 0, b"x", RELAXED).await.unwrap();
    storage.close().await.unwrap();
    let codes = [
        storage.list().await.unwrap_err().code(),
        storage.adopt(&[]).await.unwrap_err().code(),
        storage.create().await.unwrap_err().code(),
        storage.len(file).await.unwrap_err().code(),
        storage.read(file, 0, &mut [0]).await.unwrap_err().code(),
        storage.write(file, 0, b"x", RELAXED).await.unwrap_err().code(),
        storage.sync(file).await.unwrap_err().code(),
        storage.truncate(file, 0).await.unwrap_err().code(),
        storage.remove(file).await.unwrap_err().code(),
        storage.usage().await.unwrap_err().code(),
    ];
    assert_eq!(codes, [Code::Closed; 10]);
}

async fn reads_may_overlap<O: Opener>(opener: &O) {
    let storage = fresh(opener).await;
    let file = storage.create().await.unwrap();
    let data = pattern(200_000, 5);
    storage.write(file, 0, &data, RELAXED).await.unwrap();
    let (mut first, mut second, mut third) = ([0; 4096], vec![0; 100_000], [0; 1]);
    let mut reads = [
        Box::pin(storage.read(file, 4_000, &mut first)),
        Box::pin(storage.read(file, 90_000, &mut second)),
        Box::pin(storage.read(file, 199_999, &mut third)),
    ];
    let mut lens = [None; 3];
    poll_fn(|context| {
        for (read, len) in reads.iter_mut().zip(&mut lens).filter(|(_, len)| len.is_none()) {
            if let Poll::Ready(outcome) = read.as_mut().poll(context) {
                *len = Some(outcome.unwrap());
            }
        }
        if lens.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!(lens, [Some(4096), Some(100_000), Some(1)]);
    drop(reads);
    assert!(first == data[4_000..8_096] && second == data[90_000..190_000]);
    assert_eq!(third, data[199_999..]);
    storage.close().await.unwrap();
}
