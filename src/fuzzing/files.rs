//! Targets that read whole files, whose checksums hold: so that what lies behind them is reached.

use super::{fixture, trusting};
use crate::blob::{BlobMeta, Blobs, Stretch};
use crate::db::{Db, Options, Range};
use crate::env::manual::{ManualEnv, block_on};
use crate::error::{Code, Error, Result};
use crate::limits::Budgets;
use crate::manifest::{self, Loaded};
use crate::ranges::Ranges;
use crate::stamp::Stamp;
use crate::storage::{Durability, MANIFEST_SLOTS, MemoryStorage, Storage};
use crate::table::{Table, TableCursor, TableMeta, Tables, Wanted};
use crate::wal::{Commit, LogRef, recover};
use crate::wire::{Blob, Commit as Request, Mutation};
use std::rc::Rc;

/// A small index can name a large block again and again: what is read ends somewhere.
const ENTRIES_MAX: usize = 20_000;
/// A time at which some entries of the golden databases have expired.
const NOW_MS: u64 = 1_700_000_080_000;

/// A storage with one file; returns its number.
fn storage_with(data: &[u8]) -> (Rc<MemoryStorage>, u32) {
    let storage = Rc::new(MemoryStorage::new());
    let file = block_on(async {
        let file = storage.create().await?;
        storage.write(file, 0, data, Durability::Strict).await?;
        Ok::<_, Error>(file)
    });
    (storage, file.expect("memory has room"))
}

/// Number and salt where logs and tables have them.
fn identity(data: &[u8]) -> Option<([u8; 8], [u8; 8])> {
    let (id, rest) = data.get(16..)?.split_first_chunk()?;
    Some((*id, *rest.first_chunk()?))
}

/// What a file that can't be read may say.
fn is_typed(error: &Error) {
    let expected = matches!(error.code(), Code::Corruption | Code::NewerFormat);
    assert!(expected, "{error:?}");
}

/// A log is read up to its end, or is an error.
pub fn log(data: &[u8]) {
    let Some((id, salt)) = identity(data) else { return };
    let (storage, file) = storage_with(data);
    let log = LogRef { id: u64::from_le_bytes(id), file, salt };
    let apply = |_: &LogRef, _, payload: &[u8]| {
        Commit::decode(payload)?.ops.try_for_each(|op| op.map(|_| ()))
    };
    trusting(|| match block_on(recover(&*storage, std::slice::from_ref(&log), apply)) {
        Ok(recovered) => assert!(recovered.iter().all(|log| log.end <= data.len() as u64)),
        Err(error) => is_typed(&error),
    });
}

/// A manifest that is read is written and read again.
pub fn manifest(data: &[u8]) {
    let storage = MemoryStorage::new();
    let [slot, _] = MANIFEST_SLOTS;
    block_on(storage.write(slot, 0, data, Durability::Strict)).expect("memory has room");
    trusting(|| match block_on(manifest::load(&storage)) {
        Ok(Loaded::Found { manifest, .. }) => {
            block_on(manifest::store(&storage, &manifest)).expect("it is stored");
            let again = block_on(manifest::load(&storage)).expect("it is loaded");
            let Loaded::Found { manifest: again, .. } = again else { panic!("it is there") };
            assert_eq!(again, manifest);
        }
        Ok(Loaded::Fresh) => {}
        Err(error) => is_typed(&error),
    });
}

/// A table is walked both ways and asked for keys.
pub fn table(data: &[u8]) {
    let (storage, file) = storage_with(data);
    trusting(|| {
        let meta = match block_on(TableMeta::identify(&storage, data, file)) {
            Ok(Some(meta)) => meta,
            Ok(None) => return,
            Err(error) => return is_typed(&error),
        };
        let table = Table::new(Tables::new(storage, 4096, <_>::default(), None), meta);
        match block_on(table.ranges()) {
            Ok(Some(ranges)) => {
                let mut all = Ranges::default();
                if let Ok(Some(mut cursor)) = ranges.cursor() {
                    while cursor.add_to(&mut all, Stamp::MAX) == Ok(true) {}
                }
            }
            Ok(None) => {}
            Err(error) => is_typed(&error),
        }
        let mut keys = vec![Vec::new(), data[..8].to_vec()];
        for reverse in [false, true] {
            if let Err(error) = block_on(walk(&table, reverse, &mut keys)) {
                is_typed(&error);
            }
        }
        for key in keys.iter().take(32) {
            if let Err(error) = block_on(table.get(Wanted::new(key, Stamp::MAX))) {
                is_typed(&error);
            }
            let mut cursor = TableCursor::new(table.clone(), false, false);
            let _ = block_on(cursor.seek(key, Stamp::MAX));
        }
    });
}

async fn walk(
    table: &Rc<Table<MemoryStorage>>,
    reverse: bool,
    keys: &mut Vec<Vec<u8>>,
) -> Result<()> {
    let mut cursor = TableCursor::new(table.clone(), reverse, false);
    let mut found = cursor.enter().await?;
    for _ in 0..ENTRIES_MAX {
        if !found {
            break;
        }
        if keys.len() < 32 {
            keys.push(cursor.key().to_vec());
        }
        found = cursor.step()? || cursor.next_block().await?;
    }
    Ok(())
}

/// A pointer, of so many bytes as the first one says, and the blob file that it points into.
pub fn blob(data: &[u8]) {
    let Some((len, rest)) = data.split_first() else { return };
    let Some((pointer, file)) = rest.split_at_checked(usize::from(*len)) else { return };
    let (storage, number) = storage_with(file);
    trusting(|| {
        let meta = match BlobMeta::identify(file, number, file.len() as u64) {
            Ok(Some(meta)) => meta,
            Ok(None) => return,
            Err(error) => return is_typed(&error),
        };
        let read = block_on(async {
            let blobs = Blobs::open(&*storage, &[meta], 1, 0).await?;
            let large = blobs.locate(pointer)?;
            blobs
                .read(&*storage, &large, Stretch::new(1), async || Ok(()))
                .await
                .map(|value| (large, value))
        });
        match read {
            Ok((large, value)) => assert_eq!(value.to_vec().len() as u64, large.pointer().len + 1),
            Err(error) => is_typed(&error),
        }
    });
}

/// The files of a database: opened, read, compacted, written to and opened again. The first byte
/// says whether checksums hold; the rest is an image as the golden files are.
pub fn database(data: &[u8]) {
    let Some((how, image)) = data.split_first() else { return };
    let Some(files) = fixture::decode(image) else { return };
    let storage = Rc::new(MemoryStorage::new());
    block_on(fixture::place(&files, &*storage)).expect("memory has room");
    let run = || {
        for open in 0..2 {
            if let Err(error) = block_on(use_database(&storage, open)) {
                let exhausted = error.code() == Code::TooLarge;
                assert!(exhausted || matches!(error.code(), Code::Corruption | Code::NewerFormat));
                break;
            }
        }
    };
    if how & 1 == 0 { run() } else { trusting(run) }
}

async fn use_database(storage: &Rc<MemoryStorage>, seed: u64) -> Result<()> {
    let budgets = Budgets { memtable_bytes: 4096, cache_bytes: 4096, ..Budgets::default() };
    let options = Options { budgets, ..Options::default() };
    let db = Db::open(ManualEnv::new(storage.clone(), NOW_MS, seed), options).await?;
    let mut keys = vec![b"\x02a\0".to_vec()];
    for reverse in [false, true] {
        let range = Range { start: &[], end: &[0xff], reverse };
        let mut count = 0;
        let listed = db.list(range, db.snapshot(), |entry| {
            count += 1;
            if keys.len() < 32 {
                keys.push(entry.key.to_vec());
            }
            count < ENTRIES_MAX
        });
        // Damage in one table leaves the rest as it is.
        let _ = listed.await.inspect_err(is_typed);
    }
    for key in &keys {
        let _ = db.get(key, db.snapshot()).await.inspect_err(is_typed);
    }
    let _ = db.expire().await;
    db.upkeep().await;
    db.stats().await?;
    let (key, value) = (Blob(b"\x02new\0"), Blob(&[3; 5000]));
    let set = Mutation::Set { key, value, expire_in_ms: None, stamp_key: false };
    let commit = Request { checks: Vec::new(), mutations: vec![set], durability: None };
    for outcome in db.commit(&[&commit, &commit]).await {
        outcome?;
    }
    db.upkeep().await;
    db.flush().await
}
