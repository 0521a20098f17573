//! A pipeline's YAML.

use evopress_spec::{Roots, examine_bytes, render};

use crate::sentence::check;

/// Of so many mistakes each is shown with its line.
const MAX_MISTAKES: usize = 120;

/// Reads a pipeline, with all its mistakes and their lines of the text.
pub fn spec(input: &[u8]) {
    let Err(wrong) = examine_bytes(input, "pipeline.yaml", &Roots::default()) else {
        return;
    };
    assert!(!wrong.mistakes.is_empty(), "wrong without a mistake");
    assert!(wrong.mistakes.len() <= MAX_MISTAKES, "too many mistakes");
    for mistake in &wrong.mistakes {
        check(&mistake.to_string());
        let text = String::from_utf8_lossy(input);
        check(&render(std::slice::from_ref(mistake), &text, "pipeline.yaml", false));
    }
}
