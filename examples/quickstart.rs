//! Open a cache, put a block, read it back twice, fill one in place, close.
//!
//! ```text
//! cargo run --example quickstart
//! ```

use kvcache::copy::Temperature;
use kvcache::host::Cache;
use kvcache::{Config, Key, PutInfo};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::open(&Config {
        block_bytes: 64 << 10,
        cpu_bytes: 64 << 20,
        ..Config::default()
    })?;

    let key = Key::derive(0, b"", b"greeting");
    cache.put(&key, b"hello, cache", &PutInfo::default())?;

    // A copy.
    let mut buffer = [0; 64];
    let bytes = cache.get(&key, &mut buffer, Temperature::Auto)?;
    println!("get      {bytes} bytes: {}", str::from_utf8(&buffer[..bytes as usize])?);

    // The block itself, in place: the view keeps it there and is a slice.
    let view = cache.acquire(&key)?;
    println!("acquire  {} bytes: {}", view.len(), str::from_utf8(&view)?);
    drop(view);

    // A block filled in place; nobody sees it before it is committed.
    let other = Key::chain(&key, &[1, 2, 3]);
    let mut reservation = cache.reserve(&other, 32, &PutInfo::default())?;
    reservation.fill(b'x');
    reservation.commit()?;
    println!("match    {} of 2 blocks", cache.match_prefix(&[key, other], true));

    let stats = cache.stats();
    println!(
        "stats    {} of {} blocks",
        stats.blocks_resident,
        cache.capacity().blocks_count
    );
    cache.close().map_err(|(_, status)| status)?;
    Ok(())
}
