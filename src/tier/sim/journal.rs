//! What the writes that were not synced have replaced, in the order of the writes.
//!
//! A ring of entries: a head of four words (offset, bytes, where the entry before it begins, where the one after it
//! does) and the bytes that the write replaced. Undoing them, the newest first, gives what the medium holds for
//! certain; each undoing exchanges the bytes, so that the entry then has what its write wrote.

use super::SECTOR_BYTES;
use super::random::Random;

const HEAD_BYTES: usize = 32;

/// The journal.
pub(super) struct Journal<'m> {
    bytes: &'m mut [u8],
    /// Where the oldest entry begins.
    first: usize,
    /// Where the newest entry begins.
    last: usize,
    /// Where the newest entry ends.
    end: usize,
    count: u64,
    /// Writes ever.
    written: u64,
}

/// An entry's head.
#[derive(Clone, Copy)]
struct Head {
    offset: usize,
    bytes: usize,
    before: usize,
    after: usize,
}

impl<'m> Journal<'m> {
    /// An empty one.
    pub(super) fn new(bytes: &'m mut [u8]) -> Self {
        Self {
            bytes,
            first: 0,
            last: 0,
            end: 0,
            count: 0,
            written: 0,
        }
    }

    /// Entries.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Writes ever, of which the last [`Journal::count`] are here.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Before a write: keeps what it replaces. The oldest entries go if there is no room, and all of them, and this
    /// one, if there never is.
    pub(super) fn append(&mut self, offset: u64, held: &[u8]) {
        self.written += 1;
        let need = HEAD_BYTES + held.len();
        if need > self.bytes.len() {
            self.keep_all();
            return;
        }
        let at = self.make_room(need);
        if self.count == 0 {
            self.first = at;
        } else {
            let mut newest = self.head(self.last);
            newest.after = at;
            self.head_set(self.last, newest);
        }
        let head = Head {
            offset: offset as usize,
            bytes: held.len(),
            before: self.last,
            after: 0,
        };
        self.head_set(at, head);
        if let Some(place) = self.bytes.get_mut(at + HEAD_BYTES..at + need) {
            place.copy_from_slice(held);
        }
        self.last = at;
        self.end = at + need;
        self.count += 1;
    }

    /// Everything is durable.
    pub(super) fn keep_all(&mut self) {
        self.count = 0;
    }

    /// The first `writes` writes ever are durable.
    pub(super) fn keep_until(&mut self, writes: u64) {
        while self.count != 0 && self.written - self.count < writes {
            self.keep_oldest();
        }
    }

    /// Rebuilds in `data` what a loss of power leaves, and empties the journal.
    pub(super) fn rebuild(&mut self, data: &mut [u8], random: &mut Random) {
        let mut at = self.last;
        for _ in 0..self.count {
            let head = self.head(at);
            self.each_sector(at, data, |journal, data| journal.swap_with_slice(data));
            at = head.before;
        }
        let mut at = self.first;
        for _ in 0..self.count {
            let head = self.head(at);
            let fate = random.below(3);
            self.each_sector(at, data, |journal, data| match fate {
                0 => {}
                1 => data.copy_from_slice(journal),
                _ if random.coin() => data.copy_from_slice(journal),
                _ => {}
            });
            at = head.after;
        }
        self.keep_all();
    }

    /// Calls `each` with the pieces of the entry's bytes and of `data` that belong together, none larger than a sector
    /// or across the border of two.
    fn each_sector(&mut self, at: usize, data: &mut [u8], mut each: impl FnMut(&mut [u8], &mut [u8])) {
        let head = self.head(at);
        let mut done = 0;
        while done < head.bytes {
            let offset = head.offset + done;
            let piece = (SECTOR_BYTES as usize - offset % SECTOR_BYTES as usize).min(head.bytes - done);
            let place = at + HEAD_BYTES + done;
            if let (Some(journal), Some(data)) = (
                self.bytes.get_mut(place..place + piece),
                data.get_mut(offset..offset + piece),
            ) {
                each(journal, data);
            }
            done += piece;
        }
    }

    /// Where `need` bytes are free; not more than there are.
    fn make_room(&mut self, need: usize) -> usize {
        loop {
            if self.count == 0 {
                return 0;
            }
            let wrapped = self.end <= self.first;
            if wrapped && self.first - self.end >= need {
                return self.end;
            }
            if !wrapped && self.bytes.len() - self.end >= need {
                return self.end;
            }
            if !wrapped && self.first >= need {
                return 0;
            }
            self.keep_oldest();
        }
    }

    fn keep_oldest(&mut self) {
        self.first = self.head(self.first).after;
        self.count -= 1;
    }

    fn head(&self, at: usize) -> Head {
        let word = |index: usize| {
            let start = at + index * 8;
            let bytes = self.bytes.get(start..start + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default()) as usize
        };
        Head {
            offset: word(0),
            bytes: word(1),
            before: word(2),
            after: word(3),
        }
    }

    fn head_set(&mut self, at: usize, head: Head) {
        let words = [head.offset, head.bytes, head.before, head.after];
        for (index, word) in words.into_iter().enumerate() {
            let start = at + index * 8;
            if let Some(place) = self.bytes.get_mut(start..start + 8) {
                place.copy_from_slice(&(word as u64).to_le_bytes());
            }
        }
    }
}
