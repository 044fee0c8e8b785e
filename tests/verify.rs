//! What `verify` promises: it finds nothing in what is whole, all that is damaged, and disturbs
//! nobody.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod common;

use common::{START_MS, commit, key, set, tiny};
use kvass::db::{DAMAGE_MAX, Db, Options, Verified};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::Code;
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::signal::join_all;
use kvass::storage::simulated::{Call, Fault};
use kvass::storage::{Durability, FileNo, SimulatedStorage, Storage};
use kvass::wire::FileKind;
use std::rc::Rc;

type Disk = SimulatedStorage;

fn open(disk: &Rc<Disk>, seed: u64) -> Rc<Db<ManualEnv<Disk>>> {
    // Of blob files only what is pointed at is read: tests/large.rs has them.
    let budgets = Budgets { large_value_bytes: usize::MAX, ..tiny() };
    let options = Options { budgets, ..Options::default() };
    let env = ManualEnv::new(disk.clone(), START_MS, seed);
    block_on(Db::open(env, options)).expect("it opens")
}

/// Commits in tables of several levels, in a log that was replayed and in one that is written.
fn filled(keys: u64) -> (Rc<Disk>, Rc<Db<ManualEnv<Disk>>>) {
    let disk = Rc::new(Disk::new(1));
    let rng = Rng::new(2);
    let write = |db: &Db<_>, commits: u64| {
        for n in 0..commits {
            let value = [&[3][..], &rng.bytes(rng.below(90) as usize)].concat();
            let key = key(&["k", &rng.below(keys).to_string()]);
            let commit = commit(vec![], vec![set(&key, &value)]);
            block_on(db.commit(&[&commit])).pop().expect("an outcome").expect("it commits");
            if n % 20 == 0 {
                block_on(db.upkeep());
            }
        }
    };
    write(&open(&disk, 3), 2 * keys);
    let db = open(&disk, 4);
    write(&db, 10);
    (disk, db)
}

fn verify(db: &Db<ManualEnv<Disk>>) -> Verified {
    block_on(db.verify()).expect("only damage is found")
}

/// Where the bytes of a file end that say something: a longer manifest stood in the slot before,
/// and a log may end with a mark.
fn end_of(bytes: &[u8]) -> usize {
    match &bytes[..8] {
        b"kvassman" => {
            32 + u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")) as usize
        }
        b"kvasslog" => bytes.len() - 24,
        _ => bytes.len(),
    }
}

#[test]
fn a_whole_database_is_read_to_its_last_byte_and_nothing_is_found() {
    let (disk, db) = filled(300);
    let found = verify(&db);
    let lengths: Vec<usize> =
        disk.file_numbers().iter().map(|file| disk.contents(*file).len()).collect();
    let total: usize = lengths.iter().sum();
    assert_eq!((found.damaged, found.damage), (0, vec![]));
    assert_eq!((found.files, found.bytes), (lengths.len() as u64, total as u64));
    let levels = block_on(db.stats()).expect("it has figures").levels;
    assert!(levels.iter().filter(|(tables, _)| *tables > 0).count() > 1, "{levels:?}");
}

#[test]
fn every_flipped_bit_is_found_with_its_file_and_a_place_before_it() {
    let (disk, db) = filled(300);
    let rng = Rng::new(6);
    let mut kinds = [0; 4];
    for file in disk.file_numbers() {
        let bytes = disk.contents(file);
        for _ in 0..bytes.len().min(60) {
            let (offset, bit) = (rng.below(end_of(&bytes) as u64), rng.below(8) as u32);
            disk.flip_bit(file, offset, bit);
            let found = verify(&db);
            disk.flip_bit(file, offset, bit);
            let [(kind, error)] = &found.damage[..] else {
                panic!("bit {bit} at {offset} of file {file}: {found:?}");
            };
            let place = error.place().expect("damage has a place");
            assert!(place.0 == file && place.1 <= offset, "{offset} of file {file}: {error}");
            assert!(matches!(error.code(), Code::Corruption | Code::NewerFormat));
            kinds[*kind as usize] += 1;
        }
    }
    let [manifests, logs, tables, _] = kinds;
    assert!(manifests >= 60 && logs >= 60 && tables >= 300, "{kinds:?}");
    assert_eq!(verify(&db).damaged, 0);
}

#[test]
fn much_damage_is_counted_and_told_of_within_bounds() {
    let (disk, db) = filled(1_000);
    for file in disk.file_numbers() {
        let bytes = disk.contents(file);
        if bytes.starts_with(b"kvasstbl") {
            let end = (bytes.len() as u64).saturating_sub(400);
            (48..end).step_by(40).for_each(|offset| disk.flip_bit(file, offset, 0));
        }
    }
    let found = verify(&db);
    assert!(found.damaged > DAMAGE_MAX as u64, "{}", found.damaged);
    assert_eq!(found.damage.len(), DAMAGE_MAX);
    assert!(found.damage.iter().all(|(kind, _)| *kind == FileKind::Table));
}

#[test]
fn a_lost_table_is_found_and_the_others_are_read() {
    let (disk, db) = filled(300);
    let whole = verify(&db);
    let mut files = disk.file_numbers().into_iter();
    let lost = files.find(|file| disk.contents(*file).starts_with(b"kvasstbl"));
    let lost = lost.expect("there is a table");
    disk.lose(lost);
    let found = verify(&db);
    let files: Vec<_> = found.damage.iter().map(|(_, error)| error.place()).collect();
    assert!(matches!(&files[..], [Some((file, _))] if *file == lost), "{found:?}");
    assert_eq!(found.files, whole.files);
}

#[test]
fn commits_and_compactions_go_on_while_it_reads_and_the_cache_stays_as_it_is() {
    let (disk, db) = filled(300);
    disk.set_polls_max(3);
    db.env().set_slice_used_up(true);
    db.env().set_turn_polls(2);
    let value = [3; 60];
    let write = async {
        for n in 0..200 {
            let key = key(&["w", &n.to_string()]);
            let commit = commit(vec![], vec![set(&key, &value)]);
            db.commit(&[&commit]).await.pop().expect("an outcome").expect("it commits");
            db.upkeep().await;
        }
        None
    };
    let read = async { Some(db.verify().await.expect("only damage is found")) };
    let tasks: [std::pin::Pin<Box<dyn Future<Output = Option<Verified>>>>; 2] =
        [Box::pin(write), Box::pin(read)];
    let found = block_on(join_all(tasks.into_iter())).pop().flatten().expect("it was verified");
    assert_eq!((found.damaged, found.damage), (0, vec![]));
    db.env().set_slice_used_up(false);
    disk.set_polls_max(0);
    for n in 0..300 {
        block_on(db.get(&key(&["k", &n.to_string()]), db.snapshot())).expect("it reads");
    }
    let before = block_on(db.stats()).expect("it has figures");
    assert_eq!(verify(&db).damaged, 0);
    let after = block_on(db.stats()).expect("it has figures");
    assert_eq!((after.cache_hits, after.cache_misses), (before.cache_hits, before.cache_misses));
    assert!(after.cache_bytes == before.cache_bytes && after.cache_bytes > 0);
}

#[test]
fn damage_to_a_value_is_found_also_while_its_pointer_moves_to_a_table() {
    for seed in 0..20 {
        let disk = Rc::new(Disk::new(seed));
        let budgets = Budgets { large_value_bytes: 1_000, ..tiny() };
        let options = Options { budgets, ..Options::default() };
        let env = ManualEnv::new(disk.clone(), START_MS, seed);
        let db = block_on(Db::open(env, options)).expect("it opens");
        let put = |name: &str, value: &[u8]| {
            let key = key(&[name]);
            let commit = commit(vec![], vec![set(&key, value)]);
            block_on(db.commit(&[&commit])).pop().expect("an outcome").expect("it commits");
        };
        put("large", &[3; 1_500]);
        let is_blob = |file: &FileNo| disk.contents(*file).starts_with(b"kvassblb");
        let blob = disk.file_numbers().into_iter().find(is_blob).expect("a blob file");
        disk.flip_bit(blob, 100, 1);
        for n in 0..100 {
            put(&n.to_string(), &[3; 60]);
        }
        assert!(db.wants_upkeep());
        disk.set_polls_max(seed as u32 % 5 + 1);
        let flush = async {
            db.upkeep().await;
            None
        };
        let read = async { Some(db.verify().await.expect("only damage is found")) };
        let tasks: [std::pin::Pin<Box<dyn Future<Output = Option<Verified>>>>; 2] =
            [Box::pin(read), Box::pin(flush)];
        let found = block_on(join_all(tasks.into_iter())).into_iter().flatten().next();
        assert_eq!(found.expect("it was verified").damaged, 1, "seed {seed}");
    }
}

#[test]
fn a_write_that_failed_is_no_damage() {
    let (disk, db) = filled(300);
    let (key, value) = (key(&["k"]), [3; 60]);
    let commit = commit(vec![], vec![set(&key, &value)]);
    disk.inject(Some(Call::Write), 0, Fault::Fail(Code::Io));
    block_on(db.commit(&[&commit])).pop().expect("an outcome").expect_err("it is refused");
    // The next commit repairs the database.
    for _ in 0..2 {
        assert_eq!(verify(&db).damage, []);
        block_on(db.commit(&[&commit])).pop().expect("an outcome").expect("it commits");
    }
}

#[test]
fn a_closed_database_is_not_verified() {
    let (_, db) = filled(300);
    block_on(db.close()).expect("it closes");
    assert_eq!(block_on(db.verify()).expect_err("it is closed").code(), Code::Closed);
}

#[test]
fn salvage_finds_nothing_behind_the_end_of_a_log_that_is_history() {
    let disk = Rc::new(Disk::new(1));
    let put = |db: &Db<ManualEnv<Disk>>, number: u64| {
        let (key, value) = (key(&["k", &number.to_string()]), [3; 60]);
        let commit = commit(vec![], vec![set(&key, &value)]);
        block_on(db.commit(&[&commit])).pop().expect("an outcome").expect("it commits");
    };
    let db = open(&disk, 3);
    (0..5).for_each(|number| put(&db, number));
    drop(db);
    // What a crash in the midst of the next group leaves.
    let is_log = |file: &FileNo| disk.contents(*file).starts_with(b"kvasslog");
    let log = disk.file_numbers().into_iter().find(is_log).expect("a log");
    let len = disk.contents(log).len() as u64;
    block_on(disk.write(log, len, &[7; 30], Durability::Strict)).expect("it writes");
    let db = open(&disk, 5);
    (0..200).for_each(|number| {
        put(&db, number);
        block_on(db.upkeep());
    });
    assert_eq!(verify(&db).damage, []);
    drop(db);
    assert!(disk.file_numbers().contains(&log), "it is history");
    let budgets = Budgets { large_value_bytes: usize::MAX, ..tiny() };
    let options = Options { budgets, salvage: true, ..Options::default() };
    let env = ManualEnv::new(disk.clone(), START_MS, 7);
    let salvaged = block_on(Db::open(env, options)).expect("it opens");
    assert_eq!(verify(&salvaged).damage, []);
}
