//! Debian's docker-registry, with accounts; skopeo and ModelPack's own client read what is there.

use evopress_core::{digest_bytes, digest_path};
use evopress_registries::{Endpoints, FetchError};
use evopress_spec::Credentials;

use crate::back::{Back, origin};
use crate::places::{docker_registry, to_oci};
use crate::support::{
    PASSWORD, USER, answer, assert_same, basic, bundle, debian, publish, python, refused, said,
};

#[test]
fn an_oci_registry_gives_back_the_same_layers() {
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = docker_registry(folder.path());
    let target = |password: &str| to_oci(port, basic(folder.path(), password));
    let to = target(PASSWORD);
    let (a, b) = (
        bundle(folder.path(), "tiny-aaa"),
        bundle(folder.path(), "tiny-bbb"),
    );
    let wrong = "pw-that-is-wrong";
    let error = refused(&target(wrong), &a, wrong).to_string();
    assert!(error.starts_with("oci: cannot "), "{error}");

    let first = publish(&to, &a);
    let second = publish(&to, &b);
    assert_eq!(publish(&to, &a), first, "publishing twice changes nothing");

    let credentials = format!("{USER}:{PASSWORD}");
    let image = |tag: &str| format!("docker://127.0.0.1:{port}/team/tiny:{tag}");
    let inspect = |tag: &str| {
        let mut skopeo = debian("skopeo");
        skopeo.args([
            "inspect",
            "--raw",
            "--tls-verify=false",
            "--creds",
            &credentials,
            &image(tag),
        ]);
        said(skopeo)
    };
    assert_eq!(digest_bytes(inspect("tiny-aaa").as_bytes()), first.digest);
    assert_eq!(digest_bytes(inspect("latest").as_bytes()), second.digest);

    let mut copy = debian("skopeo");
    let pulled = folder.path().join("pulled");
    copy.args([
        "copy",
        "--src-tls-verify=false",
        "--src-creds",
        &credentials,
    ])
    .args([&image("tiny-aaa"), &format!("dir:{}", pulled.display())]);
    said(copy);
    for file in &a.files {
        let copied = digest_path(&pulled.join(&file.sha256)).unwrap();
        assert_eq!(copied, file.sha256, "{}", file.name);
    }

    let mut read = python("read_modelpack.py", "EVOPRESS_TEST_SERVERS");
    read.args([
        &format!("127.0.0.1:{port}"),
        "team/tiny",
        "tiny-aaa",
        USER,
        PASSWORD,
    ])
    .arg(folder.path().join("unpacked"));
    let found = answer(read);
    assert_same(&a, &found["files"]);
    assert_eq!(found["config"]["config"]["format"], "safetensors");

    let back = Back::new(folder.path(), Endpoints::default());
    let of = |reference: &str, password: &str| {
        let address = format!("oci://127.0.0.1:{port}/team/tiny{reference}");
        origin(&address, basic(folder.path(), password))
    };
    let fetched = back.check(&of(":tiny-aaa", PASSWORD), &a);
    assert_eq!(fetched.version, format!("sha256:{}", first.digest));
    assert!(fetched.path.ends_with("tiny"), "{:?}", fetched.path);
    back.check(&of("", PASSWORD), &b);
    let error = back.refused(&of(":tiny-ccc", PASSWORD), PASSWORD);
    assert!(matches!(error, FetchError::Missing { .. }), "{error}");
    let error = back.refused(&of("", wrong), wrong);
    assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
    let strange = origin(
        &format!("oci://127.0.0.1:{port}/team/tiny"),
        Credentials::None,
    );
    let error = back.refused(&strange, PASSWORD).to_string();
    assert!(error.contains("it needs `model.username`"), "{error}");

    // A digest is looked for in the cache first, and nobody is asked.
    drop(server);
    let pinned = of(&format!("@sha256:{}", first.digest), PASSWORD);
    assert_eq!(back.fetch(&pinned).path, fetched.path);
    let error = back.refused(&of(":tiny-aaa", PASSWORD), PASSWORD);
    assert!(error.is_passing(), "{error}");
}
