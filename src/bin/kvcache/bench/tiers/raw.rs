//! Raw I/O: the least that a pass can cost.
//!
//! # Soundness
//! - **I1** The buffers are pages that outlive the device, each used by one request at a time.
#![allow(unsafe_code)]

use std::error::Error;
use std::time::Instant;

use kvcache::config::IoEngine;
use kvcache::tier::device::{Device, Io, IoDone, IoKind};
use kvcache::tier::nvme::NvmeFile;

use super::Folder;
use crate::sys::memory::Pages;

/// A file that is read and written as fast as the device does it.
pub struct Raw {
    device: NvmeFile,
    buffers: Pages<u8>,
    request_bytes: usize,
    under_way_max: usize,
}

impl Raw {
    /// A file of `bytes` bytes, requests of `request_bytes` bytes, `under_way_bytes` bytes under way.
    pub fn open(
        folder: &Folder,
        name: &str,
        bytes: u64,
        request_bytes: usize,
        under_way_bytes: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let under_way_max = (under_way_bytes / request_bytes).max(1);
        let device = NvmeFile::open(&folder.file(name), bytes, under_way_max as u32, IoEngine::Auto)?;
        device.preallocate()?;
        let mut buffers: Pages<u8> = Pages::new(under_way_max * request_bytes)?;
        buffers.fill(0x5a);
        // SAFETY: I1: the struct drops the device first.
        unsafe { device.register(buffers.as_mut_ptr(), (under_way_max * request_bytes) as u64) };
        Ok(Self {
            device,
            buffers,
            request_bytes,
            under_way_max,
        })
    }

    /// Does one request for each place of `order`, and a sync after writes; seconds.
    pub fn pass(&mut self, kind: IoKind, order: &[u64]) -> Result<f64, Box<dyn Error>> {
        let started = Instant::now();
        let mut free: Vec<u32> = (0..self.under_way_max as u32).collect();
        let mut done = [IoDone::EMPTY; 64];
        let mut begun = 0;
        let mut ended = 0;
        while ended < order.len() {
            while begun < order.len() {
                let Some(token) = free.pop() else { break };
                self.begin(kind, token, order[begun] * self.request_bytes as u64)?;
                begun += 1;
            }
            ended += self.reap(&mut done, &mut free)?;
        }
        if kind == IoKind::Write {
            self.begin(IoKind::Sync, 0, 0)?;
            while self.reap(&mut done, &mut free)? == 0 {}
        }
        Ok(started.elapsed().as_secs_f64())
    }

    fn begin(&mut self, kind: IoKind, token: u32, offset: u64) -> Result<(), Box<dyn Error>> {
        let io = Io {
            token,
            kind,
            offset,
            buffer: self.buffers[token as usize * self.request_bytes..].as_mut_ptr(),
            bytes: self.request_bytes as u32,
        };
        // SAFETY: I1, the token was free.
        if unsafe { self.device.submit(&io) } {
            Ok(())
        } else {
            Err("the device takes fewer requests than it said".into())
        }
    }

    fn reap(&self, done: &mut [IoDone], free: &mut Vec<u32>) -> Result<usize, Box<dyn Error>> {
        let count = self.device.reap(done);
        for one in &done[..count] {
            one.result.map_err(std::io::Error::from_raw_os_error)?;
            free.push(one.token);
        }
        if count == 0 {
            self.device.wait(1_000_000);
        }
        Ok(count)
    }
}
