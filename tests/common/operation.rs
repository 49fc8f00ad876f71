//! Operations, each from one number: what a property test shrinks and what a fuzzer mutates.

use kvcache::block::PutInfo;
use kvcache::engine::Opcode;

use super::keys::Keys;

/// A run of keys, by their numbers.
#[derive(Clone, Copy, Debug)]
pub struct KeyRun {
    /// The first.
    pub first: usize,
    /// How many, going round.
    pub count: usize,
}

/// What a put says, with the parent by number.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The parent's number.
    pub parent: Option<usize>,
    /// Everything else.
    pub rest: PutInfo,
}

impl Info {
    /// As the engine wants it.
    pub fn put_info(&self, keys: &Keys) -> PutInfo {
        PutInfo {
            parent: self.parent.map(|parent| *keys.key(parent)),
            ..self.rest
        }
    }
}

/// One call. Numbers that choose among what is there (`which`) are taken modulo how much there is.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Put `key`, this many bytes.
    Put { key: usize, bytes: u64, info: Info },
    /// Get `key` into a buffer of `room` bytes.
    Get { key: usize, room: u64 },
    /// Acquire one view.
    Acquire { key: usize },
    /// Acquire and let go at once, by a guard.
    AcquireGuard { key: usize },
    /// Acquire a prefix into room for `room` views.
    AcquirePrefix { keys: KeyRun, room: usize },
    /// Release a view, held or not any more.
    Release { which: usize },
    /// Reserve.
    Reserve { key: usize, bytes: u64, info: Info },
    /// Reserve by a guard and commit or drop it.
    ReserveGuard {
        key: usize,
        bytes: u64,
        info: Info,
        commit: bool,
    },
    /// Commit a reservation, open or not any more.
    Commit { which: usize, bytes: u64 },
    /// Abort one.
    Abort { which: usize },
    /// Remove.
    Remove { keys: KeyRun },
    /// Touch.
    Touch { keys: KeyRun },
    /// Match a prefix.
    Match { keys: KeyRun, touch: bool },
    /// Match each.
    MatchEach { keys: KeyRun, touch: bool },
    /// Retain.
    Retain {
        keys: KeyRun,
        priority: u8,
        protected: bool,
        expiry_ms: u64,
    },
    /// Clear a namespace.
    NamespaceClear { namespace: u64 },
    /// Let this many milliseconds pass.
    Tick { ms: u64 },
    /// Open the lane, or open another.
    LaneOpen,
    /// Close the lane.
    LaneClose,
    /// Submit `count` operations of one kind.
    Submit {
        count: usize,
        opcode: Opcode,
        keys: KeyRun,
        bytes: u64,
        info: Info,
    },
    /// Reap into room for `room` completions.
    Reap { room: usize },
    /// Poll a ticket, open or not any more.
    Poll { which: usize },
    /// Cancel one.
    Cancel { which: usize },
}

/// Draws choices from a number, the first one from its lowest digits.
struct Dice {
    number: u64,
    keys_count: u64,
}

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        let drawn = self.number % count;
        self.number /= count;
        drawn
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn key(&mut self) -> usize {
        self.below(self.keys_count) as usize
    }

    fn keys(&mut self) -> KeyRun {
        KeyRun {
            first: self.key(),
            count: self.of(&[1, 2, 3, 5, 20, 0, 50]),
        }
    }

    fn bytes(&mut self) -> u64 {
        self.of(&[BLOCK_BYTES, 1, 8, 37, BLOCK_BYTES - 1])
    }

    fn info(&mut self) -> Info {
        let rest = PutInfo {
            parent: None,
            priority: self.of(&[0, 0, 0, 0, 10, 100]),
            protected: self.below(8) == 7,
            expiry_ms: self.of(&[0, 0, 0, 40, 200]),
            chain_index: self.of(&[0, 0, 1, 2, 9000, 70_000]),
            namespace_id: self.below(3),
            tokens_count: self.of(&[0, 16]),
            recompute_cost_us: 0,
            conversation_id: 0,
            geometry_id: 0,
            importance: self.of(&[0, 0, 1, 900]) as u32,
        };
        let parent = (self.below(2) == 1).then(|| self.key());
        Info { parent, rest }
    }
}

/// The most bytes of one block, in every test that uses these operations.
pub const BLOCK_BYTES: u64 = 100;

impl Operation {
    /// The operation of a number, where there are `keys_count` keys.
    pub fn decode(number: u64, keys_count: usize) -> Self {
        let mut dice = Dice {
            number,
            keys_count: keys_count as u64,
        };
        match dice.below(32) {
            0..=6 => Self::Put {
                key: dice.key(),
                bytes: dice.bytes(),
                info: dice.info(),
            },
            7..=9 => Self::Get {
                key: dice.key(),
                room: dice.of(&[BLOCK_BYTES + 20, BLOCK_BYTES, 36, 0]),
            },
            10 | 11 => Self::Acquire { key: dice.key() },
            12 => Self::AcquireGuard { key: dice.key() },
            13 => Self::AcquirePrefix {
                keys: dice.keys(),
                room: dice.of(&[50, 2, 0]),
            },
            14 | 15 => Self::Release {
                which: dice.below(64) as usize,
            },
            16 => Self::Reserve {
                key: dice.key(),
                bytes: dice.bytes(),
                info: dice.info(),
            },
            17 => Self::ReserveGuard {
                key: dice.key(),
                bytes: dice.bytes(),
                commit: dice.below(2) == 0,
                info: dice.info(),
            },
            18 => Self::Commit {
                which: dice.below(8) as usize,
                bytes: dice.of(&[0, 1, 37, BLOCK_BYTES, BLOCK_BYTES + 1]),
            },
            19 => Self::Abort {
                which: dice.below(8) as usize,
            },
            20 => Self::Remove { keys: dice.keys() },
            21 => Self::Touch { keys: dice.keys() },
            22 => Self::Match {
                keys: dice.keys(),
                touch: dice.below(2) == 1,
            },
            23 => Self::MatchEach {
                keys: dice.keys(),
                touch: dice.below(2) == 1,
            },
            24 => Self::Retain {
                keys: dice.keys(),
                priority: dice.of(&[0, 5, 50, 100, 101]),
                protected: dice.below(4) == 3,
                expiry_ms: dice.of(&[0, 40, 200, u64::MAX]),
            },
            25 => match dice.below(4) {
                0 => Self::NamespaceClear {
                    namespace: dice.below(4),
                },
                1 => Self::Put {
                    // What must be refused, and that it changes nothing.
                    key: dice.key(),
                    bytes: dice.of(&[0, BLOCK_BYTES + 1, 8]),
                    info: Info {
                        parent: None,
                        rest: PutInfo {
                            priority: dice.of(&[0, 101, 255]),
                            geometry_id: dice.of(&[0, 1, 200]),
                            expiry_ms: dice.of(&[0, u64::MAX]),
                            ..PutInfo::default()
                        },
                    },
                },
                2 => Self::LaneClose,
                _ => Self::LaneOpen,
            },
            26 | 27 => Self::Tick {
                ms: dice.of(&[0, 1, 17, 30, 60, 500]),
            },
            28 | 29 => Self::Submit {
                count: dice.of(&[1, 2, 5]),
                opcode: dice.of(&[
                    Opcode::Put,
                    Opcode::Get,
                    Opcode::Match,
                    Opcode::Remove,
                    Opcode::Touch,
                    Opcode::Acquire,
                ]),
                keys: dice.keys(),
                bytes: dice.bytes(),
                info: dice.info(),
            },
            30 => Self::Reap {
                room: dice.of(&[8, 1, 2, 0]),
            },
            _ => match dice.below(2) {
                0 => Self::Poll {
                    which: dice.below(16) as usize,
                },
                _ => Self::Cancel {
                    which: dice.below(16) as usize,
                },
            },
        }
    }
}
