//! Mistakes as a person reads them: the sentence, the line of the spec, and a mark under the place.

use std::fmt::Write as _;

use crate::Mistake;
use crate::place::lines;
use crate::words::is_invisible;

/// All mistakes of a spec, each with its line of the text, and their number at the end. With
/// `colour`, for a terminal.
pub fn render(mistakes: &[Mistake], text: &str, file_name: &str, colour: bool) -> String {
    let ink = |code: &'static str| if colour { code } else { "" };
    let (red, blue, bold, plain) = (
        ink("\x1b[1;31m"),
        ink("\x1b[1;34m"),
        ink("\x1b[1m"),
        ink("\x1b[0m"),
    );
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines: Vec<&str> = lines(text).collect();
    let mut out = String::new();
    for Mistake {
        line,
        column,
        path,
        message,
        ..
    } in mistakes
    {
        let gutter = " ".repeat(line.to_string().len());
        let _ = writeln!(out, "{red}mistake{plain}{bold}: {path}: {message}{plain}");
        let _ = writeln!(out, "{gutter}{blue}-->{plain} {file_name}:{line}:{column}");
        if let Some(source) = lines.get(line - 1).filter(|source| {
            !source.trim().is_empty() && !message.contains(crate::structure::SECRET)
        }) {
            let Excerpt {
                shown,
                before,
                marked,
            } = excerpt(source, *column);
            let (pad, carets) = (" ".repeat(before), "^".repeat(marked));
            let _ = writeln!(out, "{gutter} {blue}|{plain}");
            let _ = writeln!(out, "{blue}{line} |{plain} {shown}");
            let _ = writeln!(out, "{gutter} {blue}|{plain} {pad}{red}{carets}{plain}");
        }
        out.push('\n');
    }
    let s = if mistakes.len() == 1 { "" } else { "s" };
    let _ = writeln!(out, "{} mistake{s} in {file_name}", mistakes.len());
    out
}

/// Part of a source line.
struct Excerpt {
    shown: String,
    /// Characters before the mark.
    before: usize,
    /// Characters that are marked.
    marked: usize,
}

/// The part of a line around a column, harmless on a terminal.
fn excerpt(source: &str, column: usize) -> Excerpt {
    const BEFORE: usize = 60;
    const WIDTH: usize = 110;
    let clean = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() || is_invisible(c) => '\u{FFFD}',
        c => c,
    };
    let chars: Vec<char> = source.chars().map(clean).collect();
    let at = column.saturating_sub(1).min(chars.len());
    let from = if chars.len() <= WIDTH {
        0
    } else {
        at.saturating_sub(BEFORE)
    };
    let to = chars.len().min(from + WIDTH);
    let marked = word_length(&chars[at..]).clamp(1, to.saturating_sub(at).max(1));
    let mut shown: String = chars[from..to].iter().collect();
    let mut before = at - from;
    if from > 0 {
        shown.insert(0, '…');
        before += 1;
    }
    if to < chars.len() {
        shown.push('…');
    }
    Excerpt {
        shown,
        before,
        marked,
    }
}

/// Length of what begins here: a quoted text or a word.
fn word_length(rest: &[char]) -> usize {
    match rest.first() {
        Some(&quote @ ('"' | '\'')) => rest
            .iter()
            .skip(1)
            .position(|&c| c == quote)
            .map_or(rest.len(), |end| end + 2),
        _ => rest
            .iter()
            .position(|&c| c.is_whitespace() || ",]}:#".contains(c))
            .unwrap_or(rest.len()),
    }
}
