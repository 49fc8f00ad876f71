//! Tests of the hazard policy: its books against a naive tree, and what it learns.

use super::super::testing::storage;
use super::super::{Access, Shadow};
use super::learning::PHASE_KINDS;
use super::*;
use crate::block::entry::Recency;
use crate::block::facts::mark;
use crate::sync::atomic::AtomicU64;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

/// One to one (SplitMix64), for fingerprints and for what shall look like chance.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[derive(Clone, Copy, Default)]
struct Block {
    resident: bool,
    class: u8,
    uses: u16,
    used_ms: u64,
    fingerprint: u64,
    /// Place and generation.
    parent: Option<(u32, u32)>,
    parent_mark: u32,
    depth: u16,
    generation: u32,
    cost_us: u64,
    importance: u32,
}

/// What the policy may ask, with chains.
struct Facts {
    places: Vec<Block>,
    now_ms: u64,
}

impl Facts {
    fn of(&self, index: u32) -> &Block {
        &self.places[index as usize]
    }
}

impl Blocks for Facts {
    fn class(&self, index: u32) -> u8 {
        self.of(index).class
    }
    fn recency(&self, index: u32) -> Recency {
        Recency::new(self.of(index).used_ms, self.of(index).uses)
    }
    fn depth(&self, index: u32) -> u16 {
        self.of(index).depth
    }
    fn generation(&self, index: u32) -> u32 {
        self.of(index).generation
    }
    fn fingerprint(&self, index: u32) -> u64 {
        self.of(index).fingerprint
    }
    fn parent(&self, index: u32) -> Option<u32> {
        let (place, generation) = self.of(index).parent?;
        (self.of(place).resident && self.of(place).generation == generation).then_some(place)
    }
    fn parent_mark(&self, index: u32) -> u32 {
        self.of(index).parent_mark
    }
    fn now_ms(&self) -> u64 {
        self.now_ms
    }
    fn used_ms(&self, index: u32) -> u64 {
        self.of(index).used_ms
    }
    fn tokens(&self, _: u32) -> u16 {
        16
    }
    fn cost_us(&self, index: u32) -> u64 {
        self.of(index).cost_us
    }
    fn importance(&self, index: u32) -> u32 {
        self.of(index).importance
    }
}

/// Where the naive model has a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// In the tree, behind a block that was in the tree then.
    Tree(Option<(u32, u32)>),
    Orphan,
    Class(u8),
}

/// How many victims of each sort a run had.
#[derive(Default)]
struct Tally {
    orphans: Cell<u32>,
    leaves: Cell<u32>,
    least: Cell<u32>,
    valued: Cell<u32>,
    classes: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// A small cache with a policy, and beside it what the policy's books should say.
struct World<'t> {
    policy: Hazard<'static>,
    facts: Facts,
    /// By place: generation at insertion, and where it is.
    known: BTreeMap<u32, (u32, Where)>,
    /// Whether time passes before each victim, so that all leaves that fit into a sample are looked at for it.
    ticks: bool,
    tally: &'t Tally,
}

impl<'t> World<'t> {
    fn new(capacity: usize, ticks: bool, tally: &'t Tally) -> Self {
        Self {
            policy: Hazard::new(storage(PolicyKind::Hazard, capacity)),
            facts: Facts {
                places: std::vec![Block::default(); capacity],
                now_ms: 1_000_000,
            },
            known: BTreeMap::new(),
            ticks,
            tally,
        }
    }

    /// Blocks behind each block of the tree.
    fn children(&self) -> HashMap<(u32, u32), u32> {
        let mut children = HashMap::new();
        for &(_, place) in self.known.values() {
            if let Where::Tree(Some(parent)) = place {
                *children.entry(parent).or_insert(0) += 1;
            }
        }
        children
    }

    /// Leaves of the tree.
    fn leaves(&self) -> Vec<u32> {
        let children = self.children();
        let is_leaf = |(&index, &(generation, place)): (&u32, &(u32, Where))| {
            (matches!(place, Where::Tree(_)) && !children.contains_key(&(index, generation))).then_some(index)
        };
        self.known.iter().filter_map(is_leaf).collect()
    }

    /// Tells the policy of a block, new or changed.
    fn tell(&mut self, index: u32) {
        let block = *self.facts.of(index);
        let before = self
            .known
            .get(&index)
            .copied()
            .filter(|&(life, _)| life == block.generation);
        let stays = match before {
            Some((_, Where::Class(class))) => class == block.class,
            Some(_) => block.class == 0,
            None => false,
        };
        if !stays {
            self.known.remove(&index);
            let parent = self.facts.parent(index).filter(|&parent| parent != index);
            let above = parent.and_then(|parent| {
                let life = self.facts.of(parent).generation;
                self.known
                    .get(&parent)
                    .filter(|above| above.0 == life)
                    .map(|above| (parent, *above))
            });
            let place = match (block.class, above) {
                (1.., _) => Where::Class(block.class),
                (0, Some((_, (_, Where::Orphan)))) => Where::Orphan,
                (0, None) if block.parent_mark != 0 && parent.is_none() => Where::Orphan,
                (0, Some((parent, (life, Where::Tree(_))))) => Where::Tree(Some((parent, life))),
                (0, _) => Where::Tree(None),
            };
            self.known.insert(index, (block.generation, place));
        }
        self.policy.insert(index, &self.facts);
    }

    /// The next victim, which must be one that the naive model allows.
    fn victim(&mut self) -> Option<u32> {
        self.facts.now_ms += u64::from(self.ticks);
        // So that what this very step learns leaves what the leaves are worth alone.
        while self.policy.head(Head::Phase) == PHASE_KINDS {
            self.policy.learn(&self.facts);
        }
        let leaves = self.leaves();
        let worth: HashMap<u32, f32> = leaves
            .iter()
            .map(|&leaf| (leaf, self.policy.worth(leaf, &self.facts)))
            .collect();
        let victim = self.policy.victim(&self.facts);
        let Some(index) = victim else {
            assert!(self.known.is_empty(), "{:?}", self.known);
            return None;
        };
        let (_, place) = self.known.remove(&index).expect("a victim that is known");
        let any_orphan = place == Where::Orphan || self.known.values().any(|known| known.1 == Where::Orphan);
        if any_orphan {
            assert_eq!(place, Where::Orphan);
            count(&self.tally.orphans);
        } else if !leaves.is_empty() {
            assert!(leaves.contains(&index), "{index} of {leaves:?}");
            count(&self.tally.leaves);
            if self.ticks && leaves.len() <= SAMPLE as usize {
                let least = worth.values().copied().fold(f32::INFINITY, f32::min);
                assert_eq!(worth[&index], least, "{index} of {worth:?}");
                if leaves.len() > 1 {
                    count(&self.tally.least);
                    if self.policy.head(Head::Faded) != 0 {
                        count(&self.tally.valued);
                    }
                }
            }
        } else {
            let Where::Class(class) = place else {
                panic!("{place:?} where only classes were left");
            };
            let lower = |known: &(u32, Where)| matches!(known.1, Where::Class(other) if other < class);
            assert!(!self.known.values().any(lower), "{class}");
            count(&self.tally.classes);
        }
        Some(index)
    }

    /// Looks a chain up and puts in what is missing, with room made for it.
    fn request(&mut self, chain: &[u64], class: u8, announced: bool) {
        let find = |facts: &Facts, fingerprint: u64| {
            let here = |block: &Block| block.resident && block.fingerprint == fingerprint;
            facts.places.iter().position(here).map(|at| at as u32)
        };
        let found: Vec<Option<u32>> = chain.iter().map(|&one| find(&self.facts, one)).collect();
        let now_ms = self.facts.now_ms;
        for index in found.iter().flatten() {
            let block = &mut self.facts.places[*index as usize];
            (block.uses, block.used_ms) = (block.uses.wrapping_add(1), now_ms);
        }
        let missing: Vec<usize> = (0..chain.len()).filter(|&at| found[at].is_none()).collect();
        if announced {
            self.policy.announce(missing.iter().map(|&at| chain[at]), now_ms);
        }
        for at in missing {
            let free = self.facts.places.iter().position(|block| !block.resident);
            let index = match free {
                Some(free) => free as u32,
                None => self.victim().expect("a victim of a full cache"),
            };
            self.facts.places[index as usize].resident = false;
            let above = at.checked_sub(1).map(|above| chain[above]);
            let parent = above.and_then(|above| find(&self.facts, above));
            self.facts.places[index as usize] = Block {
                resident: true,
                class,
                uses: 0,
                used_ms: self.facts.now_ms,
                fingerprint: chain[at],
                parent: parent.map(|parent| (parent, self.facts.of(parent).generation)),
                parent_mark: above.map_or(0, mark),
                depth: at as u16,
                generation: self.facts.of(index).generation + 1,
                cost_us: chain[at] % 5 * 100,
                importance: (chain[at] % 3 * 700) as u32,
            };
            self.tell(index);
        }
    }

    /// Holds all books of the policy against the model.
    fn check(&self) {
        let children = self.children();
        let (mut leaves, mut listed) = (0, BTreeMap::<u32, Vec<u32>>::new());
        for index in 0..self.facts.places.len() as u32 {
            let record = self.policy.records.get(index);
            let Some(&(generation, place)) = self.known.get(&index) else {
                assert!(!record.is_known(), "{index}");
                continue;
            };
            assert!(record.is_known() && record.life == generation as u16, "{index}");
            let count = children.get(&(index, generation)).copied().unwrap_or(0);
            match place {
                Where::Tree(parent) => {
                    assert!(!record.is_listed(), "{index}");
                    let above = self
                        .policy
                        .parent(&record)
                        .map(|(index, above)| (index, u32::from(above.life)));
                    let there = parent.filter(|&(parent, life)| {
                        self.known
                            .get(&parent)
                            .is_some_and(|&(generation, _)| generation == life)
                    });
                    assert_eq!(above, there, "{index}");
                    let has = if record.has_run() { 0 } else { record.children };
                    assert_eq!(has, count, "{index}");
                    assert_eq!(record.position != 0, count == 0, "{index}");
                    if record.position != 0 {
                        leaves += 1;
                        let at = record.position as usize - 1;
                        assert_eq!(self.policy.leaves[at].load(Relaxed), index);
                    }
                }
                Where::Orphan => listed.entry(ORPHANS).or_default().push(index),
                Where::Class(class) => listed.entry(u32::from(class)).or_default().push(index),
            }
        }
        assert_eq!(self.policy.head(Head::Leaves), leaves);
        for class in 0..CLASSES_COUNT as u32 {
            let list = self.policy.list(class);
            let links = Links::strided(self.policy.records.0, RECORD_WORDS, RECORD_WORDS - 1);
            let steps = core::iter::successors(list.first(), |&index| links.next(index));
            let mut members: Vec<u32> = steps.take(self.facts.places.len() + 1).collect();
            members.sort_unstable();
            assert_eq!(list.len() as usize, members.len());
            assert_eq!(members, listed.remove(&class).unwrap_or_default());
        }
        for at in 0..CANDIDATES {
            let (index, _) = self.policy.candidate(at);
            assert!(
                index == u32::MAX || self.policy.records.get(index).position != 0,
                "{index}"
            );
            assert!(
                index == u32::MAX || !self.policy.records.get(index).is_listed(),
                "{index}"
            );
        }
    }

    /// Does one thing, chosen by the numbers.
    fn step(&mut self, (action, shape, len, wait): (u8, u64, usize, usize)) {
        self.facts.now_ms += [0, 0, 1, 40, 1_100, 60_000, 4_000_000][wait];
        let known = |world: &Self| {
            world
                .known
                .keys()
                .copied()
                .nth(shape as usize % world.known.len().max(1))
        };
        let class = [0, 1, 7, CLASSES_COUNT as u8 - 1][len % 4];
        match (action, known(self)) {
            // A chain goes on in one of two ways at each third block.
            (0..=11, _) => {
                let ways = |at: usize| if at.is_multiple_of(3) { shape >> (at / 3) & 1 } else { 2 };
                let next = |above: &mut u64, at: usize| {
                    *above = mixed(above.wrapping_mul(3).wrapping_add(ways(at) + 1));
                    Some(*above)
                };
                let chain: Vec<u64> = (0..len).scan(0, next).collect();
                self.request(&chain, if action == 0 { class } else { 0 }, action % 2 == 0);
            }
            (12, Some(index)) => {
                self.known.remove(&index);
                self.policy.remove(index);
                self.facts.places[index as usize].resident = false;
                self.policy.remove(index);
            }
            (13, Some(index)) => {
                self.facts.places[index as usize].class = class;
                self.tell(index);
            }
            // Somebody holds it, so it stays.
            (14, _) => {
                if let Some(index) = self.victim() {
                    self.check();
                    self.tell(index);
                }
            }
            // Its place goes to another block, which the policy was not asked about.
            (15, Some(index)) => {
                let block = &mut self.facts.places[index as usize];
                block.generation += 1;
                block.fingerprint = mixed(shape);
                (block.parent, block.parent_mark, block.depth) = (None, 0, 0);
                self.tell(index);
            }
            (16, Some(index)) => self.tell(index),
            _ => {}
        }
        self.check();
    }
}

/// Runs random steps, holds the books against the model after each, and gets everything out at the end.
fn run_against_the_naive_tree(ticks: bool) -> Tally {
    let tally = Tally::default();
    let steps = prop::collection::vec((0..17_u8, any::<u64>(), 1..14_usize, 0..7_usize), 1..300);
    let ran = TestRunner::new(ProptestConfig::with_cases(96)).run(&(4..64_usize, steps), |(capacity, steps)| {
        let mut world = World::new(capacity, ticks, &tally);
        for step in steps {
            world.step(step);
        }
        for _ in 0..world.known.len() {
            world.victim();
            world.check();
        }
        assert!(world.known.is_empty());
        assert_eq!(world.victim(), None);
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    tally
}

#[test]
fn victims_are_orphans_then_leaves_then_the_lowest_class() {
    let tally = run_against_the_naive_tree(false);
    assert!(tally.orphans.get() > 100 && tally.leaves.get() > 1000 && tally.classes.get() > 100);
}

#[test]
fn the_leaf_that_is_worth_least_goes_where_all_are_looked_at() {
    let tally = run_against_the_naive_tree(true);
    assert!(tally.least.get() > 1000 && tally.valued.get() > 1000);
}

/// A shadow over storage of its own.
struct Cache {
    kind: PolicyKind,
    capacity: u32,
    words: Vec<AtomicU64>,
    halves: Vec<AtomicU32>,
}

impl Cache {
    fn new(kind: PolicyKind, capacity: u32) -> Self {
        let storage = Shadow::storage(kind, capacity);
        Self {
            kind,
            capacity,
            words: (0..storage.words).map(|_| AtomicU64::new(0)).collect(),
            halves: (0..storage.halves).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn shadow(&self) -> Shadow<'_> {
        Shadow::new(self.kind, self.capacity, &self.words, &self.halves)
    }
}

/// Looks up and puts in a request of `len` blocks that are the chain's own; how many were there.
fn request(shadow: &mut Shadow<'_>, now_ms: u64, chain: u64, len: u64) -> u64 {
    let fingerprint = |depth: u64| chain << 16 | (depth + 1);
    shadow.set_now_ms(now_ms);
    let found: Vec<Option<u32>> = (0..len).map(|depth| shadow.find(fingerprint(depth))).collect();
    found.iter().flatten().for_each(|&place| shadow.hit(place));
    for depth in (0..len).filter(|&depth| found[depth as usize].is_none()) {
        shadow.insert(&Access {
            fingerprint: fingerprint(depth),
            parent_fingerprint: if depth == 0 { 0 } else { fingerprint(depth - 1) },
            depth: depth as u16,
            tokens: 16,
            ..Access::default()
        });
    }
    found.iter().flatten().count() as u64
}

/// Part of the blocks of short chains that is there when they come back, while long ones come that never do.
fn returning_ratio(kind: PolicyKind) -> f64 {
    let cache = Cache::new(kind, 200);
    let mut shadow = cache.shadow();
    let mut hits = 0;
    for round in 0..4000 {
        let now_ms = round * 1000;
        request(&mut shadow, now_ms, 1_000_000 + 2 * round, 12);
        request(&mut shadow, now_ms + 300, 1_000_001 + 2 * round, 12);
        let found = request(&mut shadow, now_ms + 600, 1 + round % 24, 4);
        hits += if round >= 2000 { found } else { 0 };
    }
    hits as f64 / (2000.0 * 4.0)
}

#[test]
fn what_never_comes_back_goes_first_once_that_is_learnt() {
    let (learnt, lru) = (returning_ratio(PolicyKind::Hazard), returning_ratio(PolicyKind::Lru));
    assert!(learnt >= 0.9, "{learnt}");
    assert!(lru <= 0.01, "{lru}");
}

/// Part of the items of a set that is there when they are asked for, each once an epoch, in another order each time.
fn epochs_ratio(kind: PolicyKind, items: u64, capacity: u32) -> f64 {
    let cache = Cache::new(kind, capacity);
    let mut shadow = cache.shadow();
    let (mut hits, mut now_ms) = (0, 0);
    for epoch in 0..24 {
        let mut order: Vec<u64> = (1..=items).collect();
        order.sort_by_key(|item| mixed(item ^ epoch << 32));
        for item in order {
            now_ms += 50;
            let found = request(&mut shadow, now_ms, item, 1);
            hits += if epoch >= 12 { found } else { 0 };
        }
    }
    hits as f64 / (12 * items) as f64
}

#[test]
fn shuffled_epochs_hit_what_fits() {
    let fits = 1.0 / 3.0;
    let learnt = epochs_ratio(PolicyKind::Hazard, 1200, 400);
    let lru = epochs_ratio(PolicyKind::Lru, 1200, 400);
    assert!(learnt >= 0.9 * fits, "{learnt}");
    assert!(lru <= 0.5 * fits, "{lru}");
}

/// Two blocks of which only the costs and importances differ; which one goes first.
fn first_to_go(costs_us: [u64; 2], importances: [u32; 2]) -> u32 {
    let tally = Tally::default();
    let mut world = World::new(2, true, &tally);
    for at in 0..2 {
        world.facts.places[at] = Block {
            resident: true,
            used_ms: world.facts.now_ms,
            fingerprint: mixed(at as u64 + 1),
            generation: 1,
            cost_us: costs_us[at],
            importance: importances[at],
            ..Block::default()
        };
        world.tell(at as u32);
    }
    world.victim().unwrap()
}

#[test]
fn the_cheaper_and_the_less_important_go_first() {
    assert_eq!(
        (first_to_go([100, 300], [0; 2]), first_to_go([300, 100], [0; 2])),
        (0, 1)
    );
    assert_eq!((first_to_go([0; 2], [10, 500]), first_to_go([0; 2], [500, 10])), (0, 1));
    assert_eq!((first_to_go([100; 2], [0, 1]), first_to_go([100; 2], [1, 0])), (0, 1));
    // Twice the cost is worth what an importance of 1000 is, and a block of mean cost what one of unknown cost is.
    assert_eq!(
        (first_to_go([400, 800], [1500, 0]), first_to_go([400, 800], [500, 0])),
        (1, 0)
    );
    assert_eq!((first_to_go([0, 800], [0, 1]), first_to_go([0, 800], [1, 0])), (0, 1));
    // Beyond eight times the mean nothing is gained.
    assert_eq!(first_to_go([1000, 1_000_000_000], [100_000, 0]), 1);
}

/// A chain of eight that came, was gone on with `uses` times, and lost all but its first two blocks, comes back: which
/// turn its third block is taken for.
fn turn_taken(uses: u16, announce: impl Fn(&[u64]) -> Vec<u64>) -> u8 {
    let tally = Tally::default();
    let mut world = World::new(10, true, &tally);
    let chain: Vec<u64> = (0..8).map(|at| mixed(at + 77)).collect();
    for _ in 0..=uses {
        world.request(&chain, 0, false);
        world.facts.now_ms += 10_000;
    }
    for at in (2..8).rev() {
        let victim = world.victim().unwrap();
        assert_eq!(world.facts.of(victim).fingerprint, chain[at]);
        world.facts.places[victim as usize].resident = false;
    }
    world.facts.now_ms += 10_000;
    world.policy.announce(announce(&chain).into_iter(), world.facts.now_ms);
    world.request(&chain, 0, false);
    world.check();
    let third = world
        .facts
        .places
        .iter()
        .position(|block| block.fingerprint == chain[2] && block.resident);
    world.policy.records.get(third.unwrap() as u32).turn
}

#[test]
fn a_chain_that_comes_back_is_known_only_where_it_was_announced() {
    for uses in [0, 1, 5] {
        assert_eq!(turn_taken(uses, |chain| chain[2..].to_vec()), uses as u8 + 1);
        assert_eq!(turn_taken(uses, |_| Vec::new()), 0);
        // Another chain, or blocks of which nothing is remembered.
        assert_eq!(turn_taken(uses, |chain| chain[3..].to_vec()), 0);
        assert_eq!(turn_taken(uses, |chain| std::vec![chain[2], 5, 6]), 0);
    }
}

#[test]
fn books_take_no_more_than_64_bytes_a_block_and_64_kib() {
    for blocks in [1, 7, 64, 1000, 1 << 20] {
        let needs = Needs::of(PolicyKind::Hazard, blocks);
        let by_block = needs.words * 8 + needs.links * 4;
        assert!(by_block <= 52 * blocks + (ghosts::WAYS as u64 - 1) * 8, "{blocks}");
        assert!(needs.heads * 4 <= 64 << 10);
    }
    let bytes = Cache::new(PolicyKind::Hazard, 100_000)
        .shadow()
        .metadata_bytes_per_block();
    assert!(bytes <= 64.0, "{bytes}");
}

#[test]
fn all_zero_is_empty() {
    let policy = Hazard::new(storage(PolicyKind::Hazard, 8));
    let facts = Facts {
        places: std::vec![Block::default(); 8],
        now_ms: 0,
    };
    for _ in 0..200 {
        assert_eq!(policy.victim(&facts), None);
    }
    (0..8).for_each(|index| policy.remove(index));
    assert_eq!(policy.victim(&facts), None);
    assert_eq!(policy.head(Head::Leaves), 0);
}

#[test]
fn a_shadow_goes_on_where_the_one_before_stopped() {
    let (whole, parts) = (Cache::new(PolicyKind::Hazard, 48), Cache::new(PolicyKind::Hazard, 48));
    let mut shadow = whole.shadow();
    let mut hits = 0;
    for number in 0..1500 {
        let (chain, len) = (mixed(number) % 20 + 1, 1 + mixed(number + 9999) % 6);
        let now_ms = number * 700;
        let found = request(&mut shadow, now_ms, chain, len);
        assert_eq!(request(&mut parts.shadow(), now_ms, chain, len), found, "{number}");
        hits += found;
    }
    let same = |a: &AtomicU64, b: &AtomicU64| a.load(Relaxed) == b.load(Relaxed);
    assert!(whole.words.iter().zip(&parts.words).all(|(a, b)| same(a, b)));
    assert!(hits > 500, "{hits}");
}
