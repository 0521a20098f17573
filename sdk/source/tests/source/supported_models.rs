//! The page of the documentation about families is what they declare.

use std::fs;

use evopress_source::{fixtures, supported_models};

#[test]
fn supported_models_are_listed_as_they_are_declared() {
    let page = fixtures::folder().join("../../docs/supported-models.md");
    let expected = supported_models();
    if std::env::var_os("EVOPRESS_UPDATE_DOCS").is_some() {
        fs::write(&page, &expected).unwrap();
    }
    let found = fs::read_to_string(&page).unwrap();
    assert!(
        found == expected,
        "{} is not current: set EVOPRESS_UPDATE_DOCS=1 and run this test again",
        page.display()
    );
}

/// Every family that the page calls proven has a model that the tests compute with.
#[test]
fn every_family_has_a_fixture() {
    let page = supported_models();
    let rows = page.lines().filter(|line| line.contains("| yes | yes |"));
    let named = rows.map(|row| row.split('`').nth(1).unwrap().to_owned());
    let folders = ["families", "experts"].map(|it| fixtures::folder().join(it));
    let mut found: Vec<String> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| {
            let source = evopress_source::Source::open(&entry.unwrap().path());
            source.unwrap().spec().architecture.clone()
        })
        .collect();
    found.sort();
    for family in named {
        assert!(found.contains(&family), "{family} has no fixture");
    }
}
