//! Sentences about places of a spec.

use serde::Serialize;

/// A sentence, and the JSON pointer into the spec that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Placed {
    pub(crate) pointer: String,
    pub(crate) message: String,
}

impl Placed {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// Pointers to values of a plan that stand in for mistakes of its spec.
#[derive(Debug, Default)]
pub(crate) struct Unsure(Vec<String>);

impl Unsure {
    pub(crate) fn new(pointers: Vec<String>) -> Self {
        Self(pointers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a value, something in it or something around it is a stand-in.
    pub(crate) fn touches(&self, pointer: &str) -> bool {
        let holds = |outer: &str, inner: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut pointers = self.0.iter();
        pointers.any(|unsure| holds(unsure, pointer) || holds(pointer, unsure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_or_is_held_is_touched() {
        let unsure = Unsure::new(vec!["/methods/0/plugin".to_owned()]);
        for touched in [
            "",
            "/methods",
            "/methods/0",
            "/methods/0/plugin",
            "/methods/0/plugin/x",
        ] {
            assert!(unsure.touches(touched), "{touched}");
        }
        for other in ["/methods/1", "/methods/0/plugins", "/model"] {
            assert!(!unsure.touches(other), "{other}");
        }
        assert!(!Unsure::default().touches(""));
    }
}
