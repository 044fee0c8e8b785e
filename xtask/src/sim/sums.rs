//! What the sums of commits that came back left behind, though nobody heard of them.

use super::model::{Key, Row};
use super::oracle::Sent;
use kvass::value::{self, Arithmetic};
use std::collections::BTreeMap;

/// What each of these mutations, in the order in which they were applied, left its key with, as
/// far as what was found at the end says so. A sum may have met what had expired or what had not,
/// and only the last value of a key is there: later sums are taken away from it again, back to
/// where the key was set or deleted, before which nothing is known.
pub fn left_behind(mutations: &[&Sent], found: &[Row]) -> Vec<Option<Vec<u8>>> {
    let mut known: BTreeMap<Key, Vec<u8>> =
        found.iter().map(|(key, _, value)| (key.clone(), value.clone())).collect();
    let before = |mutation: &&Sent| {
        let after = known.get(mutation.key()).cloned();
        match mutation {
            Sent::Sum { key, value } => {
                let before = after.as_deref().and_then(|after| without(after, value));
                match before {
                    Some(before) => known.insert(key.clone(), before),
                    None => known.remove(key),
                };
            }
            Sent::Set { key, .. } | Sent::Delete { key } => {
                known.remove(key);
            }
            Sent::DeleteRange { key, end } => known.retain(|it, _| it < key || end <= it),
        }
        after
    };
    let mut left: Vec<_> = mutations.iter().rev().map(before).collect();
    left.reverse();
    left
}

/// What it was before this was added; None for what is no u64.
fn without(sum: &[u8], operand: &[u8]) -> Option<Vec<u8>> {
    let (tag, number) = operand.split_first()?;
    let negated = u64::from_le_bytes(number.try_into().ok()?).wrapping_neg();
    let negated = [&[*tag][..], &negated.to_le_bytes()].concat();
    value::apply(Arithmetic::Sum, Some(sum), &negated).ok()
}

#[cfg(test)]
mod tests {
    use super::super::oracle::Oracle;
    use super::*;
    use kvass::stamp::Stamp;

    const KEY: [u8; 3] = [2, b'n', 0];

    fn number(n: u64) -> Vec<u8> {
        [&[2][..], &n.to_le_bytes()].concat()
    }

    fn set(n: u64, live_ms: Option<u64>) -> Sent {
        Sent::Set { key: KEY.to_vec(), value: number(n), live_ms }
    }

    fn sum(n: u64) -> Sent {
        Sent::Sum { key: KEY.to_vec(), value: number(n) }
    }

    /// Whether the model, once these were applied, each in a commit of its own and by this time,
    /// may hold this number.
    fn admits(mutations: &[Sent], now_ms: u64, n: u64) -> bool {
        let mut oracle = Oracle::default();
        let stamp = |counter| Stamp { epoch: 1, counter };
        let last = stamp(mutations.len() as u64);
        let found = [(KEY.to_vec(), last, number(n))];
        let left = left_behind(&mutations.iter().collect::<Vec<_>>(), &found);
        for (counter, (mutation, left)) in (1..).zip(mutations.iter().zip(left)) {
            oracle.apply(mutation, stamp(counter), 0, now_ms, left.as_deref()).unwrap();
        }
        oracle.model.at(&KEY, last).is_some_and(|entry| entry.value == number(n))
    }

    /// All numbers that it admits.
    fn admitted(mutations: &[Sent], now_ms: u64) -> Vec<u64> {
        (0..500).filter(|n| admits(mutations, now_ms, *n)).collect()
    }

    #[test]
    fn sums_that_came_back_rest_on_what_was_there_or_had_expired_and_on_nothing_else() {
        let mutations = [set(58, Some(107)), sum(96), sum(7)];
        assert_eq!(admitted(&mutations, 106), [161]);
        assert_eq!(admitted(&mutations, 107), [103, 161]);
        assert_eq!(admitted(&[set(58, None), sum(96), sum(7)], 107), [161]);
    }

    #[test]
    fn nothing_from_before_a_key_was_set_or_deleted_is_added_to_sums_that_came_back() {
        let deleted = Sent::Delete { key: KEY.to_vec() };
        let range = Sent::DeleteRange { key: vec![2], end: vec![3] };
        for ends in [set(0, None), deleted, range] {
            let mutations = [set(58, Some(107)), sum(96), ends, sum(7), sum(7)];
            assert_eq!(admitted(&mutations, 107), [14]);
        }
    }
}
