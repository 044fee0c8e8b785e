//! What the golden databases hold.

#![allow(clippy::expect_used, reason = "nothing fails here but the engine")]

use super::maker::{Change, Maker, key};
use kvass::env::manual::block_on;
use kvass::key::{Part, encode};
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::storage::{Durability, MANIFEST_SLOTS, Storage};

/// A database by its name.
type Recipe = (&'static str, fn(&mut Maker));

/// All of them.
pub const DATABASES: [Recipe; 6] = [
    ("empty", empty),
    ("levels", levels),
    ("logs", logs),
    ("ranges", ranges),
    ("torn", torn),
    ("values", values),
];

/// A year, in milliseconds.
const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// The value of a number.
fn number(value: u32) -> Vec<u8> {
    [&[4], &f64::from(value).to_le_bytes()[..]].concat()
}

/// The value of a byte array.
fn bytes(bytes: &[u8]) -> Vec<u8> {
    [&[3], bytes].concat()
}

fn set(word: &str, place: u32, value: Vec<u8>) -> Change {
    Change::Set(key(word, place), value, None)
}

fn delete(word: &str, place: u32) -> Change {
    Change::Delete(key(word, place))
}

/// Never written to.
fn empty(maker: &mut Maker) {
    maker.open();
}

/// Several levels of small tables, with tombstones, older versions that a snapshot kept, entries
/// that have expired and entries that will.
fn levels(maker: &mut Maker) {
    *maker.budgets() = Budgets {
        memtable_bytes: 2 * 1024,
        block_bytes: 256,
        table_bytes: 2 * 1024,
        level0_tables: 2,
        level1_bytes: 4 * 1024,
        level_growth: 4,
        ..Budgets::default()
    };
    let db = maker.open();
    let rng = Rng::new(7);
    for round in 0..240 {
        let place = || rng.below(160) as u32;
        let mut changes = vec![set("entry", place(), number(round))];
        changes.push(set("entry", place(), bytes(&rng.bytes(rng.below(40) as usize))));
        changes.push(delete("entry", place()));
        let lives_ms = if round % 3 == 0 { 100 * YEAR_MS } else { 50_000 };
        let short = Change::Set(key("short-lived", round % 40), number(round), Some(lives_ms));
        changes.extend((round % 2 == 0).then_some(short));
        // Later changes of a key in one commit win, in the model too.
        maker.commit(&changes);
        let pin = (round % 20 == 0).then(|| db.snapshots().pin(db.visible()));
        if round % 10 == 9 {
            block_on(db.upkeep());
        }
        if round % 30 == 29 {
            maker.advance(10_000);
        }
        // Held for ever: what it sees stays.
        std::mem::forget(pin);
    }
    block_on(db.flush()).expect("it flushes");
}

/// Several opens that each left a log, one with a memtable that was frozen and not written out.
fn logs(maker: &mut Maker) {
    maker.budgets().memtable_bytes = 8 * 1024;
    let rng = Rng::new(8);
    for open in 0..4 {
        maker.open();
        for place in 0..30 {
            let value = bytes(&rng.bytes(60));
            maker.commit(&[set("log", place + 10 * open, value), delete("log", place / 2)]);
        }
    }
}

/// Ranges that were deleted, over and beside each other: in tables of several levels, in the
/// logs of the history and in the live one.
fn ranges(maker: &mut Maker) {
    let budgets = maker.budgets();
    (budgets.memtable_bytes, budgets.level0_tables) = (2 * 1024, 2);
    let db = maker.open();
    let range = |from, to| Change::DeleteRange(key("range", from), key("range", to));
    for round in 0..5 {
        for place in 0..60 {
            maker.commit(&[set("range", place, number(1000 * round + place))]);
        }
        maker.commit(&[range(10 * round, 10 * round + 15), set("range", 12, number(round))]);
        maker.commit(&[range(10 * round + 5, 10 * round + 7)]);
        // Held for ever: what it sees stays.
        std::mem::forget(db.snapshots().pin(db.visible()));
        block_on(db.upkeep());
    }
    maker.commit(&[set("range", 51, number(51)), range(0, 3), range(1, 2)]);
}

/// Killed and cut off from power in the middle of a commit and of writing a manifest: a record
/// that is torn, and a slot that is.
fn torn(maker: &mut Maker) {
    maker.open();
    let db = maker.open();
    for place in 0..20 {
        maker.commit(&[set("kept", place, number(place))]);
    }
    block_on(db.flush()).expect("it flushes");
    maker.commit(&[set("kept", 20, number(20)), delete("kept", 3)]);
    let whole = maker.files();
    maker.commit_unkept(&[set("lost", 1, bytes(&[1; 500])), set("lost", 2, bytes(&[2; 500]))]);
    let disk = maker.disk();
    let tear = async {
        for (file, before) in whole {
            if disk.contents(file).len() > before.len() {
                disk.truncate(file, before.len() as u64 + 300).await?;
            }
        }
        let [newer, older] = MANIFEST_SLOTS;
        let begun = disk.contents(newer);
        disk.write(older, 0, begun.get(8..40).expect("a manifest"), Durability::Strict).await
    };
    block_on(tear).expect("it is torn");
}

/// Every kind of key and value, of all sizes up to 40 KB, in a table and in the log.
fn values(maker: &mut Maker) {
    maker.budgets().memtable_bytes = 8 * 1024;
    let db = maker.open();
    let rng = Rng::new(9);
    let text = b"some words that come again and again, ".repeat(150);
    let mut kinds = vec![
        number(0),
        bytes(&[]),
        bytes(&text),
        [&[2], &u64::MAX.to_le_bytes()[..]].concat(),
        vec![5, 0],
        vec![5, 1, 0xff, 0, 1],
        vec![1, 0xf6],
        vec![1, 0xa1, 0x61, 0x61, 0x83, 1, 2, 0x63, 0x6b, 0x65, 0x79],
    ];
    for length in [1_000, 4_090, 4_100, 32_767, 40_000] {
        kinds.push(bytes(&rng.bytes(length)));
    }
    for (place, value) in (0..).zip(kinds) {
        maker.commit(&[set("value", place, value)]);
    }
    for parts in [
        vec![Part::Bytes(vec![0, 1, 0xff])],
        vec![Part::String("ü\0ber".to_owned()), Part::Boolean(true), Part::Boolean(false)],
        vec![Part::Bigint { negative: true, magnitude: vec![1, 0, 0, 0, 0, 0, 0, 0, 0] }],
        vec![Part::Bigint { negative: false, magnitude: vec![] }, Part::Number(-0.5)],
    ] {
        let key = encode(&parts).expect("a key");
        maker.commit(&[Change::Set(key, number(1), None)]);
    }
    block_on(db.upkeep());
    maker.commit(&[set("value", 0, number(1)), delete("value", 1)]);
}
