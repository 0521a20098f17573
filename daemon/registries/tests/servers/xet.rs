//! Large files by Xet: Hugging Face's own store behind the stand-in for the Hub, first used by the
//! official client, then by us, then read by the official client.

use std::fs;
use std::path::Path;

use evopress_registries::{Bundle, PublishError};
use evopress_spec::RunDir;
use serde_json::json;

use crate::hub::{add, hub, hub_with};
use crate::places::{HUB_TOKEN as TOKEN, xet_store};
use crate::proxy::Proxy;
use crate::support::{assert_same, bundle, free_port, publish, refused, said, wait_for};

/// A store on loopback that ends with the test.
struct Store {
    port: u16,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn store() -> Store {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(xet_store(port, folder.path().to_owned()));
    wait_for(port);
    Store {
        port,
        _folder: folder,
        _runtime: runtime,
    }
}

impl Store {
    /// A line to it that does not break.
    fn line(&self) -> Proxy {
        Proxy::new(self.port, usize::MAX)
    }
}

/// A run whose weights are like no others: nothing in them can be packed.
fn run_of(folder: &Path, run: &str) -> Bundle {
    let mut bundle = bundle(folder, run);
    let run_dir = RunDir::new(folder.join(run));
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let words = (0..2_500_000).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let weights: Vec<u8> = words.collect();
    fs::write(run_dir.model().join("model.safetensors"), weights).unwrap();
    bundle.files = Bundle::of_run(&run_dir).unwrap().files;
    bundle
}

/// Another run, whose weights have more in their midst than those of the first.
fn changed(folder: &Path, run: &str, of: &Bundle) -> Bundle {
    let run_dir = RunDir::new(folder.join(run));
    fs::create_dir_all(run_dir.model()).unwrap();
    for file in &of.files {
        if !file.name.contains('/') {
            fs::copy(&file.source, run_dir.model().join(&file.name)).unwrap();
        }
    }
    let path = run_dir.model().join("model.safetensors");
    let mut weights = fs::read(&path).unwrap();
    weights.splice(10_000_000..10_000_000, [7; 1000]);
    fs::write(path, weights).unwrap();
    Bundle::of_run(&run_dir).unwrap()
}

#[test]
fn the_official_client_gets_along_with_the_stand_in_and_the_store() {
    let store = store();
    let line = store.line();
    let hub = hub_with(Some(&line.url));
    let run = run_of(hub.folder.path(), "tiny-aaa");
    let mut upload = hub.official("hub_upload.py");
    let model = hub.folder.path().join("tiny-aaa/model");
    upload.args(["acme/official", model.to_str().unwrap()]);
    let commit = said(upload);
    assert!(line.asked().contains("post /v2/shards"));
    assert!(!line.asked().contains("get /v2/reconstructions/"));

    let found = hub.read("acme/official", "main");
    assert_eq!(found["commits"][0]["id"], commit.trim());
    assert_same(&run, &found["files"]);
    assert!(line.asked().contains("get /v2/reconstructions/"));
}

#[test]
fn a_run_arrives_by_xet_and_only_what_is_new_travels() {
    let store = store();
    let line = store.line();
    let hub = hub_with(Some(&line.url));
    let folder = hub.folder.path();
    let a = run_of(folder, "tiny-aaa");
    // The stand-in wants it inside the commit; a file that large never goes there.
    let a = add(folder, a, "tokenizer.json", 6_000_000);
    let to = hub.target(TOKEN);
    let first = publish(&to, &a);
    let asked = line.asked();
    assert!(asked.len() > 20_000_000, "{}", asked.len());
    let of_the_store = asked.split("authorization: bearer ").skip(1);
    let tokens: Vec<_> = of_the_store.filter_map(|it| it.lines().next()).collect();
    assert!(
        tokens.iter().all(|token| token.starts_with("xet-")) && tokens.len() > 2,
        "{tokens:?}"
    );
    assert_ne!(tokens[0], tokens[1], "a token that expires is replaced");
    assert!(!asked.contains("/v1/telemetry"));

    let found = hub.read("acme/tiny", &first.version);
    assert_same(&a, &found["files"]);
    assert_eq!(found["lfs"], json!(["model.safetensors", "tokenizer.json"]));
    assert!(line.asked().contains("get /v2/reconstructions/"));

    let before = line.asked().len();
    assert_eq!(publish(&to, &a), first, "publishing twice changes nothing");
    assert_eq!(line.asked().len(), before);

    let b = changed(folder, "tiny-bbb", &a);
    let second = publish(&to, &b);
    let sent = line.asked().len() - before;
    assert!(sent < 2_000_000, "{sent} bytes of 26 MB");
    let back = hub.back(&hub.url);
    let fetched = back.fetch(&hub.origin("hf://acme/tiny@tiny-bbb"));
    assert_eq!(fetched.version, second.version);
    let weights = fetched.path.join("model.safetensors");
    let digest = evopress_core::digest_path(&weights).unwrap();
    let model = |file: &&evopress_registries::BundleFile| file.name == "model.safetensors";
    assert_eq!(digest, b.files.iter().find(model).unwrap().sha256);
}

#[test]
fn an_upload_that_breaks_is_made_again_and_sends_the_rest() {
    let store = store();
    // Enough for the answers until the data are there, and not for that to what describes the file.
    let line = Proxy::new(store.port, 1400);
    let hub = hub_with(Some(&line.url));
    let run = run_of(hub.folder.path(), "tiny-aaa");
    let to = hub.target(TOKEN);
    let error = refused(&to, &run, TOKEN);
    let sentence = format!("cannot reach huggingface at {}: ", line.url);
    assert!(error.to_string().starts_with(&sentence), "{error}");
    let before = line.asked().len();
    assert!(before > 20_000_000, "{before}");

    line.mend();
    let published = publish(&to, &run);
    let sent = line.asked().len() - before;
    assert!(sent < 1_000_000, "{sent}");
    assert_same(&run, &hub.read("acme/tiny", &published.version)["files"]);
}

#[test]
fn a_store_that_refuses_or_is_not_safe_to_reach_is_named() {
    let other = hub();
    let refusing = hub_with(Some(&other.url));
    let run = bundle(refusing.folder.path(), "tiny-aaa");
    let error = refused(&refusing.target(TOKEN), &run, TOKEN);
    assert_eq!(
        error.to_string(),
        "huggingface refused the upload to its Xet store with status 401: Unauthorized"
    );

    let elsewhere = hub_with(Some("http://xet.example.org"));
    let error = refused(&elsewhere.target(TOKEN), &run, TOKEN);
    assert!(matches!(error, PublishError::Settings(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "huggingface at http://xet.example.org is plain http beyond this machine, which needs `plain_http: true`"
    );
}
