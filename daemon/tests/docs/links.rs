//! Links between pages: the file is there, and so is the heading.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::markdown::Page;
use crate::places::{page, repository};

/// Folders of the repository; inline code that begins with one is a path in it.
const FOLDERS: [&str; 8] = [
    "daemon/",
    "docs/",
    "examples/",
    "pipelines/",
    "plugins/",
    "scripts/",
    "sdk/",
    "tests/",
];

/// Links and paths of a page that lead nowhere. Addresses elsewhere are not asked.
pub(crate) fn mistakes(page: &Page) -> Vec<String> {
    let links = page.links.iter().filter(|(_, link)| !is_elsewhere(link));
    let links = links.filter_map(|(line, link)| Some(page.mistake(*line, wrong(page, link)?)));
    let paths = page.inline_code.iter().filter(|(_, code)| is_missing(code));
    let paths = paths.map(|(line, code)| page.mistake(*line, format!("there is no {code}")));
    links.chain(paths).collect()
}

/// Whether inline code is a path of the repository that is not there. Capitals and `*` stand for
/// any name.
fn is_missing(code: &str) -> bool {
    let is_path = FOLDERS.iter().any(|folder| code.starts_with(folder));
    let stands_for_any =
        |part: &str| part.contains('*') || part.chars().all(|c| c.is_ascii_uppercase());
    let has_name = code
        .split(['/', '.'])
        .any(|part| !part.is_empty() && stands_for_any(part));
    is_path && !has_name && !code.contains(' ') && !repository().join(code).exists()
}

fn is_elsewhere(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://") || link.starts_with("mailto:")
}

fn wrong(from: &Page, link: &str) -> Option<String> {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let to = target(from, path);
    if !path.is_empty() && !repository().join(&to).exists() {
        return Some(format!("the link {link}: there is no {}", to.display()));
    }
    let is_there = heading.is_empty()
        || match path {
            "" => from.anchors.iter().any(|it| it == heading),
            _ => self::page(&to.to_string_lossy())
                .anchors
                .iter()
                .any(|it| it == heading),
        };
    (!is_there).then(|| {
        format!(
            "the link {link}: {} has no heading #{heading}",
            to.display()
        )
    })
}

/// The file that a link names, by its path in the repository.
fn target(from: &Page, path: &str) -> PathBuf {
    if path.is_empty() {
        return from.path.clone();
    }
    let joined = from.path.parent().unwrap_or(Path::new("")).join(path);
    let mut normal = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// Pages that no chain of links from the README leads to.
pub(crate) fn unreachable(pages: &[Page]) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(path) = next.pop() {
        let Some(page) = pages.iter().find(|it| it.path == path) else {
            continue;
        };
        if reached.insert(path) {
            let links = page.links.iter().filter(|(_, link)| !is_elsewhere(link));
            next.extend(links.map(|(_, link)| target(page, link.split('#').next().unwrap_or(""))));
        }
    }
    let rest = pages.iter().filter(|page| !reached.contains(&page.path));
    rest.map(|page| page.path.display().to_string()).collect()
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let check = |text: &str, expected: &str| {
        let found = mistakes(&Page::new("docs/p.md".as_ref(), text)).join("\n");
        assert!(
            found.contains(expected) && found.is_empty() == expected.is_empty(),
            "{text}: {found}"
        );
    };
    check(
        "[a](../README.md) [b](https://example.org/nowhere) [c](#here)\n# Here",
        "",
    );
    check(
        "[a](nowhere.md)",
        "docs/p.md:1: the link nowhere.md: there is no docs/nowhere.md",
    );
    check("[a](#there)\n# Here", "has no heading #there");
    check(
        "[a](../README.md#no-such-heading)",
        "README.md has no heading",
    );
    check(
        "`sdk/spec/src/lib.rs`, `plugins/NAME/README.md`, `src/x.rs`",
        "",
    );
    check("`sdk/nowhere.rs`", "there is no sdk/nowhere.rs");
    check(
        "![a](images/nowhere.png)",
        "there is no docs/images/nowhere.png",
    );
}

#[test]
fn a_page_without_a_link_to_it_is_found() {
    let pages = [
        Page::new("README.md".as_ref(), "[a](docs/a.md#x)"),
        Page::new("docs/a.md".as_ref(), "[back](../README.md)"),
        Page::new("docs/b.md".as_ref(), "[a](a.md)"),
    ];
    assert_eq!(unreachable(&pages), ["docs/b.md"]);
}
