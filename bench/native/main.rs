//! kvass beside redb and fjall: the same entries, durability, batches and cache, in one run.
//!
//!     cargo bench                            about five minutes
//!     cargo bench -- get                     the operations with "get" in their name
//!     KVASS_BENCH_ENTRIES=100000 cargo bench less data
//!
//! criterion measures and reports each operation; the table at the end holds the engines against
//! each other and kvass against its targets.
#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a failure ends the benchmark")]

mod data;
mod engines;
mod report;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use data::{Data, Key, Value};
use engines::{
    CACHE_BYTES, Engine, Fjall, Kvass, LARGE_MEMTABLE_BYTES, Redb, SMALL_MEMTABLE_BYTES,
};
use kvass::limits::Budgets;
use report::{Report, Target};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ENTRIES: usize = 1_000_000;
/// Entries that one commit of a batch writes.
const BATCH: usize = 1_000;
/// Tables that a compaction merges, and what an entry takes of a memtable, roughly.
const OVERLAPPING_TABLES: usize = 8;
const BYTES_IN_MEMORY: usize = 212;
const REDB: Target = Target::AsFastAs("redb");
const FJALL: Target = Target::AsFastAs("fjall");

struct Bench {
    criterion: Criterion,
    report: Report,
    data: Data,
    sorted: Vec<(Key, Value)>,
}

/// All three, with all entries.
struct Loaded {
    kvass: Kvass,
    redb: Redb,
    fjall: Fjall,
    directory: TempDir,
}

fn main() {
    let entries = std::env::var("KVASS_BENCH_ENTRIES")
        .map_or(ENTRIES, |count| count.parse().expect("KVASS_BENCH_ENTRIES is a number"));
    let data = Data::new(entries);
    let sorted = data.sorted();
    let criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut bench = Bench { criterion, report: Report::default(), data, sorted };
    bench.loads();
    bench.reads_and_puts();
    bench.opens();
    bench.compactions();
    bench.tails();
    bench.criterion.final_summary();
    bench.report.print(&[Kvass::NAME, Redb::NAME, Fjall::NAME]);
}

impl Bench {
    fn loads(&mut self) {
        let (random, sorted) = (self.data.entries.clone(), self.sorted.clone());
        for (name, entries) in [("load in random order", random), ("load in order", sorted)] {
            self.load::<Kvass>(name, &entries);
            self.load::<Redb>(name, &entries);
            self.load::<Fjall>(name, &entries);
        }
    }

    /// Loads an empty database in batches, until the last commit has returned.
    fn load<E: Engine>(&mut self, name: &str, entries: &[(Key, Value)]) {
        self.measure::<E>(name, FJALL, entries.len(), |count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let directory = TempDir::new().expect("a directory");
                let mut engine = E::open(directory.path(), LARGE_MEMTABLE_BYTES);
                let start = Instant::now();
                put_all(&mut engine, entries);
                took += start.elapsed();
                engine.close();
            }
            took
        });
    }

    fn loaded(&self, memtable_bytes: usize) -> Loaded {
        let directory = TempDir::new().expect("a directory");
        Loaded {
            kvass: self.fill(directory.path(), memtable_bytes),
            redb: self.fill(directory.path(), memtable_bytes),
            fjall: self.fill(directory.path(), memtable_bytes),
            directory,
        }
    }

    /// Loads all entries and reads every byte of them back.
    fn fill<E: Engine>(&self, directory: &Path, memtable_bytes: usize) -> E {
        let mut engine = E::open(&directory.join(E::NAME), memtable_bytes);
        put_all(&mut engine, &self.data.entries);
        engine.settle();
        for reverse in [false, true] {
            let mut wanted = self.sorted.iter();
            engine.scan(reverse, |key, value| {
                let next = if reverse { wanted.next_back() } else { wanted.next() };
                let (wanted_key, wanted_value) = next.expect("no more entries than were put in");
                assert!(key == wanted_key && value == wanted_value, "{} {key:?}", E::NAME);
            });
            assert_eq!(wanted.len(), 0, "{} has all entries", E::NAME);
        }
        engine
    }

    fn reads_and_puts(&mut self) {
        let Loaded { kvass, redb, fjall, .. } = &mut self.loaded(LARGE_MEMTABLE_BYTES);
        self.get_hit(kvass);
        self.get_hit(redb);
        self.get_hit(fjall);
        self.get_miss(kvass);
        self.get_miss(redb);
        self.get_miss(fjall);
        for (name, reverse) in [("scan, an entry", false), ("scan in reverse, an entry", true)] {
            self.scan(name, reverse, kvass);
            self.scan(name, reverse, redb);
            self.scan(name, reverse, fjall);
        }
        self.put(kvass);
        self.put(redb);
        self.put(fjall);
    }

    fn get_hit<E: Engine>(&mut self, engine: &mut E) {
        let mut keys = self.data.present.clone().into_iter().cycle();
        self.measure::<E>("get", REDB, 1, |count| {
            let start = Instant::now();
            for key in keys.by_ref().take(count as usize) {
                assert!(engine.get(&key, |value| assert!(data::belongs(&key, value))));
            }
            start.elapsed()
        });
    }

    fn get_miss<E: Engine>(&mut self, engine: &mut E) {
        let mut keys = self.data.absent.clone().into_iter().cycle();
        self.measure::<E>("get of a missing key", Target::AtMostNs(1e3), 1, |count| {
            let start = Instant::now();
            for key in keys.by_ref().take(count as usize) {
                assert!(!engine.get(&key, |_| {}));
            }
            start.elapsed()
        });
    }

    fn scan<E: Engine>(&mut self, name: &str, reverse: bool, engine: &mut E) {
        let entries = self.data.entries.len();
        self.measure::<E>(name, REDB, entries, |count| {
            let start = Instant::now();
            for _ in 0..count {
                let mut seen = 0;
                engine.scan(reverse, |key, value| {
                    let key = key.try_into().expect("a key of 16 bytes");
                    assert!(data::belongs(key, value));
                    seen += 1;
                });
                assert_eq!(seen, entries);
            }
            start.elapsed()
        });
    }

    /// Writes entries again, one a commit.
    fn put<E: Engine>(&mut self, engine: &mut E) {
        let mut keys = self.data.present.clone().into_iter().cycle();
        self.measure::<E>("put", Target::None, 1, |count| {
            let start = Instant::now();
            for key in keys.by_ref().take(count as usize) {
                engine.put(&key, &data::value(&key));
            }
            start.elapsed()
        });
        engine.settle();
    }

    fn opens(&mut self) {
        let Loaded { kvass, redb, fjall, directory } = self.loaded(SMALL_MEMTABLE_BYTES);
        kvass.close();
        redb.close();
        fjall.close();
        self.open::<Kvass>(directory.path());
        self.open::<Redb>(directory.path());
        self.open::<Fjall>(directory.path());
    }

    fn open<E: Engine>(&mut self, directory: &Path) {
        let key = self.data.present[0];
        self.measure::<E>("open and get", Target::None, 1, |count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let start = Instant::now();
                let mut engine = E::open(&directory.join(E::NAME), SMALL_MEMTABLE_BYTES);
                assert!(engine.get(&key, |value| assert!(data::belongs(&key, value))));
                took += start.elapsed();
                engine.close();
            }
            took
        });
    }

    /// Merges tables that all overlap.
    fn compactions(&mut self) {
        let entries = self.data.entries.clone();
        self.compaction::<Kvass>(|path| {
            let budgets = |level0_tables| Budgets {
                level0_tables,
                memtable_bytes: entries.len() * BYTES_IN_MEMORY / OVERLAPPING_TABLES,
                cache_bytes: CACHE_BYTES,
                ..Budgets::default()
            };
            let mut kvass = Kvass::open_with(path, budgets(1_000));
            put_all(&mut kvass, &entries);
            kvass.work_off();
            kvass.close();
            let mut kvass = Kvass::open_with(path, budgets(1));
            let start = Instant::now();
            kvass.work_off();
            let took = start.elapsed();
            kvass.close();
            took
        });
        self.compaction::<Fjall>(|path| {
            let mut fjall = Fjall::open(path, entries.len() * BYTES_IN_MEMORY / OVERLAPPING_TABLES);
            put_all(&mut fjall, &entries);
            fjall.settle();
            let start = Instant::now();
            fjall.compact_all();
            let took = start.elapsed();
            fjall.close();
            took
        });
    }

    fn compaction<E: Engine>(&mut self, compact: impl Fn(&Path) -> Duration) {
        self.measure::<E>("compaction, an entry", Target::None, self.data.entries.len(), |count| {
            (0..count).map(|_| compact(TempDir::new().expect("a directory").path())).sum()
        });
    }

    fn tails(&mut self) {
        let directory = TempDir::new().expect("a directory");
        self.tail::<Kvass>(directory.path());
        self.tail::<Redb>(directory.path());
        self.tail::<Fjall>(directory.path());
    }

    /// Writes all entries, one a commit, through memtables so small that flushes and compaction
    /// never rest, and looks at the slowest ones.
    fn tail<E: Engine>(&mut self, directory: &Path) {
        let mut engine = E::open(&directory.join(E::NAME), SMALL_MEMTABLE_BYTES);
        let mut took: Vec<f64> = Vec::with_capacity(self.data.entries.len());
        for (key, value) in &self.data.entries {
            let start = Instant::now();
            engine.put(key, value);
            took.push(start.elapsed().as_nanos() as f64);
        }
        engine.close();
        took.sort_by(f64::total_cmp);
        let tails = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("the slowest", 100.0)];
        for (name, percent) in tails {
            let place = ((took.len() - 1) as f64 * percent / 100.0) as usize;
            let target = if name == "p99.9" { Target::AtMostNs(5e6) } else { Target::None };
            let name = format!("put during compaction, {name}");
            self.report.note(&name, target, E::NAME, &[took[place]]);
        }
    }

    /// Has criterion measure `run`, which does the operation so often and returns what that took;
    /// the table shows it divided by `elements`.
    fn measure<E: Engine>(
        &mut self,
        operation: &str,
        target: Target,
        elements: usize,
        mut run: impl FnMut(u64) -> Duration,
    ) {
        let mut group: BenchmarkGroup<'_, WallTime> = self.criterion.benchmark_group(operation);
        if elements > 1 {
            group
                .sampling_mode(SamplingMode::Flat)
                .throughput(Throughput::Elements(elements as u64));
        }
        let mut samples = Vec::new();
        group.bench_function(E::NAME, |bencher| {
            bencher.iter_custom(|count| {
                let took = run(count);
                samples.push(took.as_nanos() as f64 / (count as f64 * elements as f64));
                took
            });
        });
        group.finish();
        if !samples.is_empty() {
            self.report.note(operation, target, E::NAME, &samples);
        }
    }
}

fn put_all<E: Engine>(engine: &mut E, entries: &[(Key, Value)]) {
    entries.chunks(BATCH).for_each(|batch| engine.put_batch(batch));
}
