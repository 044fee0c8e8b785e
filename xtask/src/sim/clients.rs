//! Clients that number their commits, and send again after a crash what was not answered.

use kvass::rng::Rng;
use kvass::sessions::Origin;

/// Clients that number their commits; a batch may also come from nobody.
const CLIENTS: u64 = 2;

/// Commits that were sent together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The client and the sequence of its first commit; None for commits of nobody.
    sender: Option<(u64, u64)>,
    /// The number of the first commit.
    pub first: u64,
    pub strict: Vec<Option<bool>>,
    /// In which it was first sent.
    pub epoch: u32,
}

impl Batch {
    /// The line in which it stands among the frames of a host.
    pub fn line(&self) -> u64 {
        self.sender.map_or(0, |(client, _)| client + 1)
    }

    /// Whether the commit of this number belongs to it.
    pub fn has(&self, number: u64) -> bool {
        (self.first..self.first + self.strict.len() as u64).contains(&number)
    }
}

#[derive(Default)]
pub struct Clients {
    /// The next sequence of each client.
    next: [u64; CLIENTS as usize],
    pub unanswered: Vec<Batch>,
}

impl Clients {
    /// A batch that some client, or nobody, is about to send.
    pub fn batch(&mut self, rng: &Rng, first: u64, strict: Vec<Option<bool>>, epoch: u32) -> Batch {
        let client = rng.below(CLIENTS + 1);
        let sender = self.next.get_mut(client as usize).map(|next| {
            *next += strict.len() as u64;
            (client, *next - strict.len() as u64 + 1)
        });
        Batch { sender, first, strict, epoch }
    }

    /// What the database is told of who sends a batch.
    pub fn origin(&self, batch: &Batch, resend_of: u32) -> Option<Origin> {
        let (client, first) = batch.sender?;
        let acked_through = self.acked_through(client, first);
        Some(Origin { client: [client as u8; 16], first, acked_through, resend_of })
    }

    /// What the database is told of who sends one request that is no commit.
    pub fn request(&mut self, client: u8) -> Origin {
        let next = &mut self.next[usize::from(client)];
        *next += 1;
        let first = *next;
        let acked_through = self.acked_through(u64::from(client), first);
        Origin { client: [client; 16], first, acked_through, resend_of: 0 }
    }

    fn acked_through(&self, client: u64, first: u64) -> u64 {
        let unanswered = self.unanswered.iter().filter_map(|batch| batch.sender);
        let open = unanswered.filter(|(other, _)| *other == client).map(|(_, first)| first);
        open.chain([first]).min().unwrap_or(first) - 1
    }

    /// The numbers of the commits of a client that are not answered.
    pub fn under_way(&self, client: u8) -> Vec<u64> {
        let sent = |batch: &&Batch| batch.sender.is_some_and(|it| it.0 == u64::from(client));
        let batches = self.unanswered.iter().filter(sent);
        batches.flat_map(|batch| batch.first..batch.first + batch.strict.len() as u64).collect()
    }

    /// The batches to be sent again, in their order.
    pub fn take_unanswered(&mut self) -> Vec<Batch> {
        let mut batches = std::mem::take(&mut self.unanswered);
        batches.retain(|batch| batch.sender.is_some());
        batches
    }
}
