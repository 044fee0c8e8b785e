//! What is written.

use kvass::rng::Rng;

/// A write to a key, or none for a while.
#[derive(Clone, Copy)]
pub enum Write {
    Set(u32),
    Delete(u32),
    Rest,
}

type Pattern = fn(u32, &mut dyn FnMut(Write));

/// All patterns, of so many entries.
pub const PATTERNS: &[(&str, Pattern)] = &[
    ("sequential", sequential),
    ("scattered", scattered),
    ("uniform", uniform),
    ("zipf", zipf),
    ("overwrite", overwrite),
    ("queue", queue),
    ("delete", delete),
    ("pauses", pauses),
];

/// How often the last pattern rests: of 1 GiB after each memtable.
const PAUSES: u32 = 450;

/// In the order of the keys.
fn sequential(entries: u32, write: &mut dyn FnMut(Write)) {
    (0..entries).for_each(|key| write(Write::Set(key)));
}

/// Every key once, in no order.
fn scattered(entries: u32, write: &mut dyn FnMut(Write)) {
    shuffled(entries).for_each(|key| write(Write::Set(key)));
}

/// Any key each time.
fn uniform(entries: u32, write: &mut dyn FnMut(Write)) {
    let rng = Rng::new(1);
    (0..entries).for_each(|_| write(Write::Set(rng.below(entries.into()) as u32)));
}

/// The nth key n times as rarely as the first; neighbours in rank are none in order.
fn zipf(entries: u32, write: &mut dyn FnMut(Write)) {
    let rng = Rng::new(1);
    for _ in 0..entries {
        let share = rng.next() as f64 / u64::MAX as f64;
        let rank = f64::from(entries).powf(share) as u32;
        write(Write::Set(scatter(rank, entries)));
    }
}

/// A tenth of the keys, each ten times.
fn overwrite(entries: u32, write: &mut dyn FnMut(Write)) {
    let rng = Rng::new(1);
    (0..entries).for_each(|_| write(Write::Set(rng.below(u64::from(entries) / 10) as u32)));
}

/// What was written comes out again in order, a twentieth of all later.
fn queue(entries: u32, write: &mut dyn FnMut(Write)) {
    let length = entries / 20;
    for key in 0..entries {
        write(Write::Set(key));
        if key >= length {
            write(Write::Delete(key - length));
        }
    }
}

/// All is written, then all is deleted, in no order.
fn delete(entries: u32, write: &mut dyn FnMut(Write)) {
    shuffled(entries).for_each(|key| write(Write::Set(key)));
    shuffled(entries).for_each(|key| write(Write::Delete(entries - 1 - key)));
}

/// A little at a time is written, in no order, and then nothing for a while.
fn pauses(entries: u32, write: &mut dyn FnMut(Write)) {
    for (key, count) in shuffled(entries).zip(1..) {
        write(Write::Set(key));
        if count % (entries / PAUSES).max(1) == 0 {
            write(Write::Rest);
        }
    }
}

/// Every number below `entries` once.
fn shuffled(entries: u32) -> impl Iterator<Item = u32> {
    (0..entries).map(move |index| scatter(index, entries))
}

/// A number below `end` for each below it, neighbours far apart.
fn scatter(index: u32, end: u32) -> u32 {
    /// A prime larger than any of them, near the golden section of 2^32.
    const STEP: u64 = 2_654_435_761;
    (u64::from(index) * STEP % u64::from(end)) as u32
}
