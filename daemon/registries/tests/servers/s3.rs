//! Two S3 servers that share no code: moto, in Python, and s3s-fs, in Rust.

use std::process::Command;

use evopress_registries::{Bundle, Endpoints, FetchError};
use evopress_spec::Credentials;
use serde_json::{Value, json};

use crate::back::{Back, origin, signed};
use crate::places::{ACCOUNT, KEY, moto, s3s_fs, to_s3};
use crate::support::{assert_same, bundle, free_port, publish, python, refused, secret, wait_for};

fn with_keys(mut command: Command) -> Command {
    command
        .env("AWS_ACCESS_KEY_ID", ACCOUNT)
        .env("AWS_SECRET_ACCESS_KEY", KEY)
        .env("AWS_DEFAULT_REGION", "us-east-1");
    command
}

fn objects(url: &str) -> Value {
    let mut read = with_keys(python("read_s3.py", "EVOPRESS_TEST_SERVERS"));
    read.args([url, "models"]);
    crate::support::answer(read)
}

/// The objects of a run, by file name.
fn files_of(run: &Bundle, objects: &Value) -> Value {
    let home = format!("team/edge/tiny/{}/", run.run);
    let files = objects
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(key, object)| {
            let name = key.strip_prefix(&home)?;
            (name != "manifest.json").then(|| (name.to_owned(), object["sha256"].clone()))
        });
    Value::Object(files.collect())
}

fn check(url: &str, has_accounts: bool) {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(objects(url), json!({}), "a new bucket");
    let target = |key: &str| {
        let account = secret(folder.path(), ACCOUNT);
        to_s3(url, account, secret(folder.path(), key))
    };
    let to = target(KEY);
    let (a, b) = (
        bundle(folder.path(), "tiny-aaa"),
        bundle(folder.path(), "tiny-bbb"),
    );
    let first = publish(&to, &a);
    publish(&to, &b);
    let before = objects(url);
    assert_eq!(publish(&to, &a), first);
    assert_eq!(objects(url), before, "publishing twice changes nothing");

    assert_same(&a, &files_of(&a, &before));
    assert_same(&b, &files_of(&b, &before));
    let manifest = &before["team/edge/tiny/tiny-aaa/manifest.json"];
    assert_eq!(manifest["sha256"], first.digest.as_str());
    let latest = before["team/edge/tiny/latest.json"]["text"]
        .as_str()
        .unwrap();
    assert!(latest.contains("tiny-bbb"), "{latest}");
    let endpoints = Endpoints {
        s3: Some(url.to_owned()),
        ..Endpoints::default()
    };
    let back = Back::new(folder.path(), endpoints);
    let of = |address: &str, key: &str| {
        let keys = (secret(folder.path(), ACCOUNT), secret(folder.path(), key));
        signed(origin(address, Credentials::None), keys.0, keys.1)
    };
    let fetched = back.check(&of("s3://models/team/edge/tiny/tiny-aaa", KEY), &a);
    assert_eq!(fetched.version, first.digest, "the manifest's");
    back.check(&of("s3://models/team/edge/tiny", KEY), &b);
    for address in ["s3://models/team/edge/none", "s3://no-such-bucket/tiny"] {
        let error = back.refused(&of(address, KEY), KEY);
        assert!(
            matches!(error, FetchError::Missing { .. }),
            "{address}: {error}"
        );
    }
    if has_accounts {
        let wrong = "another-key-that-is-wrong";
        let error = back.refused(&of("s3://models/team/edge/tiny", wrong), wrong);
        assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
        let wrong = "key-that-is-wrong";
        let error = refused(&target(wrong), &a, wrong).to_string();
        assert!(
            error.starts_with("s3: cannot read team/edge/tiny/tiny-aaa/manifest.json: "),
            "{error}"
        );
    }
}

#[test]
fn moto_takes_a_run_once_and_gives_back_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, port) = moto(folder.path());
    check(&format!("http://127.0.0.1:{port}"), false);
}

#[test]
fn s3s_takes_a_run_once_and_gives_back_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let port = free_port();
    runtime.spawn(s3s_fs(port, folder.path().to_owned()));
    wait_for(port);
    check(&format!("http://127.0.0.1:{port}"), true);
}
