//! What a YAML parser objects to, in words for people who never read its grammar.

use saphyr_parser::ScanError;

use crate::mistake::Fault;
use crate::place::{Position, lines};

/// A sentence about a syntax error, at the place where something can be done about it.
pub(crate) fn explain(error: &ScanError, text: &str) -> Fault {
    let found = Position {
        line: error.marker().line().max(1),
        column: error.marker().col() + 1,
    };
    let info = error.info();
    if let Some(at) = tab_near(text, found.line) {
        return Fault::new(
            at,
            "",
            "a tab stands in the indentation of this line: YAML is indented with spaces",
        );
    }
    if let Some(at) = hyphen_without_space(text, found.line) {
        return Fault::new(
            at,
            "",
            "a space is missing after this hyphen: an item of a list begins with `- `",
        );
    }
    let last_line = lines(text).count().max(1);
    let at = if found.line > last_line {
        end_of(text, last_line)
    } else {
        found
    };
    let quoted = info.contains("quoted scalar");
    let at_end = info.contains("end of stream") || info.contains("eof") || found.line > last_line;
    let message = match info {
        _ if quoted && at_end => "the file ends inside a quoted text: a closing quote is missing",
        _ if info.contains("escape") && quoted => {
            "this backslash begins no known escape: write \\\\ for a backslash, or use single quotes"
        }
        _ if quoted => {
            "a quoted text goes wrong here: a closing quote is missing or text follows it"
        }
        _ if info.contains("flow sequence") => {
            "a list that begins with `[` is not closed: `,` or `]` is missing here"
        }
        _ if info.contains("flow mapping") => {
            "a mapping that begins with `{` is not closed: `,` or `}` is missing here"
        }
        _ if info.contains("misplaced bracket") => "this bracket closes nothing that is open",
        _ if info.contains("flow construct") => {
            "brackets that were opened before are still open here: `]` or `}` is missing above, or this line needs indentation"
        }
        _ if info.contains("mapping values are not allowed") || info.contains("':'") => {
            "a colon is not allowed here: the line above may lack its colon or its value, the indentation may be off, or a \
             text with `: ` in it needs quotes"
        }
        _ if info.contains("simple key") => "a field's name is not followed by a colon here",
        _ if info.contains("did not find expected '-'") => {
            "this line stands between the items of a list but does not begin with `- `: its indentation may be off"
        }
        _ if info.contains("did not find expected key") || info.contains("mapping keys") => {
            "no field begins here: the indentation differs from the lines above, or a quote or bracket is not closed"
        }
        _ if info.contains("block sequence")
            || info.contains("sequence entries")
            || info.contains("'-'") =>
        {
            "an item of a list is not allowed here: put `- ` on a line of its own, with a space after the hyphen"
        }
        _ if info.contains("indentation") => {
            "the indentation of this line fits none of the lines above"
        }
        _ if info.contains("unknown anchor") => {
            "this alias (`*name`) refers to nothing: no `&name` stands before it"
        }
        _ if info.contains("anchor") || info.contains("alias") => {
            "`&` and `*` begin YAML anchors: quote a text that begins so"
        }
        _ if info.contains("unexpected character") || info.contains("cannot start any token") => {
            "this character begins nothing in YAML: quote a text that begins with it"
        }
        _ if info.contains("unprintable") || info.contains("byte order mark") => {
            "a character that cannot be printed stands here: remove it"
        }
        _ if info.contains("directive") || info.contains("TAG") => {
            "`%` at the beginning of a line is a directive of YAML, and specs have none"
        }
        _ if info.contains("tag") => {
            "`!` begins a tag of YAML, and specs have none: quote a text that begins with it"
        }
        _ if info.contains("block scalar") => {
            "the lines of the text that `|` or `>` begins go wrong here"
        }
        _ if info.contains("document") => {
            "the file continues here after the end of the pipeline: a file holds one pipeline"
        }
        _ if info.contains("recursion") => "this is nested too deeply",
        _ if info.contains("tab") => "a tab stands here: YAML is written with spaces",
        _ => {
            "this is not YAML: look at the quotes, brackets, colons and indentation of this line and the one above"
        }
    };
    Fault::new(at, "", message)
}

/// At most this many of them are reported.
const MAX_INVISIBLE: usize = 100;

/// Control characters, and those that only some versions of YAML take for the end of a line:
/// whoever reads the file does not see them, and two readers may differ.
pub(crate) fn invisible_characters(text: &str) -> Vec<Fault> {
    let is_refused =
        |c: char| c.is_control() && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}');
    let in_line = |(idx, line): (usize, &str)| {
        let refused = line.chars().enumerate().filter(|&(_, c)| is_refused(c));
        let fault = |(column, c): (usize, char)| {
            let at = Position {
                line: idx + 1,
                column: column + 1,
            };
            let message = format!(
                "the invisible character U+{:04X} stands here: remove it",
                u32::from(c)
            );
            Fault::new(at, "", &message)
        };
        refused.map(fault).collect::<Vec<_>>()
    };
    lines(text)
        .enumerate()
        .flat_map(in_line)
        .take(MAX_INVISIBLE)
        .collect()
}

/// A tab in the indentation of the line, or of the one before or after it.
fn tab_near(text: &str, line: usize) -> Option<Position> {
    [line, line.saturating_sub(1), line + 1]
        .into_iter()
        .filter(|&line| line > 0)
        .find_map(|line| {
            let source = lines(text).nth(line - 1)?;
            let indentation = &source[..source.len() - source.trim_start().len()];
            let column = indentation.chars().position(|c| c == '\t')? + 1;
            (!source.trim().is_empty()).then_some(Position { line, column })
        })
}

/// A line that begins like an item of a list, but for the space.
fn hyphen_without_space(text: &str, line: usize) -> Option<Position> {
    let source = lines(text).nth(line - 1)?;
    let after = source.trim_start().strip_prefix('-')?;
    let column = source.chars().take_while(|c| *c == ' ').count() + 1;
    after
        .starts_with(|c: char| c.is_alphabetic() || matches!(c, '{' | '[' | '"' | '\''))
        .then_some(Position { line, column })
}

fn end_of(text: &str, line: usize) -> Position {
    let length = lines(text)
        .nth(line - 1)
        .map_or(0, |source| source.trim_end().chars().count());
    Position {
        line,
        column: length.max(1),
    }
}
