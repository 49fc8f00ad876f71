//! Requests that wait until the thread that drives the device does them itself, one after the other.
//!
//! # Soundness
//! - **I1** The queue hands buffers' addresses from `submit` to the thread that performs the request, and touches no
//!   buffer; who performs it relies on what the caller of `submit` promised.
#![allow(unsafe_code)]

use std::boxed::Box;
use std::vec;

use crate::tier::device::{Io, IoKind};

/// A queue with as many places as it was made with.
pub(crate) struct Queue {
    places: Box<[Io]>,
    first: usize,
    count: usize,
}

// SAFETY: I1, an address may go from one thread to the next with the request.
unsafe impl Send for Queue {}

impl Queue {
    /// An empty queue of `depth` places.
    pub(crate) fn new(depth: u32) -> Self {
        let empty = Io {
            token: 0,
            kind: IoKind::Sync,
            offset: 0,
            buffer: core::ptr::null_mut(),
            bytes: 0,
        };
        Self {
            places: vec![empty; depth as usize].into_boxed_slice(),
            first: 0,
            count: 0,
        }
    }

    /// How many wait.
    #[cfg(feature = "uring")]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The `index`-th of those that wait, the next one first.
    pub(crate) fn get(&self, index: usize) -> Option<Io> {
        if index >= self.count {
            return None;
        }
        self.places.get((self.first + index) % self.places.len()).copied()
    }

    /// Adds one at the end; false if all places are taken.
    pub(crate) fn push(&mut self, io: &Io) -> bool {
        if self.count >= self.places.len() {
            return false;
        }
        let at = (self.first + self.count) % self.places.len();
        match self.places.get_mut(at) {
            Some(place) => *place = *io,
            None => return false,
        }
        self.count += 1;
        true
    }

    /// Takes the next one.
    pub(crate) fn pop(&mut self) -> Option<Io> {
        let io = self.get(0)?;
        self.first = (self.first + 1) % self.places.len();
        self.count -= 1;
        Some(io)
    }
}
