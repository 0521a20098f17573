//! Publications that a registry does not take: nobody else is held up, nothing is computed again,
//! no secret is told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::support::{Daemon, Scratch, debian, eventually};

const SECRET: &str = "tok-5f1e0c77";

/// A spec with a registry that is not there, beside the folder.
fn spec(scratch: &Scratch, url: &str) -> String {
    fs::write(scratch.path().join("token"), format!("{SECRET}\n")).unwrap();
    let folder = scratch.spec("two", "done", 0);
    let root = scratch.path().display();
    let mlflow = format!("{{registry: mlflow, url: \"{url}\", token: {{file: {root}/token}}}}");
    folder.replace("publish: [", &format!("publish: [{mlflow}, "))
}

/// Answers everything with 500 and the very headers of the request, as a careless server may.
fn careless_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            let head = b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n";
            let _ = stream.write_all(head);
            let _ = stream.write_all(&request[..count]);
        }
    });
    url
}

fn assert_no_secret(folder: &Path, except: &[&str]) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_secret(&path, except);
        } else if !except.iter().any(|name| path.ends_with(name)) {
            let bytes = fs::read(&path).unwrap_or_default();
            let found = bytes
                .windows(SECRET.len())
                .any(|piece| piece == SECRET.as_bytes());
            assert!(!found, "{} holds the secret", path.display());
        }
    }
}

#[test]
fn a_registry_that_fails_stops_no_other_and_no_secret_is_told() {
    let scratch = Scratch::new();
    let url = careless_server();
    let daemon = Daemon::start_with(&scratch, "backoff_seconds: 0.2");
    scratch.drop_text("two", &spec(&scratch, &url));
    let run = daemon.wait_for_state("two", "done");
    let reason = run["reason"].as_str().unwrap();
    assert!(
        reason.contains("publication is pending: mlflow:models:/two"),
        "{reason}"
    );
    assert!(
        reason.contains("status 500") && reason.contains("[secret]"),
        "{reason}"
    );
    assert!(scratch.registry().join("two/latest/config.json").is_file());
    let report = scratch.report("two");
    assert_eq!(report["published"][0]["registry"], "folder");
    assert_eq!(report["unpublished"][0]["registry"], "mlflow");
    let pending = "evopress_publications_pending{registry=\"mlflow\"}";
    assert_eq!(daemon.metric(pending), Some(1.0));
    eventually("more tries", || {
        let failures = "evopress_publication_failures_total{registry=\"mlflow\"}";
        (daemon.metric(failures) >= Some(3.0)).then_some(())
    });
    assert_eq!(
        daemon.metric("evopress_publications_total{registry=\"folder\"}"),
        Some(1.0)
    );
    assert_eq!(scratch.starts("two").len(), 1);
    let answers = [
        daemon.metrics(),
        daemon.get("/").1,
        daemon.get("/api/runs").1,
    ];
    assert!(answers.iter().all(|text| !text.contains(SECRET)));
    daemon.kill();
    assert_no_secret(scratch.path(), &["token"]);
}

#[test]
fn a_pending_publication_survives_death_and_pauses_grow() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch, "backoff_seconds: 30");
    scratch.drop_text("two", &spec(&scratch, "http://127.0.0.1:9"));
    daemon.wait_for_state("two", "done");
    std::thread::sleep(Duration::from_millis(500));
    let failures = "evopress_publication_failures_total{registry=\"mlflow\"}";
    assert_eq!(daemon.metric(failures), Some(1.0), "the pause is kept");
    daemon.kill();
    let daemon = Daemon::start_with(&scratch, "backoff_seconds: 30");
    eventually("a try after the restart", || {
        (daemon.metric(failures) == Some(1.0)).then_some(())
    });
    assert_eq!(scratch.report("two")["unpublished"][0]["tries"], 2);
    assert_eq!(scratch.starts("two").len(), 1);
}

/// Debian's docker-registry on a port, killed when it is dropped.
struct OciRegistry(std::process::Child);

impl OciRegistry {
    fn start(folder: &Path, port: u16) -> Self {
        let config = folder.join("docker-registry.yml");
        let root = folder.join("docker-registry");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            root.display()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(folder.join("docker-registry.log")).unwrap();
        let child = debian("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.expect("docker-registry is missing: `make test` sets it up"))
    }
}

impl Drop for OciRegistry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_registry_that_comes_up_later_gets_the_model_without_another_run() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let oci = format!("{{registry: oci, repository: \"127.0.0.1:{port}/team/two\"}}");
    let folder = scratch.spec("two", "done", 0);
    let text = folder.replace("publish: [", &format!("publish: [{oci}, "));
    let daemon = Daemon::start_with(&scratch, "backoff_seconds: 0.2");
    scratch.drop_text("two", &text);
    daemon.wait_for_state("two", "done");
    let pending = "evopress_publications_pending{registry=\"oci\"}";
    assert_eq!(daemon.metric(pending), Some(1.0));
    assert!(scratch.registry().join("two/latest/config.json").is_file());

    let _registry = OciRegistry::start(scratch.path(), port);
    eventually("the publication", || {
        let is_told = daemon.run("two").unwrap()["reason"].is_null();
        is_told.then_some(())
    });
    assert_eq!(daemon.metric(pending), Some(0.0));
    let report = scratch.report("two");
    assert!(report["unpublished"].is_null(), "{report}");
    let published = report["published"].as_array().unwrap();
    assert_eq!(published.len(), 2);
    let location = format!("oci://127.0.0.1:{port}/team/two@sha256:");
    let place = published[0]["location"].as_str().unwrap();
    assert!(place.starts_with(&location), "{place}");
    assert_eq!(scratch.starts("two").len(), 1, "nothing is computed again");
}

#[test]
fn a_publication_that_was_recorded_and_not_told_of_is_told_of_after_death() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch, "backoff_seconds: 30");
    scratch.drop_text("two", &spec(&scratch, "http://127.0.0.1:9"));
    daemon.wait_for_state("two", "done");
    daemon.kill();
    let run = scratch.run_folder("two");
    let journal = run.ancestors().nth(2).unwrap().join("journal.db");
    let published = serde_json::json!({"registry": "mlflow", "location": "there", "version": "7", "digest": "d"});
    let connection = rusqlite::Connection::open(journal).unwrap();
    let record = "UPDATE publications SET published = ?1 WHERE kind = 'mlflow'";
    assert_eq!(
        connection.execute(record, [published.to_string()]).unwrap(),
        1
    );
    drop(connection);

    let daemon = Daemon::start(&scratch);
    eventually("the news", || {
        let is_told = daemon.run("two").unwrap()["reason"].is_null();
        is_told.then_some(())
    });
    let report = scratch.report("two");
    assert_eq!(report["published"][0]["version"], "7");
    assert!(report["unpublished"].is_null(), "{report}");
    assert_eq!(scratch.starts("two").len(), 1);
}

#[test]
fn a_command_says_that_a_registry_has_it_not_and_publishes_by_hand() {
    let scratch = Scratch::new();
    // A file where the folder registry wants a folder.
    fs::create_dir(scratch.registry()).unwrap();
    fs::write(scratch.registry().join("tiny"), "in the way").unwrap();
    scratch.write_spec("tiny", "done");
    let output = scratch.evopressd(&["run", "tiny.yaml"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{stdout}");
    assert!(stdout.contains("not published yet: "), "{stdout}");

    let folder = scratch.run_folder("tiny");
    let run = folder.file_name().unwrap().to_str().unwrap();
    let publish = |more: &[&str]| {
        let output = scratch
            .evopressd(&[&["publish", run], more].concat())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    assert_eq!(publish(&[]).0, Some(4));
    let (code, _, stderr) = publish(&["--to", "mlflow"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("has no registry \"mlflow\" in its spec; it has folder ("),
        "{stderr}"
    );

    fs::remove_file(scratch.registry().join("tiny")).unwrap();
    let (code, stdout, stderr) = publish(&["--to", "folder"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("(folder v1)"), "{stdout}");
    assert_eq!(publish(&[]).1, stdout, "publishing twice changes nothing");
    assert!(!scratch.registry().join("tiny/v2").exists());
    let again = scratch.evopressd(&["run", "tiny.yaml"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(scratch.starts("tiny").len(), 1);
}
