//! What a table promises: it answers as the sorted list of versions it was made of would, and
//! damage anywhere in its file is noticed.

use super::block_cursor::SAME_KEY;
use super::*;
use crate::env::manual::block_on;
use crate::error::Code;
use crate::limits::Budgets;
use crate::manifest::FORMAT;
use crate::model::{self, Model, at, entry, get, place, record, shared, versions};
use crate::record::{Op, Record};
use crate::storage::{Durability, MemoryStorage};
use proptest::prelude::*;

fn small() -> Budgets {
    Budgets { block_bytes: 64, ..Budgets::default() }
}

fn write(model: &Model, budgets: &Budgets) -> (Rc<Tables<MemoryStorage>>, TableMeta) {
    let shared = shared(Rc::default());
    let meta = model::write(&shared, 7, model, budgets);
    (shared, meta)
}

fn open(model: &Model, budgets: &Budgets) -> Rc<Table<MemoryStorage>> {
    model::open(&shared(Rc::default()), 7, model, budgets)
}

async fn walk(cursor: &mut TableCursor<MemoryStorage>, mut found: bool) -> Model {
    let mut out = Model::new();
    let mut last: Option<Vec<u8>> = None;
    while found {
        let key = cursor.key();
        if let Some(last) = last {
            let common = last.iter().zip(key).take_while(|(a, b)| a == b).count();
            let shared = if last == key { SAME_KEY } else { common };
            assert_eq!(cursor.shared(), shared, "{last:?} {key:?}");
        }
        last = Some(key.to_vec());
        assert!(key <= cursor.block_end());
        out.extend([entry(cursor.record())]);
        found = cursor.step().unwrap() || cursor.next_block().await.unwrap();
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_get_finds_the_newest_version_at_or_below_its_stamp(
        model in versions(),
        block_bytes in 1usize..2000,
        compression in any::<bool>(),
        others in proptest::collection::vec(proptest::collection::vec(0u8..4, 1..4), 20),
    ) {
        let table = open(&model, &Budgets { block_bytes, compression, ..Budgets::default() });
        let keys: Vec<&Vec<u8>> = model.keys().map(|(key, _)| key).chain(&others).collect();
        for key in keys {
            for stamp in [at(0), at(1), at(25), at(49), Stamp::MAX] {
                let found = block_on(table.get(Wanted::new(key, stamp))).unwrap();
                prop_assert_eq!(found, get(&model, key, stamp));
            }
        }
    }

    #[test]
    fn a_cursor_walks_all_versions_from_any_place_in_both_directions(
        model in versions(),
        block_bytes in 1usize..2000,
        compression in any::<bool>(),
        bulk in any::<bool>(),
        places in proptest::collection::vec(
            (proptest::collection::vec(0u8..4, 0..4), 0u64..51),
            8,
        ),
    ) {
        let table = open(&model, &Budgets { block_bytes, compression, ..Budgets::default() });
        block_on(async {
            for (key, counter) in places {
                let mut forward = TableCursor::new(table.clone(), false, bulk);
                let found = forward.seek(&key, at(counter)).await.unwrap();
                let from = place(&key, at(counter));
                let rest = model::part(&model, |place| *place >= from);
                assert_eq!(walk(&mut forward, found).await, rest);
                let mut back = TableCursor::new(table.clone(), true, bulk);
                let found = back.seek(&key, at(counter)).await.unwrap();
                let rest = model::part(&model, |place| *place < from);
                assert_eq!(walk(&mut back, found).await, rest);
            }
            for reverse in [false, true] {
                let mut cursor = TableCursor::new(table.clone(), reverse, bulk);
                let found = cursor.enter().await.unwrap();
                assert_eq!(walk(&mut cursor, found).await, model);
            }
        });
    }

    #[test]
    fn the_manifest_entry_describes_the_table(model in versions()) {
        let (shared, meta) = write(&model, &small());
        let verified = verify(&Table::new(shared, meta.clone()));
        prop_assert_eq!((verified.damage, verified.bytes), (vec![], meta.bytes));
        let sets = model.values().filter(|said| said.is_some()).count() as u64;
        let stamps = || model.keys().map(|(_, stamp)| stamp.0);
        prop_assert_eq!((meta.sets, meta.deletes), (sets, model.len() as u64 - sets));
        prop_assert_eq!(Some(&*meta.smallest), model.keys().next().map(|(key, _)| &key[..]));
        prop_assert_eq!(Some(&*meta.largest), model.keys().last().map(|(key, _)| &key[..]));
        prop_assert_eq!((Some(meta.oldest), Some(meta.newest)), (stamps().min(), stamps().max()));
        let encoded = postcard::to_allocvec(&meta).unwrap();
        let mut rest = crate::reader::Reader::new(&encoded, 0);
        prop_assert_eq!(TableMeta::decode(&mut rest, FORMAT), Some(meta));
        prop_assert!(rest.is_at_end());
    }
}

fn sample() -> Model {
    let entries = (0..40u64).map(|index| {
        let key = format!("key{:03}", index / 2).into_bytes();
        let said = (index % 7 != 0).then(|| (vec![index as u8; 9], index % 3 * 1000));
        (place(&key, at(index + 1)), said)
    });
    entries.collect()
}

/// Everything a reader can ask of the table, or the first error.
fn read_all(table: &Rc<Table<MemoryStorage>>, model: &Model) -> Result<()> {
    block_on(async {
        for (reverse, bulk) in [(false, false), (false, true), (true, false)] {
            let mut cursor = TableCursor::new(table.clone(), reverse, bulk);
            let mut entries: Vec<_> = model.iter().collect();
            if reverse {
                entries.reverse();
            }
            let mut found = cursor.enter().await?;
            for entry in entries {
                assert!(found, "the table ends early");
                assert_eq!(cursor.record(), record(entry));
                found = cursor.step()? || cursor.next_block().await?;
            }
            assert!(!found, "the table has versions that were never added");
        }
        for (key, stamp) in model.keys() {
            let found = table.get(Wanted::new(key, stamp.0)).await?;
            assert_eq!(found, get(model, key, stamp.0));
        }
        Ok(())
    })
}

/// A verification that is over.
fn verify(table: &Rc<Table<MemoryStorage>>) -> Verifier<MemoryStorage> {
    let mut verifier = Verifier::new(table.clone());
    while block_on(verifier.step()).unwrap() {}
    verifier
}

/// The bytes of a table file, as they are in a storage made of them.
fn file_of(bytes: &[u8]) -> (Rc<MemoryStorage>, FileNo) {
    let storage = Rc::new(MemoryStorage::new());
    let file = block_on(async {
        let file = storage.create().await.unwrap();
        storage.write(file, 0, bytes, Durability::Strict).await.unwrap();
        file
    });
    (storage, file)
}

fn bytes_of(shared: &Tables<MemoryStorage>, meta: &TableMeta) -> Vec<u8> {
    let mut bytes = vec![0; meta.bytes as usize];
    assert_eq!(block_on(shared.storage.read(meta.file, 0, &mut bytes)).unwrap(), bytes.len());
    bytes
}

#[test]
fn a_flipped_byte_anywhere_is_reported_or_harmless() {
    let model = sample();
    let (original, meta) = write(&model, &small());
    let bytes = bytes_of(&original, &meta);
    let mut harmless = 0;
    for offset in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[offset] ^= flip;
            let (storage, file) = file_of(&damaged);
            let table = Table::new(shared(storage), TableMeta { file, ..meta.clone() });
            let [error] = &verify(&table).damage[..] else {
                panic!("offset {offset} is not found once")
            };
            assert_eq!(error.code(), Code::Corruption);
            let (in_file, at) = error.place().unwrap();
            assert!(in_file == file && at as usize <= offset, "offset {offset}: {error}");
            match read_all(&table, &model) {
                Ok(()) => harmless += 1,
                Err(error) => {
                    assert_eq!(error.code(), Code::Corruption, "offset {offset}: {error}");
                    assert_eq!(error.place().map(|(file, _)| file), Some(file));
                }
            }
        }
    }
    assert_eq!(harmless, 3 * footer::HEADER_BYTES, "only the header is not read");
}

#[test]
fn a_table_cut_short_at_any_length_is_reported() {
    let model = sample();
    let (original, meta) = write(&model, &small());
    let bytes = bytes_of(&original, &meta);
    for len in 0..bytes.len() {
        let (storage, file) = file_of(&bytes[..len]);
        let table = Table::new(shared(storage), TableMeta { file, ..meta.clone() });
        let error = read_all(&table, &model).expect_err("bytes are missing");
        assert_eq!(error.code(), Code::Corruption, "length {len}: {error}");
    }
}

#[test]
fn damage_to_one_block_leaves_the_others_readable() {
    let model = sample();
    let (original, meta) = write(&model, &small());
    let mut bytes = bytes_of(&original, &meta);
    bytes[footer::HEADER_BYTES] ^= 1;
    let (storage, file) = file_of(&bytes);
    let table = Table::new(shared(storage), TableMeta { file, ..meta });
    let lost =
        model.keys().filter(|(key, stamp)| match block_on(table.get(Wanted::new(key, stamp.0))) {
            Ok(found) => {
                assert_eq!(found, get(&model, key, stamp.0));
                false
            }
            Err(error) => {
                assert_eq!(error.place(), Some((file, footer::HEADER_BYTES as u64)));
                true
            }
        });
    let lost = lost.count();
    assert!((1..10).contains(&lost), "{lost} of {} versions lost", model.len());
}

#[test]
fn a_verification_goes_on_behind_damage_and_leaves_the_cache_alone() {
    let model = sample();
    let (original, meta) = write(&model, &small());
    let mut bytes = bytes_of(&original, &meta);
    let places = [0, footer::HEADER_BYTES, footer::HEADER_BYTES + 200];
    places.iter().for_each(|place| bytes[*place] ^= 1);
    let (storage, file) = file_of(&bytes);
    let table = Table::new(shared(storage), TableMeta { file, ..meta });
    let damage = verify(&table).damage;
    let found: Vec<u64> = damage.iter().map(|error| error.place().unwrap().1).collect();
    assert_eq!(found.len(), places.len(), "{found:?}");
    assert!(found.iter().zip(places).all(|(found, place)| *found as usize <= place), "{found:?}");
    assert_eq!(table.shared.cache.stats(), <_>::default());
}

#[test]
fn a_table_that_the_manifest_describes_otherwise_is_reported() {
    let (shared, meta) = write(&sample(), &small());
    let others = [
        TableMeta { sets: meta.sets + 1, ..meta.clone() },
        TableMeta { deletes: meta.deletes - 1, ..meta.clone() },
        TableMeta { smallest: Box::from(*b"key001"), ..meta.clone() },
        TableMeta { largest: Box::from(*b"key018"), ..meta.clone() },
        TableMeta { oldest: at(2), ..meta.clone() },
        TableMeta { newest: at(39), ..meta.clone() },
    ];
    for other in others {
        let damage = verify(&Table::new(shared.clone(), other.clone())).damage;
        assert_eq!(damage.len(), 1, "{other:?}");
    }
}

#[test]
fn a_table_in_the_file_of_another_is_reported() {
    let model = sample();
    let (shared, meta) = write(&model, &small());
    for other in [TableMeta { salt: 1, ..meta.clone() }, TableMeta { id: 8, ..meta.clone() }] {
        let table = Table::new(shared.clone(), other);
        let error = block_on(table.get(Wanted::new(b"key001", Stamp::MAX))).unwrap_err();
        assert_eq!(error.code(), Code::Corruption);
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let model = sample();
    let (original, meta) = write(&model, &small());
    let mut bytes = bytes_of(&original, &meta);
    let footer_at = bytes.len() - footer::FOOTER_BYTES;
    let sum_at = bytes.len() - 16;
    bytes[sum_at - 4] += 1;
    let sum = block::checksum(meta.salt, footer_at as u64, &bytes[footer_at..sum_at]);
    bytes[sum_at..sum_at + 8].copy_from_slice(&sum.to_le_bytes());
    let (storage, file) = file_of(&bytes);
    let table = Table::new(shared(storage), TableMeta { file, ..meta });
    let error = block_on(table.get(Wanted::new(b"key001", Stamp::MAX))).unwrap_err();
    assert_eq!(error.code(), Code::NewerFormat);
    assert!(error.message().ends_with("update the page"), "{error}");
}

/// A block that lies at offset 0 of file 9 of a table with the salt 3, opened.
fn opened(stored: &[u8], kind: u8) -> Result<Bytes> {
    let mut block = stored.to_vec();
    block::seal(&mut block, 0, kind, 3, 0);
    let range = 0..block.len();
    block::open(&Rc::from(block), range, 3, 9, 0)
}

#[test]
fn a_compressed_block_that_lies_about_its_length_is_damage_and_takes_no_memory() {
    let plain = [7; 600];
    let mut compressed = Vec::new();
    assert!(crate::lz4::Encoder::default().compress(&plain, 600, &mut compressed));
    let with_length = |len: u64| {
        let mut stored = Vec::new();
        crate::varint::put(&mut stored, len);
        stored.extend_from_slice(&compressed);
        stored
    };
    assert_eq!(*opened(&with_length(600), block::LZ4).unwrap(), plain);
    for len in [0, 599, 601, 5_000, 1 << 25, (1 << 25) + 1, u64::from(u32::MAX), u64::MAX] {
        let error = opened(&with_length(len), block::LZ4).unwrap_err();
        assert_eq!(error.code(), Code::Corruption, "{len}");
    }
    for stored in [&[][..], &[0x80], &[200, 1], &[5, 0xf0], &[4, 0x04, 0, 0]] {
        assert_eq!(opened(stored, block::LZ4).unwrap_err().code(), Code::Corruption);
    }
    assert_eq!(opened(&plain, 2).unwrap_err().code(), Code::NewerFormat);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn bytes_with_a_right_checksum_that_are_no_block_never_panic(
        model in versions(),
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4),
        compression in any::<bool>(),
    ) {
        let budgets = Budgets { block_bytes: 300, compression, ..Budgets::default() };
        let (original, meta) = write(&model, &budgets);
        let mut bytes = bytes_of(&original, &meta);
        // The first data block, changed and sealed again.
        let table = Table::new(original, meta.clone());
        let top = block_on(table.top()).unwrap();
        let part = top.part(&top.entry(0).unwrap()).unwrap();
        let leaf = block_on(table.cached_block(part.leaf)).unwrap();
        let first = leaf.handle(&leaf.entry(0).unwrap()).unwrap();
        let range = first.offset as usize..first.offset as usize + first.len as usize;
        let mut block = bytes[range.clone()].to_vec();
        let kind = block[block.len() - 9];
        block.truncate(block.len() - 9);
        for (place, byte) in changes {
            let place = usize::from(place) % block.len();
            block[place] = byte;
        }
        block::seal(&mut block, 0, kind, meta.salt, first.offset);
        bytes[range].copy_from_slice(&block);
        let (storage, file) = file_of(&bytes);
        let table = Table::new(shared(storage), TableMeta { file, ..meta });
        verify(&table);
        for (key, _) in model.keys() {
            let _ = block_on(table.get(Wanted::new(key, Stamp::MAX)));
        }
        for reverse in [false, true] {
            let mut cursor = TableCursor::new(table.clone(), reverse, false);
            let mut found = block_on(cursor.enter());
            while let Ok(true) = found {
                found = match cursor.step() {
                    Ok(false) => block_on(cursor.next_block()),
                    stepped => stepped,
                };
            }
        }
    }
}

#[test]
fn a_filter_of_a_leaf_knows_the_keys_whose_versions_began_before_it() {
    let model: Model = (1..200u64).map(|n| (place(b"one key", at(n)), None)).collect();
    let table = open(&model, &small());
    for n in 1..200 {
        let found = block_on(table.get(Wanted::new(b"one key", at(n)))).unwrap();
        assert_eq!(found, get(&model, b"one key", at(n)));
    }
}

#[test]
fn an_open_table_keeps_little_and_reads_what_it_needs_through_the_cache() {
    let entries = (0..20_000u64).map(|n| (place(&n.to_be_bytes(), at(n + 1)), None));
    let model: Model = entries.collect();
    let table = open(&model, &Budgets { block_bytes: 64, ..Budgets::default() });
    for n in (0..20_000u64).step_by(17) {
        let key = n.to_be_bytes();
        assert!(block_on(table.get(Wanted::new(&key, Stamp::MAX))).unwrap().is_some());
    }
    assert!(table.ends.get().unwrap().top.is_none(), "a large top is not kept");
    assert!(table.shared.cache.stats().bytes <= 1 << 20);
}

#[test]
fn a_table_has_the_bytes_of_its_format() {
    let (shared, meta) = write(&sample(), &small());
    let bytes = bytes_of(&shared, &meta);
    // A change of this number is a change of the format, which old files don't take part in.
    assert_eq!(
        (bytes.len(), xxhash_rust::xxh3::xxh3_64(&bytes)),
        (1336, 3_866_941_119_463_382_665)
    );
}

#[test]
fn a_table_of_format_1_answers_as_it_did() {
    let model = sample();
    let (_, meta) = write(&model, &small());
    let bytes = include_bytes!("../../tests/vectors/table-format-1.bin");
    let (storage, file) = file_of(bytes);
    let meta = TableMeta { file, bytes: bytes.len() as u64, ..meta };
    let table = Table::new(shared(storage), meta);
    read_all(&table, &model).unwrap();
    assert_eq!(verify(&table).damage, []);
}

#[test]
fn a_table_larger_than_what_is_read_at_once_is_read_whole() {
    let rng = crate::rng::Rng::new(3);
    let entries = (0..3_000u64).map(|index| {
        let len = if rng.one_in(500) { 100_000 } else { rng.below(300) };
        (place(&index.to_be_bytes(), at(index + 1)), Some((rng.bytes(len as usize), 0)))
    });
    let model: Model = entries.collect();
    let (shared, meta) = write(&model, &Budgets::default());
    let one_block = Cache::new(8 * 6_000);
    let tables = Tables {
        storage: shared.storage.clone(),
        cache: one_block,
        blobs: <_>::default(),
        garbage: <_>::default(),
        in_doubt: <_>::default(),
        passed_over: None,
        passes: <_>::default(),
    };
    let table = Table::new(Rc::new(tables), meta);
    read_all(&table, &model).unwrap();
}

#[test]
fn a_large_value_lies_in_a_block_of_its_own() {
    let large = vec![7; 16 * 1024 * 1024];
    let mut model = sample();
    model.insert(place(b"key010x", at(99)), Some((large, 0)));
    let table = open(&model, &Budgets::default());
    read_all(&table, &model).unwrap();
    let before = table.shared.cache.stats().bytes;
    assert!(before < 10_000, "{before} bytes in the cache");
}

#[test]
fn a_version_out_of_order_is_refused() {
    let storage = Rc::new(MemoryStorage::new());
    let mut builder = TableBuilder::new(storage, 2, 1, 1, &Budgets::default());
    let record = |key, counter| Record { key, stamp: at(counter), op: Op::Delete };
    builder.add(record(b"b", 5)).unwrap();
    for (key, counter) in [(&b"a"[..], 9), (b"b", 5), (b"b", 6)] {
        assert!(builder.add(record(key, counter)).is_err());
    }
    builder.add(record(b"b", 4)).unwrap();
}

#[test]
fn the_file_of_a_retired_table_is_garbage_once_the_last_reader_has_gone() {
    let (shared, meta) = write(&sample(), &small());
    let table = Table::new(shared.clone(), meta.clone());
    let mut reader = TableCursor::new(table.clone(), false, false);
    block_on(reader.enter()).unwrap();
    table.retire();
    drop(table);
    assert!(shared.garbage.borrow().is_empty());
    assert!(block_on(reader.next_block()).unwrap());
    drop(reader);
    assert_eq!(*shared.garbage.borrow(), [meta.file]);
    assert_eq!(shared.cache.stats().bytes, 0);
}
