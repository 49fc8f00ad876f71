//! A cache engine that a program links: immutable blocks of bytes under 32-byte keys, in memory that is laid out once.
//!
//! Made for the key/value blocks of attention, so that a prompt seen before is loaded instead of computed again, and
//! good for any blocks. Opening obtains exactly what the [`Plan`] says; from then on nothing allocates, the hot paths
//! take no lock and make no system call, and full is an answer instead of an event.
//!
//! ```
//! use kvcache::{Cache, Config, Key, PutInfo, Status};
//!
//! let cache = Cache::open(&Config { block_bytes: 64 << 10, cpu_bytes: 16 << 20, ..Config::default() })?;
//!
//! // A prompt is a chain of keys: each block's key covers everything before it.
//! let root = Key::chain_root(0, b"model-a");
//! let first = Key::chain(&root, &[1, 2, 3, 4]);
//! let second = Key::chain(&first, &[5, 6, 7, 8]);
//!
//! // Copy a block in, or fill one in place.
//! cache.put(&first, b"keys and values", &PutInfo::default())?;
//! let mut place = cache.reserve(&second, 4, &PutInfo { parent: Some(first), ..PutInfo::default() })?;
//! place.copy_from_slice(b"more");
//! place.commit()?;
//!
//! // How much of the prompt is there? Look at a block in place.
//! assert_eq!(cache.match_prefix(&[first, second], true), 2);
//! assert_eq!(&*cache.acquire(&second)?, b"more");
//! assert_eq!(cache.acquire(&root).err(), Some(Status::Miss));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to begin
//! - [`Cache`] owns memory, clock and threads; it derefs to [`Engine`], which has the operations.
//! - [`Engine::new`] opens an engine in borrowed memory, without an operating system.
//! - [`Config`] says what is wanted, [`Plan`] what it comes to.
//! - [`Key`] derives keys, [`layout`] moves blocks between an engine's pages and the cache.
//!
//! # Features
//! | feature | what it adds | without it |
//! | --- | --- | --- |
//! | `std` (default) | [`Cache`]: mapping, clock, worker threads | `no_std` and no `alloc`; memory and time come from
//! outside |
//! | `capi` | the functions of `kvcache.h` | a Rust library only |
//! | `cli` | the program `kvcache` | no program |
//! | `uring`, `mmap` | io_uring for the NVMe tier; the disk tier | positional reads and writes; no disk tier |
//! | `zstd` | the codec `lz` | a refusal where it is asked for |
//! | `train` | training of the tables of `vq` and `xc` | encoding and decoding with tables only |
//!
//! # Safety
//! `unsafe` is denied at the root. A file that needs it opens with `# Soundness` and numbered invariants, and every
//! unsafe block names the one it relies on.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(feature = "std", test))]
extern crate std;

pub(crate) mod arena;
pub mod block;
pub mod budget;
#[cfg(feature = "capi")]
pub mod capi;
pub mod codec;
pub mod config;
pub mod copy;
pub mod engine;
pub mod error;
pub mod geometry;
#[cfg(feature = "std")]
pub mod host;
pub(crate) mod index;
pub mod key;
pub mod layout;
pub mod limits;
pub mod metrics;
pub mod policy;
pub mod prefetch;
pub(crate) mod sync;
pub mod tier;
pub mod units;

pub use block::{BlockRef, PinRef, PutInfo};
pub use budget::Plan;
pub use config::Config;
pub use engine::{Clock, Engine};
pub use error::{ConfigError, Status};
#[cfg(feature = "std")]
pub use host::{Cache, Paths};
pub use key::Key;
