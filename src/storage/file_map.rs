//! A map from file numbers, for back ends: a sorted vector, since a database has a few hundred
//! files at most and a tree would be several times the code in the download.

use super::{FileNo, MANIFEST_SLOTS};

/// A map from file numbers, in their order.
#[derive(Debug)]
pub struct FileMap<T>(Vec<(FileNo, T)>);

impl<T> Default for FileMap<T> {
    fn default() -> FileMap<T> {
        FileMap(Vec::new())
    }
}

impl<T> FileMap<T> {
    fn place(&self, file: FileNo) -> Result<usize, usize> {
        self.0.binary_search_by_key(&file, |(number, _)| *number)
    }

    /// The entry of `file`.
    pub fn get(&self, file: FileNo) -> Option<&T> {
        let place = self.place(file).ok()?;
        self.0.get(place).map(|(_, entry)| entry)
    }

    /// The entry of `file`, to be changed.
    pub fn get_mut(&mut self, file: FileNo) -> Option<&mut T> {
        let place = self.place(file).ok()?;
        self.0.get_mut(place).map(|(_, entry)| entry)
    }

    /// The entry of `file`, made by default where there is none.
    #[expect(clippy::indexing_slicing, reason = "the place was found or just filled")]
    pub fn entry(&mut self, file: FileNo) -> &mut T
    where
        T: Default,
    {
        let place = self.place(file).unwrap_or_else(|place| {
            self.0.insert(place, (file, T::default()));
            place
        });
        &mut self.0[place].1
    }

    /// Takes the entry of `file` out.
    pub fn remove(&mut self, file: FileNo) -> Option<T> {
        let place = self.place(file).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Takes out the entry with the highest number.
    pub fn pop(&mut self) -> Option<(FileNo, T)> {
        self.0.pop()
    }

    /// Keeps the entries that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(FileNo, &T) -> bool) {
        self.0.retain(|(number, entry)| keep(*number, entry));
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (FileNo, &T)> {
        self.0.iter().map(|(number, entry)| (*number, entry))
    }

    /// All entries, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (FileNo, &mut T)> {
        self.0.iter_mut().map(|(number, entry)| (*number, entry))
    }

    /// The lowest number that has no entry and is no manifest slot.
    pub fn unused(&self) -> FileNo {
        let first = MANIFEST_SLOTS.len() as FileNo;
        let taken = self.0.iter().map(|(number, _)| *number).filter(|number| *number >= first);
        let gap = (first..).zip(taken).find(|(number, taken)| number != taken);
        match (gap, self.0.last()) {
            (Some((number, _)), _) => number,
            (None, Some((last, _))) => first.max(last + 1),
            (None, None) => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_number_and_come_in_order() {
        let mut map = FileMap::<u8>::default();
        for number in [7, 2, 9, 0] {
            *map.entry(number) = number as u8;
        }
        *map.entry(9) += 1;
        assert_eq!(map.get(9), Some(&10));
        assert_eq!(map.get(3), None);
        assert_eq!(map.remove(7), Some(7));
        assert_eq!(map.remove(7), None);
        let all: Vec<_> = map.iter().map(|(number, entry)| (number, *entry)).collect();
        assert_eq!(all, [(0, 0), (2, 2), (9, 10)]);
        assert_eq!(map.pop(), Some((9, 10)));
    }

    #[test]
    fn the_lowest_number_that_is_free_is_given_next() {
        let mut map = FileMap::<()>::default();
        assert_eq!(map.unused(), 2);
        map.entry(1);
        assert_eq!(map.unused(), 2);
        for number in [0, 2, 3, 5] {
            map.entry(number);
        }
        assert_eq!(map.unused(), 4);
        map.entry(4);
        assert_eq!(map.unused(), 6);
    }
}
