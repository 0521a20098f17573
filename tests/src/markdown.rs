//! Code in Markdown.

/// The code blocks of a text: language and code.
pub fn code_blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in text.lines() {
        match &mut open {
            Some((language, lines)) if line.trim() == "```" => {
                blocks.push(((*language).to_owned(), lines.join("\n")));
                open = None;
            }
            Some((_, lines)) => lines.push(line),
            None => open = line.trim().strip_prefix("```").map(|it| (it, Vec::new())),
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found() {
        let text = "a\n```yaml\nx: 1\ny: 2\n```\n```sh\nls\n```\n```yaml\nz: 3\n```\n";
        let expected = [("yaml", "x: 1\ny: 2"), ("sh", "ls"), ("yaml", "z: 3")];
        let expected = expected.map(|(language, code)| (language.to_owned(), code.to_owned()));
        assert_eq!(code_blocks(text), expected);
    }
}
