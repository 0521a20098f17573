//! How long pages and their lines are.

use crate::markdown::Page;

/// Lines of the README.
const README_LINES: usize = 150;
/// Columns of a line of prose.
const COLUMNS: usize = 100;

/// Lines of prose that are too long, and a README that is.
pub(crate) fn mistakes(page: &Page) -> Vec<String> {
    let mut mistakes = Vec::new();
    if page.path.as_os_str() == "README.md" && page.num_lines > README_LINES {
        let num_lines = page.num_lines;
        let what = format!("{num_lines} lines, and the README has at most {README_LINES}");
        mistakes.push(page.mistake(num_lines, what));
    }
    // The plugins' pages are formulas and tables of options, written beside their code.
    if page.path.starts_with("plugins") {
        return mistakes;
    }
    for (number, line) in &page.prose {
        let columns = line.chars().count();
        // A line that cannot be broken: a link or an address.
        let can_break = line
            .trim()
            .trim_start_matches(['-', '*', '>'])
            .trim()
            .contains(' ');
        if columns > COLUMNS && can_break {
            mistakes.push(page.mistake(*number, format!("{columns} columns, at most {COLUMNS}")));
        }
    }
    mistakes
}

#[test]
fn what_is_too_long_is_found() {
    let check = |path: &str, text: &str, expected: usize| {
        let found = mistakes(&Page::new(path.as_ref(), text));
        assert_eq!(found.len(), expected, "{found:?}");
    };
    let long = "word ".repeat(25);
    check("docs/a.md", &long, 1);
    check("docs/a.md", &format!("```text\n{long}\n```"), 0);
    check("docs/a.md", &format!("| a |\n|---|\n| {long} |"), 0);
    check(
        "docs/a.md",
        &format!("- https://example.org/{}", "x".repeat(100)),
        0,
    );
    check("README.md", &"a\n".repeat(README_LINES), 0);
    check("README.md", &"a\n".repeat(README_LINES + 1), 1);
}
