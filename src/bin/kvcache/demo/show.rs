//! How the demonstration looks. Nothing here allocates once it was made.

use std::cell::Cell;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

/// Standard output: with bold headings if it is a terminal.
pub struct Screen {
    terminal: bool,
    headings_count: Cell<u32>,
}

impl Screen {
    /// Looks at what standard output is.
    pub fn new() -> Self {
        Self {
            terminal: stdout().is_terminal(),
            headings_count: Cell::new(0),
        }
    }

    /// The title of the next step.
    pub fn heading(&self, title: &str) {
        let number = self.headings_count.get() + 1;
        self.headings_count.set(number);
        if self.terminal {
            println!("\n\x1b[1m {number}  {title}\x1b[0m");
        } else {
            println!("\n {number}  {title}");
        }
    }
}

/// Times of one kind of operation, in a list made beforehand.
pub struct Times {
    times_ns: Vec<u64>,
}

impl Times {
    /// Room for all that any step takes.
    pub fn new() -> Self {
        Self {
            times_ns: Vec::with_capacity(4096),
        }
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.times_ns.clear();
    }

    /// Notes one; what is beyond the room is left out.
    pub fn add(&mut self, time: Duration) {
        if self.times_ns.len() < self.times_ns.capacity() {
            self.times_ns.push(time.as_nanos() as u64);
        }
    }

    /// Median, 99th percentile and, with the bytes of each operation, the rate.
    pub fn show(&mut self, what: &str, bytes_each: usize) {
        let count = self.times_ns.len();
        if count == 0 {
            return;
        }
        self.times_ns.sort_unstable();
        let part = |percent: usize| Duration::from_nanos(self.times_ns[(count - 1) * percent / 100]);
        print!("    {what:<20} p50 {:>9.2?}   p99 {:>9.2?}", part(50), part(99));
        if bytes_each != 0 {
            let total_ns: u64 = self.times_ns.iter().sum();
            print!("   {:>5.1} GB/s", (bytes_each * count) as f64 / total_ns.max(1) as f64);
        }
        println!();
    }
}
