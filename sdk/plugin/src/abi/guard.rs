//! No panic crosses the boundary: each side catches its own.

use std::{
    any::Any,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
};

use abi_stable::std_types::RResult;

use super::Fault;

/// Runs `call` and turns a panic into a fault.
pub(crate) fn catch<T>(call: impl FnOnce() -> Result<T, Fault>) -> RResult<T, Fault> {
    // A plugin whose call panicked stays usable as far as it goes: memory is intact, and what its
    // own invariants are worth after a panic is the plugin's affair.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.into(),
        Err(payload) => RResult::RErr(Fault {
            panicked: true,
            message: describe(payload).into(),
        }),
    }
}

/// The text of a panic, and the end of its payload, which may panic in turn when it is dropped.
fn describe(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => match payload.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => "the panic carries no text".to_owned(),
        },
    };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    text
}

/// A value whose destructor may panic without harm.
pub(super) struct Guarded<T>(ManuallyDrop<T>);

impl<T> Guarded<T> {
    pub(super) fn new(value: T) -> Self {
        Guarded(ManuallyDrop::new(value))
    }
}

impl<T> std::ops::Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let value = &mut self.0;
        let drop_value = || {
            // SAFETY: dropped here and never touched again.
            unsafe { ManuallyDrop::drop(value) }
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(drop_value)) {
            describe(payload);
        }
    }
}
