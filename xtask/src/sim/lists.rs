//! Lists that pages read page by page, on one snapshot, which may outlive the host that granted it.

use super::leases::Grant;
use super::model::{Key, Row, Seen};
use super::oracle::{Verdict, fail};
use super::pages::{Asked, Beside, Moment, any};
use super::world::World;
use kvass::rng::Rng;
use kvass::stamp::Stamp;
use kvass::varint;
use kvass::wire::{Blob, List, Page};

const CHECK: &str = "lists answer as the model does";

/// A list that is read page by page.
#[derive(Clone)]
pub struct Listing {
    range: (Key, Key),
    /// What of it the next page is to be read from.
    next: (Key, Key),
    reverse: bool,
    limit: u32,
    keys_only: bool,
    /// What holds its snapshot, once the first page has come.
    pub grant: Option<Grant>,
    since: Moment,
    rows: Vec<Row>,
    /// When the last page was asked for.
    asked_ms: u64,
}

impl Listing {
    /// What asks for its next page.
    pub fn request(&self) -> List<'_> {
        List {
            start: Blob(&self.next.0),
            end: Blob(&self.next.1),
            reverse: self.reverse,
            limit: self.limit,
            lease: self.grant.as_ref().map(|grant| grant.lease.into()),
            keep: true,
            keys_only: self.keys_only,
        }
    }
}

impl World {
    pub fn ask_list(
        &mut self,
        range: (Key, Key),
        reverse: bool,
        limit: usize,
        rng: &Rng,
    ) -> Verdict {
        let client = rng.below(2) as u8;
        let since = self.moment(client);
        let listing = Listing {
            next: range.clone(),
            range,
            reverse,
            limit: limit as u32,
            keys_only: rng.one_in(2),
            grant: None,
            asked_ms: since.time_ms,
            since,
            rows: Vec::new(),
        };
        self.ask(client, Asked::List(listing))
    }

    /// Goes on with a list that rests between two pages.
    pub fn read_on(&mut self, rng: &Rng) -> Verdict {
        if self.pages.is_none() || self.resting.is_empty() {
            return Ok(());
        }
        let chosen = rng.below(self.resting.len() as u64) as usize;
        let (client, mut listing) = self.resting.swap_remove(chosen);
        listing.asked_ms = self.db()?.now_ms();
        self.ask(client, Asked::List(listing))
    }

    /// A page of a list; the next one is asked for, or the whole of it judged.
    pub fn page(
        &mut self,
        client: u8,
        mut listing: Listing,
        page: &Page<'_>,
        beside: &mut Beside<'_>,
    ) -> Verdict {
        let before = listing.rows.len();
        let mut entries = page.entries.0;
        while let Some(row) = self.take_row(&mut entries, listing.keys_only, beside) {
            listing.rows.push(row);
        }
        let count = listing.rows.len() - before;
        if count != page.count as usize || count > listing.limit as usize || !entries.is_empty() {
            return fail(CHECK, format!("{count} rows instead of {}", page.count));
        }
        if let Some(grant) = &listing.grant {
            self.goes_on(grant)?;
        }
        if page.done {
            return self.check_listing(&listing);
        }
        match (listing.rows.last(), page.lease) {
            (Some((last, _, _)), Some(_)) if listing.reverse => listing.next.1 = last.clone(),
            (Some((last, _, _)), Some(_)) => listing.next.0 = [last.as_slice(), &[0]].concat(),
            _ => return fail(CHECK, "no way to the next page"),
        }
        self.hold(&mut listing, page)?;
        // Some are not in a hurry.
        if self.plan.config.hands_over && !listing.rows.len().is_multiple_of(3) {
            self.resting.push((client, listing));
            return Ok(());
        }
        listing.asked_ms = self.db()?.now_ms();
        self.ask_later(client, Asked::List(listing));
        Ok(())
    }

    /// The snapshot of a list is the one it began with.
    fn hold(&self, listing: &mut Listing, page: &Page<'_>) -> Verdict {
        let Some(lease) = page.lease.map(kvass::snapshot::Lease::from) else { return Ok(()) };
        let began = match &listing.grant {
            Some(grant) => grant.lease.snapshot == lease.snapshot,
            None => {
                let since = self.window(&listing.since)?.first().map(|seen| seen.stamp);
                since <= Some(lease.snapshot.stamp)
            }
        };
        listing.grant = Some(self.grant(lease, listing.asked_ms));
        match began {
            true => Ok(()),
            false => fail("a list is one snapshot", format!("{lease:?}")),
        }
    }

    fn check_listing(&self, listing: &Listing) -> Verdict {
        let Listing { range: (start, end), reverse, rows, grant, since, .. } = listing;
        let check = |seen| self.check_list((start, end), *reverse, usize::MAX, seen, rows);
        match grant {
            Some(grant) => {
                let seen = Seen::from(grant.lease.snapshot);
                check(seen).or_else(|detail| fail(CHECK, detail))
            }
            None => any(&mut self.window(since)?.into_iter().map(check), CHECK),
        }
    }

    /// The next row of a page; the model knows the value that a list of keys leaves out.
    fn take_row(
        &self,
        entries: &mut &[u8],
        keys_only: bool,
        beside: &mut Beside<'_>,
    ) -> Option<Row> {
        let key = varint::take_bytes(entries)?;
        let (stamp, rest) = entries.split_first_chunk()?;
        let stamp = Stamp::from_bytes(*stamp);
        *entries = rest;
        if keys_only {
            let value = self.oracle.model.at(key, stamp).map(|entry| entry.value.clone());
            return Some((key.to_vec(), stamp, value.unwrap_or_default()));
        }
        let mut value = varint::take_bytes(entries)?.to_vec();
        if value.is_empty() {
            let (kind, rest) = entries.split_first()?;
            *entries = rest;
            varint::take(entries)?;
            value = [&[*kind], &**beside.next()?].concat();
        }
        Some((key.to_vec(), stamp, value))
    }
}
