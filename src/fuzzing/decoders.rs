//! Targets that decode one piece of bytes.

use super::trusting;
use crate::bytes::zeroed;
use crate::error::Code;
use crate::external::External;
use crate::stamp::Stamp;
use crate::table::block::{self, Block, Entry, Reached};
use crate::table::block_cursor::BlockCursor;
use crate::value::Arithmetic;
use crate::wal::{Commit, payload};
use crate::wire::RequestFrame;
use crate::wire::hello::Hello;
use std::rc::Rc;

/// What decompressing may yield here.
const DECOMPRESSED_MAX: usize = 1 << 20;
/// The length of the value beside a frame.
const ATTACHED_BYTES: usize = 100;

/// A key that decodes is the only encoding of its parts; one without parts is not valid.
pub fn key(data: &[u8]) {
    let parts = crate::key::decode(data);
    let has_parts = parts.as_ref().is_some_and(|parts| !parts.is_empty());
    assert_eq!(has_parts, crate::key::validate(data));
    if let Some(parts) = parts {
        assert_eq!(crate::key::encode(&parts).as_deref(), Some(data));
    }
}

/// What is computed from valid values is valid. The first byte says how, and how the rest is
/// divided.
pub fn value(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let (current, operand) = rest.split_at(usize::from(how >> 2).min(rest.len()));
    let arithmetic = match how & 3 {
        0 => Arithmetic::Min,
        1 => Arithmetic::Max,
        _ => Arithmetic::Sum,
    };
    let current = Some(current).filter(|current| crate::value::validate(current));
    if crate::value::validate(operand)
        && let Ok(result) = crate::value::apply(arithmetic, current, operand)
    {
        assert!(crate::value::validate(&result));
    }
}

/// A frame that decodes is the only encoding of its requests. Beside it come some large values.
pub fn frame(data: &[u8]) {
    let attached = [External::from(&[7; ATTACHED_BYTES][..]), External::from(&[][..])];
    for count in 0..=attached.len() {
        match RequestFrame::decode(data, &attached[..count]) {
            Ok(frame) => assert_eq!(postcard::to_allocvec(&frame).as_deref(), Ok(data)),
            Err(error) => assert_eq!(error.code(), Code::MalformedFrame),
        }
    }
}

/// The first message of a connection.
pub fn hello(data: &[u8]) {
    if let Ok(hello) = Hello::decode(data)
        && let Err(error) = hello.choose()
    {
        assert_eq!(error.code(), Code::VersionMismatch);
    }
}

/// The payload of a log record.
pub fn record(data: &[u8]) {
    let Ok(commit) = Commit::decode(data) else { return };
    let Ok(ops) = commit.ops.collect::<Result<Vec<_>, _>>() else { return };
    let mut out = Vec::new();
    commit.head.begin(&mut out);
    ops.iter().for_each(|(key, op)| payload::op(&mut out, key, *op));
    assert_eq!(out, data, "there is one encoding of a commit");
}

/// What decompresses is as long as was said.
pub fn lz4(data: &[u8]) {
    let Some((len, input)) = data.split_first_chunk::<4>() else { return };
    let len = u32::from_le_bytes(*len) as usize % DECOMPRESSED_MAX;
    if crate::lz4::can_hold(input.len(), len) {
        let mut out = zeroed(len);
        let _ = crate::lz4::decompress(input, Rc::get_mut(&mut out).expect("it is not shared"));
    }
}

/// A block with its trailer, walked both ways and searched for each of its keys.
pub fn block(data: &[u8]) {
    trusting(|| {
        let buffer: Rc<[u8]> = data.into();
        let Ok(bytes) = block::open(&buffer, 0..data.len(), 1, 2, 0) else { return };
        let Ok(block) = Block::new(bytes, 2, 0) else { return };
        let mut seen = Vec::new();
        for reverse in [false, true] {
            let mut cursor = BlockCursor::new(reverse);
            let mut found = cursor.enter(block.clone());
            // Every step moves on by an entry, which is of some bytes.
            while let Ok(true) = found {
                seen.push((cursor.key().to_vec(), cursor.stamp()));
                let _ = (cursor.record(), cursor.owned_op(), cursor.handle());
                found = cursor.step();
            }
        }
        let guided = block.clone().guided();
        seen.truncate(64);
        seen.push((Vec::new(), Stamp::ZERO));
        for (key, stamp) in &seen {
            let mut entry = Entry::default();
            let _ = block.search(key, *stamp, &mut entry);
            if let Ok(Reached::Key | Reached::Past) = guided.find(key, *stamp, &mut entry) {
                let _ = (guided.found(&entry), guided.handle(&entry), guided.part(&entry));
            }
            for (reverse, inclusive) in [(false, true), (true, false), (true, true)] {
                let mut cursor = BlockCursor::new(reverse);
                let _ = cursor.seek(block.clone(), key, *stamp, inclusive);
            }
        }
    });
}
