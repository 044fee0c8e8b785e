//! The same operations under many configurations and on several back ends give the same answers.

use super::model::Row;
use super::plan::{Action, CommitPlan, Plan};
use super::sent::{key_of, range_of, sent, wire};
use super::world::START_MS;
use kvass::db::{Db, Options, Range};
use kvass::env::manual::{ManualEnv, block_on};
use kvass::error::Result;
use kvass::hash::xxh3_64;
use kvass::limits::Budgets;
use kvass::rng::Rng;
use kvass::storage::{MemoryStorage, SimulatedStorage, Storage};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::rc::Rc;

/// Everything in small pieces, one thing after another made as different as it gets.
fn configurations() -> Vec<(&'static str, Budgets)> {
    let small = Budgets {
        memtable_bytes: 1_000,
        range_bytes: 300,
        cache_bytes: 1_000,
        block_bytes: 200,
        table_bytes: 500,
        level0_tables: 2,
        level1_bytes: 1_000,
        level_growth: 3,
        rest_share: 2,
        filter_bits: 10,
        large_value_bytes: 32_768,
        blob_bytes: 1_000,
        stretch_bytes: 500,
        mutations_in_a_row: 1,
        reserve_bytes: 2_000,
        compression: true,
    };
    vec![
        ("the defaults", Budgets::default()),
        ("small", small.clone()),
        ("no cache", Budgets { cache_bytes: 0, ..small.clone() }),
        ("large blocks", Budgets { block_bytes: 8_000, ..small.clone() }),
        ("tiny memtables", Budgets { memtable_bytes: 1, ..small.clone() }),
        ("tiny range blocks", Budgets { range_bytes: 1, ..small.clone() }),
        ("no compression", Budgets { compression: false, ..small.clone() }),
        ("large values", Budgets { large_value_bytes: 20, ..small.clone() }),
        ("weak filters", Budgets { filter_bits: 1, ..small.clone() }),
        ("one table a level", Budgets { table_bytes: 1 << 20, level0_tables: 1, ..small }),
    ]
}

/// `xtask sim --metamorphic`.
pub fn main(seed: u64, runs: u64) -> ExitCode {
    println!("seeds {seed} to {}", seed.wrapping_add(runs - 1));
    match (seed..seed.saturating_add(runs)).find_map(difference) {
        Some(difference) => {
            println!("{difference}");
            ExitCode::FAILURE
        }
        None => {
            println!("{} configurations on 2 back ends agree", configurations().len());
            ExitCode::SUCCESS
        }
    }
}

/// Two configurations whose answers to the operations of a seed differ.
pub fn difference(seed: u64) -> Option<String> {
    let plan = Plan::of(seed);
    let mut first: Option<(String, u64)> = None;
    for (name, budgets) in configurations() {
        let memory = answers(Rc::new(MemoryStorage::new()), &budgets, &plan);
        let simulated = answers(Rc::new(SimulatedStorage::new(seed)), &budgets, &plan);
        for (storage, answers) in [("memory", memory), ("simulated", simulated)] {
            let name = format!("{name} on {storage}");
            let (known, digest) = first.get_or_insert_with(|| (name.clone(), answers));
            if *digest != answers {
                return Some(format!("seed {seed}: {known} and {name} differ"));
            }
        }
    }
    None
}

/// Carries out the operations of a plan, one after the other; returns a digest of the answers.
fn answers<S: Storage>(storage: Rc<S>, budgets: &Budgets, plan: &Plan) -> u64 {
    let mut run = Run { storage, budgets, plan, now_ms: START_MS, number: 0, text: String::new() };
    let said = block_on(run.run());
    let _ = write!(run.text, "{said:?}");
    xxh3_64(run.text.as_bytes())
}

struct Run<'a, S: Storage> {
    storage: Rc<S>,
    budgets: &'a Budgets,
    plan: &'a Plan,
    now_ms: u64,
    number: u64,
    /// All that was answered.
    text: String,
}

impl<S: Storage> Run<'_, S> {
    async fn open(&self) -> Result<Rc<Db<ManualEnv<S>>>> {
        let env = ManualEnv::new(self.storage.clone(), self.now_ms, self.plan.seed);
        let options = Options { budgets: self.budgets.clone(), ..Options::default() };
        Db::open(env, options).await
    }

    async fn run(&mut self) -> Result<()> {
        let mut db = self.open().await?;
        for step in &self.plan.steps {
            match &step.action {
                Action::Commit(commits) => self.commit(&db, commits, step.seed).await,
                Action::Get(place) => {
                    let found = db.get(&key_of(*place), db.snapshot()).await?;
                    let found = found.map(|(stamp, value)| (stamp, value.to_vec()));
                    let _ = write!(self.text, "{found:?}");
                }
                Action::List { reverse, limit, .. } => self.list(&db, *reverse, *limit).await?,
                Action::Count { from, to } => {
                    let (start, end) = range_of(*from, *to);
                    let range = Range { start: &start, end: &end, reverse: false };
                    let _ = write!(self.text, "{}", db.count(range, db.snapshot()).await?);
                }
                Action::Upkeep => db.upkeep().await,
                Action::Flush => db.flush().await?,
                Action::Expire => db.expire().await?,
                Action::Clock(by) => {
                    db.now_ms();
                    self.now_ms = self.now_ms.saturating_add_signed(*by);
                    db.env().set_now_ms(self.now_ms);
                    db.now_ms();
                }
                Action::End(_) => db = self.open().await?,
                _ => {}
            }
        }
        self.list(&db, false, usize::MAX).await
    }

    async fn commit(&mut self, db: &Db<ManualEnv<S>>, commits: &[CommitPlan], seed: u64) {
        let rng = Rng::new(seed);
        for plan in commits {
            self.number += 1;
            let mutations: Vec<_> =
                plan.mutations.iter().map(|change| sent(change, self.number, &rng)).collect();
            let answer = db.commit(&[&wire(&[], &mutations, plan.strict)]).await;
            let _ = write!(self.text, "{answer:?}");
        }
    }

    async fn list(&mut self, db: &Db<ManualEnv<S>>, reverse: bool, limit: usize) -> Result<()> {
        let range = Range { start: &[1], end: &[0xff], reverse };
        let mut rows: Vec<Row> = Vec::new();
        for entry in db.entries(range, db.snapshot()).await?.into_iter().take(limit) {
            rows.push((entry.key, entry.stamp, entry.value));
        }
        let _ = write!(self.text, "{rows:?}");
        Ok(())
    }
}
