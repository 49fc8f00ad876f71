//! How hits are counted.

/// Blocks and tokens, and those of them that hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Blocks of all requests.
    pub accesses: u64,
    /// Of those, the ones that were there when their request came, whether or not a block before them was missing.
    pub hits: u64,
    /// Tokens of all blocks.
    pub tokens: u64,
    /// Tokens of the blocks that were there with all blocks before them in their request.
    pub prefix_tokens: u64,
}

/// Counts one request.
pub struct Counting<'s> {
    score: &'s mut Score,
    leading: bool,
}

impl Score {
    /// Begins a request.
    pub fn request(&mut self) -> Counting<'_> {
        Counting {
            score: self,
            leading: true,
        }
    }

    /// Share of the blocks that hit; 0 where there was none.
    pub fn block_hit_ratio(&self) -> f64 {
        share(self.hits, self.accesses)
    }

    /// Share of the tokens that hit with all that is before them; 0 where there was none.
    pub fn prefix_token_hit_ratio(&self) -> f64 {
        share(self.prefix_tokens, self.tokens)
    }
}

impl Counting<'_> {
    /// The request's next block.
    #[inline]
    pub fn block(&mut self, hit: bool, tokens: u64) {
        self.leading &= hit;
        self.score.accesses += 1;
        self.score.hits += u64::from(hit);
        self.score.tokens += tokens;
        self.score.prefix_tokens += if self.leading { tokens } else { 0 };
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
