//! MLflow's own server, with accounts and a token, on SQLite.

use std::path::{Path, PathBuf};

use evopress_core::digest_path;
use evopress_registries::{Bundle, Endpoints, FetchError};
use evopress_spec::Credentials;

use crate::back::{Back, origin};
use crate::places::{TOKEN, mlflow, to_mlflow};
use crate::support::{
    PASSWORD, USER, answer, assert_same, basic, bundle, publish, python, refused, secret,
};

#[test]
fn mlflow_has_one_run_and_one_version_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, port) = mlflow(folder.path());
    let url = format!("http://127.0.0.1:{port}");
    let target = |credentials: Credentials| to_mlflow(port, credentials);
    let bearer = |token: &str| Credentials::Bearer {
        token: secret(folder.path(), token),
    };
    let to = target(basic(folder.path(), PASSWORD));
    let (a, b) = (
        bundle(folder.path(), "tiny-aaa"),
        bundle(folder.path(), "tiny-bbb"),
    );
    let wrong = "pw-that-is-wrong";
    for credentials in [basic(folder.path(), wrong), bearer(wrong)] {
        let error = refused(&target(credentials), &a, wrong).to_string();
        assert!(error.contains("with status 401"), "{error}");
    }

    let first = publish(&to, &a);
    assert_eq!(
        (first.version.as_str(), publish(&to, &b).version.as_str()),
        ("1", "2")
    );
    assert_eq!(publish(&to, &a), first, "publishing twice changes nothing");

    let mut read = python("read_mlflow.py", "EVOPRESS_TEST_SERVERS");
    let down = folder.path().join("down");
    read.args([&url, "compression", "tiny", down.to_str().unwrap()])
        .env("MLFLOW_TRACKING_USERNAME", USER)
        .env("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        .current_dir(folder.path());
    let found = answer(read);
    assert_eq!(found["versions"], serde_json::json!([1, 2]));
    assert_eq!(
        found["alias"], "2",
        "an old run does not take the alias back"
    );
    assert_eq!(found["runs"].as_object().unwrap().len(), 2);
    let run = &found["runs"]["tiny-aaa"];
    assert_eq!(run["status"], "FINISHED");
    assert_eq!(run["params"]["target.drop"], "0.25");
    assert_eq!(
        run["best_fitness"],
        serde_json::json!([[1, 1.0], [2, 0.5], [3, 1.0 / 3.0]])
    );
    let mut files = found["files"].clone();
    let manifest = files.as_object_mut().unwrap().remove("manifest.json");
    assert!(manifest.is_some(), "digests are beside the files");
    assert_same(&a, &files);

    let endpoints = Endpoints {
        mlflow: Some(url.clone()),
        ..Endpoints::default()
    };
    let back = Back::new(folder.path(), endpoints.clone());
    let of = |address: &str, password: &str| origin(address, basic(folder.path(), password));
    let fetched = back.check(&of("mlflow:models:/tiny/1", PASSWORD), &a);
    assert!(fetched.version.starts_with("1 of "), "{}", fetched.version);
    let newest = back.check(&of("models:/tiny@candidate", PASSWORD), &b);
    for address in ["models:/tiny", "models:/tiny/2", "models:/tiny/candidate"] {
        assert_eq!(back.fetch(&of(address, PASSWORD)).path, newest.path);
    }
    for address in ["models:/tiny/3", "models:/tiny@best", "models:/large"] {
        let error = back.refused(&of(address, PASSWORD), PASSWORD);
        assert!(
            matches!(error, FetchError::Missing { .. }),
            "{address}: {error}"
        );
    }
    let error = back.refused(&of("models:/tiny/1", wrong), wrong);
    assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");

    let weights = artifact(folder.path(), &a);
    let mut bytes = std::fs::read(&weights).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let elsewhere = Back::new(&folder.path().join("elsewhere"), endpoints);
    let error = elsewhere.refused(&of("models:/tiny/1", PASSWORD), PASSWORD);
    assert!(matches!(error, FetchError::Damaged { .. }), "{error}");

    let c = bundle(folder.path(), "tiny-ccc");
    assert_eq!(publish(&target(bearer(TOKEN)), &c).version, "3");
    let by_token = |token: &str| origin("models:/tiny/3", bearer(token));
    let error = back.refused(&by_token(wrong), wrong);
    assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
    back.check(&by_token(TOKEN), &c);
}

/// Where the server keeps the weights of a run.
fn artifact(folder: &Path, of: &Bundle) -> PathBuf {
    let weights = of.files.iter().find(|it| it.name == "model.safetensors");
    let runs = std::fs::read_dir(folder.join("artifacts/1")).unwrap();
    let mut files = runs.map(|run| {
        run.unwrap()
            .path()
            .join("artifacts/model/model.safetensors")
    });
    let file = files.find(|file| digest_path(file).unwrap() == weights.unwrap().sha256);
    file.unwrap()
}
