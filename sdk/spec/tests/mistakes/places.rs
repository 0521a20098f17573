//! Where a mistake is in the text, and how it is shown.

use evopress_spec::{Roots, check, locate, mistake_at, render};

use crate::support::{GOOD, data};

#[test]
fn pointers_are_found_in_the_text() {
    assert_eq!(locate(GOOD, "/search/stages/1/tokens"), (14, 50));
    assert_eq!(locate(GOOD, "/methods/0/options/granularity"), (7, 43));
    assert_eq!(locate(GOOD, "/search"), (9, 1));
    assert_eq!(
        locate(GOOD, "/search/initial/baselines"),
        (13, 3),
        "what is left out is found at what would hold it"
    );
    assert_eq!(locate(GOOD, ""), (1, 1));
    assert_eq!(locate("[", "/search"), (1, 1));
    let mistake = mistake_at(
        GOOD,
        "small.yaml",
        "/methods/0/plugin",
        "no plugin is named `drop`",
    );
    assert_eq!(
        mistake.to_string(),
        "small.yaml:7:14: $.methods[0].plugin: no plugin is named `drop`"
    );
}

#[test]
fn mistakes_are_shown_with_their_lines() {
    let text = GOOD
        .replace("generations: 10", "generations: \"ten\"")
        .replace("offspring: 8", "offspring: 8 # \u{1b}[31m")
        .replace(
            "mode: paper",
            &format!("mode: paper\n  {}: 1", "x".repeat(300)),
        );
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        data_roots: vec![],
    };
    let mistakes = check(&text, "small.yaml", &roots).unwrap_err();
    insta::assert_snapshot!(render(&mistakes, &text, "small.yaml", false));
    let coloured = render(&mistakes, &text, "small.yaml", true);
    assert!(coloured.contains("\u{1b}[1;31m"));
    let hostile = mistake_at(&text, "small.yaml", "/search/offspring", "found \u{1b}[31m");
    assert!(!render(&[hostile], &text, "small.yaml", false).contains("# \u{1b}"));
}
