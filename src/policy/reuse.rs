//! Which blocks that leave a tier are worth writing to the one below it: those of the kinds that are asked for again.
//!
//! A **kind** is what is known for nothing when a block leaves: how long it was not used, how deep in its chain it
//! lies, and whether it was used since it came. Short blocks, which the ends of requests are that a later request goes
//! past, are a kind of their own. Of a sample of all that left, written or not, it is remembered which kind it was
//! of and whether it was asked for again. So the worth of a kind is known whatever is done with it, and a kind that
//! is refused can come back.
//!
//! Kinds are refused in the order of how seldom they are asked for, as long as all of them together were asked for no
//! more than a share of all times, [`Reuse::LOSS_PERMILLE`] where nothing else is said. What that costs indeed is seen
//! in the sample, too: each time that more is lost than that, fewer are refused.

/// Blocks that left and are remembered.
const GHOSTS: usize = 2048;
const WAYS: usize = 4;
const GROUPS: usize = GHOSTS / WAYS;
const AGES: usize = 24;
const DEPTHS: usize = 3;
/// Short blocks are all of one kind: whatever else they are, a later request goes past them, and they are too few to
/// learn that of each age and depth by itself.
const KIND_SHORT: usize = AGES * DEPTHS * 2;
const KINDS: usize = KIND_SHORT + 1;
const KIND_MASK: u16 = (1 << 9) - 1;
const _: () = assert!(KINDS <= KIND_MASK as usize + 1);
/// What a ghost keeps of the life of its block.
const LIFE_MASK: u32 = (1 << 5) - 1;
/// Blocks of the sample that leave before one that was not asked for counts as such: it had no time before.
const MATURE_TURNS: u16 = 256;
/// Blocks of a kind before anything is concluded of it.
const SEEN_MIN: u32 = 16;
/// Blocks of the sample after which what was learnt counts half.
const SEEN_MAX: u32 = 8192;
/// Blocks of the sample between two decisions.
const DECIDE_TURNS: u16 = 32;
/// Hits after which a loss counts half.
const LOSS_HITS_MAX: u32 = 512;
const CAUTION_MIN: u64 = 100;
const CAUTION_STEP: u64 = 20;
const PERMILLE: u64 = 1000;

/// A block that leaves a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// What stands for its key.
    pub fingerprint: u64,
    /// Milliseconds since it was last used.
    pub waited_ms: u64,
    /// Place in its request's chain, from 0.
    pub depth: u16,
    /// Tokens in it; 0 is unknown.
    pub tokens: u16,
    /// Uses since it came.
    pub uses: u16,
    /// A number that is another one once it was gone and came again, at least in its five lowest bits and mostly.
    pub life: u32,
}

/// `mark << 32 | turn << 16 | life << 11 | kind << 2 | refused << 1 | counted`; 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ghost {
    mark: u32,
    turn: u16,
    life: u16,
    kind: u16,
    refused: bool,
    counted: bool,
}

impl Ghost {
    fn encode(self) -> u64 {
        u64::from(self.mark) << 32
            | u64::from(self.turn) << 16
            | u64::from(self.life) << 11
            | u64::from(self.kind) << 2
            | u64::from(self.refused) << 1
            | u64::from(self.counted)
    }

    fn decode(word: u64) -> Self {
        Self {
            mark: (word >> 32) as u32,
            turn: (word >> 16) as u16,
            life: (word as u16) >> 11,
            kind: (word as u16) >> 2 & KIND_MASK,
            refused: word & 2 != 0,
            counted: word & 1 != 0,
        }
    }
}

/// A filter for the blocks that leave one tier for the next, which learns which of them are asked for again.
///
/// Bounded: 20 KiB whatever it sees, and no step looks at more than a fixed number of its cells. Allocates nothing.
///
/// Threads: one at a time.
///
/// ```
/// use kvcache::policy::{Departure, Reuse};
///
/// let mut reuse = Reuse::new(1000);
/// let leaving = Departure { fingerprint: 7, waited_ms: 60_000, depth: 3, tokens: 16, uses: 0, life: 1 };
/// assert!(reuse.admits(&leaving), "nothing is known yet");
/// reuse.left(&leaving);
/// reuse.hit(7);
/// ```
#[derive(Debug)]
pub struct Reuse {
    ghosts: [u64; GHOSTS],
    /// Blocks of each kind that left and of which it is known what became of them, and how often they were asked for.
    seen: [u32; KINDS],
    asked: [u32; KINDS],
    refused: [bool; KINDS],
    /// One of so many blocks is in the sample, as a power of two.
    sample_shift: u32,
    turn: u16,
    hand: u16,
    seen_count: u32,
    /// Tokens of a full block, as far as seen.
    tokens_max: u16,
    hits: u32,
    lost: u32,
    /// What may be lost by the books, of `loss_permille`, in thousandths.
    caution_permille: u64,
    /// Hits in the tier below that may be lost, in thousandths.
    loss_permille: u64,
}

/// Spreads a fingerprint over all bits (the finalizer of SplitMix64).
const fn spread(fingerprint: u64) -> u64 {
    let mixed = (fingerprint ^ fingerprint >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

impl Reuse {
    /// Hits in the tier below that may be lost where nothing else is said, in thousandths.
    pub const LOSS_PERMILLE: u64 = 50;

    /// A filter that knows nothing and so refuses nothing, before a tier of so many blocks.
    pub fn new(blocks_count: u64) -> Self {
        Self {
            ghosts: [0; GHOSTS],
            seen: [0; KINDS],
            asked: [0; KINDS],
            refused: [false; KINDS],
            sample_shift: (blocks_count / GHOSTS as u64).max(1).ilog2(),
            turn: 0,
            hand: 0,
            seen_count: 0,
            tokens_max: 0,
            hits: 0,
            lost: 0,
            caution_permille: PERMILLE,
            loss_permille: Self::LOSS_PERMILLE,
        }
    }

    /// From now on, so many thousandths of the hits in the tier below may be lost; what was learnt stays, and counts
    /// at the next decision. More than 1000 are 1000.
    pub fn set_loss_permille(&mut self, loss_permille: u64) {
        self.loss_permille = loss_permille.min(PERMILLE);
    }

    fn kind(&self, leaving: &Departure) -> usize {
        if leaving.tokens != 0 && leaving.tokens < self.tokens_max {
            return KIND_SHORT;
        }
        let seconds = (leaving.waited_ms / PERMILLE).saturating_add(1);
        let octave = seconds.ilog2();
        let half = if octave == 0 { 0 } else { (seconds >> (octave - 1)) & 1 };
        let age = (octave as usize * 2 + half as usize).min(AGES - 1);
        let depth = match leaving.depth {
            0..=7 => 0,
            8..=63 => 1,
            _ => 2,
        };
        let used = usize::from(leaving.uses != 0);
        (age * DEPTHS + depth) * 2 + used
    }

    /// Mark and group of a block that is in the sample.
    fn place(&self, fingerprint: u64) -> Option<(u32, usize)> {
        let hash = spread(fingerprint);
        let sampled = hash & ((1 << self.sample_shift) - 1) == 0;
        let group = ((u128::from(hash) * GROUPS as u128) >> 64) as usize;
        // Not the bits of the group, nor those of the sample, where that matters.
        sampled.then_some(((hash >> 16) as u32 | 1, group * WAYS))
    }

    fn find(&self, mark: u32, group: usize) -> Option<(usize, Ghost)> {
        (group..group + WAYS)
            .map(|at| (at, Ghost::decode(self.ghosts[at])))
            .find(|(_, ghost)| ghost.mark == mark)
    }

    /// Whether blocks like this one are worth writing.
    pub fn admits(&self, leaving: &Departure) -> bool {
        !self.refused[self.kind(leaving)]
    }

    /// Notes that a block leaves which the tier below does not have; what becomes of it follows from
    /// [`Reuse::admits`] at this moment.
    pub fn left(&mut self, leaving: &Departure) {
        self.tokens_max = self.tokens_max.max(leaving.tokens);
        let Some((mark, group)) = self.place(leaving.fingerprint) else {
            return;
        };
        let kind = self.kind(leaving);
        let life = (leaving.life & LIFE_MASK) as u16;
        let known = self.find(mark, group);
        if known.is_some_and(|(_, ghost)| ghost.life == life) {
            // It was about to leave before, and could not.
            return;
        }
        self.turn = self.turn.wrapping_add(1);
        let at = match known {
            Some((at, ghost)) => {
                // It was asked for, since it had come back, and was not below.
                self.asked_for(at, ghost);
                self.lost += u32::from(ghost.refused);
                self.balance();
                at
            }
            None => self.oldest(group),
        };
        let ghost = Ghost {
            mark,
            turn: self.turn,
            life,
            kind: kind as u16,
            refused: self.refused[kind],
            counted: false,
        };
        self.ghosts[at] = ghost.encode();
        self.mature();
        if self.turn.is_multiple_of(DECIDE_TURNS) {
            self.decide();
        }
    }

    /// Notes that a block was found below.
    pub fn hit(&mut self, fingerprint: u64) {
        if let Some((mark, group)) = self.place(fingerprint)
            && let Some((at, ghost)) = self.find(mark, group)
        {
            self.asked_for(at, ghost);
            self.hits += 1;
            self.balance();
        }
    }

    fn oldest(&self, group: usize) -> usize {
        let age = |at: &usize| match self.ghosts[*at] {
            0 => u32::MAX,
            word => u32::from(self.turn.wrapping_sub(Ghost::decode(word).turn)),
        };
        (group..group + WAYS).max_by_key(age).unwrap_or(group)
    }

    fn count(&mut self, at: usize, ghost: Ghost) {
        if !ghost.counted {
            self.seen[usize::from(ghost.kind)] += 1;
            self.seen_count += 1;
            self.ghosts[at] = Ghost { counted: true, ..ghost }.encode();
        }
    }

    fn asked_for(&mut self, at: usize, ghost: Ghost) {
        self.count(at, ghost);
        self.asked[usize::from(ghost.kind)] += 1;
    }

    /// Counts those that have had time to be asked for, in one group.
    fn mature(&mut self) {
        let group = usize::from(self.hand) * WAYS;
        self.hand = (self.hand + 1) % GROUPS as u16;
        for at in group..group + WAYS {
            let ghost = Ghost::decode(self.ghosts[at]);
            if ghost.mark != 0 && self.turn.wrapping_sub(ghost.turn) >= MATURE_TURNS {
                self.count(at, ghost);
            }
        }
        if self.seen_count >= SEEN_MAX {
            self.seen
                .iter_mut()
                .chain(&mut self.asked)
                .for_each(|count| *count /= 2);
            self.seen_count = self.seen.iter().sum();
        }
    }

    /// Compares what was lost with what may be.
    fn balance(&mut self) {
        let asked = self.hits + self.lost;
        if u64::from(self.lost) * PERMILLE > u64::from(asked) * self.loss_permille {
            self.caution_permille = (self.caution_permille * 7 / 8).max(CAUTION_MIN);
        } else {
            self.caution_permille = (self.caution_permille + CAUTION_STEP).min(PERMILLE);
        }
        if asked >= LOSS_HITS_MAX {
            self.hits /= 2;
            self.lost /= 2;
        }
    }

    /// Refuses the kinds that are asked for least, as far as that may be lost. Each kind that is refused counts once
    /// more than it was asked for: what was never seen may still be.
    fn decide(&mut self) {
        self.refused = [false; KINDS];
        let asked: u64 = self.asked.iter().map(|&count| u64::from(count)).sum();
        let mut left = asked * self.loss_permille * self.caution_permille / (PERMILLE * PERMILLE);
        loop {
            let open = (0..KINDS).filter(|&kind| !self.refused[kind] && self.seen[kind] >= SEEN_MIN);
            let least =
                open.min_by_key(|&kind| (u64::from(self.asked[kind]) + 1) * (1 << 32) / u64::from(self.seen[kind]));
            let Some(kind) = least.filter(|&kind| u64::from(self.asked[kind]) < left) else {
                return;
            };
            left -= u64::from(self.asked[kind]) + 1;
            self.refused[kind] = true;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
