//! Few keys that are as unlike random ones as keys get: crowded into one bucket, some with the same tag.

use std::collections::HashMap;
use std::sync::Mutex;

use kvcache::Key;

/// How many keys there are at most.
pub const KEYS_COUNT_MAX: usize = 48;

/// The keys that the operations name by number.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<Key>,
}

impl Keys {
    /// The first `count` of the keys for an index of `buckets_count` buckets and `seed`: most in the first bucket,
    /// which has to let some past, two pairs of them with the same tag, and the rest wherever.
    pub fn crowded(seed: u64, buckets_count: u64, count: usize) -> Self {
        // Searching takes a few milliseconds, and the runs are short and many.
        static KNOWN: Mutex<Vec<((u64, u64), Keys)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().expect("searching does not panic");
        if !known.iter().any(|(of, _)| *of == (seed, buckets_count)) {
            known.push(((seed, buckets_count), Self::search(seed, buckets_count)));
        }
        let keys = known.iter().find(|(of, _)| *of == (seed, buckets_count));
        let mut keys = keys.expect("it was put in").1.clone();
        keys.keys.truncate(count);
        keys
    }

    fn search(seed: u64, buckets_count: u64) -> Self {
        let home = |key: &Key| (u128::from(key.fingerprint(seed)) * u128::from(buckets_count)) >> 64;
        let mut by_tag: HashMap<u16, Key> = HashMap::new();
        let mut twins = Vec::new();
        let mut neighbours = Vec::new();
        for number in 0.. {
            let key = key(number);
            if home(&key) != 0 {
                continue;
            }
            match by_tag.insert(key.fingerprint(seed) as u16, key) {
                Some(twin) if !twins.contains(&twin) => twins.extend([twin, key]),
                Some(_) => {}
                None if neighbours.len() < 34 => neighbours.push(key),
                None => {}
            }
            if twins.len() >= 4 && neighbours.len() == 34 {
                break;
            }
        }
        let anywhere = (1 << 40..).map(key);
        let all = twins.into_iter().take(4).chain(neighbours).chain(anywhere);
        Self {
            keys: all.take(KEYS_COUNT_MAX).collect(),
        }
    }

    /// The key of a number.
    pub fn key(&self, number: usize) -> &Key {
        &self.keys[number % self.keys.len()]
    }

    /// The number of a key that the engine named.
    pub fn number(&self, key: &Key) -> usize {
        let number = self.keys.iter().position(|other| other == key);
        number.expect("the engine names a key that nobody gave it")
    }

    /// `count` keys from number `first` on, going round.
    pub fn run(&self, first: usize, count: usize) -> Vec<Key> {
        (first..first + count).map(|number| *self.key(number)).collect()
    }

    /// All of them, by number.
    pub fn all(&self) -> &[Key] {
        &self.keys
    }
}

fn key(number: u64) -> Key {
    Key::from_words([number, 1, 2, 3])
}
