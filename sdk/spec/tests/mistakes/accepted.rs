//! Specs without mistakes, and what they resolve to.

use std::fs;
use std::path::Path;

use evopress_spec::{ModelLocation, Origin, Roots, Secret, check, check_bytes};

use crate::support::{GOOD, data};

#[test]
fn the_good_spec_is_good() {
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        data_roots: vec![],
    };
    check(GOOD, "small.yaml", &roots).unwrap();
    check_bytes(
        format!("\u{FEFF}{}", GOOD.replace('\n', "\r\n")).as_bytes(),
        "small.yaml",
        &roots,
    )
    .unwrap();
}

#[test]
fn aliases_are_read() {
    let text = GOOD
        .replace(
            "source: text/calibration.txt, tokens: 4096",
            "source: text/calibration.txt, tokens: &all 4096",
        )
        .replace(
            "{tokens: 2048, survivors: 1}",
            "{tokens: *all, survivors: 1}",
        );
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        data_roots: vec![],
    };
    assert_eq!(
        check(&text, "small.yaml", &roots).unwrap().search.stages[1].tokens,
        4096
    );
}

#[test]
fn a_model_from_a_registry_is_not_looked_for_here() {
    let data = data();
    let roots = Roots {
        spec_dir: data.path().to_owned(),
        ..Roots::default()
    };
    let text = GOOD.replace(
        "models/small.gguf",
        "\"hf://acme/small\", token: {env: HUB_TOKEN}, url: \"http://127.0.0.1:8000/\"",
    );
    let plan = check(&text, "small.yaml", &roots).unwrap();
    let ModelLocation::Remote(origin) = plan.model.location else {
        panic!("{:?}", plan.model.location);
    };
    assert_eq!(origin.address.to_string(), "hf://acme/small@main");
    assert_eq!(origin.url.as_deref(), Some("http://127.0.0.1:8000"));
    assert_eq!(origin.secrets(), [&Secret::Env("HUB_TOKEN".to_owned())]);
    let written = serde_json::to_string(&origin).unwrap();
    assert_eq!(serde_json::from_str::<Origin>(&written).unwrap(), origin);
}

#[test]
fn a_relative_path_is_tried_beside_the_spec_first() {
    let (near, far) = (data(), data());
    let roots = |spec: &Path, data: &Path| Roots {
        spec_dir: spec.to_owned(),
        data_roots: vec![data.to_owned()],
    };
    let plan = check(GOOD, "small.yaml", &roots(near.path(), far.path())).unwrap();
    assert!(plan.model.location.path().unwrap().starts_with(near.path()));
    fs::remove_file(near.path().join("models/small.gguf")).unwrap();
    let plan = check(GOOD, "small.yaml", &roots(near.path(), far.path())).unwrap();
    let expected = far.path().join("models/small.gguf");
    assert_eq!(plan.model.location, ModelLocation::Local(expected));
    assert!(plan.calibration.source.starts_with(near.path()));
}
