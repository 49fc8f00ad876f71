//! Numbers out of a fuzzer's bytes: often the ones at the edges.

/// Reads a fuzzer's bytes; what is missing is zero.
pub struct Input<'d>(pub &'d [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A number of any size: small ones, powers of two and their neighbours, or any.
    pub fn number(&mut self) -> u64 {
        let (kind, value) = (self.byte(), self.byte());
        let power = 1_u64 << (value % 64);
        match kind % 8 {
            0 => u64::from(value),
            1 | 2 => power,
            3 => power - 1,
            4 => power + 1,
            5 => 0,
            6 => u64::MAX - u64::from(value % 8),
            _ => self.word(),
        }
    }
}
