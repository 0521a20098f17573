//! The stand-in for the Hugging Face Hub, first driven by the official client, then by us, then
//! read by the official client.

use std::fs;
use std::path::Path;
use std::process::Command;

use evopress_cache::State;
use evopress_core::{digest_model, digest_path};
use evopress_registries::{Bundle, Endpoints, FetchError};
use evopress_spec::{Credentials, Origin, Publish, RunDir};
use serde_json::{Value, json};

use crate::back::{Back, origin};
use crate::places::{self, HUB_TOKEN as TOKEN, to_hub};
use crate::proxy::Proxy;
use crate::support::{Server, answer, assert_same, bundle, publish, python, refused, said, secret};

pub(crate) struct Hub {
    pub(crate) url: String,
    port: u16,
    pub(crate) folder: tempfile::TempDir,
    server: Server,
    has_xet: bool,
}

pub(crate) fn hub() -> Hub {
    hub_with(None)
}

/// With the URL of a Xet store in which it keeps large files.
pub(crate) fn hub_with(xet: Option<&str>) -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = places::hub(folder.path(), xet);
    let url = format!("http://127.0.0.1:{port}");
    Hub {
        url,
        port,
        folder,
        server,
        has_xet: xet.is_some(),
    }
}

impl Hub {
    pub(crate) fn official(&self, script: &str) -> Command {
        let mut client = python(script, "EVOPRESS_TEST_PYTHONPATH");
        client
            .env("HF_ENDPOINT", &self.url)
            .env("HF_TOKEN", TOKEN)
            .env("HF_HOME", self.folder.path().join("home"))
            .env("HF_HUB_DISABLE_XET", if self.has_xet { "0" } else { "1" })
            .env_remove("HF_HUB_OFFLINE");
        client
    }

    pub(crate) fn read(&self, repository: &str, revision: &str) -> Value {
        let mut client = self.official("hub_read.py");
        let down = self.folder.path().join("down");
        client.args([repository, revision, down.to_str().unwrap()]);
        answer(client)
    }

    pub(crate) fn back(&self, url: &str) -> Back {
        let endpoints = Endpoints {
            huggingface: Some(url.to_owned()),
            ..Endpoints::default()
        };
        Back::new(self.folder.path(), endpoints)
    }

    pub(crate) fn origin(&self, address: &str) -> Origin {
        let token = secret(self.folder.path(), TOKEN);
        origin(address, Credentials::Bearer { token })
    }

    pub(crate) fn target(&self, token: &str) -> Publish {
        to_hub(self.port, secret(self.folder.path(), token))
    }
}

/// The bundle with one file more.
pub(crate) fn add(folder: &Path, mut bundle: Bundle, name: &str, size_bytes: usize) -> Bundle {
    let run_dir = evopress_spec::RunDir::new(folder.join(&bundle.run));
    fs::write(run_dir.model().join(name), vec![b'7'; size_bytes]).unwrap();
    bundle.files = Bundle::of_run(&run_dir).unwrap().files;
    bundle
}

#[test]
fn the_official_client_gets_along_with_the_stand_in() {
    let hub = hub();
    let run = bundle(hub.folder.path(), "tiny-aaa");
    let mut upload = hub.official("hub_upload.py");
    upload.args([
        "acme/official",
        hub.folder.path().join("tiny-aaa/model").to_str().unwrap(),
    ]);
    let commit = said(upload);
    let found = hub.read("acme/official", "main");
    assert_eq!(found["commits"][0]["id"], commit.trim());
    assert_same(&run, &found["files"]);
}

#[test]
fn the_hub_has_one_commit_of_a_run_and_the_official_client_reads_it() {
    let hub = hub();
    let folder = hub.folder.path();
    let a = bundle(folder, "tiny-aaa");
    let a = add(folder, a, "model-00002-of-00002.safetensors", 100);
    // The stand-in wants it inside the commit; a file that large never goes there.
    let a = add(folder, a, "tokenizer.json", 6_000_000);
    let b = bundle(folder, "tiny-bbb");
    let wrong = "hf_that_is_wrong";
    let error = refused(&hub.target(wrong), &a, wrong).to_string();
    assert!(
        error.contains("with status 401: Invalid username or password."),
        "{error}"
    );

    let to = hub.target(TOKEN);
    let first = publish(&to, &a);
    let found = hub.read("acme/tiny", &first.version);
    assert_same(&a, &found["files"]);
    assert_eq!(found["private"], true);
    let large = [
        "model-00002-of-00002.safetensors",
        "model.safetensors",
        "tokenizer.json",
    ];
    assert_eq!(found["lfs"], json!(large));

    let second = publish(&to, &b);
    assert_eq!(publish(&to, &a), first, "publishing twice changes nothing");
    let found = hub.read("acme/tiny", "main");
    // None of the first run's weights is beside the second's; other files stay.
    let mut files = found["files"].clone();
    assert!(
        files
            .as_object_mut()
            .unwrap()
            .remove("tokenizer.json")
            .is_some()
    );
    assert_same(&b, &files);
    assert_eq!(
        found["tags"],
        json!({"tiny-aaa": first.version, "tiny-bbb": second.version})
    );
    let commits = found["commits"].as_array().unwrap();
    let commits: Vec<_> = commits
        .iter()
        .map(|commit| commit["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        commits[..commits.len() - 1],
        [&second.version, &first.version]
    );
    assert_same(&a, &hub.read("acme/tiny", "tiny-aaa")["files"]);
}

/// A model of two files, which the stand-in lists on one page.
fn small_bundle(folder: &Path) -> Bundle {
    let run_dir = RunDir::new(folder.join("tiny-small"));
    fs::create_dir_all(run_dir.model()).unwrap();
    fs::write(run_dir.model().join("config.json"), "{}").unwrap();
    let weights: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(run_dir.model().join("model.safetensors"), weights).unwrap();
    Bundle::of_run(&run_dir).unwrap()
}

#[test]
fn a_model_comes_back_from_the_hub_once_and_a_commit_needs_no_hub() {
    let hub = hub();
    let folder = hub.folder.path();
    let run = bundle(folder, "tiny-aaa");
    let published = publish(&hub.target(TOKEN), &run);
    let back = hub.back(&hub.url);
    let fetched = back.check(&hub.origin("hf://acme/tiny"), &run);
    assert_eq!(fetched.version, published.version);
    for tag in ["tiny-aaa", published.version.as_str()] {
        let same = back.fetch(&hub.origin(&format!("hf://acme/tiny@{tag}")));
        assert_eq!((same.fetched_bytes, &same.path), (0, &fetched.path));
    }

    let missing = |address: &str| {
        let error = back.refused(&hub.origin(address), TOKEN);
        assert!(matches!(error, FetchError::Missing { .. }), "{error}");
        error.to_string()
    };
    assert_eq!(
        missing("hf://acme/none"),
        "hf://acme/none@main is not there: Repository not found"
    );
    assert_eq!(
        missing("hf://acme/tiny@v7"),
        "hf://acme/tiny@v7 is not there: Revision not found"
    );
    missing("hf://acme/tiny/none.gguf");
    let nobody = origin("hf://acme/tiny", Credentials::None);
    assert_eq!(
        back.refused(&nobody, TOKEN).to_string(),
        "hf://acme/tiny@main may not be read: it is private or not there (Invalid username or password.); a private or gated \
         model needs `model.token`, or HF_TOKEN"
    );

    let commit = format!("hf://acme/tiny@{}", published.version);
    drop(hub.server);
    let nobody = origin(&commit, Credentials::None);
    assert_eq!(back.fetch(&nobody).path, fetched.path);
    let moving = origin("hf://acme/tiny", Credentials::None);
    let error = back.refused(&moving, TOKEN);
    assert!(error.is_passing(), "{error}");
    let sentence =
        "cannot fetch hf://acme/tiny@main: cannot reach huggingface at http://127.0.0.1:";
    assert!(error.to_string().starts_with(sentence), "{error}");
}

#[test]
fn one_gguf_file_of_a_repository_is_a_model() {
    let hub = hub();
    let folder = hub.folder.path();
    let run_dir = RunDir::new(folder.join("tiny-gguf"));
    fs::create_dir_all(run_dir.model().join("small")).unwrap();
    let parts = ["d-00001-of-00002.gguf", "d-00002-of-00002.gguf"];
    for name in ["a.gguf", "b.gguf", "small/c.gguf", parts[0], parts[1]] {
        fs::write(run_dir.model().join(name), format!("GGUF of {name}")).unwrap();
    }
    publish(&hub.target(TOKEN), &Bundle::of_run(&run_dir).unwrap());
    let back = hub.back(&hub.url);
    for name in ["b.gguf", "small/c.gguf"] {
        let fetched = back.fetch(&hub.origin(&format!("hf://acme/tiny@main/{name}")));
        assert!(name.ends_with(fetched.path.file_name().unwrap().to_str().unwrap()));
        let text = fs::read_to_string(&fetched.path).unwrap();
        assert_eq!(text, format!("GGUF of {name}"));
        assert_eq!(fetched.digest, evopress_core::digest_bytes(text.as_bytes()));
    }
    let fetched = back.fetch(&hub.origin(&format!("hf://acme/tiny@main/{}", parts[0])));
    for name in parts {
        let text = fs::read_to_string(fetched.path.with_file_name(name)).unwrap();
        assert_eq!(text, format!("GGUF of {name}"));
    }
    let digest = digest_model(&fetched.path, digest_path).unwrap();
    assert_eq!(fetched.digest, digest);
    let error = back.refused(&hub.origin("hf://acme/tiny"), TOKEN);
    assert!(matches!(error, FetchError::NoModel { .. }), "{error}");
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    let hub = hub();
    let run = small_bundle(hub.folder.path());
    publish(&hub.target(TOKEN), &run);
    let line = Proxy::new(hub.port, 2_000_000);
    let back = hub.back(&line.url);
    let wanted = hub.origin("hf://acme/tiny");
    let error = back.refused(&wanted, TOKEN);
    assert!(error.is_passing(), "{error}");
    assert_eq!(back.entries(), [(State::Unfinished, true)]);
    assert!(!line.asked().contains("range: bytes="));

    line.mend();
    back.check(&wanted, &run);
    let asked = line.asked();
    let range = asked.split("range: bytes=").nth(1).unwrap();
    let offset: u64 = range.split('-').next().unwrap().parse().unwrap();
    assert!((1_000_000..2_000_000).contains(&offset), "{offset}");
    assert_eq!(asked.matches("range: bytes=").count(), 1);
    assert_eq!(back.entries(), [(State::Complete, true)]);
}

#[test]
fn a_damaged_byte_is_refused_at_the_source_and_mended_in_the_cache() {
    let hub = hub();
    let run = small_bundle(hub.folder.path());
    publish(&hub.target(TOKEN), &run);
    let (back, mut wanted) = (hub.back(&hub.url), hub.origin("hf://acme/tiny"));
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[1_234_567] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let weights = &run.files[1];
    let stored = hub.folder.path().join("store").join(&weights.sha256);
    flip(&stored);
    let error = back.refused(&wanted, TOKEN);
    assert!(matches!(error, FetchError::Damaged { .. }), "{error}");
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("model.safetensors of hf://acme/tiny@main has SHA-256 "),
        "{sentence}"
    );
    assert_eq!(back.entries(), [(State::Unfinished, true)]);

    flip(&stored);
    let fetched = back.check(&wanted, &run);
    assert_eq!(
        fetched.fetched_bytes, weights.size_bytes,
        "the rest was there"
    );
    wanted.version = Some(fetched.version.clone());
    flip(&fetched.path.join("model.safetensors"));
    drop(fetched);
    let endpoints = Endpoints::default();
    evopress_registries::remove_damaged(&wanted, &back.cache, &endpoints).unwrap();
    assert!(back.hold(&wanted).is_none(), "a file is missing now");
    assert_eq!(back.check(&wanted, &run).fetched_bytes, weights.size_bytes);
}
