//! Errors as people read them.

/// An error and its causes on one line. A cause that the line says already is left out, and so is
/// libtorch's C++ trace.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = one_line(without_trace(&cause.to_string()));
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// The text up to libtorch's trace, as it is or with its line breaks written out.
fn without_trace(text: &str) -> &str {
    const STARTS: [&str; 4] = [
        "\nException raised from ",
        "\\nException raised from ",
        "\nframe #",
        "\\nframe #",
    ];
    let starts = STARTS.iter().filter_map(|start| text.find(start));
    text[..starts.min().unwrap_or(text.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let said = Err::<(), _>(anyhow!("no such file"))
            .context("cannot read a.txt: no such file")
            .context("the calibration");
        let expected = "the calibration: cannot read a.txt: no such file";
        assert_eq!(sentence(&said.unwrap_err()), expected);
    }

    #[test]
    fn a_trace_is_left_out_however_it_is_written() {
        let check = |text: &'static str| {
            let found = sentence(&anyhow!(text));
            assert_eq!(found, "a plugin panicked: Torch(\"index out of range");
        };
        check(
            "a plugin panicked: Torch(\"index out of range\nException raised from f at a.cpp:1\nframe #0: g\")",
        );
        check(
            r#"a plugin panicked: Torch("index out of range\nException raised from f at a.cpp:1\nframe #0: g")"#,
        );
        assert_eq!(sentence(&anyhow!("one\n two")), "one two");
    }
}
