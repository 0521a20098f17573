//! A page of Markdown: its code blocks, links, anchors and lines of prose.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page, read.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) path: PathBuf,
    /// Its fenced code blocks.
    pub(crate) blocks: Vec<Block>,
    /// Targets of its links and images, with their lines.
    pub(crate) links: Vec<(usize, String)>,
    /// Its inline code, with the lines.
    pub(crate) inline_code: Vec<(usize, String)>,
    /// The anchors of its headings, as GitHub makes them.
    pub(crate) anchors: Vec<String>,
    /// Its lines that are neither code nor tables, with their numbers.
    pub(crate) prose: Vec<(usize, String)>,
    /// Rows of its tables, cells as text.
    pub(crate) rows: Vec<Vec<String>>,
    /// How many lines it has.
    pub(crate) num_lines: usize,
}

/// A fenced code block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its fence, counted from 1.
    pub(crate) line: usize,
    /// The first word of the info string: `yaml`.
    pub(crate) language: String,
    /// The rest of it: `spec`, `file=pipelines/smollm2-3bit.yaml`.
    pub(crate) tag: String,
    /// What it holds.
    pub(crate) code: String,
}

impl Page {
    /// Reads a page. `path` is only remembered.
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        let mut page = Self {
            path: path.to_owned(),
            blocks: Vec::new(),
            links: Vec::new(),
            inline_code: Vec::new(),
            anchors: Vec::new(),
            prose: Vec::new(),
            rows: Vec::new(),
            num_lines: text.lines().count(),
        };
        let mut is_prose = vec![true; page.num_lines + 2];
        let mut seen = HashMap::new();
        let mut block: Option<Block> = None;
        let mut heading: Option<String> = None;
        let mut cell: Option<String> = None;
        let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
        let mut not_prose = |range: Range<usize>| {
            let last = line_of(range.end.saturating_sub(1));
            is_prose[line_of(range.start)..=last].fill(false);
        };
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    let (language, tag) = info.split_once(' ').unwrap_or((&info, ""));
                    block = Some(Block {
                        line: line_of(range.start),
                        language: language.to_owned(),
                        tag: tag.trim().to_owned(),
                        code: String::new(),
                    });
                    not_prose(range);
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(words) | Event::Code(words) => {
                    if text[range.clone()].starts_with('`') {
                        page.inline_code
                            .push((line_of(range.start), words.to_string()));
                    }
                    let code = block.as_mut().map(|block| &mut block.code);
                    for text in [code, heading.as_mut(), cell.as_mut()]
                        .into_iter()
                        .flatten()
                    {
                        text.push_str(&words);
                    }
                }
                Event::Start(Tag::Table(_)) => not_prose(range),
                Event::Start(Tag::TableRow | Tag::TableHead) => page.rows.push(Vec::new()),
                Event::Start(Tag::TableCell) => cell = Some(String::new()),
                Event::End(TagEnd::TableCell) => {
                    if let (Some(row), Some(cell)) = (page.rows.last_mut(), cell.take()) {
                        row.push(cell);
                    }
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let before: &mut u32 = seen.entry(anchor.clone()).or_insert(0);
                    page.anchors.push(match *before {
                        0 => anchor,
                        count => format!("{anchor}-{count}"),
                    });
                    *before += 1;
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links
                        .push((line_of(range.start), dest_url.into_string()));
                }
                _ => {}
            }
        }
        let lines = text.lines().zip(1..);
        page.prose = lines
            .filter(|(_, number)| is_prose[*number])
            .map(|(line, number)| (number, line.to_owned()))
            .collect();
        page
    }

    /// A mistake of this page, as one line that names the place.
    pub(crate) fn mistake(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }
}

/// The anchor that GitHub gives a heading: lower case, without punctuation, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn a_page_is_taken_apart() {
    let text = "# One: `two` & 3\n\nSee [it](a.md#b).\n\n```yaml spec\nx: 1\n\ny: 2\n```\n\n| a | b |\n|---|---|\n\
                | 1 | `2` |\n\n## One\n## One\n";
    let page = Page::new(Path::new("p.md"), text);
    assert_eq!(page.anchors, ["one-two--3", "one", "one-1"]);
    assert_eq!(page.links, [(3, "a.md#b".to_owned())]);
    assert_eq!(page.rows, [["a", "b"], ["1", "2"]]);
    let block = Block {
        line: 5,
        language: "yaml".to_owned(),
        tag: "spec".to_owned(),
        code: "x: 1\n\ny: 2\n".to_owned(),
    };
    assert_eq!(page.blocks, [block]);
    let prose: Vec<usize> = page.prose.iter().map(|(number, _)| *number).collect();
    assert!(
        prose.contains(&3) && !prose.contains(&6) && !prose.contains(&13),
        "{prose:?}"
    );
    assert_eq!(page.mistake(3, "wrong"), "p.md:3: wrong");
}
