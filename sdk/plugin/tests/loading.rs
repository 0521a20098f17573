//! Libraries good and bad, as they lie in a plugins folder, and what the host makes of them.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use evopress_plugin::{
    Chunk, Expectation, Fitness, HeadOps, OwnedTensor, PluginError, PluginKind, TensorView,
    conformance::{Library, ReferenceHead, llama_outline},
    host::{LoadError, PluginDir},
};
use serde_json::{Value, json};
use tempfile::TempDir;

static DROP: LazyLock<PathBuf> =
    LazyLock::new(|| Library::build_file("evopress-plugin-drop").unwrap());
static KL: LazyLock<PathBuf> = LazyLock::new(|| Library::build_file("evopress-plugin-kl").unwrap());
static PERPLEXITY: LazyLock<PathBuf> =
    LazyLock::new(|| Library::build_file("evopress-plugin-perplexity").unwrap());
static PANICS: LazyLock<PathBuf> =
    LazyLock::new(|| Library::build_file("evopress-fault-panics").unwrap());
static WRONG_LAYOUT: LazyLock<PathBuf> =
    LazyLock::new(|| Library::build_file("evopress-fault-wrong-layout").unwrap());
static WRONG_VERSION: LazyLock<PathBuf> =
    LazyLock::new(|| Library::build_file("evopress-fault-wrong-version").unwrap());

/// A folder with plugins, whose path reads `DIR` in messages.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &Path)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, source) in files {
            fs::copy(source, folder.path().join(name)).unwrap();
        }
        Folder(folder)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn open(&self) -> PluginDir {
        PluginDir::open(self.0.path()).unwrap()
    }

    fn say(&self, text: &impl ToString) -> String {
        text.to_string()
            .replace(self.0.path().to_str().unwrap(), "DIR")
    }

    /// What loading this one file says.
    fn reject(bytes: &[u8]) -> String {
        let folder = Folder::new(&[]);
        folder.write("libevopress_x.so", bytes);
        let listed = folder.open().list();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].sha256.len(), 64);
        folder.say(listed[0].plugin.as_ref().unwrap_err())
    }
}

fn method_error(plugins: &PluginDir, name: &str, options: &Value) -> LoadError {
    plugins.method(name, options).map(|_| ()).unwrap_err()
}

fn fitness_error(plugins: &PluginDir, name: &str, options: &Value) -> LoadError {
    plugins.fitness(name, options).map(|_| ()).unwrap_err()
}

#[test]
fn folder_is_listed() {
    let folder = Folder::new(&[
        ("libevopress_drop.so", &DROP),
        ("libevopress_kl.so", &KL),
        ("libevopress_perplexity.so", &PERPLEXITY),
        // Not plugins by their names.
        ("libfault_panics.so", &PANICS),
        ("evopress_kl.so", &KL),
        ("libevopress_kl.so.bak", &KL),
    ]);
    let listed = folder.open().list();
    let lines: Vec<String> = listed
        .iter()
        .map(|listed| {
            let loaded = listed.plugin.as_ref().unwrap();
            assert_eq!(listed.sha256.len(), 64);
            format!(
                "{} {} {} {}\n",
                folder.say(&listed.file.display()),
                loaded.kind,
                loaded.info.name,
                loaded.info.description
            )
        })
        .collect();
    insta::assert_snapshot!(lines.concat(), @r#"
DIR/libevopress_drop.so method drop Leaves out attention and MLP sub-blocks, whole blocks, or experts.
DIR/libevopress_kl.so fitness kl KL divergence of the compressed model from the dense one, in nats a token.
DIR/libevopress_perplexity.so fitness perplexity Cross-entropy of the next token, in nats: the logarithm of the perplexity.
"#);
    assert_ne!(listed[0].sha256, listed[1].sha256);
}

#[test]
fn method_works_across_the_boundary() {
    let folder = Folder::new(&[("libevopress_drop.so", &DROP)]);
    let method = folder
        .open()
        .method("drop", &json!({"granularity": "free"}))
        .unwrap();
    let units = method.units(&llama_outline(4), None).unwrap();
    assert_eq!(units.len(), 8);
    assert_eq!(method.measure(), "drop");
    assert_eq!(
        method.budget(&llama_outline(4), &units, 0.5).unwrap()[0].max_cost,
        4
    );
    insta::assert_snapshot!(method.budget(&llama_outline(4), &units, 0.1).unwrap_err(), @"method `drop`: a drop of 0.1 leaves out none of 4 blocks; the smallest that does is 0.25");
    insta::assert_snapshot!(method.units(&llama_outline(0), None).unwrap_err(), @"method `drop`: the model has no blocks to drop");
    // The plugin outlives the folder object.
    drop(folder);
    assert_eq!(method.units(&llama_outline(2), None).unwrap().len(), 4);
}

#[test]
fn fitness_works_across_the_boundary() {
    let head = ReferenceHead::new(vec![1.0, 0.0, 0.0, 1.0], 2, 2);
    let folder = Folder::new(&[
        ("libevopress_kl.so", &KL),
        ("libevopress_perplexity.so", &PERPLEXITY),
    ]);
    let plugins = folder.open();
    let (kl, perplexity) = (
        plugins.fitness("kl", &json!({})).unwrap(),
        plugins.fitness("perplexity", &Value::Null).unwrap(),
    );
    assert!(kl.needs_target() && !perplexity.needs_target());
    let chunk = |hidden| Chunk {
        hidden: TensorView::from_slice(hidden, &[1, 2]).unwrap(),
        next_tokens: &[1],
    };
    let (dense, student) = ([0.0_f32, 0.0], [3_f32.ln(), 0.0]);
    let target = kl.target(&head, &chunk(&dense)).unwrap();
    let loss = kl.loss(&head, &chunk(&student), &target.view()).unwrap()[0];
    // p = (1/2, 1/2), q = (3/4, 1/4).
    assert!((loss - 0.5 * (4_f32 / 3.0).ln()).abs() < 1e-6, "{loss}");
    let loss = perplexity
        .loss(&head, &chunk(&student), &Default::default())
        .unwrap()[0];
    assert!((loss - 4_f32.ln()).abs() < 1e-6, "{loss}");
}

#[test]
fn every_plugin_keeps_its_own_module() {
    let folder = Folder::new(&[
        ("libevopress_a.so", &KL),
        ("libevopress_b.so", &PERPLEXITY),
        ("libevopress_c.so", &DROP),
    ]);
    let plugins = folder.open();
    let names: Vec<_> = plugins
        .list()
        .iter()
        .map(|listed| listed.plugin.as_ref().unwrap().info.name.clone())
        .collect();
    // Names come from the plugins, not from their files.
    assert_eq!(names, ["kl", "perplexity", "drop"]);
    assert!(plugins.fitness("perplexity", &json!({})).is_ok());
    assert_eq!(
        plugins
            .find("drop", PluginKind::Method)
            .unwrap()
            .file
            .file_name()
            .unwrap(),
        "libevopress_c.so"
    );
}

#[test]
fn what_is_no_library_is_said_in_a_sentence() {
    insta::assert_snapshot!(Folder::reject(b""), @"DIR/libevopress_x.so is not a shared library for this machine: the file is empty");
    insta::assert_snapshot!(Folder::reject(b"#!/bin/sh\nexit 1\n"), @"DIR/libevopress_x.so is not a shared library for this machine: it does not start with the ELF magic number");
    insta::assert_snapshot!(Folder::reject(b"\x7fELF but no more"), @"DIR/libevopress_x.so is truncated: its headers describe 64 bytes, the file has 16");
    insta::assert_snapshot!(Folder::reject(&[0xa5; 4096]), @"DIR/libevopress_x.so is not a shared library for this machine: it does not start with the ELF magic number");
}

#[test]
fn truncated_library_is_not_loaded() {
    let whole = fs::read(&*KL).unwrap();
    for len in [4096, whole.len() / 2, whole.len() - 1] {
        let said = Folder::reject(&whole[..len]);
        assert!(
            said.starts_with("DIR/libevopress_x.so is truncated: its headers describe "),
            "{said}"
        );
        assert!(
            said.ends_with(&format!(" bytes, the file has {len}")),
            "{said}"
        );
    }
}

#[test]
fn library_of_another_version_or_kind_is_refused() {
    insta::assert_snapshot!(Folder::reject(&fs::read(&*WRONG_VERSION).unwrap()), @"DIR/libevopress_x.so was built for plugin ABI version 4000000; this evopressd has version 5: rebuild the plugin");
    // abi_stable's own report of this is tens of kilobytes.
    insta::assert_snapshot!(Folder::reject(&fs::read(&*WRONG_LAYOUT).unwrap()), @"DIR/libevopress_x.so has another layout of the plugin interface: mismatched package: rebuild the plugin");
    // Some shared library that is no plugin.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libgcc = maps
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .find(|path| path.contains("/libgcc_s"))
        .unwrap();
    insta::assert_snapshot!(Folder::reject(&fs::read(libgcc).unwrap()), @"DIR/libevopress_x.so is not a plugin: it does not export `evopress_plugin_abi_version`");
}

#[test]
fn bad_options_are_all_reported() {
    let folder = Folder::new(&[("libevopress_drop.so", &DROP)]);
    let plugins = folder.open();
    insta::assert_snapshot!(method_error(&plugins, "drop", &json!({"granularty": "block", "granularity": "sub-blok"})), @"options of the plugin `drop`: `granularity`: found `sub-blok`; allowed are `sub-block`, `block`, `free`, `expert`; did you mean `sub-block`?; `granularty`: unknown option `granularty`; allowed are `granularity`; did you mean `granularity`?");
    insta::assert_snapshot!(method_error(&plugins, "drop", &json!([])), @"options of the plugin `drop`: found the array []; allowed is object");
    let mistakes = plugins
        .check_options("drop", PluginKind::Method, &json!({"granularity": 3}))
        .unwrap();
    assert_eq!(mistakes[0].pointer, "/granularity");
    assert_eq!(
        plugins
            .check_options("drop", PluginKind::Method, &Value::Null)
            .unwrap(),
        []
    );
}

#[test]
fn names_that_are_not_there_are_explained() {
    let folder = Folder::new(&[
        ("libevopress_drop.so", &DROP),
        ("libevopress_kl.so", &KL),
        ("libevopress_perplexity.so", &PERPLEXITY),
        ("libevopress_other.so", &WRONG_VERSION),
    ]);
    let plugins = folder.open();
    insta::assert_snapshot!(folder.say(&method_error(&plugins, "dorp", &json!({}))), @"no method plugin is named `dorp` in DIR; there is `drop`; did you mean `drop`? (could not be loaded: DIR/libevopress_other.so)");
    insta::assert_snapshot!(folder.say(&fitness_error(&plugins, "magnitude", &json!({}))), @"no fitness plugin is named `magnitude` in DIR; there are `kl`, `perplexity` (could not be loaded: DIR/libevopress_other.so)");
    insta::assert_snapshot!(folder.say(&method_error(&plugins, "kl", &json!({}))), @"the plugin `kl` is a fitness, not a method");
    insta::assert_snapshot!(folder.say(&fitness_error(&plugins, "other", &json!({}))), @"DIR/libevopress_other.so was built for plugin ABI version 4000000; this evopressd has version 5: rebuild the plugin");
    insta::assert_snapshot!(folder.say(&fitness_error(&plugins, "../kl", &json!({}))), @"no fitness plugin is named `../kl` in DIR; there are `kl`, `perplexity` (could not be loaded: DIR/libevopress_other.so)");
    let empty = Folder::new(&[]);
    insta::assert_snapshot!(empty.say(&fitness_error(&empty.open(), "kl", &json!({}))), @"no fitness plugin is named `kl` in DIR; there are none");
    let twice = Folder::new(&[("libevopress_a.so", &KL), ("libevopress_b.so", &KL)]);
    insta::assert_snapshot!(twice.say(&fitness_error(&twice.open(), "kl", &json!({}))), @"DIR/libevopress_a.so and DIR/libevopress_b.so both say that they are the plugin `kl`");
    insta::assert_snapshot!(PluginDir::open("no/such/folder").map(|_| ()).unwrap_err(), @"cannot read no/such/folder: No such file or directory (os error 2)");
}

#[test]
fn panic_of_a_plugin_is_an_error() {
    let folder = Folder::new(&[("libevopress_panics.so", &PANICS)]);
    let plugins = folder.open();
    let head = ReferenceHead::random(5, 2, 1);
    let chunk = Chunk {
        hidden: TensorView::from_slice(&[0.5_f32, 0.5], &[1, 2]).unwrap(),
        next_tokens: &[1],
    };
    let make = |place: &str| plugins.fitness("panics", &json!({"in": place}));
    insta::assert_snapshot!(folder.say(&make("create").map(|_| ()).unwrap_err()), @"DIR/libevopress_panics.so panicked while being created: the fixture panics in create");
    insta::assert_snapshot!(folder.say(&make("needs_target").map(|_| ()).unwrap_err()), @"DIR/libevopress_panics.so panicked while saying whether it needs a target: the fixture panics in needs_target");
    insta::assert_snapshot!(make("target").unwrap().target(&head, &chunk).unwrap_err(), @"fitness `panics` panicked: the fixture panics in target");
    let fitness = make("loss").unwrap();
    insta::assert_snapshot!(fitness.loss(&head, &chunk, &Default::default()).unwrap_err(), @"fitness `panics` panicked: the fixture panics in loss");
    // It can be called again, and panics again.
    assert!(fitness.loss(&head, &chunk, &Default::default()).is_err());
    // A panic in the destructor harms nobody.
    drop(make("drop").unwrap());
}

/// A host whose operations panic.
struct PanickingHead;

impl HeadOps for PanickingHead {
    fn log_sum_exp(&self, _: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        panic!("the host panics");
    }
    fn expectation(&self, _: &TensorView<'_>) -> Result<Expectation, PluginError> {
        panic!("the host panics");
    }
    fn expected_logits(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        panic!("the host panics");
    }
    fn expected_gradient(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        panic!("the host panics");
    }
    fn token_logits(&self, _: &TensorView<'_>, _: &[i64]) -> Result<Vec<f32>, PluginError> {
        panic!("the host panics");
    }
    fn logits(&self, _: &TensorView<'_>) -> Result<OwnedTensor, PluginError> {
        panic!("the host panics");
    }
    fn difference(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        panic!("the host panics");
    }
    fn token_gradients(&self, _: &TensorView<'_>, _: &[i64]) -> Result<OwnedTensor, PluginError> {
        panic!("the host panics");
    }
}

#[test]
fn panic_of_the_host_comes_back_through_the_plugin() {
    let folder = Folder::new(&[("libevopress_perplexity.so", &PERPLEXITY)]);
    let fitness = folder.open().fitness("perplexity", &json!({})).unwrap();
    let chunk = Chunk {
        hidden: TensorView::from_slice(&[0.5_f32, 0.5], &[1, 2]).unwrap(),
        next_tokens: &[1],
    };
    insta::assert_snapshot!(fitness.loss(&PanickingHead, &chunk, &Default::default()).unwrap_err(), @"fitness `perplexity`: the host panicked: the host panics");
}

#[test]
fn file_that_changes_keeps_its_digest_until_the_next_process() {
    let folder = Folder::new(&[("libevopress_x.so", &KL)]);
    let plugins = folder.open();
    let before = plugins.list();
    folder.write("new", &fs::read(&*PERPLEXITY).unwrap());
    fs::rename(
        folder.0.path().join("new"),
        folder.0.path().join("libevopress_x.so"),
    )
    .unwrap();
    let after = plugins.list();
    assert_eq!(
        (&before[0].sha256, before[0].plugin.as_ref().unwrap()),
        (&after[0].sha256, after[0].plugin.as_ref().unwrap())
    );
    // Another look from this process would get the old code under the new digest.
    let next = folder.open().list();
    assert_ne!(next[0].sha256, before[0].sha256);
    insta::assert_snapshot!(folder.say(next[0].plugin.as_ref().unwrap_err()), @"DIR/libevopress_x.so changed while this process was using it: start a new one");
}

#[test]
fn segfault_ends_the_process_and_nothing_else() {
    const CHILD: &str = "EVOPRESS_TEST_SEGFAULT_FOLDER";
    if let Some(folder) = std::env::var_os(CHILD) {
        call_three_times(Path::new(&folder));
        return;
    }
    let segfaults = Library::build_file("evopress-fault-segfaults").unwrap();
    let folder = Folder::new(&[("libevopress_segfaults.so", &segfaults)]);
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "segfault_ends_the_process_and_nothing_else",
            "--nocapture",
        ])
        .env(CHILD, folder.0.path())
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(output.status.signal(), Some(11), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("two losses"));
}

fn call_three_times(folder: &Path) {
    let fitness: Box<dyn Fitness> = PluginDir::open(folder)
        .unwrap()
        .fitness("segfaults", &json!({}))
        .unwrap();
    let head = ReferenceHead::random(5, 2, 1);
    let chunk = Chunk {
        hidden: TensorView::from_slice(&[0.5_f32, 0.5], &[1, 2]).unwrap(),
        next_tokens: &[1],
    };
    for _ in 0..2 {
        fitness.loss(&head, &chunk, &Default::default()).unwrap();
    }
    println!("two losses");
    fitness.loss(&head, &chunk, &Default::default()).unwrap();
}
