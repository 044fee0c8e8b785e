//! A database whose tables are lists of versions, flushed and compacted as the engine does it.

use super::pattern::Write;
use super::report::Report;
use super::{ENTRY_BYTES, IDLE_WORK};
use kvass::compaction::{self, Choice};
use kvass::limits::Budgets;
use kvass::stamp::Stamp;
use kvass::table::TableMeta;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a tombstone takes in a table and an entry beside key and value, roughly.
const DELETE_BYTES: u64 = 24;
const TABLE_OVERHEAD: u64 = 8;
/// What a version takes in a memtable beside key and value, and what it costs a compaction; as in
/// the engine.
const MEMORY_OVERHEAD: u64 = 96;
const WORK_OVERHEAD: u64 = 64;
const KEY_BYTES: u64 = 16;

/// A version: its commit, and whether it deletes.
#[derive(Clone, Copy)]
struct Version {
    stamp: u64,
    deletes: bool,
}

impl Version {
    fn bytes(self) -> u64 {
        if self.deletes { KEY_BYTES } else { ENTRY_BYTES }
    }

    fn table_bytes(self) -> u64 {
        if self.deletes { DELETE_BYTES } else { ENTRY_BYTES + TABLE_OVERHEAD }
    }
}

struct Table {
    meta: TableMeta,
    versions: Vec<(u32, Version)>,
}

/// Background work under way, and how much of it is left, in bytes.
enum Job {
    Flush,
    /// Also whether it is owed, or made for those who read.
    Compact(Choice, bool),
}

/// The database.
pub struct Database<'a> {
    budgets: &'a Budgets,
    active: BTreeMap<u32, Version>,
    active_bytes: u64,
    frozen: Option<BTreeMap<u32, Version>>,
    levels: Vec<Vec<Rc<Table>>>,
    /// The flush, and the compaction that it interrupts.
    jobs: Vec<(Job, u64)>,
    burden: u64,
    /// Nobody writes, and what may be rewritten then, in bytes.
    rests: bool,
    allowance: u64,
    worked: u64,
    owed: u64,
    stamp: u64,
    ids: u64,
    alive: Vec<bool>,
    alive_count: u64,
    pub report: Report,
}

impl<'a> Database<'a> {
    pub fn new(budgets: &'a Budgets) -> Database<'a> {
        Database {
            budgets,
            active: BTreeMap::new(),
            active_bytes: 0,
            frozen: None,
            levels: Vec::new(),
            jobs: Vec::new(),
            burden: 0,
            rests: false,
            allowance: 0,
            worked: 0,
            owed: 0,
            stamp: 0,
            ids: 0,
            alive: Vec::new(),
            alive_count: 0,
            report: Report::default(),
        }
    }

    /// Writes, and lets the work be done that comes with it.
    pub fn write(&mut self, write: Write) {
        let (key, deletes) = match write {
            Write::Set(key) => (key, false),
            Write::Delete(key) => (key, true),
            Write::Rest => return self.rest(),
        };
        self.stamp += 1;
        let version = Version { stamp: self.stamp, deletes };
        self.note_alive(key, !deletes);
        self.report.put += version.bytes();
        let memory = version.bytes() + MEMORY_OVERHEAD;
        if self.active.insert(key, version).is_none() {
            self.active_bytes += memory;
        }
        self.work(IDLE_WORK * version.bytes());
        self.pay(memory);
        let memtable = self.budgets.memtable_bytes as u64;
        if self.active_bytes >= memtable {
            let before = self.worked;
            while self.frozen.is_some() {
                self.work(memtable / 64);
            }
            self.wait(self.worked - before);
            self.freeze();
        }
    }

    /// Writes out what is in memory and compacts until there is nothing left to do.
    pub fn settle(&mut self) {
        while self.frozen.is_some() {
            self.work(u64::MAX);
        }
        self.freeze();
        self.rest();
        self.report.levels =
            self.levels.iter().map(|level| (level.len(), bytes_of(level))).collect();
        self.report.held = self.held();
        self.report.alive = self.alive_count * (ENTRY_BYTES + TABLE_OVERHEAD);
    }

    /// Does what there is to do while nobody writes.
    fn rest(&mut self) {
        self.finish_jobs();
        self.rests = true;
        self.appraise();
        self.finish_jobs();
        self.rests = false;
        self.report.rest_runs.0 += self.runs();
        self.report.rest_runs.1 += 1;
    }

    fn finish_jobs(&mut self) {
        while !self.jobs.is_empty() {
            self.work(u64::MAX);
        }
    }

    fn note_alive(&mut self, key: u32, now: bool) {
        let place = key as usize;
        if self.alive.len() <= place {
            self.alive.resize((place + 1).next_power_of_two(), false);
        }
        let Some(alive) = self.alive.get_mut(place) else { return };
        let before = std::mem::replace(alive, now);
        self.alive_count = self.alive_count + u64::from(now) - u64::from(before);
    }

    fn held(&self) -> u64 {
        self.levels.iter().flatten().map(|table| table.meta.bytes).sum()
    }

    /// As `Pace` does it.
    fn pay(&mut self, written: u64) {
        if self.burden == 0 || self.jobs.is_empty() {
            return;
        }
        let credit = self.budgets.memtable_bytes as u64 / 4;
        self.owed = self.owed.max(self.worked.saturating_sub(credit)) + written * self.burden;
        let before = self.worked;
        while self.worked < self.owed && self.burden > 0 && !self.jobs.is_empty() {
            self.work((self.owed - self.worked).max(compaction::STRIDE_BYTES as u64));
        }
        self.wait(self.worked - before);
    }

    fn wait(&mut self, work: u64) {
        self.report.wait_max = self.report.wait_max.max(work);
        self.report.waited += work;
    }

    fn freeze(&mut self) {
        if self.active.is_empty() {
            return;
        }
        let frozen = std::mem::take(&mut self.active);
        let work = work_of(frozen.values().copied());
        self.active_bytes = 0;
        self.frozen = Some(frozen);
        self.jobs.push((Job::Flush, work));
        self.appraise();
    }

    /// Does as much work, if there is any.
    fn work(&mut self, mut bytes: u64) {
        while bytes > 0
            && let Some((_, left)) = self.jobs.last_mut()
        {
            let done = bytes.min(*left);
            *left -= done;
            bytes -= done;
            self.worked += done;
            if *left > 0 {
                return;
            }
            match self.jobs.pop() {
                Some((Job::Flush, _)) => self.flush(),
                Some((Job::Compact(choice, is_owed), _)) => {
                    let written = self.compact(&choice);
                    if !is_owed {
                        self.allowance = self.allowance.saturating_sub(written);
                        self.report.rested += written;
                    }
                }
                None => {}
            }
            self.appraise();
        }
    }

    /// Finds out what to do next.
    fn appraise(&mut self) {
        self.note_shape();
        let shape: Vec<Vec<&TableMeta>> = self
            .levels
            .iter()
            .map(|level| level.iter().map(|table| &table.meta).collect())
            .collect();
        self.burden = compaction::burden(self.frozen.is_some(), &shape, self.budgets);
        if !self.jobs.is_empty() {
            return;
        }
        let allowance = if self.rests { self.allowance } else { 0 };
        let owed = compaction::choose(&shape, self.budgets, Stamp::MAX);
        let is_owed = owed.is_some();
        let at_rest = || compaction::merge_runs(&shape, self.budgets, allowance);
        let Some(choice) = owed.or_else(at_rest) else { return };
        let inputs = if choice.is_move() { Vec::new() } else { self.inputs(&choice) };
        let versions = inputs.iter().flat_map(|table| &table.versions);
        let work = work_of(versions.map(|(_, version)| *version));
        self.jobs.push((Job::Compact(choice, is_owed), work));
        if work == 0 {
            self.work(1);
        }
    }

    fn note_shape(&mut self) {
        let runs = self.runs();
        self.report.runs_max = self.report.runs_max.max(runs);
        self.report.runs.0 += runs;
        self.report.runs.1 += 1;
        let alive = self.alive_count * (ENTRY_BYTES + TABLE_OVERHEAD);
        if alive > self.budgets.level1_bytes {
            let permille = self.held() * 1000 / alive;
            self.report.space_max_permille = self.report.space_max_permille.max(permille);
        }
    }

    /// The sorted runs that a read merges.
    fn runs(&self) -> usize {
        let deeper = self.levels.iter().skip(1).filter(|level| !level.is_empty()).count();
        self.levels.first().map_or(0, Vec::len) + deeper
    }

    fn inputs(&self, choice: &Choice) -> Vec<Rc<Table>> {
        let chosen = |table: &&Rc<Table>| {
            choice.upper.contains(&table.meta.id) || choice.lower.contains(&table.meta.id)
        };
        self.levels.iter().flatten().filter(chosen).cloned().collect()
    }

    fn flush(&mut self) {
        let versions = self.frozen.take().unwrap_or_default();
        let mut tables = self.write_tables(versions.into_iter(), u64::MAX);
        let written = bytes_of(&tables);
        self.report.flushed += written;
        self.allowance += self.budgets.rest_share * written;
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        if let (Some(table), Some(level0)) = (tables.pop(), self.levels.first_mut()) {
            level0.insert(0, table);
        }
    }

    /// Returns the bytes that were written.
    fn compact(&mut self, choice: &Choice) -> u64 {
        let inputs = self.inputs(choice);
        let mut written = 0;
        let outputs = if choice.is_move() {
            self.report.moves += 1;
            inputs.clone()
        } else {
            let read = inputs.iter().map(|table| table.meta.bytes).sum();
            self.report.compactions += 1;
            self.report.compaction_max = self.report.compaction_max.max(read);
            let mut merged: Vec<(u32, Version)> =
                inputs.iter().flat_map(|table| table.versions.iter().copied()).collect();
            merged.sort_unstable_by_key(|(key, version)| (*key, std::cmp::Reverse(version.stamp)));
            merged.dedup_by_key(|(key, _)| *key);
            merged.retain(|(key, version)| !version.deletes || self.lies_deeper(choice, *key));
            let tables =
                self.write_tables(merged.into_iter(), self.budgets.table_bytes_at(choice.target));
            written = bytes_of(&tables);
            self.report.compacted += written;
            tables
        };
        let removed: Vec<u64> = inputs.iter().map(|table| table.meta.id).collect();
        for level in &mut self.levels {
            level.retain(|table| !removed.contains(&table.meta.id));
        }
        self.levels.resize_with(self.levels.len().max(choice.target + 1), Vec::new);
        if let Some(level) = self.levels.get_mut(choice.target) {
            level.extend(outputs);
            level.sort_unstable_by(|a, b| a.meta.smallest.cmp(&b.meta.smallest));
        }
        written
    }

    fn lies_deeper(&self, choice: &Choice, key: u32) -> bool {
        let key = key.to_be_bytes();
        let deeper = self.levels.iter().skip(choice.target + 1).flatten();
        deeper.into_iter().any(|table| table.meta.spans(&key))
    }

    fn write_tables(
        &mut self,
        versions: impl Iterator<Item = (u32, Version)>,
        table_bytes: u64,
    ) -> Vec<Rc<Table>> {
        let mut tables: Vec<Rc<Table>> = Vec::new();
        let (mut part, mut bytes) = (Vec::new(), 0);
        for (key, version) in versions {
            if bytes >= table_bytes {
                tables.push(self.table(std::mem::take(&mut part), bytes));
                bytes = 0;
            }
            part.push((key, version));
            bytes += version.table_bytes();
        }
        if !part.is_empty() {
            tables.push(self.table(part, bytes));
        }
        tables
    }

    fn table(&mut self, versions: Vec<(u32, Version)>, bytes: u64) -> Rc<Table> {
        self.ids += 1;
        let key = |version: Option<&(u32, Version)>| {
            version.map_or(Box::default(), |(key, _)| Box::from(key.to_be_bytes()))
        };
        let deletes = versions.iter().filter(|(_, version)| version.deletes).count() as u64;
        let meta = TableMeta {
            id: self.ids,
            bytes,
            sets: versions.len() as u64 - deletes,
            deletes,
            smallest: key(versions.first()),
            largest: key(versions.last()),
            ..TableMeta::default()
        };
        Rc::new(Table { meta, versions })
    }
}

fn bytes_of(tables: &[Rc<Table>]) -> u64 {
    tables.iter().map(|table| table.meta.bytes).sum()
}

fn work_of(versions: impl Iterator<Item = Version>) -> u64 {
    versions.map(|version| version.bytes() + WORK_OVERHEAD).sum()
}
