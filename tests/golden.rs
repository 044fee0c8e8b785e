//! Databases that builds of every format wrote: each is read whole, and written to, by this one.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

#[path = "golden/fixture.rs"]
#[allow(dead_code, reason = "the tool that writes the files uses the rest")]
mod fixture;

use fixture::{decode, place, shown};
use kvass::db::{Db, Options, OwnedEntry, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::Code;
use kvass::manifest::FORMAT;
use kvass::stamp::Stamp;
use kvass::storage::SimulatedStorage;
use kvass::wire::{Blob, Commit, Mutation};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

type Database = Rc<Db<ManualEnv<SimulatedStorage>>>;

/// A hundred years, in milliseconds: whatever expires has expired by then.
const LATER_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
/// A key above all others, for what the tests write.
const NEW_KEY: &[u8] = &[0x27];

/// A golden database and what it must be read as.
struct Golden {
    name: String,
    disk: SimulatedStorage,
    at_ms: u64,
    /// In the order of keys: the text of an entry without its expiry, and when it expires.
    entries: Vec<(String, u64)>,
}

impl Golden {
    fn read(path: &Path) -> Golden {
        let image = fs::read(path).expect("an image");
        let disk = SimulatedStorage::new(1);
        block_on(place(&decode(&image).expect("the files"), &disk)).expect("they are placed");
        let text = fs::read_to_string(path.with_extension("txt")).expect("what to expect");
        let mut lines = text.lines();
        let folder = path.parent().and_then(Path::file_name).expect("a folder");
        assert_eq!(lines.next(), Some(&*format!("format {}", folder.display())));
        let at_ms = lines.next().and_then(|line| line.strip_prefix("at ")).expect("a time");
        let entries = lines.map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let entry = format!("{} {} {}", fields[0], fields[1], fields[3]);
            (entry, fields[2].parse().expect("when it expires"))
        });
        let at_ms = at_ms.parse().expect("a number");
        Golden { name: path.display().to_string(), disk, at_ms, entries: entries.collect() }
    }

    fn open(&self, at_ms: u64) -> Database {
        let env = ManualEnv::new(Rc::new(self.disk.clone()), at_ms, at_ms);
        let db = block_on(Db::open(env, Options::default()));
        db.unwrap_or_else(|error| panic!("{} does not open: {error}", self.name))
    }

    /// The entries that are alive at a time.
    fn alive(&self, at_ms: u64) -> Vec<&String> {
        let alive = |(_, expires_ms): &&(String, u64)| *expires_ms == 0 || *expires_ms > at_ms;
        self.entries.iter().filter(alive).map(|(entry, _)| entry).collect()
    }
}

/// The golden databases of all formats, in the order of their names.
fn all() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<PathBuf> = Vec::new();
    for format in 1..=FORMAT {
        let Ok(files) = fs::read_dir(folder.join(format.to_string())) else {
            assert_eq!(format, FORMAT, "there are golden files of every older format");
            continue;
        };
        paths.extend(files.map(|file| file.expect("a file").path()));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "kvass"));
    paths.sort();
    paths.iter().map(|path| Golden::read(path)).collect()
}

/// What a database lists below the key that the tests write.
fn contents(db: &Database, reverse: bool) -> Vec<String> {
    let range = Range { start: &[1], end: NEW_KEY, reverse };
    let listed = block_on(db.entries(range, db.snapshot())).expect("it lists");
    let line = |entry: &OwnedEntry| {
        format!("{} {} {}", shown(&entry.key), entry.stamp, shown(&entry.value))
    };
    let mut entries: Vec<_> = listed.iter().map(line).collect();
    if reverse {
        entries.reverse();
    }
    entries
}

fn write(db: &Database) {
    let key = Blob(NEW_KEY);
    let set = Mutation::Set { key, value: Blob(&[2; 9]), expire_in_ms: None, stamp_key: false };
    let commit = Commit { checks: Vec::new(), mutations: vec![set], durability: None };
    let outcome = block_on(db.commit(&[&commit])).pop().expect("an outcome");
    outcome.expect("it is committed");
    block_on(db.flush()).expect("it is flushed");
}

#[test]
fn a_database_of_every_format_is_read_whole() {
    for golden in all() {
        let db = golden.open(golden.at_ms);
        for reverse in [false, true] {
            assert_eq!(
                contents(&db, reverse).iter().collect::<Vec<_>>(),
                golden.alive(golden.at_ms),
                "{}",
                golden.name
            );
        }
        let verified = block_on(db.verify()).expect("only damage is found");
        assert_eq!(verified.damage, [], "{}", golden.name);
    }
}

#[test]
fn what_expires_in_a_database_of_every_format_expires() {
    for golden in all() {
        let later_ms = golden.at_ms + LATER_MS;
        let db = golden.open(later_ms);
        block_on(db.expire()).expect("it expires");
        assert_eq!(
            contents(&db, false).iter().collect::<Vec<_>>(),
            golden.alive(later_ms),
            "{}",
            golden.name
        );
    }
}

#[test]
fn a_database_of_every_format_is_written_to_and_is_of_the_newest_then() {
    for golden in all() {
        write(&golden.open(golden.at_ms));
        let newest = |slot| {
            let bytes = golden.disk.contents(slot);
            bytes.get(8..10).map(|format| u16::from_le_bytes([format[0], format[1]]))
        };
        assert!([newest(0), newest(1)].contains(&Some(FORMAT)), "{}", golden.name);
        let db = golden.open(golden.at_ms);
        let found = block_on(db.get(NEW_KEY, db.snapshot())).expect("it is read");
        assert_eq!(found.expect("it is there").1.to_vec(), [2; 9], "{}", golden.name);
        assert_eq!(
            contents(&db, false).iter().collect::<Vec<_>>(),
            golden.alive(golden.at_ms),
            "{}",
            golden.name
        );
    }
}

#[test]
fn what_a_database_of_the_first_format_has_in_tables_only_is_history_no_longer() {
    let mut with_tables = 0;
    for golden in all().into_iter().filter(|golden| golden.name.contains("golden/1/")) {
        let db = golden.open(golden.at_ms);
        let stats = block_on(db.stats()).expect("it is known");
        if stats.levels.iter().all(|(tables, _)| *tables == 0) {
            continue;
        }
        let gone = db.read_changes(Stamp::ZERO).expect_err("its logs have gone");
        assert_eq!(gone.code(), Code::HistoryGone, "{}", golden.name);
        with_tables += 1;
    }
    assert!(with_tables > 0);
}
