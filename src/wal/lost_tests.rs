//! Logs of which the storage does not return a part any more: that is damage, wherever it is, and
//! nothing else of them is.

use super::{HEADER_BYTES, LogRef, LogWriter, recover, salvage};
use crate::env::manual::block_on;
use crate::error::{Code, Error};
use crate::storage::{Durability, SimulatedStorage, Storage};
use std::ops::Range;
use std::slice::from_ref;

/// A log, its payloads, and where their records end.
type Filled = (LogRef, Vec<Vec<u8>>, Vec<u64>);

/// A log of relaxed commits, none of which is known to be durable, eight of so many bytes.
async fn filled(disk: &SimulatedStorage, bytes: usize) -> Filled {
    let log = LogRef { id: 1, file: disk.create().await.unwrap(), salt: [7; 8] };
    let (mut writer, mut payloads, mut ends) = (LogWriter::new(log.clone(), None), vec![], vec![]);
    for n in 0..8 {
        let payload = vec![n + 1; bytes];
        let encode = |out: &mut Vec<u8>| {
            out.extend_from_slice(&payload);
            Ok::<_, Error>(())
        };
        writer.record(encode).unwrap();
        let group = writer.take_group().unwrap();
        disk.write(group.file, group.offset, &group.bytes, Durability::Relaxed).await.unwrap();
        writer.written(group, Durability::Relaxed);
        payloads.push(payload);
        ends.push(writer.len());
    }
    (log, payloads, ends)
}

/// What becomes of a log that has lost a part.
async fn check(disk: &SimulatedStorage, lost: Range<u64>, (log, payloads, ends): &Filled) {
    disk.lose_part(log.file, lost.clone());
    let begins = [&[HEADER_BYTES as u64], &ends[..]].concat();
    let is_hit = |n: usize| begins[n] < lost.end && lost.start < ends[n];
    let first = (0..ends.len()).find(|n| is_hit(*n));
    let is_header_hit = lost.start < HEADER_BYTES as u64;
    let at = if is_header_hit { 0 } else { begins[first.unwrap()] };
    let mut found = Vec::new();
    let recovered = recover(disk, from_ref(log), |_, _, payload| {
        found.push(payload.to_vec());
        Ok(())
    });
    let error = recovered.await.expect_err("not a torn tail, and no error of the storage");
    assert_eq!((error.code(), error.place()), (Code::Corruption, Some((log.file, at))), "{lost:?}");
    assert_eq!(found, payloads[..if is_header_hit { 0 } else { first.unwrap() }], "{lost:?}");

    let (mut found, mut damage) = (Vec::new(), Vec::new());
    let apply = |payload: &[u8]| {
        found.push(payload.to_vec());
        Ok(())
    };
    salvage(disk, from_ref(log), apply, |error| damage.push(error.place())).await.unwrap();
    let left = payloads.iter().enumerate().filter(|(n, _)| !is_hit(*n)).map(|(_, left)| left);
    assert!(found.iter().eq(left), "{lost:?}: {} records", found.len());
    assert_eq!(damage, [Some((log.file, at))], "{lost:?}");
}

fn parts(len: u64, step: u64, bytes: u64) -> impl Iterator<Item = Range<u64>> {
    (0..len - bytes).step_by(step as usize).map(move |start| start..start + bytes)
}

#[test]
fn a_lost_part_of_a_log_is_corruption_and_what_is_before_and_behind_it_is_salvaged() {
    block_on(async {
        let disk = SimulatedStorage::new(1);
        let filled = filled(&disk, 20).await;
        for bytes in [1, 30, 100] {
            for part in parts(filled.2[7], 3, bytes) {
                check(&disk, part, &filled).await;
            }
        }
    });
}

#[test]
fn behind_lost_pieces_of_a_long_log_it_is_the_same() {
    block_on(async {
        let disk = SimulatedStorage::new(1);
        let filled = filled(&disk, 320_000).await;
        for part in parts(filled.2[7], 5 * 32 * 1024, 32 * 1024) {
            check(&disk, part, &filled).await;
        }
    });
}
