//! The folder registry by itself: versions, digests, and death at any instant.

use std::fs;
use std::path::Path;

use evopress_core::digest_path;
use evopress_registries::{Bundle, FolderRegistry, PublishError, Registry};
use evopress_spec::RunDir;
use serde_json::Value;

use crate::support::Scratch;

fn registry(scratch: &Scratch) -> FolderRegistry {
    FolderRegistry {
        root: scratch.registry(),
        name: "tiny".into(),
    }
}

fn bundle(scratch: &Scratch, run: &str) -> Bundle {
    let run_dir = RunDir::new(scratch.path().join(run));
    fs::create_dir_all(run_dir.model().join("onnx")).unwrap();
    fs::write(run_dir.model().join("config.json"), run).unwrap();
    fs::write(
        run_dir.model().join("model.safetensors"),
        vec![7; 2_500_000],
    )
    .unwrap();
    fs::write(run_dir.model().join("onnx/extra.txt"), "").unwrap();
    Bundle::of_run(&run_dir).unwrap()
}

fn publish(scratch: &Scratch, bundle: &Bundle) -> Result<evopress_spec::Published, PublishError> {
    registry(scratch).publish(bundle, &mut |_| {})
}

fn latest(scratch: &Scratch) -> String {
    fs::read_link(scratch.registry().join("tiny/latest"))
        .unwrap()
        .display()
        .to_string()
}

#[test]
fn versions_count_up_and_a_run_is_published_once() {
    let scratch = Scratch::new();
    let (a, b) = (bundle(&scratch, "run-a"), bundle(&scratch, "run-b"));
    let first = publish(&scratch, &a).unwrap();
    assert_eq!(
        (first.version.as_str(), latest(&scratch).as_str()),
        ("v1", "v1")
    );
    assert_eq!(publish(&scratch, &b).unwrap().version, "v2");
    assert_eq!(publish(&scratch, &a).unwrap(), first, "again is the same");
    assert_eq!(latest(&scratch), "v2");
    fs::remove_dir_all(scratch.registry().join("tiny/v1")).unwrap();
    assert_eq!(
        publish(&scratch, &a).unwrap().version,
        "v3",
        "a number is not given twice"
    );
}

#[test]
fn the_manifest_has_every_file_with_its_digest() {
    let scratch = Scratch::new();
    let mut steps = Vec::new();
    let published = registry(&scratch)
        .publish(&bundle(&scratch, "run-a"), &mut |bytes| steps.push(bytes))
        .unwrap();
    let version = Path::new(&published.location);
    assert_eq!(
        published.digest,
        digest_path(&version.join("manifest.json")).unwrap()
    );
    let manifest: Value =
        serde_json::from_slice(&fs::read(version.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["run"], "run-a");
    let files = manifest["files"].as_array().unwrap();
    let names: Vec<_> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "onnx/extra.txt"]
    );
    for file in files {
        let path = version.join(file["path"].as_str().unwrap());
        assert_eq!(file["sha256"], digest_path(&path).unwrap());
        assert_eq!(file["size_bytes"], fs::metadata(&path).unwrap().len());
    }
    assert_eq!(*steps.last().unwrap(), 2_500_005);
    assert!(steps.len() >= 3 && steps.is_sorted());
}

#[test]
fn what_a_dead_publisher_left_is_cleaned_and_never_seen() {
    let scratch = Scratch::new();
    let home = scratch.registry().join("tiny");
    // Died while it copied.
    fs::create_dir_all(home.join(".staging/onnx")).unwrap();
    fs::write(home.join(".staging/model.safetensors"), "half").unwrap();
    std::os::unix::fs::symlink("v9", home.join(".latest.tmp")).unwrap();
    let a = bundle(&scratch, "run-a");
    publish(&scratch, &a).unwrap();
    assert!(!home.join(".staging").exists());
    assert_eq!(
        fs::metadata(home.join("v1/model.safetensors"))
            .unwrap()
            .len(),
        2_500_000
    );
    // Died after the version appeared and before `latest` was set.
    fs::remove_file(home.join("latest")).unwrap();
    assert_eq!(publish(&scratch, &a).unwrap().version, "v1");
    assert_eq!(latest(&scratch), "v1");
}

#[test]
fn publishers_of_several_processes_take_turns() {
    let scratch = Scratch::new();
    let bundles: Vec<_> = (0..6)
        .map(|n| bundle(&scratch, &format!("run-{}", n % 4)))
        .collect();
    let mut versions: Vec<String> = std::thread::scope(|scope| {
        let handles: Vec<_> = bundles
            .iter()
            .map(|it| scope.spawn(|| publish(&scratch, it).unwrap().version))
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .collect()
    });
    versions.sort();
    versions.dedup();
    assert_eq!(versions, ["v1", "v2", "v3", "v4"]);
    assert_eq!(latest(&scratch), "v4");
}

#[test]
fn a_registry_that_cannot_be_written_is_a_sentence() {
    let scratch = Scratch::new();
    fs::write(scratch.registry(), "a file").unwrap();
    let error = publish(&scratch, &bundle(&scratch, "run-a"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot create ") && error.contains("registry/tiny"),
        "{error}"
    );
}
