//! What the files hold when the engine is opened.

use super::{Face, LIMBO_REMAINS, Lower, TIERS, store};
use crate::block::BlockRef;
use crate::block::entry::{NO_SLOT, Phase};
use crate::block::facts::{Parent, PutInfo, Retention};
use crate::config::Damage;
use crate::engine::Engine;
use crate::error::ConfigError;
use crate::metrics::{Counter, EventKind};
use crate::sync::atomic::Ordering;
use crate::tier::log::Recovered;

impl Engine<'_> {
    /// Opens the files and enters every block that they hold.
    ///
    /// # Errors
    /// A file that is another's, or is damaged where that is to be refused.
    pub(in crate::engine) fn recover(&self) -> Result<(), ConfigError> {
        let Some(lower) = &self.lower else { return Ok(()) };
        let Some(mut pump) = lower.pump.take() else {
            return Ok(());
        };
        let refuse = self.config.damage == Damage::Refuse;
        let stripe = self.stripe();
        for place in 0..TIERS.len() {
            let Some(store) = &mut pump.stores[place] else { continue };
            let report = store
                .log
                .open(self.config.file_overwrite, refuse, &mut |record| {
                    self.recovered(lower, place, record);
                })
                .map_err(|refusal| store::refusal(place, refusal))?;
            self.counters
                .add(stripe, Counter::BlocksDamaged, report.damaged + report.unfinished);
            if report.created {
                store.budget.fill();
            }
        }
        self.push_out(lower, &mut pump, true);
        Ok(())
    }

    /// Enters one record. Of several of one key the last counts.
    fn recovered(&self, lower: &Lower<'_>, place: usize, record: &Recovered) {
        let Some(face) = lower.face(place) else { return };
        let info = &record.info;
        let known = self.index.find(&info.key);
        if let Some(found) = known {
            let generation = found.state.generation();
            let word = face.word(found.index);
            if word.location(generation).is_some() {
                word.forget_counted(face);
                // Whoever follows the events heard of it a moment ago.
                let block = BlockRef {
                    index: found.index,
                    generation,
                };
                self.event(EventKind::Evicted, info.key, block, TIERS[place]);
            }
            if record.tombstone {
                if !lower.located(found.index, generation) {
                    self.drop_below(found.index, generation);
                }
                return;
            }
            if self.entries[found.index as usize].bytes() == info.block_bytes {
                self.note(lower, place, found.index, generation, record);
            } else if !lower.located(found.index, generation) {
                // Another block under the same key, put after the first was removed.
                self.drop_below(found.index, generation);
                self.enter(lower, place, record);
            } else {
                left_out(face);
            }
            return;
        }
        if !record.tombstone {
            self.enter(lower, place, record);
        }
    }

    fn enter(&self, lower: &Lower<'_>, place: usize, record: &Recovered) {
        let Some(face) = lower.face(place) else { return };
        let info = &record.info;
        let fits = info.block_bytes != 0
            && u64::from(info.block_bytes) <= self.config.block_bytes
            && record.payload_bytes <= info.block_bytes;
        // Relaxed: a count; nobody else is here yet.
        let room = self.control.below_count.load(Ordering::Relaxed) < lower.below_count_max;
        if !fits || !room {
            left_out(face);
            self.counters.add(self.stripe(), COUNTERS_LEFT_OUT, 1);
            return;
        }
        let now_ns = self.now_ns();
        let put = PutInfo {
            parent: None,
            chain_index: u64::from(info.depth),
            tokens_count: u64::from(info.tokens),
            recompute_cost_us: crate::block::facts::cost_us(info.cost),
            conversation_id: u64::from(info.conversation),
            namespace_id: info.namespace,
            priority: info.priority.min(crate::limits::PRIORITY_MAX),
            protected: info.protected,
            expiry_ms: u64::from(info.expiry_left_s) * 1000,
            geometry_id: info.geometry_id,
            importance: 0,
        };
        let entered = self.index.insert(&info.key, |entry, index| {
            self.facts[index as usize].write(&put, Parent::default(), false, now_ns);
            entry.set_parent(None);
            entry.reserve(&info.key.words(), NO_SLOT, info.block_bytes)
        });
        let Ok(found) = entered else {
            left_out(face);
            self.counters.add(self.stripe(), COUNTERS_LEFT_OUT, 1);
            return;
        };
        if Retention::expiry_after(now_ns, put.expiry_ms) != 0 {
            self.expiring_add(1);
        }
        let (entry, generation) = (&self.entries[found.index as usize], found.state.generation());
        entry.forget_uses();
        if entry.claim(generation, Phase::Reserved) {
            self.control.below_count.fetch_add(1, Ordering::Relaxed);
            entry.settle(generation);
            self.note(lower, place, found.index, generation, record);
            self.counters.add(self.stripe(), Counter::BlocksRecovered, 1);
        }
    }

    fn note(&self, lower: &Lower<'_>, place: usize, index: u32, generation: u32, record: &Recovered) {
        let Some(face) = lower.face(place) else { return };
        face.word(index)
            .set_location(generation, record.offset, record.payload_bytes);
        // Relaxed: a figure.
        face.blocks.fetch_add(1, Ordering::Relaxed);
        self.event(
            EventKind::Stored,
            record.info.key,
            BlockRef { index, generation },
            TIERS[place],
        );
    }
}

/// Takes note of a record that is in the file and is not known here, so that a tombstone is written to the file, too,
/// if its key is removed.
fn left_out(face: &Face<'_>) {
    // Relaxed: nobody else is here yet.
    face.limbo.fetch_or(LIMBO_REMAINS, Ordering::Relaxed);
}

/// What a record counts as that no place was found for.
const COUNTERS_LEFT_OUT: Counter = Counter::WritesRefused;
