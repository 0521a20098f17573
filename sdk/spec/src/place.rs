//! Places in a spec: JSON pointers, the paths that people read, and positions in the text.

/// Line and column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    pub(crate) const START: Position = Position { line: 1, column: 1 };
}

/// The pointer to a field or an item of what `parent` points to.
pub(crate) fn child(parent: &str, token: &str) -> String {
    format!("{parent}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// The pointer to what holds this, and this one's own name.
pub(crate) fn split(pointer: &str) -> Option<(&str, String)> {
    let (parent, token) = pointer.rsplit_once('/')?;
    Some((parent, unescape(token)))
}

/// Whether one pointer is the other or holds it.
pub(crate) fn holds(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `/search/stages/0/tokens` as people read it: `$.search.stages[0].tokens`.
pub(crate) fn yaml_path(pointer: &str) -> String {
    let mut path = String::from("$");
    for token in pointer.split('/').skip(1).map(unescape) {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        if !token.is_empty() && token.chars().all(|c| c.is_ascii_digit()) {
            path.push_str(&format!("[{token}]"));
        } else if !token.is_empty() && token.chars().all(plain) {
            path.push('.');
            path.push_str(&crate::words::clip(&token));
        } else {
            path.push_str(&format!("[{:?}]", crate::words::clip(&token)));
        }
    }
    path
}

/// The lines of a text as YAML counts them: a lone carriage return ends one, too.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text).filter(|text| !text.is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.find(['\n', '\r']).unwrap_or(text.len());
        let after = &text[end..];
        let after = after
            .strip_prefix("\r\n")
            .or_else(|| after.strip_prefix(['\r', '\n']));
        rest = after.filter(|after| !after.is_empty());
        Some(&text[..end])
    })
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_well() {
        let check = |pointer: &str, path: &str| assert_eq!(yaml_path(pointer), path);
        check("", "$");
        check("/search/stages/0/tokens", "$.search.stages[0].tokens");
        check("/metadata/labels/a b", "$.metadata.labels[\"a b\"]");
        check("/metadata/labels/a~1b~0", "$.metadata.labels[\"a/b~\"]");
    }

    #[test]
    fn every_line_break_of_yaml_ends_a_line() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(lines(text).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("", &[]);
        check("a", &["a"]);
        check("a\nb\r\nc\rd\n", &["a", "b", "c", "d"]);
        check("\n\r\r\n\n", &["", "", "", ""]);
    }

    #[test]
    fn a_pointer_holds_only_whole_names() {
        assert!(holds("/search", "/search/seed") && holds("/search", "/search") && holds("", "/x"));
        assert!(!holds("/search", "/searching"));
        assert_eq!(split(&child("/a", "b/c~")), Some(("/a", "b/c~".to_owned())));
    }
}
