//! Worker mode: threads that drive the engine so that no caller has to.

use std::format;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::Duration;
use std::vec::Vec;

use super::{IO_WAIT, Shared, nanoseconds, now_ns};
use crate::error::{ConfigError, Status};

/// How long an idle worker sleeps before it looks after what no submission wakes it for: expiries, prefaulting.
const IDLE: Duration = Duration::from_millis(10);
/// A wait for a device that is shorter than this many nanoseconds, and brings nothing, was none.
const WAIT_NS_MIN: u64 = 20_000;
/// How long a worker stays away then.
const PAUSE: Duration = Duration::from_micros(100);

/// The worker threads; none in tick mode.
pub(super) struct Workers {
    handles: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers and returns when each is running, so that nothing of their start is left for later.
    pub(super) fn start(count: u64, shared: &Arc<Shared>) -> Result<Self, ConfigError> {
        let mut workers = Self {
            handles: Vec::with_capacity(count as usize),
        };
        for number in 0..count {
            let worker = shared.clone();
            let started = thread::Builder::new().name(format!("kvcache-{number}")).spawn(move || {
                // The first park makes what parking needs.
                thread::park_timeout(Duration::from_nanos(1));
                // Release: partner is the acquire in `start`.
                worker.workers_running.fetch_add(1, Ordering::Release);
                let ended = panic::catch_unwind(AssertUnwindSafe(|| run(&worker)));
                if ended.is_err() {
                    // Relaxed: a flag that is never taken back.
                    worker.poisoned.store(true, Ordering::Relaxed);
                    worker.completions.announce();
                }
            });
            match started {
                Ok(handle) => workers.handles.push(handle),
                Err(error) => {
                    // Relaxed: the join orders it.
                    shared.stop.store(true, Ordering::Relaxed);
                    workers.stop(false);
                    return Err(ConfigError {
                        status: Status::Thread,
                        field: "workers_count",
                        value: count,
                        value_min: 0,
                        value_max: number,
                        reason: "a worker thread could not be started; have fewer workers or none (tick mode)",
                        os_error: error.raw_os_error().unwrap_or(0),
                    });
                }
            }
        }
        // Acquire: partner is the release above.
        while u64::from(shared.workers_running.load(Ordering::Acquire)) != count {
            thread::sleep(Duration::from_micros(50));
        }
        Ok(workers)
    }

    /// Wakes the workers if any is asleep. No system call otherwise.
    pub(super) fn wake(&self, shared: &Shared) {
        // SeqCst fence: partner is the one in `run`. Either the worker's last look sees the submission, or this sees
        // the worker asleep.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        if shared.workers_asleep.load(Ordering::Relaxed) != 0 {
            for handle in &self.handles {
                handle.thread().unpark();
            }
        }
    }

    /// Ends the workers. In a forked child there are none to wait for.
    pub(super) fn stop(&mut self, forked: bool) {
        for handle in self.handles.drain(..) {
            if forked {
                core::mem::forget(handle);
            } else {
                handle.thread().unpark();
                // A worker that panicked has nothing more to say than that it ended.
                let _ = handle.join();
            }
        }
    }
}

fn run(shared: &Shared) {
    let mut rounds_idle = 0;
    // Relaxed: the unpark that follows the store orders it.
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.tick(0) != 0 {
            rounds_idle = 0;
            continue;
        }
        // One worker waits for the devices, and moves on what they have done; where there are more, the others wait for
        // submissions meanwhile. Relaxed: two that wait at once only tell each other nothing.
        if shared.engine.io_under_way() && !shared.io_waiting.swap(true, Ordering::Relaxed) {
            let began_ns = now_ns();
            shared.engine.io_wait(nanoseconds(IO_WAIT));
            shared.io_waiting.store(false, Ordering::Relaxed);
            rounds_idle += 1;
            if rounds_idle > 1 && now_ns() - began_ns < WAIT_NS_MIN {
                // What is under way is in the hands of another thread, not of a device: let it come to its turn.
                thread::park_timeout(PAUSE);
            }
            continue;
        }
        // SeqCst, with the fence: partner is the fence in `wake`.
        shared.workers_asleep.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let work = shared.engine.lanes_waiting() || (shared.engine.io_under_way() && !shared.io_waiting());
        if !work && !shared.stop.load(Ordering::Relaxed) {
            thread::park_timeout(IDLE);
        }
        shared.workers_asleep.fetch_sub(1, Ordering::Relaxed);
    }
}
