//! What a file tier needs of the thing below it: reads, writes and syncs that are begun now and done later.
//!
//! A device is driven by one thread at a time, the one that has the tier's turn; only [`Device::wait`] may be called by
//! any thread beside it. A device never allocates after it was made, never panics on a fault of the medium, and reports
//! each request exactly once.
//!
//! # Soundness
//! - **I1** The two functions that are told of memory, `register` and `submit`, are unsafe: their callers keep it
//!   valid, and unused by others, for as long as each of them says. An implementation uses it in between and not
//!   afterwards.

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// File to buffer.
    Read,
    /// Buffer to file.
    Write,
    /// Makes everything durable that was reported written before the sync was submitted.
    Sync,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// Comes back with the outcome. Below [`Device::depth`], and not used by another request under way.
    pub token: u32,
    /// What to do.
    pub kind: IoKind,
    /// Bytes from the start of the file, a multiple of [`Device::alignment_bytes`].
    pub offset: u64,
    /// The memory, inside what [`Device::register`] was told of; not used by a sync.
    pub buffer: *mut u8,
    /// How many bytes, a multiple of [`Device::alignment_bytes`]; not used by a sync.
    pub bytes: u32,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoDone {
    /// The request's token.
    pub token: u32,
    /// Bytes moved (fewer than asked for is a short transfer), or the operating system's error number.
    pub result: Result<u32, i32>,
}

impl IoDone {
    /// A place to be filled.
    pub const EMPTY: Self = Self {
        token: 0,
        result: Ok(0),
    };
}

/// A file, a block device, or something that behaves like one.
pub trait Device: Send + Sync {
    /// Bytes that can be addressed.
    fn bytes(&self) -> u64;

    /// What offsets, lengths and addresses of requests are multiples of: a power of two, at most 4096.
    fn alignment_bytes(&self) -> u64;

    /// Most requests under way.
    fn depth(&self) -> u32;

    /// How requests are done: `io_uring`, `pread`, `mmap`, `simulated`.
    fn name(&self) -> &'static str;

    /// Tells of the memory that all buffers lie in, once, before the first request.
    ///
    /// # Safety
    /// The memory is valid for reads and writes until the device is dropped.
    #[allow(unsafe_code)]
    unsafe fn register(&self, _base: *mut u8, _bytes: u64) {}

    /// Begins a request. False if as many are under way as the device takes; nothing happened then.
    ///
    /// # Safety
    /// The buffer is valid, and nobody else uses it, until the request is reported by [`Device::reap`].
    #[allow(unsafe_code)]
    unsafe fn submit(&self, io: &Io) -> bool;

    /// Passes begun requests on to the system, where the device gathers them, and reports those that are done: at most
    /// as many as `done` has room for. Does not wait. Returns how many.
    fn reap(&self, done: &mut [IoDone]) -> usize;

    /// Waits until a request may be done, at most `timeout_ns`; may return early. Any thread.
    fn wait(&self, timeout_ns: u64);
}
