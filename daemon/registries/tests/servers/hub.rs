//! The stand-in for the Hugging Face Hub, first driven by the official client, then by us, then read by the official client.

use std::fs;
use std::path::Path;
use std::process::Command;

use evopress_registries::Bundle;
use evopress_spec::{Credentials, Publish, ToHub};
use serde_json::{Value, json};

use crate::support::{
    Server, answer, assert_same, bundle, free_port, publish, python, refused, said, secret, start,
};

const TOKEN: &str = "hf_7d1c90aa";

struct Hub {
    url: String,
    folder: tempfile::TempDir,
    _server: Server,
}

fn hub() -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let (port, store) = (free_port(), folder.path().join("store"));
    fs::create_dir(&store).unwrap();
    let mut server = python("hub.py", "EVOPRESS_TEST_PYTHONPATH");
    server.args([&port.to_string(), TOKEN, store.to_str().unwrap()]);
    let _server = start(server, port, &folder.path().join("log"));
    let url = format!("http://127.0.0.1:{port}");
    Hub {
        url,
        folder,
        _server,
    }
}

impl Hub {
    fn official(&self, script: &str) -> Command {
        let mut client = python(script, "EVOPRESS_TEST_PYTHONPATH");
        client
            .env("HF_ENDPOINT", &self.url)
            .env("HF_TOKEN", TOKEN)
            .env("HF_HOME", self.folder.path().join("home"))
            .env("HF_HUB_DISABLE_XET", "1")
            .env_remove("HF_HUB_OFFLINE");
        client
    }

    fn read(&self, repository: &str, revision: &str) -> Value {
        let mut client = self.official("hub_read.py");
        let down = self.folder.path().join("down");
        client.args([repository, revision, down.to_str().unwrap()]);
        answer(client)
    }

    fn target(&self, token: &str) -> Publish {
        Publish::Huggingface(ToHub {
            url: Some(self.url.clone()),
            plain_http: false,
            repository: "acme/tiny".to_owned(),
            private: true,
            credentials: Credentials::Bearer {
                token: secret(self.folder.path(), token),
            },
        })
    }
}

/// The bundle with one file more.
fn add(folder: &Path, mut bundle: Bundle, name: &str, size_bytes: usize) -> Bundle {
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
