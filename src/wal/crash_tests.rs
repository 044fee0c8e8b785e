//! The promise of the log: after any crash it yields a prefix of the commits that holds every
//! one that was durable, again and again over the life of a database.

use super::{HEADER_BYTES, LogRef, LogWriter, Previous, Recovered, recover};
use crate::env::manual::block_on;
use crate::error::{Code, Result};
use crate::rng::Rng;
use crate::storage::simulated::Fault;
use crate::storage::{Durability, SimulatedStorage, Storage};

/// A database that is nothing but logs, and what the test knows of it.
struct Life {
    rng: Rng,
    disk: SimulatedStorage,
    /// As a manifest would name them.
    logs: Vec<LogRef>,
    next_id: u64,
    /// Payloads in the order of their commits; those past `durable` may be lost.
    commits: Vec<Vec<u8>>,
    durable: usize,
}

impl Life {
    fn new(seed: u64) -> Life {
        let (rng, disk) = (Rng::new(seed), SimulatedStorage::new(seed));
        Life { rng, disk, logs: Vec::new(), next_id: 1, commits: Vec::new(), durable: 0 }
    }

    /// One open, until it ends or the power is cut.
    async fn open(&mut self) -> Result<()> {
        let recovered = self.recover().await?;
        let held = |log: &&(LogRef, Recovered)| log.1.end > HEADER_BYTES as u64;
        let logs: Vec<_> = self.logs.drain(..).zip(recovered).collect();
        let last = logs.iter().rev().find(held);
        let previous = last.map(|(log, found)| Previous { id: log.id, len: found.end });
        // A log that holds nothing may be dropped or kept.
        let keep = self.rng.one_in(2);
        self.logs = logs.iter().filter(|log| keep || held(log)).map(|log| log.0.clone()).collect();
        let next = self.next_log().await?;
        let mut writer = LogWriter::new(next, previous);
        for _ in 0..self.rng.below(12) {
            match self.rng.below(8) {
                0 => writer = writer.successor(self.next_log().await?),
                1 => {
                    let through = writer.len();
                    self.disk.sync(writer.log().file).await?;
                    writer.synced(through);
                    self.durable = self.commits.len();
                    if let Some(mark) = writer.take_mark() {
                        let relaxed = Durability::Relaxed;
                        self.disk.write(mark.file, mark.offset, &mark.bytes, relaxed).await?;
                    }
                }
                _ => self.commit(&mut writer).await?,
            }
        }
        Ok(())
    }

    /// Reads the logs and compares them with what must be there.
    async fn recover(&mut self) -> Result<Vec<Recovered>> {
        let mut found = Vec::new();
        let recovered = recover(&self.disk, &self.logs, |_, _, payload| {
            found.push(payload.to_vec());
            Ok(())
        });
        let recovered = recovered.await?;
        assert!(self.commits.starts_with(&found), "not a prefix of the commits");
        assert!(found.len() >= self.durable, "{} of {} durable", found.len(), self.durable);
        self.commits = found;
        Ok(recovered)
    }

    /// Makes another log, once those before are durable.
    async fn next_log(&mut self) -> Result<LogRef> {
        for log in &self.logs {
            self.disk.sync(log.file).await?;
        }
        self.durable = self.commits.len();
        let mut log = LogRef { id: self.next_id, file: self.disk.create().await?, salt: [0; 8] };
        self.rng.fill(&mut log.salt);
        self.disk.sync(log.file).await?;
        self.next_id += 1;
        self.logs.push(log.clone());
        Ok(log)
    }

    /// A group of commits.
    async fn commit(&mut self, writer: &mut LogWriter) -> Result<()> {
        for _ in 0..=self.rng.below(3) {
            let len = self.rng.below(if self.rng.one_in(30) { 300_000 } else { 1500 });
            let payload = self.rng.bytes(1 + len as usize);
            writer.record(|out| {
                out.extend_from_slice(&payload);
                Ok(())
            })?;
            self.commits.push(payload);
        }
        let strict = self.rng.one_in(3);
        let durability = if strict { Durability::Strict } else { Durability::Relaxed };
        let Some(group) = writer.take_group() else { return Ok(()) };
        self.disk.write(group.file, group.offset, &group.bytes, durability).await?;
        writer.written(group, durability);
        if strict {
            self.durable = self.commits.len();
        }
        Ok(())
    }
}

#[test]
fn after_any_crash_the_log_yields_a_prefix_that_holds_all_that_was_durable() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut life = Life::new(seed);
        for _ in 0..4 {
            life.disk.set_polls_max(2);
            life.disk.inject(None, 4 + life.rng.below(40), Fault::PowerCut);
            let cut = block_on(life.open()).is_err();
            life.disk = if cut || life.rng.one_in(2) {
                life.disk.crash(&life.rng)
            } else {
                life.disk.restart()
            };
        }
        block_on(life.recover()).unwrap();
    }
}

/// Does to a file what no crash would do.
fn mutilate(bytes: &mut Vec<u8>, rng: &Rng) {
    let from = rng.below(bytes.len() as u64 + 1) as usize;
    let to = from + rng.below((bytes.len() - from) as u64 + 1) as usize;
    let piece = bytes[from..to].to_vec();
    match rng.below(5) {
        0 => bytes.truncate(from),
        1 => drop(bytes.drain(from..to)),
        2 => drop(bytes.splice(from..from, piece)),
        3 => drop(bytes.splice(from..to, rng.bytes(to - from))),
        _ => bytes.extend_from_slice(&piece),
    }
}

#[test]
fn a_mutilated_log_yields_a_prefix_or_is_corruption() {
    for seed in 0..300 {
        println!("seed {seed}");
        let mut life = Life::new(seed);
        block_on(life.open()).unwrap();
        let Some(log) = life.logs.last().cloned() else { continue };
        let mut bytes = life.disk.contents(log.file);
        for _ in 0..=life.rng.below(2) {
            mutilate(&mut bytes, &life.rng);
        }
        life.durable = 0;
        let recovered = block_on(async {
            life.disk.truncate(log.file, 0).await?;
            life.disk.write(log.file, 0, &bytes, Durability::Strict).await?;
            life.recover().await
        });
        if let Err(error) = recovered {
            assert_eq!(error.code(), Code::Corruption);
        }
    }
}
