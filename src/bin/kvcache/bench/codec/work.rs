//! Encoding, decoding and copying blocks that no cache holds, for a slice of time each.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use kvcache::Status;
use kvcache::codec::{BlockCodec, CodecKind, Scratch};
use kvcache::copy::{Copier, Temperature};
use kvcache::layout::Geometry;

use super::model;
use crate::codec::samples::numbers;
use crate::sys::memory::Pages;
use crate::sys::{allocator, clock};

/// Blocks on each side: 256 MiB, as much as the largest cache holds.
const BLOCKS: usize = 128;
/// Bytes of the codes.
const CODES_BYTES: usize = 128 << 20;
/// How long each is done in one round, and how long at most where others have the processors, too.
const SLICE: Duration = Duration::from_millis(20);
const SLICE_MAX: Duration = Duration::from_millis(60);
/// How long codes are made before the rounds begin; the others are copies.
const PREPARATION: Duration = Duration::from_millis(100);

/// The memory of all measurements.
pub struct Memory {
    source: Pages<u8>,
    target: Pages<u8>,
    codes: Pages<u8>,
    copier: Copier,
}

impl Memory {
    /// For blocks of a geometry, filled with them.
    ///
    /// # Errors
    /// The system's, when there is not so much memory.
    pub fn new(geometry: &Geometry) -> std::io::Result<Self> {
        let bytes = BLOCKS * geometry.block_bytes();
        let mut memory = Self {
            source: Pages::new(bytes)?,
            target: Pages::new(bytes)?,
            codes: Pages::new(CODES_BYTES)?,
            copier: Copier::detect(),
        };
        model::fill(geometry, &mut memory.source);
        Ok(memory)
    }

    /// Other blocks.
    pub fn refill(&mut self, geometry: &Geometry) {
        model::fill(geometry, &mut self.source);
    }
}

/// A codec and its codes of some blocks.
pub struct Subject<'c, 'm> {
    codec: &'c BlockCodec<'c>,
    memory: &'m mut Memory,
    scratch: Vec<u8>,
    /// Bytes of a place for a code.
    place_bytes: usize,
    /// Which block the code in each place is of, and its bytes.
    codes: Vec<(usize, usize)>,
    /// The next block.
    step: usize,
}

impl<'c, 'm> Subject<'c, 'm> {
    /// Makes codes.
    ///
    /// # Errors
    /// The codec's.
    pub fn new(codec: &'c BlockCodec<'c>, memory: &'m mut Memory) -> Result<Self, Status> {
        let place_bytes = codec.code_bytes_max().next_multiple_of(64);
        let mut subject = Self {
            codec,
            memory,
            scratch: vec![0; codec.scratch_bytes() + 64],
            place_bytes,
            codes: Vec::new(),
            step: 0,
        };
        let places = (CODES_BYTES / place_bytes).min(BLOCKS);
        let begun = Instant::now();
        while subject.codes.len() < places && (subject.codes.is_empty() || begun.elapsed() < PREPARATION) {
            subject.codes.push((0, 0));
            subject.encode_next()?;
        }
        let made = subject.codes.len();
        for place in made..places {
            let (block, bytes) = subject.codes[place % made];
            let from = place % made * place_bytes;
            subject
                .memory
                .codes
                .copy_within(from..from + bytes, place * place_bytes);
            subject.codes.push((block, bytes));
        }
        Ok(subject)
    }

    fn encode_next(&mut self) -> Result<(), Status> {
        let geometry = self.codec.geometry();
        let (block, place) = (self.step % BLOCKS, self.step % self.codes.len());
        self.step += 1;
        let input = &self.memory.source[block * geometry.block_bytes()..][..geometry.block_bytes()];
        let code = &mut self.memory.codes[place * self.place_bytes..][..self.place_bytes];
        let mut scratch = Scratch::new(&mut self.scratch);
        let bytes = self.codec.encode(
            input,
            model::position(geometry, block),
            CodecKind::Raw,
            code,
            &mut scratch,
        )?;
        self.codes[place] = (block, bytes);
        Ok(())
    }

    /// GB/s of blocks, encoded by one thread.
    ///
    /// # Errors
    /// The codec's.
    pub fn encode(&mut self) -> Result<f64, Status> {
        let mut slice = Slice::begin();
        while slice.goes_on() {
            self.encode_next()?;
            slice.blocks += 1;
        }
        Ok(slice.end(self.codec.geometry().block_bytes()).own)
    }

    /// GB/s of blocks, copied by one thread with streaming stores.
    pub fn copy(&mut self) -> f64 {
        let block_bytes = self.codec.geometry().block_bytes();
        let mut slice = Slice::begin();
        while slice.goes_on() {
            // Every block once, none soon after the last use.
            let (from, to) = ((self.step * 101) % BLOCKS, (self.step * 43 + 64) % BLOCKS);
            let source = &self.memory.source[from * block_bytes..][..block_bytes];
            let target = &mut self.memory.target[to * block_bytes..][..block_bytes];
            self.memory.copier.copy_slice(source, target, Temperature::Cold);
            self.step += 1;
            slice.blocks += 1;
        }
        slice.end(block_bytes).own
    }

    /// GB/s of blocks, decoded by so many threads at once, each into memory of its own.
    ///
    /// # Errors
    /// The codec's.
    pub fn decode(&mut self, threads: usize) -> Result<Speed, Status> {
        let block_bytes = self.codec.geometry().block_bytes();
        let share = BLOCKS / threads;
        let (codec, codes, place_bytes, first) = (self.codec, &self.codes, self.place_bytes, self.step);
        self.step += share;
        let code_bytes: &[u8] = &self.memory.codes;
        let begin = &Barrier::new(threads);
        thread::scope(|scope| {
            let targets = self.memory.target.chunks_exact_mut(share * block_bytes);
            let workers: Vec<_> = targets
                .enumerate()
                .map(|(thread, target)| {
                    scope.spawn(move || {
                        let mut scratch = vec![0; codec.scratch_bytes() + 64];
                        begin.wait();
                        // Each thread times itself, from the moment when all are there.
                        let mut slice = Slice::begin();
                        while slice.goes_on() {
                            let place = (first + thread * codes.len() / threads + slice.blocks) % codes.len();
                            let to = (first + slice.blocks) % share;
                            let code = &code_bytes[place * place_bytes..][..codes[place].1];
                            let output = &mut target[to * block_bytes..][..block_bytes];
                            codec.decode(code, output, &mut Scratch::new(&mut scratch))?;
                            slice.blocks += 1;
                        }
                        Ok(slice.end(block_bytes))
                    })
                })
                .collect();
            workers.into_iter().try_fold(Speed::default(), |sum, worker| {
                let speed = worker.join().unwrap_or(Err(Status::Internal))?;
                Ok(Speed {
                    own: sum.own + speed.own,
                    all: sum.all + speed.all,
                })
            })
        })
    }

    /// Heap calls while a block is encoded and decoded, and the relative error of what comes back.
    ///
    /// # Errors
    /// The codec's.
    pub fn check(&mut self) -> Result<(u64, f64), Status> {
        let geometry = self.codec.geometry();
        let block_bytes = geometry.block_bytes();
        let before = allocator::calls();
        self.encode_next()?;
        let place = (self.step - 1) % self.codes.len();
        let (block, bytes) = self.codes[place];
        let code = &self.memory.codes[place * self.place_bytes..][..bytes];
        let output = &mut self.memory.target[..block_bytes];
        self.codec.decode(code, output, &mut Scratch::new(&mut self.scratch))?;
        let heap_calls = allocator::calls() - before;
        let input = &self.memory.source[block * block_bytes..][..block_bytes];
        let dtype = geometry.shape().dtype;
        let (mut difference, mut norm) = (0.0, 0.0);
        for (found, right) in numbers(dtype, output).zip(numbers(dtype, input)) {
            let (found, right) = (f64::from(found), f64::from(right));
            difference += (found - right) * (found - right);
            norm += right * right;
        }
        Ok((heap_calls, (difference / norm).sqrt()))
    }

    /// Bits per element, everything counted.
    pub fn bits(&self) -> f64 {
        let bytes: usize = self.codes.iter().map(|(_, bytes)| bytes).sum();
        bytes as f64 * 16.0 / (self.codes.len() * self.codec.geometry().block_bytes()) as f64
    }
}

/// GB/s.
#[derive(Clone, Copy, Default)]
pub struct Speed {
    /// Over the time that the thread had a processor.
    pub own: f64,
    /// Over all time.
    pub all: f64,
}

/// One way for a while.
struct Slice {
    begun: Instant,
    own: Duration,
    blocks: usize,
}

impl Slice {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            own: clock::thread_time(),
            blocks: 0,
        }
    }

    fn goes_on(&self) -> bool {
        self.blocks == 0 || (clock::thread_time() - self.own < SLICE && self.begun.elapsed() < SLICE_MAX)
    }

    fn end(&self, block_bytes: usize) -> Speed {
        let bytes = (self.blocks * block_bytes) as f64;
        Speed {
            own: bytes / (clock::thread_time() - self.own).as_secs_f64() / 1e9,
            all: bytes / self.begun.elapsed().as_secs_f64() / 1e9,
        }
    }
}
