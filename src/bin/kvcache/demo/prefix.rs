//! Two prompts that begin alike: the second finds what the first left.

use std::num::NonZeroUsize;
use std::time::Instant;

use kvcache::{Key, PutInfo, Status};

use super::memory::{BLOCK_BYTES, Memory};

/// Tokens of a prompt.
const TOKENS: usize = 4096;
/// Tokens that both prompts begin with; not a whole number of blocks, as prompts are.
const TOKENS_SHARED: usize = 3080;
/// Tokens of a block.
const TOKENS_PER_BLOCK: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// Blocks of a prompt.
const BLOCKS: usize = TOKENS / TOKENS_PER_BLOCK.get();
/// Times that the match is repeated for its time.
const MATCHES: usize = 1000;

/// Puts one prompt's blocks and asks for another's.
pub fn prefix(memory: &mut Memory<'_>) -> Result<(), Status> {
    memory.screen.heading("Two prompts that begin alike");
    let first: [u32; TOKENS] = core::array::from_fn(|place| place as u32 * 7 % 32_000);
    let mut second = first;
    second[TOKENS_SHARED..].iter_mut().for_each(|token| *token += 1);
    let root = Key::chain_root(1, b"demo model, revision 1");
    let keys = |tokens: &[u32]| {
        let mut keys = [root; BLOCKS];
        Key::chain_many(&root, tokens, TOKENS_PER_BLOCK, &mut keys);
        keys
    };
    let (first, second) = (keys(&first), keys(&second));
    let mut parent = None;
    for (place, key) in first.iter().enumerate() {
        let info = PutInfo {
            parent,
            chain_index: place as u64,
            tokens_count: TOKENS_PER_BLOCK.get() as u64,
            ..PutInfo::default()
        };
        memory.put(key, &info)?;
        parent = Some(*key);
    }
    memory.times.clear();
    let mut resident = 0;
    for _ in 0..MATCHES {
        let begun = Instant::now();
        resident = memory.cache.match_prefix(&second, true);
        memory.times.add(begun.elapsed());
    }
    println!(
        "    {TOKENS} tokens each, the first {TOKENS_SHARED} the same, {TOKENS_PER_BLOCK} to a block, keys chained"
    );
    println!(
        "    the second prompt finds {resident} of its {BLOCKS} blocks: {} tokens, {} MiB that nobody computes again",
        resident as usize * TOKENS_PER_BLOCK.get(),
        (resident as usize * BLOCK_BYTES) >> 20
    );
    memory.times.show("match of 256 keys", 0);
    memory.expect(
        resident == (TOKENS_SHARED / TOKENS_PER_BLOCK.get()) as u64,
        "whole shared blocks are found, and none beyond",
    );
    Ok(())
}
