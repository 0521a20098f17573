//! Fenced code blocks: each says how it is checked, and passes.

use crate::markdown::{Block, Page};
use crate::places::repository;
use crate::{commands, specs};

/// What is wrong with the blocks of a page.
pub(crate) fn mistakes(page: &Page) -> Vec<String> {
    let blocks = page.blocks.iter();
    blocks
        .flat_map(|block| {
            let found = of_block(block);
            found.into_iter().map(|what| page.mistake(block.line, what))
        })
        .collect()
}

fn of_block(block: &Block) -> Vec<String> {
    if let Some(path) = block.tag.strip_prefix("file=") {
        return quoted(&block.code, path);
    }
    match (block.language.as_str(), block.tag.as_str()) {
        ("yaml", "spec") => specs::whole(&block.code),
        ("yaml", "part") => specs::part(&block.code),
        ("yaml", "config") => specs::config(&block.code),
        ("yaml", "prometheus") => specs::yaml(&block.code),
        ("sh", "") => commands::mistakes(&block.code),
        ("text", "") => Vec::new(),
        (language, tag) => vec![format!(
            "a block `{language} {tag}` is not checked; allowed are those that daemon/tests/docs/main.rs lists"
        )],
    }
}

/// The code stands in the file, apart from how far it is indented.
fn quoted(code: &str, path: &str) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(repository().join(path)) else {
        return vec![format!("there is no file {path}")];
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let sought: Vec<&str> = code.lines().map(str::trim).collect();
    match sought.is_empty() || !lines.windows(sought.len()).any(|it| it == sought) {
        true => vec![format!("these lines are not in {path}")],
        false => Vec::new(),
    }
}

#[test]
fn a_block_that_does_not_hold_is_found() {
    let check = |info: &str, code: &str, expected: &str| {
        let text = format!("```{info}\n{code}\n```\n");
        let found = mistakes(&Page::new("p.md".as_ref(), &text)).join("\n");
        assert!(
            found.contains(expected) && found.is_empty() == expected.is_empty(),
            "{info}: {found}"
        );
    };
    check("text", "anything", "");
    check("yaml", "a: 1", "is not checked");
    check("python", "print(1)", "is not checked");
    check(
        "toml file=clippy.toml",
        "not = \"there\"",
        "these lines are not in clippy.toml",
    );
    check(
        "toml file=nowhere.toml",
        "a = 1",
        "there is no file nowhere.toml",
    );
    check("makefile file=Makefile", ".PHONY: help", "");
    check("yaml part", "target: {drop: 0.25}", "");
    check("yaml part", "target: {drop: 2}", "p.md:1: $.target.drop");
    check("yaml part", "targets: {drop: 0.2}", "targets");
    check("yaml config", "watch: pipelines", "");
    check("yaml config", "wach: pipelines", "wach");
    check("sh", "evopressd run spec.yaml --state DIR", "");
    check("sh", "evopressd run spec.yaml --stat DIR", "--stat");
}
