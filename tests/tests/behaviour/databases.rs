//! Level databases on disk: shared, killed, damaged, on a full disk; and models and specs that none
//! can be built for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use evopress_spec::EventKind;
use evopress_tests::{
    Scratch, Worker, eventually, programs, read_json, repository, timeless, yaml,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::levels::three_bits;

/// The one entry of the cache.
fn database(scratch: &Scratch) -> PathBuf {
    let entries = fs::read_dir(scratch.state().join("cache/levels")).unwrap();
    let folders: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

#[test]
fn another_budget_uses_the_same_database() {
    let scratch = Scratch::new();
    let first = scratch.report(&three_bits("first"));
    let mut spec = three_bits("second");
    spec["target"] = json!({"bits_per_weight": 3.5});
    let second = scratch.report(&spec);
    assert_eq!(first["databases"][0]["reused"], false);
    assert_eq!(second["databases"][0]["reused"], true);
    assert_eq!(first["databases"][0]["key"], second["databases"][0]["key"]);
    let value = second["achieved"]["value"].as_f64().unwrap();
    assert!(value <= 3.5 && value > 3.45, "{value}");

    let mut spec = three_bits("other-groups");
    spec["methods"][0]["options"]["group_size"] = json!("row");
    let third = scratch.report(&spec);
    assert_ne!(third["databases"][0]["key"], first["databases"][0]["key"]);

    let mut spec = three_bits("as-published");
    spec["database"]["first_token_share"] = json!(0);
    let fourth = scratch.report(&spec);
    assert_eq!(fourth["databases"][0]["reused"], false);
    let uniform = |report: &Value| report["evaluation"][0]["baselines"]["uniform"].clone();
    assert_ne!(uniform(&fourth), uniform(&first), "the same weights");
}

#[test]
fn a_build_that_is_killed_goes_on_at_the_layer_it_was_in() {
    let scratch = Scratch::new();
    let spec = three_bits("killed");
    let mut worker = Worker::prepare(&scratch, "calm/runs", &spec);
    worker.start();
    let expected = timeless(worker.finish());

    let mut worker = Worker::prepare(&scratch, "killed/runs", &spec);
    let levels = scratch.path().join("killed/cache/levels");
    // What the manifest names; a file that is committed and not yet named may be made again.
    let files = || -> Vec<PathBuf> {
        let Some(folder) = fs::read_dir(&levels)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.join("manifest.json").is_file())
        else {
            return Vec::new();
        };
        let manifest = read_json(&folder.join("manifest.json"));
        let names = manifest["files"].as_object().unwrap().keys();
        names.map(|name| folder.join(name)).collect()
    };
    let mut before = Vec::new();
    for wanted in [5, 30] {
        worker.start();
        eventually("some layers", || {
            (files().len() >= wanted || worker.ended().is_some()).then_some(())
        });
        worker.kill();
        before = files();
    }
    let times = |files: &[PathBuf]| -> Vec<_> {
        files
            .iter()
            .map(|file| file.metadata().unwrap().modified().unwrap())
            .collect()
    };
    let at = times(&before);
    worker.start();
    assert_eq!(timeless(worker.finish()), expected);
    assert_eq!(times(&before), at, "what was finished was not built again");
}

#[test]
fn a_damaged_layer_is_named_and_built_again_alone() {
    let scratch = Scratch::new();
    let spec = three_bits("sound");
    let expected = scratch.report(&spec);
    let folder = database(&scratch);
    let name = "model.layers.5.mlp.up_proj.safetensors";
    let sound = fs::read(folder.join(name)).unwrap();
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(folder.join(name), damaged).unwrap();

    let output = scratch.evopressd(&["cache", "verify"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(name), "{text}");

    let others = |folder: &Path| -> BTreeMap<PathBuf, std::time::SystemTime> {
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let layers = files.filter(|path| path.extension().is_some_and(|it| it == "safetensors"));
        layers
            .filter(|path| !path.ends_with(name))
            .map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap()))
            .collect()
    };
    let before = others(&folder);
    let mut spec = three_bits("again");
    spec["search"]["seed"] = json!(0);
    let report = scratch.report(&spec);
    assert_eq!(
        fs::read(folder.join(name)).unwrap(),
        sound,
        "the very same layer"
    );
    assert_eq!(others(&folder), before, "and no other");
    assert_eq!(report["genotype"], expected["genotype"]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains(name), "{warnings}");
    let output = scratch.evopressd(&["cache", "verify"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_search_over_levels_that_is_killed_ends_like_an_undisturbed_one() {
    let scratch = Scratch::new();
    let spec = three_bits("search");
    let mut worker = Worker::prepare(&scratch, "calm", &spec);
    worker.start();
    let expected = timeless(worker.finish());
    let mut worker = Worker::prepare(&scratch, "killed", &spec);
    worker.start();
    worker.wait_for_generation(3);
    worker.kill();
    worker.start();
    let mut report = timeless(worker.finish());
    report["databases"] = expected["databases"].clone(); // one has built it, the other found it
    assert_eq!(report, expected);
    let resumed = worker.events().into_iter().any(|event| {
        matches!(event, EventKind::Started { resumed_generation: Some(generation), .. } if generation >= 3)
    });
    assert!(resumed);
}

#[test]
fn a_database_text_that_is_edited_during_an_interruption_is_named_and_refused() {
    let scratch = Scratch::new();
    let text = scratch.path().join("database.txt");
    let original = fs::read(repository().join("pipelines/text/calibration.txt")).unwrap();
    fs::write(&text, &original).unwrap();
    let mut spec = three_bits("edited");
    spec["database"]["source"] = json!(text);
    let mut worker = Worker::prepare(&scratch, "state/runs", &spec);
    worker.start();
    worker.wait_for_generation(2);
    assert_eq!(worker.terminate().code(), Some(75));

    fs::write(&text, [b"One more line.\n", &original[..]].concat()).unwrap();
    worker.start();
    let status = eventually("a refusal", || worker.ended());
    assert_eq!(status.code(), Some(1));
    let Some(EventKind::Failed { reason }) = worker.events().pop() else {
        panic!("{:?}", worker.events().last());
    };
    let expected = format!("Changed since then: {}. Restore", text.display());
    assert!(reason.contains(&expected), "{reason}");

    fs::write(&text, &original).unwrap();
    worker.start();
    let report = worker.finish();
    assert_eq!(report["databases"][0]["reused"], true);
}

#[test]
fn what_cannot_be_is_a_sentence() {
    let scratch = Scratch::new();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut spec = three_bits("refused");
        change(&mut spec);
        let outcome = scratch.run(&spec);
        assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
        outcome.stderr
    };
    let expect = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    };
    let text = refused(&|spec| spec["target"] = json!({"bits_per_weight": 1.5}));
    expect(&text, &["$.target.bits_per_weight", "2"]);
    let text = refused(&|spec| spec["target"] = json!({"size_bytes": 1000}));
    expect(
        &text,
        &["$.target.size_bytes", "the cheapest levels come to"],
    );
    let text = refused(&|spec| spec["methods"][0]["options"]["bits"] = json!([3]));
    expect(&text, &["$.methods[0]", "bits"]);
    let text = refused(&|spec| spec["methods"][0]["options"]["group_size"] = json!(48));
    expect(&text, &["$.methods[0]", "48", "q_proj", "32"]);
    let text = refused(&|spec| {
        spec["search"]["grouping"] = json!("size");
        spec["target"] = json!({"compression": 3.0});
    });
    expect(&text, &["$.search.grouping", "tied"]);
    let little = scratch.path().join("little.txt");
    fs::write(&little, "Call me Ishmael.").unwrap();
    let text = refused(&|spec| spec["database"] = json!({"source": little, "tokens": 1024}));
    expect(&text, &["$.database.tokens", "little.txt"]);
    let text = refused(&|spec| spec["database"] = json!({"first_token_share": 1}));
    expect(&text, &["$.database.first_token_share", "below 1"]);
}

#[test]
fn weights_that_are_not_numbers_are_reported_with_their_tensor() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("broken");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(evopress_tests::fixture("tiny")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let start = {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor("model.layers.3.mlp.down_proj.weight").unwrap();
        view.data().as_ptr().addr() - bytes.as_ptr().addr()
    };
    bytes[start..start + 2].copy_from_slice(&[0xC0, 0x7F]); // NaN in bf16
    fs::write(&path, bytes).unwrap();
    let mut spec = three_bits("broken");
    spec["model"]["source"] = json!(folder);
    let outcome = scratch.run(&spec);
    assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
    let expected =
        "tensor model.layers.3.mlp.down_proj.weight has NaN at [0, 0], expected finite numbers";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
}

/// In namespaces of its own, where a disk of half a megabyte can be made and enlarged.
#[test]
fn a_full_disk_is_said_and_what_is_built_stays() {
    // A small disk takes a mount, which a namespace lets anybody make; some containers have none.
    let namespace = ["--user", "--map-root-user", "--mount"];
    let probe = Command::new("unshare").args(namespace).arg("true").status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("not tested: this system lets nobody make a namespace (unshare)");
        return;
    }
    let scratch = Scratch::new();
    let spec = three_bits("full");
    scratch.write("full", &yaml(&spec));
    let script = r#"
        set -u
        mkdir -p state
        mount -t tmpfs -o size=450k none state || exit 99
        "$EVOPRESSD" run full.yaml > first.txt 2>&1
        echo "first $?"
        ls state/cache/levels/*/*.safetensors | wc -l
        mount -o remount,size=64m state
        "$EVOPRESSD" run full.yaml > second.txt 2>&1
        echo "second $?"
    "#;
    let output = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", script])
        .current_dir(scratch.path())
        .env("EVOPRESSD", programs().evopressd())
        .env("EVOPRESS_WORKER", programs().worker())
        .env("EVOPRESS_PLUGINS", scratch.plugins())
        .env("EVOPRESS_STATE", scratch.path().join("state"))
        .env("EVOPRESS_THREADS", "1")
        .output()
        .unwrap();
    let said = |name: &str| fs::read_to_string(scratch.path().join(name)).unwrap_or_default();
    let answer = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = answer.lines().map(str::trim).collect();
    let (first, second) = (said("first.txt"), said("second.txt"));
    let [first_end, num_layers, second_end] = answers.as_slice() else {
        panic!(
            "{answer}\n{first}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    assert_eq!(*first_end, "first 1", "{first}");
    assert!(first.contains("full") && first.contains("disk"), "{first}");
    let num_layers: usize = num_layers.parse().unwrap();
    assert!((1..56).contains(&num_layers), "{num_layers} layers fit");
    assert_eq!(*second_end, "second 0", "{second}");
}
