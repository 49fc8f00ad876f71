//! How far a replay is, on a terminal.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::outcome::Outcome;
use crate::sys::allocator;

/// Time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);

/// A progress bar on standard error, or none where that is no terminal. What it does on the heap is left out of what is
/// counted: it is no part of the engine.
pub struct Progress {
    bar: Option<ProgressBar>,
    drawn: Instant,
}

impl Progress {
    /// A bar for `total` requests, of which `done` are done.
    pub fn new(done: usize, total: usize, quiet: bool) -> Self {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total as u64).with_position(done as u64);
            let template = "    {bar:40.cyan/dim} {percent:>3} %  {msg}";
            // A template that is wrong leaves the bar's own.
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("█▌░"),
            );
            bar
        });
        Self {
            bar,
            drawn: Instant::now(),
        }
    }

    /// Draws, if it was not done just now.
    pub fn show(&mut self, done: usize, outcome: &Outcome) {
        if let Some(bar) = &self.bar
            && self.drawn.elapsed() >= INTERVAL
        {
            self.drawn = Instant::now();
            allocator::left_out(|| draw(bar, done, outcome));
        }
    }

    /// Draws for the last time and leaves the bar where it is.
    pub fn stop(&mut self, done: usize, outcome: &Outcome) {
        if let Some(bar) = &self.bar {
            allocator::left_out(|| {
                draw(bar, done, outcome);
                bar.abandon();
            });
        }
    }
}

fn draw(bar: &ProgressBar, done: usize, outcome: &Outcome) {
    let [cpu, nvme, disk] = outcome.tiers.each_ref().map(|tier| tier.hits);
    // The message last: it is what draws.
    bar.set_position(done as u64);
    bar.set_message(format!(
        "hits: memory {cpu}, NVMe {nvme}, disk {disk}; misses {}; wrong bytes {}",
        outcome.misses, outcome.wrong_bytes
    ));
}
