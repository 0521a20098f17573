//! The documentation against the code: commands, specs, quoted files, links and the generated
//! reference.
//!
//! Every page is read as Markdown. The info string of a fenced block says how it is checked:
//!
//! | block | check |
//! |---|---|
//! | ```` ```yaml spec ```` | a whole spec: `evopress-spec` accepts it |
//! | ```` ```yaml part ```` | top-level fields of a spec: accepted in place of those of a small spec |
//! | ```` ```yaml config ```` | a config file of `evopressd serve` |
//! | ```` ```yaml prometheus ```` | YAML |
//! | ```` ```sh ```` | every `evopressd`, `make` and `cargo` command exists, with its flags |
//! | ```` ```LANGUAGE file=PATH ```` | the text stands in that file, line by line |
//! | ```` ```text ```` | nothing: an output or a drawing |
//!
//! `EVOPRESS_UPDATE_DOCS=1` writes the generated pages instead of comparing them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocks;
mod commands;
mod links;
mod markdown;
mod places;
mod reference;
mod shape;
mod specs;
mod words;

use markdown::Page;
use places::{page, pages};

/// Fails with all mistakes of all pages at once.
#[track_caller]
fn assert_no_mistakes(find: impl Fn(&Page) -> Vec<String>) {
    let mistakes: Vec<String> = pages().iter().flat_map(find).collect();
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

#[test]
fn code_in_the_docs_holds() {
    assert_no_mistakes(blocks::mistakes);
}

#[test]
fn links_lead_somewhere() {
    assert_no_mistakes(links::mistakes);
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    assert_eq!(links::unreachable(&pages()), Vec::<String>::new());
}

#[test]
fn the_architecture_names_every_crate() {
    let page = page("docs/architecture.md");
    let named: Vec<&str> = page.rows.iter().flatten().map(String::as_str).collect();
    let packages = commands::packages();
    // Plugins have one row together, and tests and examples none.
    let has_a_row = |name: &str| {
        let is_plugin = name.starts_with("evopress-plugin-") && name != "evopress-plugin-tch";
        let is_test = name.starts_with("evopress-fault-")
            || ["evopress-tests", "evopress-fuzz"].contains(&name);
        !is_plugin && !is_test && name != "evopress-examples"
    };
    let ours = packages
        .iter()
        .map(String::as_str)
        .filter(|it| has_a_row(it));
    let missing: Vec<&str> = ours.filter(|it| !named.contains(it)).collect();
    assert!(
        missing.is_empty(),
        "docs/architecture.md has no row for {missing:?}"
    );
}

#[test]
fn prose_fits_in_its_columns_and_the_readme_on_its_lines() {
    assert_no_mistakes(shape::mistakes);
}

#[test]
fn the_docs_use_the_words_of_the_glossary() {
    let replaced = words::replaced(&page("docs/glossary.md"));
    assert!(
        replaced.len() > 10,
        "the glossary lists replaced words: {replaced:?}"
    );
    assert_no_mistakes(|page| words::mistakes(page, &replaced));
}

#[test]
fn the_reference_is_current() {
    reference::check("docs/reference/spec.md", &reference::of_specs());
    reference::check("docs/reference/config.md", &reference::of_the_config());
}
