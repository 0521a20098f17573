//! Each registry against a real server on loopback: published, read back by other means, and published again.
//!
//! `EVOPRESS_TEST_SERVERS` is a folder for PYTHONPATH with `mlflow` and `moto[server]`; `docker-registry` and `skopeo` are
//! Debian's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evopress_registries::{Bundle, Endpoints, MetricPoint, registry_of};
use evopress_spec::{
    Credentials, Publish, Published, RunDir, ToMlflow, ToObjects, ToOci, digest_path,
};
use serde_json::Value;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn start(command: &mut Command, port: u16) -> Server {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(child.unwrap());
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(180),
            "the server is not up"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    server
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-c", script])
        .env(
            "PYTHONPATH",
            std::env::var("EVOPRESS_TEST_SERVERS").unwrap(),
        )
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A run with a file of 20 MB, which takes several parts, and some small ones.
fn bundle(folder: &Path, run: &str) -> Bundle {
    let run_dir = RunDir::new(folder.join(run));
    fs::create_dir_all(run_dir.model().join("onnx")).unwrap();
    let weights: Vec<u8> = (0..20_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(run_dir.model().join("model.safetensors"), weights).unwrap();
    fs::write(
        run_dir.model().join("config.json"),
        format!("{{\"run\": \"{run}\"}}"),
    )
    .unwrap();
    fs::write(run_dir.model().join("onnx/extra file.txt"), "x").unwrap();
    let mut bundle = Bundle::of_run(&run_dir).unwrap();
    for step in 1..=3 {
        bundle.facts.metrics.push(MetricPoint {
            key: "best_fitness".to_owned(),
            value: 1.0 / f64::from(step),
            timestamp_ms: 1_700_000_000_000 + i64::from(step),
            step: step.into(),
        });
    }
    bundle
        .facts
        .params
        .insert("target.drop".to_owned(), "0.25".to_owned());
    bundle
}

fn publish(to: &Publish, bundle: &Bundle) -> Published {
    let mut last = 0;
    let published =
        registry_of(to, &Endpoints::default()).publish(bundle, &mut |bytes| last = bytes);
    assert_eq!(last, bundle.size_bytes(), "progress ends with everything");
    published.unwrap()
}

#[test]
#[ignore = "needs EVOPRESS_TEST_SERVERS"]
fn s3_takes_a_run_once_and_gives_back_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let script = format!(
        "import sys; sys.argv=['moto_server','-H','127.0.0.1','-p','{port}']; from moto.server import main; main()"
    );
    let _server = start(&mut python(&script), port);
    let client = format!(
        "import boto3, hashlib, json; s=boto3.client('s3', endpoint_url='http://127.0.0.1:{port}')\n"
    );
    said(&mut python(&format!(
        "{client}s.create_bucket(Bucket='models')"
    )));
    let secret = |name: &str| {
        fs::write(folder.path().join(name), "test").unwrap();
        Some(evopress_spec::Secret::File(folder.path().join(name)))
    };
    let to = Publish::S3(ToObjects {
        url: Some(format!("http://127.0.0.1:{port}")),
        plain_http: false,
        bucket: "models".to_owned(),
        prefix: "team/edge".to_owned(),
        name: "tiny".to_owned(),
        region: None,
        account: secret("account"),
        key: secret("key"),
    });
    let (a, b) = (
        bundle(folder.path(), "tiny-aaa"),
        bundle(folder.path(), "tiny-bbb"),
    );
    let first = publish(&to, &a);
    publish(&to, &b);
    let list = format!(
        "{client}o=[(x['Key'],str(x['LastModified']),hashlib.sha256(s.get_object(Bucket='models',Key=x['Key'])['Body'].read()).hexdigest()) \
         for x in s.list_objects_v2(Bucket='models')['Contents']]\nprint(json.dumps(o))"
    );
    let before = said(&mut python(&list));
    assert_eq!(publish(&to, &a), first);
    assert_eq!(
        said(&mut python(&list)),
        before,
        "publishing twice changes nothing"
    );
    let objects: Vec<(String, String, String)> = serde_json::from_str(&before).unwrap();
    assert_eq!(objects.len(), 9);
    for file in &a.files {
        let key = format!("team/edge/tiny/tiny-aaa/{}", file.name);
        let found = objects.iter().find(|(name, ..)| *name == key);
        assert_eq!(
            found.unwrap().2,
            digest_path(&file.source).unwrap(),
            "{key}"
        );
    }
    let latest = format!(
        "{client}print(s.get_object(Bucket='models',Key='team/edge/tiny/latest.json')['Body'].read().decode())"
    );
    assert!(said(&mut python(&latest)).contains("tiny-bbb"));
}

#[test]
#[ignore = "needs EVOPRESS_TEST_SERVERS"]
fn mlflow_has_one_run_and_one_version_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let root = folder.path().display();
    let script = format!(
        "import sys; sys.argv=['mlflow','server','--host','127.0.0.1','--port','{port}','--workers','1','--backend-store-uri',\
         'sqlite:///{root}/m.db','--artifacts-destination','{root}/art','--serve-artifacts']; from mlflow.cli import cli; cli()"
    );
    let _server = start(&mut python(&script), port);
    let to = Publish::Mlflow(ToMlflow {
        url: Some(format!("http://127.0.0.1:{port}")),
        plain_http: false,
        experiment: "compression".to_owned(),
        name: "tiny".to_owned(),
        alias: Some("candidate".to_owned()),
        credentials: Credentials::None,
    });
    let (a, b) = (
        bundle(folder.path(), "tiny-aaa"),
        bundle(folder.path(), "tiny-bbb"),
    );
    let first = publish(&to, &a);
    assert_eq!(
        (first.version.as_str(), publish(&to, &b).version.as_str()),
        ("1", "2")
    );
    assert_eq!(publish(&to, &a), first, "publishing twice changes nothing");
    let ask = format!(
        "import mlflow, json, hashlib, os; from mlflow import MlflowClient\nmlflow.set_tracking_uri('http://127.0.0.1:{port}'); c=MlflowClient()\n\
         e=c.get_experiment_by_name('compression'); rs=c.search_runs([e.experiment_id])\n\
         r=[r for r in rs if r.data.tags['evopress.run']=='tiny-aaa'][0]\n\
         p=mlflow.artifacts.download_artifacts(artifact_uri='models:/tiny/1', dst_path='{root}/down')\n\
         h={{f: hashlib.sha256(open(os.path.join(p,f),'rb').read()).hexdigest() for f in ['model.safetensors','config.json','onnx/extra file.txt']}}\n\
         print(json.dumps(dict(runs=len(rs), status=r.info.status, params=r.data.params, steps=[(m.step,m.value) for m in c.get_metric_history(r.info.run_id,'best_fitness')], \
         versions=len(c.search_model_versions(\"name='tiny'\")), alias=c.get_model_version_by_alias('tiny','candidate').version, digests=h)))"
    );
    let found: Value =
        serde_json::from_str(said(&mut python(&ask)).lines().last().unwrap()).unwrap();
    assert_eq!((&found["runs"], &found["versions"]), (&2.into(), &2.into()));
    assert_eq!(found["status"], "FINISHED");
    assert_eq!(found["params"]["target.drop"], "0.25");
    assert_eq!(found["steps"].as_array().unwrap().len(), 3);
    assert_eq!(
        found["alias"].to_string().trim_matches('"'),
        "2",
        "an old run does not take the alias back"
    );
    for file in &a.files {
        assert_eq!(
            found["digests"][&file.name],
            file.sha256.as_str(),
            "{}",
            file.name
        );
    }
}

#[test]
#[ignore = "needs docker-registry and skopeo"]
fn an_oci_registry_gives_back_the_same_layers() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let root = folder.path().display();
    let config = folder.path().join("config.yml");
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}/store}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
    );
    fs::write(&config, text).unwrap();
    let _server = start(
        Command::new("docker-registry").arg("serve").arg(&config),
        port,
    );
    let to = Publish::Oci(ToOci {
        repository: format!("127.0.0.1:{port}/team/tiny"),
        tag: "latest".to_owned(),
        plain_http: false,
        credentials: Credentials::None,
    });
    let (a, b) = (
        bundle(folder.path(), "tiny-aaa"),
        bundle(folder.path(), "tiny-bbb"),
    );
    let first = publish(&to, &a);
    let second = publish(&to, &b);
    assert_eq!(publish(&to, &a), first, "publishing twice changes nothing");
    let inspect = |tag: &str| {
        let image = format!("docker://127.0.0.1:{port}/team/tiny:{tag}");
        said(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &image]))
    };
    assert_eq!(
        evopress_spec::digest_bytes(inspect("tiny-aaa").as_bytes()),
        first.digest
    );
    assert_eq!(
        evopress_spec::digest_bytes(inspect("latest").as_bytes()),
        second.digest
    );
    let image = format!("docker://127.0.0.1:{port}/team/tiny:tiny-aaa");
    let pulled = format!("dir:{root}/pulled");
    said(Command::new("skopeo").args(["copy", "--src-tls-verify=false", &image, &pulled]));
    for file in &a.files {
        let blob = folder.path().join("pulled").join(&file.sha256);
        assert_eq!(digest_path(&blob).unwrap(), file.sha256, "{}", file.name);
    }
}
