//! Entropy coding: rANS with static tables in eight interleaved states, and a stream of plain bits.
//!
//! A state is a number of 2^16 to 2^32; symbols have frequencies that add up to 2^11; words of 16 bits come and go. The
//! encoder goes from the last symbol to the first, so that the decoder goes forwards.

use super::section::{CLASSES, ESCAPE, FREQUENCY_SUM, PROBABILITY_BITS, ROWS, SYMBOLS};
use crate::error::Status;

/// States that take turns.
pub(super) const STATES: usize = 8;
/// Where every state begins in the encoder and ends in the decoder.
pub(super) const STATE_FIRST: u32 = 1 << 16;
/// Entries of the decoder's table: a class has as many as there are frequencies; one class more, so that an index of
/// so many bits is within.
pub(super) const SLOTS: usize = (CLASSES + 1) << PROBABILITY_BITS;
/// Symbols of all classes, and of one more.
pub(super) const PLACES: usize = (CLASSES + 1) * SYMBOLS;

/// The class that a level stands for and the bits that go beside the symbol.
#[inline(always)]
pub(super) const fn class_of(level: i32) -> (usize, u32) {
    let last = CLASSES as i32 - 1;
    if level <= 0 {
        (0, 0)
    } else if level <= last {
        (level as usize, 0)
    } else {
        let level = if level > last + 22 { last + 22 } else { level };
        let bits = (level - last + 1) / 2;
        ((level - 2 * bits) as usize, bits as u32)
    }
}

/// The symbol in each slot of each class.
pub(super) fn fill_slots(classes: &[u16], slots: &mut [u8; SLOTS]) {
    slots.fill(0);
    for (class, slots) in classes
        .chunks_exact(SYMBOLS)
        .zip(slots.chunks_exact_mut(1 << PROBABILITY_BITS))
    {
        let mut rest = slots;
        for (symbol, frequency) in class.iter().enumerate() {
            let (own, after) = rest.split_at_mut(usize::from(*frequency).min(rest.len()));
            own.fill(symbol as u8);
            rest = after;
        }
    }
}

/// Frequency and beginning of each symbol of each class, 16 bits each, the frequency in the lower ones.
pub(super) fn places(classes: &[u16]) -> [u32; PLACES] {
    let mut starts = [0; PLACES];
    fill_starts(classes, &mut starts);
    let mut places = [0; PLACES];
    for ((place, start), frequency) in places.iter_mut().zip(starts).zip(classes) {
        *place = u32::from(start) << 16 | u32::from(*frequency);
    }
    places
}

/// Where each symbol begins.
pub(super) fn fill_starts(classes: &[u16], starts: &mut [u16]) {
    for (class, starts) in classes.chunks_exact(SYMBOLS).zip(starts.chunks_exact_mut(SYMBOLS)) {
        let mut start = 0;
        for (frequency, place) in class.iter().zip(starts) {
            *place = start;
            start += frequency;
        }
    }
}

/// What the encoder knows of a symbol.
#[derive(Clone, Copy, Default)]
pub(super) struct Range {
    /// `2^43 / frequency`, rounded up or one more: what is divided is below `frequency << 21`, and frequencies are
    /// below 2^11, so that the upper part of the product is exact and the product has no more than 64 bits.
    reciprocal: u64,
    /// From which state on a word goes out.
    limit: u32,
    /// How much the state grows for each whole: what the frequency is short of the sum.
    rest: u16,
    start: u16,
}

impl Range {
    pub(super) const fn new(start: u16, frequency: u16) -> Self {
        // Frequencies are below the whole: each of 31 symbols has at least one part.
        let frequency = match frequency as u32 % FREQUENCY_SUM {
            0 => 1,
            frequency => frequency,
        };
        Self {
            reciprocal: (1 << 43) / frequency as u64 + 1,
            limit: frequency << (32 - PROBABILITY_BITS),
            rest: (FREQUENCY_SUM - frequency) as u16,
            start,
        }
    }

    /// Of all symbols of tables.
    pub(super) fn fill(frequencies: &[u16], ranges: &mut [Self]) {
        for (frequencies, ranges) in frequencies.chunks(SYMBOLS).zip(ranges.chunks_mut(SYMBOLS)) {
            let mut start = 0;
            for (frequency, range) in frequencies.iter().zip(ranges) {
                *range = Self::new(start, *frequency);
                start += frequency;
            }
        }
    }
}

/// Words of 16 bits that are written from the last to the first.
pub(super) struct Words<'a> {
    pub(super) states: [u32; STATES],
    bytes: &'a mut [u8],
    start: usize,
    /// Whether words found no room.
    pub(super) is_full: bool,
}

impl<'a> Words<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        let start = bytes.len();
        Self {
            states: [STATE_FIRST; STATES],
            bytes,
            start,
            is_full: false,
        }
    }

    #[inline(always)]
    pub(super) fn put(&mut self, lane: usize, range: &Range) {
        let state = self.states[lane % STATES];
        let is_large = state >= range.limit;
        // The word is written in any case; the next one overwrites it if it does not count.
        match self.bytes[..self.start].last_chunk_mut() {
            Some(place) => *place = (state as u16).to_le_bytes(),
            None => self.is_full |= is_large,
        }
        self.start = self.start.saturating_sub(2 * usize::from(is_large));
        let state = if is_large { state >> 16 } else { state };
        let whole = ((u128::from(state) * u128::from(range.reciprocal)) >> 43) as u32;
        self.states[lane % STATES] = state + whole * u32::from(range.rest) + u32::from(range.start);
    }

    /// The states and the words, as the decoder wants them.
    pub(super) fn finish(mut self) -> Result<&'a [u8], Status> {
        for state in self.states.iter().rev() {
            let Some(place) = self.start.checked_sub(4).filter(|_| !self.is_full) else {
                return Err(Status::TooSmall);
            };
            self.bytes[place..self.start].copy_from_slice(&state.to_le_bytes());
            self.start = place;
        }
        Ok(&self.bytes[self.start..])
    }
}

/// The decoder of symbols.
pub(super) struct Symbols<'c> {
    states: [u32; STATES],
    bytes: &'c [u8],
    at: usize,
}

impl<'c> Symbols<'c> {
    pub(super) fn new(bytes: &'c [u8]) -> Result<Self, Status> {
        let (first, _) = bytes.split_at_checked(4 * STATES).ok_or(Status::Damaged)?;
        let mut states = [0; STATES];
        for (state, bytes) in states.iter_mut().zip(first.chunks_exact(4)) {
            *state = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(Self {
            states,
            bytes,
            at: 4 * STATES,
        })
    }

    /// The next four words. Behind the end there are zeros.
    #[inline(always)]
    fn window(&self) -> u64 {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(words) => u64::from_le_bytes(*words),
            None => self.last_window(),
        }
    }

    #[cold]
    fn last_window(&self) -> u64 {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let words = rest.chunks_exact(2).take(4).enumerate();
        words.fold(0, |window, (number, word)| {
            window | u64::from(u16::from_le_bytes([word[0], word[1]])) << (16 * number)
        })
    }

    /// The symbol that opens a row.
    #[inline(always)]
    pub(super) fn row(&mut self, frequencies: &[u16]) -> usize {
        let state = self.states[0];
        let slot = state % FREQUENCY_SUM;
        let mut start = 0;
        for (symbol, frequency) in frequencies.iter().enumerate().take(ROWS) {
            let frequency = u32::from(*frequency);
            if slot < start + frequency {
                let next = frequency * (state >> PROBABILITY_BITS) + slot - start;
                let is_small = next < STATE_FIRST;
                self.states[0] = if is_small {
                    next << 16 | self.window() as u16 as u32
                } else {
                    next
                };
                self.at += 2 * usize::from(is_small);
                return symbol;
            }
            start += frequency;
        }
        0
    }

    /// A symbol for each class, as many as there are in whole eights.
    #[inline(always)]
    pub(super) fn fill(&mut self, slots: &[u8; SLOTS], places: &[u32; PLACES], classes: &[u8], output: &mut [i16]) {
        let mut states = self.states;
        for (classes, output) in classes.chunks_exact(STATES).zip(output.chunks_exact_mut(STATES)) {
            for half in [0, STATES / 2] {
                let mut window = self.window();
                let mut taken = 0;
                for lane in half..half + STATES / 2 {
                    let (state, class) = (states[lane], usize::from(classes[lane]));
                    let slot = state % FREQUENCY_SUM;
                    let symbol = slots[(class << PROBABILITY_BITS | slot as usize) % SLOTS];
                    output[lane] = i16::from(symbol) - ESCAPE as i16;
                    let place = places[(class * SYMBOLS + usize::from(symbol)) % PLACES];
                    let next = (place & 0xFFFF) * (state >> PROBABILITY_BITS) + slot - (place >> 16);
                    let is_small = next < STATE_FIRST;
                    states[lane] = if is_small {
                        next << 16 | window as u16 as u32
                    } else {
                        next
                    };
                    let bits = u32::from(is_small) * 16;
                    window >>= bits;
                    taken += bits;
                }
                self.at += taken as usize / 8;
            }
        }
        self.states = states;
    }

    /// Bytes that were taken; an error if the states are not back where they began, as they are behind a whole code.
    pub(super) fn finish(&self) -> Result<usize, Status> {
        if self.states == [STATE_FIRST; STATES] && self.at <= self.bytes.len() {
            Ok(self.at)
        } else {
            Err(Status::Damaged)
        }
    }
}

/// Plain bits, written into bytes from the last to the first, the lowest bit first.
pub(super) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
    held: u64,
    count: u32,
    pub(super) is_full: bool,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self {
            at: bytes.len(),
            bytes,
            held: 0,
            count: 0,
            is_full: false,
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.at.checked_sub(1) {
            Some(place) => {
                self.bytes[place] = byte;
                self.at = place;
            }
            None => self.is_full = true,
        }
    }

    /// At most 32 bits.
    pub(super) fn put(&mut self, value: u32, bits: u32) {
        self.held |= u64::from(value) << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.byte(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// What a symbol at the end of its range does not say: by how much the value lies beyond it.
    pub(super) fn put_beyond(&mut self, beyond: u32) {
        let bits = (beyond + 1).ilog2();
        self.put(0, bits);
        self.put(1, 1);
        self.put((beyond + 1) & !(1 << bits), bits);
    }

    pub(super) fn finish(mut self) -> Result<&'a [u8], Status> {
        if self.count > 0 {
            self.byte(self.held as u8);
        }
        if self.is_full {
            return Err(Status::TooSmall);
        }
        Ok(&self.bytes[self.at..])
    }
}

/// The bits that [`BitWriter::put_beyond`] takes.
#[inline(always)]
pub(super) const fn beyond_bits(beyond: u32) -> u32 {
    2 * (beyond + 1).ilog2() + 1
}

/// Reads plain bits from the end of the code. Behind its beginning there are zeros.
pub(super) struct BitReader<'c> {
    bytes: &'c [u8],
    held: u64,
    count: u32,
    /// Bytes that were taken, those that there are not among them.
    taken: usize,
}

impl<'c> BitReader<'c> {
    pub(super) const fn new(bytes: &'c [u8]) -> Self {
        Self {
            bytes,
            held: 0,
            count: 0,
            taken: 0,
        }
    }

    /// At most 32 bits.
    #[inline(always)]
    pub(super) fn take(&mut self, bits: u32) -> u32 {
        while self.count < bits {
            let byte = match self.bytes.split_last() {
                Some((last, rest)) => {
                    self.bytes = rest;
                    *last
                }
                None => 0,
            };
            self.taken += 1;
            self.held |= u64::from(byte) << self.count;
            self.count += 8;
        }
        let value = self.held & ((1 << bits) - 1);
        self.held >>= bits;
        self.count -= bits;
        value as u32
    }

    /// The counterpart of [`BitWriter::put_beyond`], at most 2^15 - 2.
    pub(super) fn take_beyond(&mut self) -> u32 {
        let mut bits = 0;
        while bits < 14 && self.take(1) == 0 {
            bits += 1;
        }
        if bits == 14 {
            // The one behind the longest run of zeros.
            self.take(1);
        }
        (1 << bits | self.take(bits)) - 1
    }

    /// Bytes that were taken.
    pub(super) const fn taken(&self) -> usize {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn bits_come_back() {
        let mut memory = [0; 64];
        let mut writer = BitWriter::new(&mut memory);
        let values = [0, 1, 2, 3, 100, 8000, 16_000, 32_766, 0];
        for value in values {
            writer.put_beyond(value);
            writer.put(value & 7, 3);
        }
        let total: u32 = values.iter().map(|value| beyond_bits(*value) + 3).sum();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len(), total.div_ceil(8) as usize);
        let mut reader = BitReader::new(bytes);
        for value in values {
            assert_eq!(reader.take_beyond(), value);
            assert_eq!(reader.take(3), value & 7);
        }
        assert_eq!(reader.taken(), bytes.len());
        assert_eq!(BitReader::new(&[]).take_beyond(), (1 << 14) - 1);
    }

    #[test]
    fn a_writer_without_room_says_so() {
        let mut writer = BitWriter::new(&mut []);
        writer.put(1, 8);
        assert_eq!(writer.finish(), Err(Status::TooSmall));
        let mut memory = [0; 31];
        assert_eq!(Words::new(&mut memory).finish(), Err(Status::TooSmall));
    }

    #[test]
    fn levels_beyond_the_last_class_have_bits_beside_the_symbol() {
        for level in -5..60 {
            let (class, bits) = class_of(level);
            assert!(class < CLASSES);
            assert!(level > 36 || class as i32 + 2 * bits as i32 == level.max(0));
        }
    }

    #[test]
    fn symbols_come_back() {
        let mut classes = vec![1_u16; CLASSES * SYMBOLS];
        for (number, class) in classes.chunks_exact_mut(SYMBOLS).enumerate() {
            class[31] = 0;
            class[15] = 1 + 1000;
            class[number] += (FREQUENCY_SUM - 31 - 1000) as u16;
        }
        let mut ranges = vec![Range::default(); classes.len()];
        Range::fill(&classes, &mut ranges);
        let symbols: vec::Vec<(usize, usize)> = (0..8000_usize).map(|i| (i * 7 % CLASSES, i * i * 31 % 31)).collect();
        let mut memory = vec![0; 40_000];
        let mut words = Words::new(&mut memory);
        for (number, (class, symbol)) in symbols.iter().enumerate().rev() {
            let at = class * SYMBOLS + symbol;
            words.put(number, &ranges[at]);
        }
        let bytes = words.finish().unwrap();
        let mut slots = vec![0; SLOTS];
        let slots: &mut [u8; SLOTS] = slots.as_mut_slice().try_into().unwrap();
        fill_slots(&classes, slots);
        let places = places(&classes);
        let mut decoder = Symbols::new(bytes).unwrap();
        for right in symbols.chunks_exact(80) {
            let mut found = [0; 80];
            let classes: [u8; 80] = core::array::from_fn(|at| right[at].0 as u8);
            decoder.fill(slots, &places, &classes, &mut found);
            assert_eq!(found, core::array::from_fn(|at| right[at].1 as i16 - 15));
        }
        assert_eq!(decoder.finish(), Ok(bytes.len()));
    }
    #[test]
    fn a_state_is_divided_exactly() {
        for frequency in 1..FREQUENCY_SUM {
            let start = FREQUENCY_SUM - frequency;
            let range = Range::new(start as u16, frequency as u16);
            let top = frequency << 21;
            let multiples = (1..64).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) % top) / frequency * frequency);
            let near = multiples.flat_map(|multiple| [multiple, multiple.max(1) - 1]);
            for state in near.chain([0, top - 1, top - frequency]) {
                let mut memory = [0; 8];
                let mut words = Words::new(&mut memory);
                words.states[0] = state;
                words.put(0, &range);
                assert_eq!(words.start, 8);
                assert_eq!(words.states[0], ((state / frequency) << 11) + state % frequency + start);
            }
        }
    }
}
