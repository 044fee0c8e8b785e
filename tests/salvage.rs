//! Damaged databases: salvage reads what is left and changes nothing, and no damage makes the
//! database take an earlier state for its last one.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, commit, delete, delete_range, key, set, tiny};
use kvass::db::{Db, Options, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::{Code, Error, Result};
use kvass::hash::xxh3_64;
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::stamp::Stamp;
use kvass::storage::simulated::SimulatedStorage;
use kvass::storage::{Durability, Storage};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

type Disk = SimulatedStorage;
type Database = Rc<Db<ManualEnv<Disk>>>;
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// The length of a value that a blob file holds.
const LARGE_BYTES: usize = 40_000;
/// Where the body of a manifest begins.
const MANIFEST_BODY: u64 = 30;

/// What a database went through: every value that a key ever had, and what it has in the end.
#[derive(Default)]
struct History {
    state: State,
    values: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

fn open_as(disk: &Disk, salvage: bool) -> Result<Database> {
    let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, disk.file_numbers().len() as u64);
    block_on(Db::open(env, Options { budgets: tiny(), salvage, ..Options::default() }))
}

fn salvaged(disk: &Disk) -> Database {
    open_as(disk, true).expect("salvage opens what can be read")
}

impl History {
    /// Writes a few keys, or deletes a range of them, and keeps what it wrote.
    fn write(&mut self, db: &Database, rng: &Rng) {
        if rng.one_in(20) {
            return self.delete_range(db, rng);
        }
        let place = |_| key(&["k", &rng.below(400).to_string()]);
        let keys: Vec<_> = (0..1 + rng.below(4)).map(place).collect();
        for key in &keys {
            let is_large = rng.one_in(150);
            let bytes = if is_large { LARGE_BYTES } else { 8 + rng.below(50) as usize };
            let value = [&[3][..], &rng.bytes(bytes)].concat();
            let is_deleted = rng.one_in(4);
            let mutation = if is_deleted { delete(key) } else { set(key, &value) };
            let outcome = block_on(db.commit(&[&commit(vec![], vec![mutation])])).pop();
            outcome.expect("an answer").expect("it is committed");
            if is_deleted {
                self.state.remove(key);
            } else {
                self.state.insert(key.clone(), value.clone());
                self.values.entry(key.clone()).or_default().push(value);
            }
        }
    }

    /// Deletes the keys that begin with some number.
    fn delete_range(&mut self, db: &Database, rng: &Rng) {
        let number = 10 + rng.below(30);
        let (start, end) = (number.to_string(), (number + 1).to_string());
        let (start, end) = (key(&["k", &start]), key(&["k", &end]));
        let mutations = vec![delete_range(&start, &end)];
        let outcome = block_on(db.commit(&[&commit(vec![], mutations)])).pop();
        outcome.expect("an answer").expect("it is committed");
        self.state.retain(|key, _| !(&start..&end).contains(&key));
    }
}

/// A database with several levels and a log, and what is in it.
fn filled() -> (Disk, History) {
    let (disk, rng, mut history) = (Disk::new(1), Rng::new(1), History::default());
    for _ in 0..3 {
        let db = open_as(&disk, false).expect("it opens");
        for _ in 0..150 {
            history.write(&db, &rng);
            block_on(db.upkeep());
        }
        block_on(db.flush()).expect("it flushes");
    }
    assert!(disk.file_numbers().len() > 6, "{:?}", disk.file_numbers());
    (disk, history)
}

fn list(db: &Database, reverse: bool) -> Result<State> {
    let range = Range { start: &[1], end: &[0xff], reverse };
    let entries = block_on(db.entries(range, db.snapshot()))?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

fn get(db: &Database, key: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(block_on(db.get(key, db.snapshot()))?.map(|(_, value)| value.to_vec()))
}

/// All that is on a disk.
fn bytes_of(disk: &Disk) -> Vec<(u32, Vec<u8>)> {
    disk.file_numbers().into_iter().map(|file| (file, disk.contents(file))).collect()
}

fn damage_manifests(disk: &Disk) {
    (0..2).for_each(|slot| disk.flip_bit(slot, MANIFEST_BODY, 1));
}

/// The slot of the last manifest.
fn newest_slot(disk: &Disk) -> u32 {
    let generation = |slot| {
        let bytes = disk.contents(slot);
        let field = bytes.get(16..24).and_then(|field| field.try_into().ok());
        u64::from_le_bytes(field.unwrap_or_default())
    };
    u32::from(generation(1) > generation(0))
}

#[test]
fn salvage_of_a_whole_database_reads_all_of_it_with_a_manifest_and_without() {
    let (disk, history) = filled();
    for is_lost in [false, true] {
        if is_lost {
            damage_manifests(&disk);
            let error = open_as(&disk, false).err().expect("it does not open");
            assert_eq!(error.code(), Code::Corruption);
            assert!(error.to_string().contains("salvage: true"), "{error}");
        }
        let db = salvaged(&disk);
        for reverse in [false, true] {
            assert_eq!(list(&db, reverse).expect("it lists"), history.state, "lost: {is_lost}");
        }
        for key in history.values.keys() {
            assert_eq!(get(&db, key).expect("it reads"), history.state.get(key).cloned());
        }
        assert_eq!(db.failure().is_some(), is_lost, "what is damaged is told of");
    }
}

#[test]
fn salvage_changes_no_byte_and_refuses_to_write() {
    let (disk, history) = filled();
    for is_lost in [false, true] {
        if is_lost {
            damage_manifests(&disk);
        }
        let before = bytes_of(&disk);
        let db = salvaged(&disk);
        list(&db, false).expect("it lists");
        let key = key(&["new"]);
        let outcome = block_on(db.commit(&[&commit(vec![], vec![set(&key, &[3, 1])])])).pop();
        let error = outcome.expect("an answer").expect_err("it can't be written to");
        assert_eq!(error.code(), Code::Unsupported, "{error}");
        block_on(db.expire()).expect_err("it can't be written to");
        let first = Stamp { epoch: 1, counter: 1 };
        let error = db.read_changes(first).expect_err("it has no history that is whole");
        assert_eq!(error.code(), Code::Unsupported, "{error}");
        block_on(db.upkeep());
        block_on(db.flush()).expect("there is nothing to flush");
        assert_eq!(bytes_of(&disk), before);
        assert_eq!(list(&db, false).expect("it lists"), history.state);
        block_on(disk.restart().close()).expect("it closes");
    }
}

/// Whether salvage finds everything or tells of damage, and no value that the key never had.
fn check_salvaged(disk: &Disk, history: &History, context: &str) -> usize {
    let db = salvaged(disk);
    let found = list(&db, false).unwrap_or_else(|error| panic!("{context}: {error}"));
    for (key, value) in &found {
        let values = history.values.get(key).expect("a key that was written");
        assert!(values.contains(value), "{context}: a value that was never written");
    }
    if db.damage().is_empty() {
        assert_eq!(found, history.state, "{context}: nothing is missing in silence");
    }
    for key in history.values.keys() {
        match get(&db, key) {
            Ok(found) => {
                assert!(db.failure().is_some() || found.as_ref() == history.state.get(key))
            }
            Err(error) => assert!(error.is_damage(), "{context}: {error}"),
        }
    }
    found.iter().filter(|(key, value)| history.state.get(*key) == Some(value)).count()
}

#[test]
fn salvage_reads_past_any_flipped_bit_and_tells_of_it() {
    let (whole, history) = filled();
    let rng = Rng::new(2);
    for round in 0..80 {
        let disk = whole.restart();
        if rng.one_in(3) {
            damage_manifests(&disk);
        }
        let files = disk.file_numbers();
        let file = files[rng.below(files.len() as u64) as usize];
        let offset = rng.below(disk.contents(file).len().max(1) as u64);
        disk.flip_bit(file, offset, rng.below(8) as u32);
        let right = check_salvaged(&disk, &history, &format!("{round}: file {file} at {offset}"));
        assert!(right * 2 > history.state.len(), "{right} of {}", history.state.len());
    }
}

#[test]
fn salvage_reads_past_files_that_are_gone_or_cut_short() {
    let (whole, history) = filled();
    for file in whole.file_numbers() {
        for lost in [false, true] {
            let disk = whole.restart();
            let half = disk.contents(file).len() as u64 / 2;
            match lost {
                true => disk.lose(file),
                false => block_on(disk.truncate(file, half)).expect("it is cut"),
            }
            check_salvaged(&disk, &history, &format!("file {file}, lost: {lost}"));
        }
    }
}

#[test]
fn behind_damage_in_a_log_later_commits_are_salvaged() {
    let disk = Disk::new(3);
    let db = open_as(&disk, false).expect("it opens");
    let keys: Vec<_> = (0..20).map(|n: u32| key(&["k", &n.to_string()])).collect();
    for key in &keys {
        let outcome = block_on(db.commit(&[&commit(vec![], vec![set(key, &[3, 7])])])).pop();
        outcome.expect("an answer").expect("it is committed");
    }
    block_on(db.flush()).expect("it flushes");
    let is_log = |file: &u32| disk.contents(*file).starts_with(b"kvasslog");
    let log = disk.file_numbers().into_iter().find(is_log).expect("a log");
    disk.flip_bit(log, disk.contents(log).len() as u64 / 2, 0);
    assert_eq!(open_as(&disk, false).err().expect("it is damaged").code(), Code::Corruption);
    let db = salvaged(&disk);
    assert_eq!(list(&db, false).expect("it lists").len(), keys.len() - 1);
    let [damage] = &db.damage()[..] else { panic!("one damaged place: {:?}", db.damage()) };
    assert_eq!(damage.place().expect("a place").0, log);
    assert!(db.failure().expect("it is told of").to_string().contains(&damage.to_string()));
}

/// A database that was opened twice, each time for some commits, so that there are two logs whose
/// commits no table holds; with those, oldest first.
fn two_logs() -> (Disk, [u32; 2]) {
    let disk = Disk::new(4);
    for n in 0..2 {
        let db = open_as(&disk, false).expect("it opens");
        for m in 0..5 {
            let key = key(&["k", &n.to_string(), &m.to_string()]);
            let outcome = block_on(db.commit(&[&commit(vec![], vec![set(&key, &[3, 7])])])).pop();
            outcome.expect("an answer").expect("it is committed");
        }
        block_on(db.flush()).expect("it flushes");
    }
    let logs = disk.file_numbers().into_iter();
    let mut logs: Vec<_> =
        logs.filter(|file| disk.contents(*file).starts_with(b"kvasslog")).collect();
    logs.sort_by_key(|file| disk.contents(*file)[16]);
    (disk, logs.try_into().expect("two logs"))
}

/// Where the header of a log ends, and each of its records.
fn record_ends(log: &[u8]) -> Vec<u64> {
    let mut ends = vec![64];
    while let Some(length) = log.get(ends[ends.len() - 1] as usize + 12..).and_then(|b| b.get(..4))
    {
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        ends.push(ends[ends.len() - 1] + 24 + u64::from(length));
    }
    ends
}

#[test]
fn a_lost_part_of_a_log_is_corruption_and_the_rest_is_salvaged() {
    let (whole, logs) = two_logs();
    for log in logs {
        let ends = record_ends(&whole.contents(log));
        for record in ends[..5].windows(2) {
            let disk = whole.restart();
            disk.lose_part(log, record[0]..record[1]);
            let error = open_as(&disk, false).err().expect("it is damaged");
            let place = Some((log, record[0]));
            assert_eq!((error.code(), error.place()), (Code::Corruption, place));
            assert!(error.to_string().contains("salvage: true"), "{error}");
            let db = salvaged(&disk);
            assert_eq!(list(&db, false).expect("it lists").len(), 9);
            assert_eq!(db.damage().iter().map(Error::place).collect::<Vec<_>>(), [place]);
            let found = block_on(db.verify()).expect("only damage is found");
            let places: Vec<_> = found.damage.iter().map(|(_, error)| error.place()).collect();
            assert_eq!((found.damaged, places), (1, vec![place]));
        }
    }
}

#[test]
fn verify_finds_a_lost_part_of_a_log_that_is_history() {
    let (disk, _) = filled();
    let db = open_as(&disk, false).expect("it opens");
    let is_log = |file: &u32| disk.contents(*file).starts_with(b"kvasslog");
    let mut logs = disk.file_numbers();
    logs.retain(|file| is_log(file) && record_ends(&disk.contents(*file)).len() > 4);
    assert!(logs.len() > 1, "{logs:?}");
    for log in logs {
        let place = record_ends(&disk.contents(log))[2];
        disk.lose_part(log, place..place + 30);
        let found = block_on(db.verify()).expect("only damage is found");
        disk.lose_part(log, 0..0);
        let places: Vec<_> = found.damage.iter().map(|(_, error)| error.place()).collect();
        assert_eq!(places, [Some((log, place))]);
    }
}

#[test]
fn a_log_that_is_empty_or_ends_too_soon_is_told_of_by_salvage_and_by_verify() {
    let (whole, [log, _]) = two_logs();
    let ends = record_ends(&whole.contents(log));
    let (_, short) = ends.split_last().expect("records");
    assert!(short.len() >= 5, "{short:?}");
    for end in [&[0], short].concat() {
        let disk = whole.restart();
        block_on(disk.truncate(log, end)).expect("it is cut");
        let error = open_as(&disk, false).err().expect("it is damaged");
        assert_eq!((error.code(), error.place()), (Code::Corruption, Some((log, end))));
        let db = salvaged(&disk);
        assert!(list(&db, false).expect("it lists").len() >= 5);
        let places: Vec<_> = db.damage().iter().map(Error::place).collect();
        assert_eq!(places, [Some((log, end))]);
        assert!(db.failure().is_some());
        let found = block_on(db.verify()).expect("only damage is found");
        let places: Vec<_> = found.damage.iter().map(|(_, error)| error.place()).collect();
        assert_eq!((found.damaged, places), (1, vec![Some((log, end))]));
    }
}

#[test]
fn a_newer_manifest_that_is_damaged_is_never_lost_in_silence() {
    let (mut refused, mut same) = (0, 0);
    for seed in 0..6 {
        let (disk, rng, mut history) = (Disk::new(seed), Rng::new(seed), History::default());
        let db = open_as(&disk, false).expect("it opens");
        for _ in 0..80 {
            match rng.below(4) {
                0 => block_on(db.upkeep()),
                1 => block_on(db.flush()).expect("it flushes"),
                _ => history.write(&db, &rng),
            }
            let copy = disk.restart();
            let slot = newest_slot(&copy);
            if rng.one_in(2) {
                copy.flip_bit(slot, MANIFEST_BODY, 3);
            } else {
                block_on(copy.truncate(slot, 0)).expect("it is emptied");
            }
            match open_as(&copy, false) {
                Ok(db) => {
                    assert_eq!(list(&db, false).expect("it lists"), history.state, "seed {seed}");
                    same += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), Code::Corruption, "{error}");
                    assert_eq!(list(&salvaged(&copy), false).expect("it lists"), history.state);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0 && same > 0, "{refused} refused, {same} opened");
}

/// Whether a database opens without a file, or without the end of it; if not, nothing is changed.
fn opens_without(whole: &Disk, file: u32, is_lost: bool) -> bool {
    let disk = whole.restart();
    let len = disk.contents(file).len() as u64;
    match is_lost {
        true => disk.lose(file),
        false => block_on(disk.truncate(file, len - 1)).expect("it is cut"),
    }
    let before = bytes_of(&disk);
    let error = open_as(&disk, false).err();
    if let Some(error) = &error {
        assert_eq!(error.code(), Code::Corruption, "{error}");
        assert_eq!(bytes_of(&disk), before);
    }
    error.is_none()
}

#[test]
fn a_manifest_that_is_left_is_out_of_date_where_what_it_names_is_gone_or_cut_short() {
    let (intact, _) = filled();
    let left = intact.restart();
    left.flip_bit(newest_slot(&left), MANIFEST_BODY, 1);
    open_as(&left.restart(), false).expect("it may be the last one");
    let files = || left.file_numbers().into_iter().skip(2);
    let is_log = |file: &u32| left.contents(*file).starts_with(b"kvasslog");
    let last_log = files().filter(is_log).max_by_key(|file| left.contents(*file)[16]);
    let (mut tables, mut history, mut blobs) = (0, 0, 0);
    for (file, is_lost) in files().flat_map(|file| [(file, true), (file, false)]) {
        let bytes = left.contents(file);
        let is_blob = bytes.starts_with(b"kvassblb");
        // A log that is replayed is missed by any manifest.
        if bytes.is_empty() || is_log(&file) && !opens_without(&intact, file, is_lost) {
            continue;
        }
        let is_refused = !opens_without(&left, file, is_lost);
        if is_blob {
            // Those that a table points into.
            blobs += u32::from(is_refused);
        } else if !is_log(&file) {
            assert!(is_refused, "table {file}, lost: {is_lost}");
            tables += 1;
        } else if Some(file) != last_log {
            assert!(is_refused, "log {file}, lost: {is_lost}");
            history += 1;
        }
    }
    assert!(tables > 2 && history > 2 && blobs > 0, "{tables}, {history}, {blobs}");
}

#[test]
fn a_stale_log_beside_a_newer_manifest_is_given_up_and_one_in_place_of_another_is_corruption() {
    let disk = Disk::new(4);
    let write = |n: u32| {
        let db = open_as(&disk, false).expect("it opens");
        let key = key(&["k", &n.to_string()]);
        let outcome = block_on(db.commit(&[&commit(vec![], vec![set(&key, &[3, 7])])])).pop();
        outcome.expect("an answer").expect("it is committed");
        block_on(db.flush()).expect("it flushes");
    };
    let is_log = |file: &u32| disk.contents(*file).starts_with(b"kvasslog");
    write(1);
    let [first] = disk.file_numbers().into_iter().filter(is_log).collect::<Vec<_>>()[..] else {
        panic!("one log")
    };
    let stale = disk.contents(first);
    write(2);
    let put = |disk: &Disk, file: u32| {
        block_on(async {
            disk.truncate(file, 0).await?;
            disk.write(file, 0, &stale, Durability::Strict).await
        })
        .expect("it is written");
    };
    let beside = disk.restart();
    let unnamed = block_on(beside.create()).expect("a file");
    put(&beside, unnamed);
    let db = open_as(&beside, false).expect("a file that no manifest names is no part of it");
    assert_eq!(list(&db, false).expect("it lists").len(), 2);

    let instead = disk.restart();
    let other = |file: &u32| is_log(file) && *file != first;
    put(&instead, disk.file_numbers().into_iter().find(other).expect("a log"));
    let error = open_as(&instead, false).err().expect("it is another log");
    assert_eq!(error.code(), Code::Corruption);
    assert!(error.to_string().contains("another log"), "{error}");
}

/// The first error of opening, of the list, or of a get.
fn complaint(disk: &Disk, history: &History) -> Option<Error> {
    let db = match open_as(disk, false) {
        Ok(db) => db,
        Err(error) => return Some(error),
    };
    let get = || history.values.keys().find_map(|key| get(&db, key).err());
    list(&db, false).err().or_else(get)
}

#[test]
fn a_file_of_a_newer_format_is_refused_with_advice_and_the_rest_is_salvaged() {
    let (whole, history) = filled();
    let mut kinds = BTreeSet::new();
    for file in whole.file_numbers() {
        let disk = whole.restart();
        let mut bytes = disk.contents(file);
        let magic = bytes.get(..8).map(<[u8]>::to_vec).unwrap_or_default();
        // Where the checksum is that covers the format.
        let sum = match magic.as_slice() {
            b"kvassman" => {
                let length = bytes[12..16].try_into().map(u32::from_le_bytes);
                24 + length.expect("four bytes") as usize
            }
            b"kvasslog" | b"kvassblb" => 56,
            _ => continue,
        };
        bytes[8] = 0xff;
        let checksum = xxh3_64(&bytes[..sum]).to_le_bytes();
        bytes[sum..sum + 8].copy_from_slice(&checksum);
        block_on(disk.write(file, 0, &bytes, Durability::Strict)).expect("it is written");
        if let Some(error) = complaint(&disk, &history) {
            assert_eq!(error.code(), Code::NewerFormat, "{error}");
            assert!(error.to_string().contains("update the page"), "{error}");
            assert_eq!(disk.contents(file), bytes, "it stays as it is");
            kinds.insert(magic.clone());
        }
        if magic != b"kvassman" {
            let found = list(&salvaged(&disk), false).expect("it lists");
            assert!(found.len() * 2 > history.state.len(), "{} entries", found.len());
        }
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn options_out_of_range_are_refused_by_name_and_nothing_is_made() {
    type Break = fn(&mut Budgets);
    let breaks: [(&str, Break); 8] = [
        ("memtable_bytes", |budgets| budgets.memtable_bytes = 0),
        ("block_bytes", |budgets| budgets.block_bytes = 0),
        ("block_bytes", |budgets| budgets.block_bytes = 1 << 30),
        ("level0_tables", |budgets| budgets.level0_tables = 0),
        ("level1_bytes", |budgets| budgets.level1_bytes = 0),
        ("level_growth", |budgets| budgets.level_growth = 1),
        ("filter_bits", |budgets| budgets.filter_bits = 1000),
        ("mutations_in_a_row", |budgets| budgets.mutations_in_a_row = 0),
    ];
    for (name, change) in breaks {
        let disk = Disk::new(5);
        let mut options = Options::default();
        change(&mut options.budgets);
        let env = ManualEnv::new(Rc::new(disk.clone()), START_MS, 1);
        let error: Error = block_on(Db::open(env, options)).err().expect("it is refused");
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(disk.contents(0).len() + disk.contents(1).len(), 0);
    }
}
