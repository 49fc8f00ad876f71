//! What prefetching takes: tables of fixed size, nothing where it is off.

use crate::config::Config;

/// Words of 8 bytes of the streams; asserted by the room.
pub(crate) const PREFETCH_STREAM_WORDS: u64 = 256;
/// Words of 8 bytes of the planner besides its conversations; asserted by the room.
pub(crate) const PREFETCH_PLANNER_WORDS: u64 = 2339;
/// Words of 8 bytes of one conversation; asserted by the room.
pub(crate) const PREFETCH_CONVERSATION_WORDS: u64 = 16;
/// Words of 8 bytes of one successor; asserted by the room.
pub(crate) const PREFETCH_SUCCESSOR_WORDS: u64 = 3;
/// News of uses that one stripe keeps until a tick looks, a power of two.
pub(crate) const PREFETCH_NEWS_COUNT: u64 = 256;
/// Blocks of one wish that are carried out; a longer chain is raised from its beginning to there.
pub(crate) const PREFETCH_CHAIN_MAX: u64 = 65_536;
/// Words for wishes that wait, the chain that is being raised, times of use and clocks; asserted by the engine.
pub(crate) const PREFETCH_DESK_WORDS: u64 = 512;

/// Words of 8 bytes of each table, in the order in which they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct PrefetchLayout {
    pub(crate) desk: u64,
    pub(crate) planner: u64,
    pub(crate) streams: u64,
    pub(crate) successors: u64,
    /// Rings of news: one more word for each stripe's count, on lines of their own.
    pub(crate) news: u64,
    /// Two half words a word: places of the chain that is being raised.
    pub(crate) chain: u64,
    /// Per place: bits of who raised it, and the number of its first insertion.
    pub(crate) places: u64,
    /// Which block had which number.
    pub(crate) order: u64,
}

impl PrefetchLayout {
    /// The tables of a configuration whose plan has so many places.
    pub(crate) fn of(config: &Config, entries_count: u64) -> Self {
        let prefetch = &config.prefetch;
        if !prefetch.is_on() {
            return Self::default();
        }
        let when = |on: bool, words: u64| if on { words } else { 0 };
        Self {
            desk: PREFETCH_DESK_WORDS,
            planner: when(
                prefetch.turns,
                PREFETCH_PLANNER_WORDS + PREFETCH_CONVERSATION_WORDS * prefetch.conversations_count,
            ),
            streams: when(prefetch.sequences, PREFETCH_STREAM_WORDS),
            successors: when(
                prefetch.successors,
                PREFETCH_SUCCESSOR_WORDS * prefetch.successors_count,
            ),
            news: config.stripes_count * (PREFETCH_NEWS_COUNT + 16),
            chain: PREFETCH_CHAIN_MAX.min(entries_count).div_ceil(2),
            places: entries_count,
            order: when(prefetch.sequences, entries_count),
        }
    }

    /// Words of all tables.
    pub(crate) fn words_count(&self) -> u64 {
        self.desk + self.planner + self.streams + self.successors + self.news + self.chain + self.places + self.order
    }
}
