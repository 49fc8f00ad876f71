//! The boundary: every function of the header runs in here, so that no panic reaches the caller and every engine is
//! found and asked whether it is fit for work in the same way.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::registry;
use super::types::kvc_engine_t;
use super::version::kvc_status_t;
use crate::error::Status;
use crate::host::Cache;

fn caught(body: impl FnOnce() -> Result<(), Status>) -> Option<kvc_status_t> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Some(Status::Ok.code()),
        Ok(Err(status)) => Some(status.code()),
        Err(payload) => {
            // Dropping what was thrown could throw again; losing a few bytes cannot.
            core::mem::forget(payload);
            None
        }
    }
}

/// Runs a function that has no engine.
pub(super) fn plain(body: impl FnOnce() -> Result<(), Status>) -> kvc_status_t {
    caught(body).unwrap_or(Status::Internal.code())
}

/// Runs a function on an engine. A panic poisons it.
///
/// # Safety
/// I3 for `engine`.
#[inline]
pub(super) unsafe fn with_engine<'a>(
    engine: *const kvc_engine_t,
    body: impl FnOnce(&'a Cache) -> Result<(), Status>,
) -> kvc_status_t {
    // SAFETY: I3, asked of the caller.
    let cache: &'a Cache = match unsafe { registry::find(engine) } {
        Ok(cache) => cache,
        Err(status) => return status.code(),
    };
    let result = caught(|| {
        cache.check()?;
        body(cache)
    });
    result.unwrap_or_else(|| {
        cache.poison();
        Status::Internal.code()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::{KVC_E_HANDLE, KVC_E_INTERNAL, KVC_E_POISONED, KVC_OK, kvc_close};
    use crate::config::Config;
    use std::boxed::Box;

    #[test]
    fn a_panic_becomes_a_status_and_poisons_the_engine_which_can_still_be_closed() {
        let config = Config {
            block_bytes: 64,
            cpu_bytes: 4096,
            ..Config::default()
        };
        let cache = Cache::open(&config).unwrap();
        let engine = registry::insert(Box::new(cache)).ok().unwrap();
        // SAFETY: I3: this test alone has the engine.
        unsafe {
            assert_eq!(with_engine(engine, |_| Ok(())), KVC_OK);
            let status = with_engine(engine, |_| panic!("planted by a test"));
            assert_eq!(status, KVC_E_INTERNAL);
            assert_eq!(with_engine(engine, |_| Ok(())), KVC_E_POISONED);
            assert_eq!(kvc_close(engine), KVC_OK);
            assert_eq!(with_engine(engine, |_| Ok(())), KVC_E_HANDLE);
        }
    }

    #[test]
    fn a_panic_without_an_engine_is_a_status_too() {
        assert_eq!(plain(|| panic!("planted by a test")), KVC_E_INTERNAL);
    }
}
