//! One word for one idea: words that the glossary has replaced do not come back.

use crate::markdown::Page;

/// The replaced words of the glossary: the second column of its table "Words that are not used".
pub(crate) fn replaced(glossary: &Page) -> Vec<String> {
    let rows = glossary.rows.iter();
    let mut rows = rows.skip_while(|row| row.first().is_none_or(|cell| cell != "not used"));
    rows.next();
    rows.flat_map(|row| row.first().into_iter().flat_map(|cell| cell.split(", ")))
        .map(str::to_owned)
        .collect()
}

/// Lines of prose that use one of them.
pub(crate) fn mistakes(page: &Page, replaced: &[String]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (number, line) in &page.prose {
        let words = line.to_lowercase();
        let mut words = words.split(|c: char| !c.is_alphanumeric());
        if let Some(word) = words.find(|word| replaced.iter().any(|it| it == word)) {
            mistakes.push(page.mistake(
                *number,
                format!("the glossary has another word for `{word}`"),
            ));
        }
    }
    mistakes
}

#[test]
fn a_replaced_word_is_found() {
    let glossary =
        "| not used | use |\n|---|---|\n| champion, crown | incumbent |\n| dear | cost |\n";
    let replaced = replaced(&Page::new("g.md".as_ref(), glossary));
    assert_eq!(replaced, ["champion", "crown", "dear"]);
    let found = |text: &str| mistakes(&Page::new("p.md".as_ref(), text), &replaced);
    assert_eq!(found("The Champion stays.").len(), 1);
    assert!(found("The incumbent stays; a championship is another word.").is_empty());
}
