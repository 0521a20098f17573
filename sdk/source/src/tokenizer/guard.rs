//! Panics of the `tokenizers` library as sentences.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs what may panic.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does something with the `tokenizers` library; a panic of it is an error, and nothing is printed
/// of it.
///
/// # Errors
/// The text of a panic.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    silence_guarded_panics();
    let before = IS_GUARDED.replace(true);
    // What has panicked is dropped: nobody sees it half done.
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    result.map_err(|payload| {
        let text = text_of(payload.as_ref());
        format!("the library of tokenizers fails at its settings: {text}")
    })
}

/// Lets the program's own handling of panics see all but those that are caught here.
fn silence_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                others(info);
            }
        }));
    });
}

fn text_of(payload: &dyn Any) -> &str {
    match payload.downcast_ref::<String>() {
        Some(text) => text,
        None => payload
            .downcast_ref::<&str>()
            .unwrap_or(&"no reason is given"),
    }
}
