//! Texts that are meant to take long, or that have more mistakes than anybody reads.

use crate::support::{told, told_with};

#[test]
fn hostile_texts_end_soon() {
    let mut laughs = String::from("a: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let before = format!("*l{}, ", level - 1).repeat(9);
        laughs.push_str(&format!(
            "b{level}: &l{level} [{}]\n",
            before.trim_end_matches(", ")
        ));
    }
    insta::assert_snapshot!(
        told(&laughs).lines().last().unwrap(),
        @"small.yaml:6:10: $: the file holds more than 100000 values, aliases written out: that is no pipeline"
    );
    insta::assert_snapshot!(told("a: &self [*self]\n"), @"small.yaml:1:11: $.a: this alias stands inside the very thing that it refers to");
    insta::assert_snapshot!(told(&"[".repeat(1 << 19)), @"small.yaml:1:256: $: this is nested too deeply");
    insta::assert_snapshot!(
        told(&"- ".repeat(1 << 19)),
        @"small.yaml:1:65: $[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: this is nested deeper than 32 levels"
    );
    insta::assert_snapshot!(told(&"{a: ".repeat(1 << 18)), @"small.yaml:1:1021: $: this is nested too deeply");
    let many: String = (0..20_000)
        .map(|idx| format!("field{idx}: {idx}\n"))
        .collect();
    let told = told(&many);
    // Five unknown fields, and the seven that are missing.
    assert_eq!(told.lines().count(), 12);
    insta::assert_snapshot!(
        told.lines().last().unwrap(),
        @"small.yaml:5:1: $.field4: `field4` is not a field of a pipeline, which has `apiVersion`, `kind`, `metadata`, `model`, `calibration`, `database`, `methods`, `target`, `search`, `baselines`, `evaluation`, `artifacts`, `publish` and `limits`; and 995 more like this after it"
    );
}

#[test]
fn of_one_kind_of_mistake_the_first_few_are_told() {
    let nothing = told(&"\0".repeat(4096));
    assert!(nothing.len() < 1000, "{nothing}");
    assert!(
        nothing.contains("; and 95 more like this after it"),
        "{nothing}"
    );
    let stage = "{tokens: many, survivors: 1}, ".repeat(9);
    let told = told_with(
        "[{tokens: 512, survivors: 2}, {tokens: 2048, survivors: 1}]",
        &format!("[{stage}]"),
    );
    assert_eq!(told.lines().count(), 1 + 5, "{told}");
    assert!(told.ends_with("; and 4 more like this after it"), "{told}");
}

#[test]
fn as_many_mistakes_as_fit_end_soon() {
    let stages = "[{tokens: 512, survivors: 2}, {tokens: 2048, survivors: 1}]";
    for stage in [
        "1",
        "{}",
        "{tokens: 1.0, survivors: 1}",
        "{survivors: 1, x: 1}",
        "[]",
    ] {
        let many = vec![stage; 900_000 / (stage.len() + 2)].join(", ");
        told_with(stages, &format!("[{many}]"));
    }
    let fields: String = (0..60_000).map(|idx| format!("f{idx}: 1, ")).collect();
    told_with("team: edge", &fields);
    told_with("{drop: 0.25}", &format!("{{{fields}}}"));
    for (text, times) in [
        ("a: 1\n", 200_000),
        ("a: [\n", 200_000),
        ("- [a, {b: c}]\n", 70_000),
        ("\u{7}", 1 << 20),
        ("\n", 1 << 20),
        ("\"", 1 << 20),
        ("? ", 1 << 19),
        ("&a ", 1 << 18),
        ("a", 1 << 20),
        ("a ", 1 << 19),
        ("a\n", 1 << 19),
    ] {
        told(&text.repeat(times));
    }
}
