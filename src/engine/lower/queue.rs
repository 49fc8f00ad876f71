//! A ring of blocks that wait for the pump, each at most once.

/// First in, first out, over borrowed words.
pub(super) struct Queue<'m> {
    words: &'m mut [u32],
    first: usize,
    count: usize,
}

impl<'m> Queue<'m> {
    pub(super) fn new(words: &'m mut [u32]) -> Self {
        Self {
            words,
            first: 0,
            count: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a block; false if there is no room, which takes more blocks than there are.
    pub(super) fn push(&mut self, index: u32) -> bool {
        if self.count == self.words.len() {
            return false;
        }
        let at = (self.first + self.count) % self.words.len();
        self.words[at] = index;
        self.count += 1;
        true
    }

    pub(super) fn pop(&mut self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let index = self.words[self.first];
        self.first = (self.first + 1) % self.words.len();
        self.count -= 1;
        Some(index)
    }

    pub(super) fn front(&self) -> Option<u32> {
        (self.count != 0).then(|| self.words[self.first])
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_round_the_end() {
        let mut words = [0; 3];
        let mut queue = Queue::new(&mut words);
        for round in 0..7 {
            assert!(queue.push(round) && queue.push(round + 100));
            assert_eq!((queue.front(), queue.count), (Some(round), 2));
            assert_eq!(
                (queue.pop(), queue.pop(), queue.pop()),
                (Some(round), Some(round + 100), None)
            );
        }
        assert!(queue.push(1) && queue.push(2) && queue.push(3));
        assert!(!queue.push(4) && !queue.is_empty());
    }
}
