//! Copies whose method is chosen by size and temperature.
//!
//! An ordinary copy reads the target's lines before it overwrites them and leaves both sides in the cache. For a
//! block that nobody touches soon that is a third of the memory traffic and the whole cache for nothing. A
//! *streamed* copy stores around the cache: whole lines go to memory without being read first.
//!
//! Which methods there are is the folder itself: [`all`](self) runs everywhere, `x86_64` streams with AVX2 or
//! AVX-512. The choice is made once, by [`Copier::detect`], and is a value: who has a [`Copier`] that streams has
//! the proof that the processor can.
//!
//! # Measured
//! One thread of a two-core Emerald Rapids virtual machine, 2 MiB huge pages, blocks in random order out of two
//! regions of 1 GiB, GB/s with the payload counted once, medians of 7 to 9 rounds:
//!
//! | bytes | source / target | memcpy | AVX2, one stream | AVX2, four pages | AVX-512, eight pages |
//! | ---: | --- | ---: | ---: | ---: | ---: |
//! | 2 MiB | cold / cold | 7.1 | 10.5 | 12.4 | 12.9 |
//! | 64 KiB | cold / cold | 7.3 | 10.2 | 12.1 | 11.8 |
//! | 4 KiB | cold / cold | 5.9 | 7.7 | – | – |
//! | 2 MiB | cold / hot | 10.2 | 10.6 | 12.5 | 12.8 |
//! | 64 KiB | cold / hot | 12.2 | 10.1 | 11.8 | 11.3 |
//! | 2 MiB | hot / hot | 14.1 | – | 19.3 | 20.0 |
//! | 1 MiB | hot / hot | 28.2 | – | 20.6 | 20.8 |
//! | 64 KiB | hot / hot | 40.8 | – | 20.4 | 21.2 |
//!
//! Two threads, 2 MiB each, cold: memcpy 12.9, AVX2 22.4, AVX-512 23.3; one hot source for both: 17.2, 36.8, 37.3;
//! source and target hot: 29.4, 33.6, 25.4 (they share the host's bandwidth with others: up to 38.7).
//!
//! A target of 2 MiB that is read at once after the copy, copy and reading together: in the cache before, memcpy 7.9
//! and AVX-512 5.6; not in the cache before, 5.2 and 6.0. So say [`Temperature::Hot`] for a buffer that is used again
//! and again.
//!
//! Software prefetch at 256 bytes to 16 KiB ahead gained nothing that could be told from noise, and cost up to a tenth;
//! the non-temporal kind cost 40 %. Plain AVX-512 stores were as slow as memcpy.
//!
//! # Soundness
//! - **I1** A value of `x86_64::Avx2` or `x86_64::Avx512` exists only where the processor and the operating system
//!   support those instructions: `new` is the only way to make one.
//! - **I2** The caller of [`Copier::copy`] vouches for the two ranges: valid, of the given length, disjoint.
//! - **I3** Every streamed store is followed by a store fence before the copying function returns (a `Batch` fences
//!   when it is dropped and never leaves the crate), so that to the rest of the program it is an ordinary store.
#![allow(unsafe_code)]

mod all;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) mod cpuid;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(test)]
mod tests;

pub use all::prefetch;

/// From this size on, a copy of temperature [`Temperature::Auto`] is streamed.
///
/// Two blocks of 1 MiB are what the second-level caches of present servers hold at most (2 MiB). Below it an
/// ordinary copy between blocks in the cache is twice as fast; above it streaming wins whatever is in the cache; at
/// 1 MiB it doubles the rate if the target is not in the cache, changes little if only the target is, and loses a
/// quarter if both sides are.
pub const AUTO_BYTES_MIN: usize = 1 << 20;

/// From this size on, a copy of temperature [`Temperature::Cold`] is streamed.
///
/// Cold source and cold target, one copy at a time, memcpy and streaming: 512 bytes 3.8 and 3.8 GB/s, 1 KiB 4.0 and
/// 4.1, 2 KiB 4.8 and 6.2.
pub const COLD_BYTES_MIN: usize = 2 << 10;

/// The shortest run inside a streamed batch that is streamed: with fewer than four lines a run is mostly its ends.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const RUN_BYTES_MIN: usize = 256;

/// What the caller knows about the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Temperature {
    /// Nothing: the size decides ([`AUTO_BYTES_MIN`]).
    #[default]
    Auto,
    /// The target is read soon, by this core: it shall be in the cache.
    Hot,
    /// The target is not read soon: it shall not displace what is in the cache ([`COLD_BYTES_MIN`]).
    Cold,
}

/// The streaming method, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx2(x86_64::Avx2),
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx512(x86_64::Avx512),
}

/// How to copy on this machine: chosen once, then a value of one byte.
///
/// # Examples
/// ```
/// use kvcache::copy::{Copier, Temperature};
///
/// let copier = Copier::detect();
/// let mut target = [0; 5];
/// copier.copy_slice(b"block", &mut target, Temperature::Hot);
/// assert_eq!(&target, b"block");
/// assert_eq!(copier.method(5, Temperature::Cold), "memcpy");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copier {
    stream: Option<Stream>,
}

impl Copier {
    /// The best that this processor and operating system offer. Asks the processor: call it once, at open.
    pub fn detect() -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            if let Some(avx512) = x86_64::Avx512::new() {
                return Self {
                    stream: Some(Stream::Avx512(avx512)),
                };
            }
            if let Some(avx2) = x86_64::Avx2::new() {
                return Self {
                    stream: Some(Stream::Avx2(avx2)),
                };
            }
        }
        Self::portable()
    }

    /// Ordinary copies only: works everywhere and is what the others are tested against.
    pub const fn portable() -> Self {
        Self { stream: None }
    }

    /// Every copier that works on this machine, the best first; for tests and measurements.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        let streams = [
            x86_64::Avx512::new().map(Stream::Avx512),
            x86_64::Avx2::new().map(Stream::Avx2),
        ];
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let streams: [Option<Stream>; 0] = [];
        streams
            .into_iter()
            .flatten()
            .map(|stream| Self { stream: Some(stream) })
            .chain([Self::portable()])
    }

    /// The instructions that streaming uses, or `portable`: `avx512`, `avx2`, `portable`.
    pub fn name(self) -> &'static str {
        match self.stream {
            None => "portable",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Some(Stream::Avx2(_)) => "avx2",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Some(Stream::Avx512(_)) => "avx512",
        }
    }

    /// How a copy of so many bytes at this temperature is done: `memcpy`, `stream avx2`, `stream avx512`.
    pub fn method(self, bytes: usize, temperature: Temperature) -> &'static str {
        match self.stream_for(bytes, temperature) {
            None => "memcpy",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Some(Stream::Avx2(_)) => "stream avx2",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Some(Stream::Avx512(_)) => "stream avx512",
        }
    }

    /// Copies `bytes` bytes. Any alignment, any length. When it returns, the bytes are as if stored by an ordinary
    /// copy: a later release store publishes them.
    ///
    /// # Safety
    /// `source` is valid for reading `bytes` bytes and `target` for writing them, nothing else writes either range
    /// or reads the target's during the call, and the ranges do not overlap.
    #[inline]
    pub unsafe fn copy(self, source: *const u8, target: *mut u8, bytes: usize, temperature: Temperature) {
        let batch = self.batch(bytes, temperature);
        // SAFETY: I2, the contract is this function's own.
        unsafe { batch.copy(source, target, bytes) }
    }

    /// Copies a slice over another.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline]
    pub fn copy_slice(self, source: &[u8], target: &mut [u8], temperature: Temperature) {
        assert_eq!(
            source.len(),
            target.len(),
            "the source and the target of a copy have the same length"
        );
        // SAFETY: I2, a shared and an exclusive reference of this length cannot overlap.
        unsafe { self.copy(source.as_ptr(), target.as_mut_ptr(), source.len(), temperature) }
    }

    /// Several copies of `bytes` bytes together, with one choice of the method and one fence at the end.
    #[inline]
    pub(crate) fn batch(self, bytes: usize, temperature: Temperature) -> Batch {
        Batch {
            stream: self.stream_for(bytes, temperature),
        }
    }

    #[inline]
    fn stream_for(self, bytes: usize, temperature: Temperature) -> Option<Stream> {
        let bytes_min = match temperature {
            Temperature::Auto => AUTO_BYTES_MIN,
            Temperature::Hot => return None,
            Temperature::Cold => COLD_BYTES_MIN,
        };
        if bytes >= bytes_min { self.stream } else { None }
    }
}

impl Default for Copier {
    /// The same as [`Copier::detect`].
    fn default() -> Self {
        Self::detect()
    }
}

/// Copies that belong together. Dropping it makes all of them ordinary stores (I3); it must not be forgotten.
pub(crate) struct Batch {
    stream: Option<Stream>,
}

impl Batch {
    /// Copies one run.
    ///
    /// # Safety
    /// As for [`Copier::copy`]; in addition nothing reads the target before the batch is dropped.
    #[inline]
    pub(crate) unsafe fn copy(&self, source: *const u8, target: *mut u8, bytes: usize) {
        match self.stream {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: I2 by the contract, I3 by the drop of this batch.
            Some(Stream::Avx2(avx2)) if bytes >= RUN_BYTES_MIN => unsafe { avx2.stream(source, target, bytes) },
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: I2 by the contract, I3 by the drop of this batch.
            Some(Stream::Avx512(avx512)) if bytes >= RUN_BYTES_MIN => unsafe { avx512.stream(source, target, bytes) },
            // SAFETY: I2 by the contract.
            _ => unsafe { all::copy(source, target, bytes) },
        }
    }

    /// Copies `rows_count` rows of `row_bytes` bytes each; rows begin `source_stride_bytes` and
    /// `target_stride_bytes` apart.
    ///
    /// # Safety
    /// As for [`Batch::copy`], for every row; rows of the target do not overlap.
    #[inline]
    pub(crate) unsafe fn copy_rows(
        &self,
        source: *const u8,
        source_stride_bytes: usize,
        target: *mut u8,
        target_stride_bytes: usize,
        row_bytes: usize,
        rows_count: usize,
    ) {
        for row in 0..rows_count {
            // SAFETY: I2 by the contract, for this row.
            unsafe {
                self.copy(
                    source.add(row * source_stride_bytes),
                    target.add(row * target_stride_bytes),
                    row_bytes,
                );
            }
        }
    }
}

impl Drop for Batch {
    #[inline]
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if self.stream.is_some() {
            x86_64::fence();
        }
    }
}
