//! What a caller says about a block when it is put: what policies live on.

use crate::key::Key;
use crate::limits::{CLASSES_COUNT, PRIORITY_MAX};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a put says about its block. Everything may be left at its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutInfo {
    /// Key of the block before this one in the request's chain. If it is resident, this block's place is one further.
    pub parent: Option<Key>,
    /// Place in the request's chain, from 0; the deeper of two blocks that were last used together is evicted first.
    pub chain_index: u64,
    /// Tokens in the block.
    pub tokens_count: u64,
    /// What computing the block again would cost, in microseconds.
    pub recompute_cost_us: u64,
    /// The conversation the block belongs to; 0 for none. A hint: 32 bits of it are kept.
    pub conversation_id: u64,
    /// The namespace the block is cleared with.
    pub namespace_id: u64,
    /// Retention priority, 0 (the default, evicted first) to 100.
    pub priority: u8,
    /// Never evicted while a block without this is there to be evicted.
    pub protected: bool,
    /// Milliseconds after which priority and protection lapse; 0 is never.
    pub expiry_ms: u64,
    /// Which of the configuration's geometries the block has, from 1; 0 is plain bytes.
    pub geometry_id: u8,
    /// How much keeping the block is worth to the caller, 0 for nothing in particular: what the policy `importance`
    /// goes by where its table does not have the key.
    pub importance: u32,
}

/// Low 32 bits of a fingerprint, never 0.
pub(crate) const fn mark(fingerprint: u64) -> u32 {
    match fingerprint as u32 {
        0 => 1,
        mark => mark,
    }
}

/// What a block's facts say about its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The parent's [`mark`]; 0 for no parent.
    pub(crate) mark: u32,
    /// Where in the chain it is, if it is known.
    pub(crate) depth: Option<u16>,
}

/// Priority, protection and their end, changed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) priority: u8,
    pub(crate) protected: bool,
    /// In units of 2^24 ns (about 17 ms) since the engine's clock began; 0 is never.
    pub(crate) expiry: u32,
    pub(crate) geometry_id: u8,
    /// Whether the reservation may be taken back when it gets old.
    pub(crate) reservation_expires: bool,
    /// Logarithm of the cost of computing the block again, see [`cost_code`].
    pub(crate) cost: u8,
    /// Code of the coarsest codec that the bytes in memory went through; 0 for the bytes that were put.
    pub(crate) loss: u8,
}

/// A cost in microseconds as five bits of exponent and three of mantissa: within an eighth of the truth, up to 2^31.
const fn cost_code(cost_us: u64) -> u8 {
    if cost_us < 8 {
        return cost_us as u8;
    }
    let exponent = cost_us.ilog2() - 2;
    if exponent > 31 {
        return u8::MAX;
    }
    (exponent << 3 | (cost_us >> (exponent - 1)) as u32 & 7) as u8
}

/// The smallest cost in microseconds that has this code.
pub(crate) const fn cost_us(code: u8) -> u64 {
    if code < 8 {
        return code as u64;
    }
    (8 | code as u64 & 7) << ((code >> 3) - 1)
}

/// Converts a time of the engine's clock to the unit of [`Retention::expiry`], rounding down.
pub(crate) const fn expiry_units(time_ns: u64) -> u64 {
    time_ns >> 24
}

impl Retention {
    /// When something put now and kept for `expiry_ms` milliseconds lapses, never earlier than asked; 0 is never.
    pub(crate) fn expiry_after(now_ns: u64, expiry_ms: u64) -> u32 {
        if expiry_ms == 0 {
            return 0;
        }
        let end = now_ns.saturating_add(expiry_ms.saturating_mul(1_000_000));
        (expiry_units(end).saturating_add(1)).min(u64::from(u32::MAX)) as u32
    }

    pub(crate) fn lapsed(self, now_ns: u64) -> bool {
        self.expiry != 0 && expiry_units(now_ns) >= u64::from(self.expiry)
    }

    /// The eviction class at `now_ns`: lower goes first, the highest is the protected one.
    pub(crate) fn class(self, now_ns: u64) -> u8 {
        if self.lapsed(now_ns) {
            0
        } else if self.protected {
            (CLASSES_COUNT - 1) as u8
        } else {
            self.priority.min(PRIORITY_MAX)
        }
    }

    /// Seconds from `now_ns` until it lapses, at least 1; 0 if it has no end.
    pub(crate) fn seconds_left(self, now_ns: u64) -> u32 {
        if self.expiry == 0 {
            return 0;
        }
        let left_ns = (u64::from(self.expiry) << 24).saturating_sub(now_ns);
        (left_ns / 1_000_000_000).clamp(1, u64::from(u32::MAX)) as u32
    }

    fn pack(self) -> u64 {
        u64::from(self.expiry) << 32
            | u64::from(self.cost) << 24
            | u64::from(self.geometry_id) << 16
            | u64::from(self.loss & 0xF) << 10
            | u64::from(self.reservation_expires) << 9
            | u64::from(self.protected) << 8
            | u64::from(self.priority)
    }

    fn unpack(word: u64) -> Self {
        Self {
            priority: word as u8,
            protected: (word >> 8) & 1 != 0,
            reservation_expires: (word >> 9) & 1 != 0,
            loss: (word >> 10) as u8 & 0xF,
            geometry_id: (word >> 16) as u8,
            cost: (word >> 24) as u8,
            expiry: (word >> 32) as u32,
        }
    }
}

/// The facts of one block, 32 bytes. Written while the block is reserved; afterwards only the retention changes.
///
/// Relaxed throughout: the state word publishes the first values, and whoever changes the retention puts the block
/// into the policy's inbox, which orders it for the policy.
#[repr(C)]
pub(crate) struct Facts {
    retention: AtomicU64,
    namespace: AtomicU64,
    conversation: AtomicU32,
    /// `chain index (saturating) << 16 | tokens (saturating)`.
    depth_tokens: AtomicU32,
    parent_mark: AtomicU32,
    importance: AtomicU32,
}

#[cfg(not(loom))]
static_assertions::assert_eq_size!(Facts, [u8; 32]);

impl Facts {
    /// Empty facts.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn new() -> Self {
        Self {
            retention: AtomicU64::new(0),
            namespace: AtomicU64::new(0),
            conversation: AtomicU32::new(0),
            depth_tokens: AtomicU32::new(0),
            parent_mark: AtomicU32::new(0),
            importance: AtomicU32::new(0),
        }
    }

    /// Notes what a put says, at `now_ns`. A block is one deeper than its parent at least.
    pub(crate) fn write(&self, info: &PutInfo, parent: Parent, reservation_expires: bool, now_ns: u64) {
        let retention = Retention {
            priority: info.priority,
            protected: info.protected,
            geometry_id: info.geometry_id,
            reservation_expires,
            cost: cost_code(info.recompute_cost_us),
            expiry: Retention::expiry_after(now_ns, info.expiry_ms),
            loss: 0,
        };
        let depth_min = parent.depth.map_or(0, |depth| u64::from(depth) + 1);
        let depth = info.chain_index.max(depth_min).min(u64::from(u16::MAX)) as u32;
        let conversation = (info.conversation_id ^ info.conversation_id >> 32) as u32;
        let tokens = info.tokens_count.min(u64::from(u16::MAX)) as u32;
        self.retention.store(retention.pack(), Ordering::Relaxed);
        self.namespace.store(info.namespace_id, Ordering::Relaxed);
        self.conversation.store(conversation, Ordering::Relaxed);
        self.depth_tokens.store(depth << 16 | tokens, Ordering::Relaxed);
        self.parent_mark.store(parent.mark, Ordering::Relaxed);
        self.importance.store(info.importance, Ordering::Relaxed);
    }

    pub(crate) fn retention(&self) -> Retention {
        Retention::unpack(self.retention.load(Ordering::Relaxed))
    }

    /// Changes the retention; the geometry stays. True if it had an end before.
    pub(crate) fn set_retention(&self, priority: u8, protected: bool, expiry: u32) -> bool {
        let before = self.change(|before| Retention {
            priority,
            protected,
            expiry,
            ..before
        });
        before.expiry != 0
    }

    /// Notes which codec the bytes in memory went through.
    pub(crate) fn set_loss(&self, loss: u8) {
        self.change(|before| Retention { loss, ..before });
    }

    /// Repeats only because another thread changed the same block's word.
    fn change(&self, next: impl Fn(Retention) -> Retention) -> Retention {
        let mut word = self.retention.load(Ordering::Relaxed);
        loop {
            let before = Retention::unpack(word);
            match self
                .retention
                .compare_exchange(word, next(before).pack(), Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return before,
                Err(now) => word = now,
            }
        }
    }

    pub(crate) fn namespace(&self) -> u64 {
        self.namespace.load(Ordering::Relaxed)
    }

    /// The conversation, folded to 32 bits; 0 is none.
    pub(crate) fn conversation(&self) -> u32 {
        self.conversation.load(Ordering::Relaxed)
    }

    /// Tokens in the block, saturating.
    pub(crate) fn tokens_count(&self) -> u16 {
        self.depth_tokens.load(Ordering::Relaxed) as u16
    }

    /// Cost of computing the block again in microseconds, rounded down by at most an eighth.
    pub(crate) fn recompute_cost_us(&self) -> u64 {
        cost_us(self.retention().cost)
    }

    /// The parent's [`mark`]; 0 for no parent.
    pub(crate) fn parent_mark(&self) -> u32 {
        self.parent_mark.load(Ordering::Relaxed)
    }

    /// What keeping the block is worth, as the put said.
    pub(crate) fn importance(&self) -> u32 {
        self.importance.load(Ordering::Relaxed)
    }

    /// Place in the chain, saturating.
    pub(crate) fn depth(&self) -> u16 {
        (self.depth_tokens.load(Ordering::Relaxed) >> 16) as u16
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn costs_come_back_within_an_eighth() {
        for shift in 0..40 {
            for offset in [0, 1, 3] {
                let cost = (1_u64 << shift) + (offset << shift >> 2);
                let back = cost_us(cost_code(cost));
                assert!(back <= cost, "{cost} {back}");
                assert!(cost >= 1 << 33 || back + back / 7 >= cost, "{cost} {back}");
            }
        }
    }

    #[test]
    fn facts_come_back_as_written() {
        let facts = Facts::new();
        let info = PutInfo {
            parent: None,
            chain_index: 70_000,
            tokens_count: 16,
            recompute_cost_us: 640,
            conversation_id: 5 << 32,
            namespace_id: 9 << 40,
            priority: 70,
            protected: true,
            expiry_ms: 1000,
            geometry_id: 3,
            importance: 1 << 31,
        };
        let parent = Parent {
            mark: mark(7 << 32 | 8),
            depth: Some(41),
        };
        facts.write(&info, parent, false, 0);
        assert_eq!((facts.parent_mark(), facts.importance()), (8, 1 << 31));
        assert_eq!(
            (facts.depth(), facts.tokens_count(), facts.namespace()),
            (u16::MAX, 16, 9 << 40)
        );
        assert_eq!((facts.conversation(), facts.recompute_cost_us()), (5, 640));
        let retention = facts.retention();
        assert_eq!(
            (retention.priority, retention.protected, retention.geometry_id),
            (70, true, 3)
        );
        assert_eq!(retention.class(0), 101);
        assert_eq!(retention.class(999_000_000), 101, "not before its time");
        assert_eq!(retention.class(1_100_000_000), 0);
        assert!(facts.set_retention(5, false, 0));
        assert_eq!(facts.retention().class(u64::MAX), 5);
        assert_eq!(facts.retention().geometry_id, 3);
        facts.set_loss(9);
        assert!(!facts.set_retention(6, true, 0));
        assert_eq!((facts.retention().loss, facts.retention().priority), (9, 6));
        facts.write(&PutInfo::default(), parent, true, 0);
        assert_eq!(facts.depth(), 42);
        assert!(facts.retention().reservation_expires);
    }
}
