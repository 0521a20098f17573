//! Specs whose models come from a registry: what is told before it can be reached, and what happens
//! when it can.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use evopress_core::digest_bytes;

use crate::support::{Daemon, Scratch, eventually};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const MODEL: &[u8] = b"not looked into here";

/// A Hub with one repository of one GGUF file, on a port, until the test ends.
fn serve_hub(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer(&stream.unwrap());
        }
    });
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let listed = serde_json::json!([{
        "type": "file", "path": "tiny.gguf", "size": MODEL.len(), "oid": "of the pointer",
        "lfs": {"oid": digest_bytes(MODEL)},
    }]);
    let body = match path.strip_prefix("/api/models/acme/tiny/").unwrap_or(path) {
        // A run asks for the commit that it began with.
        call if call == "revision/main" || call == format!("revision/{COMMIT}") => {
            serde_json::json!({"sha": COMMIT}).to_string().into_bytes()
        }
        call if call == format!("tree/{COMMIT}") => listed.to_string().into_bytes(),
        path if path == format!("/acme/tiny/resolve/{COMMIT}/tiny.gguf") => MODEL.to_vec(),
        _ => {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
        }
    };
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
    write!(stream, "{head} {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A spec whose model is in a repository of the Hub at this port.
fn spec(scratch: &Scratch, repository: &str, port: u16) -> String {
    let text = scratch.spec("tiny", "done", 0);
    let model = format!("{}/model.gguf", scratch.path().display());
    text.replace(
        &format!("source: {model}"),
        &format!("source: \"hf://{repository}\", url: \"http://127.0.0.1:{port}\""),
    )
}

fn texts(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

#[test]
fn a_command_says_what_is_wrong_with_the_place_of_a_model() {
    let scratch = Scratch::new();
    let (dead, port) = (free_port(), free_port());
    let command = |name: &str, repository: &str, port: u16| {
        std::fs::write(
            scratch.path().join("tiny.yaml"),
            spec(&scratch, repository, port),
        )
        .unwrap();
        texts(scratch.evopressd(&[name, "tiny.yaml"]).output().unwrap())
    };
    let (code, stdout, _) = command("validate", "acme/tiny", dead);
    assert_eq!(code, 0, "{stdout}");
    let line = "  fetches the model from hf://acme/tiny@main (huggingface), which this check does not contact\n";
    assert!(stdout.contains(line), "{stdout}");
    assert_eq!(command("validate", "acme", dead).0, 78);

    let (code, _, stderr) = command("run", "acme/tiny", dead);
    assert_eq!(code, 1, "{stderr}");
    let sentence = format!(
        "cannot fetch hf://acme/tiny@main: cannot reach huggingface at http://127.0.0.1:{dead}: "
    );
    assert!(stderr.contains(&sentence), "{stderr}");

    serve_hub(port);
    let (code, _, stderr) = command("run", "acme/none", port);
    assert_eq!(code, 78, "{stderr}");
    assert!(
        stderr.contains("hf://acme/none@main is not there: Not Found"),
        "{stderr}"
    );
    assert!(stderr.contains("model.source"), "{stderr}");
    let (code, _, stderr) = command("run", "acme/tiny", port);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("fetched hf://acme/tiny@main: "), "{stderr}");
}

#[test]
fn a_spec_waits_for_a_registry_that_cannot_be_reached() {
    let scratch = Scratch::new();
    let port = free_port();
    let daemon = Daemon::start(&scratch);
    scratch.drop_text("tiny", &spec(&scratch, "acme/tiny", port));
    let waiting = eventually("the spec to wait", || {
        daemon
            .logged("the spec can be neither queued nor refused now, and is tried again")
            .pop()
    });
    let error = waiting["error"].as_str().unwrap();
    assert!(
        error.starts_with("cannot fetch hf://acme/tiny@main: "),
        "{error}"
    );
    assert!(daemon.run("tiny").is_none(), "it is not rejected");
    serve_hub(port);
    daemon.wait_for_state("tiny", "done");
    let fetched = daemon.logged("model is fetched").pop().unwrap();
    assert_eq!(fetched["version"], COMMIT);
    assert_eq!(fetched["bytes"], MODEL.len());
}

#[test]
fn a_model_that_was_pruned_is_fetched_again_for_its_run() {
    let scratch = Scratch::new();
    let port = free_port();
    serve_hub(port);
    let text = spec(&scratch, "acme/tiny", port).replace("fake: done", "fake: slow");
    let daemon = Daemon::start(&scratch);
    scratch.drop_text("tiny", &text);
    daemon.wait_for_generation("tiny");
    let prune = || {
        let command = scratch.evopressd(&["cache", "prune", "--all"]).output();
        texts(command.unwrap()).1
    };
    assert!(prune().contains("1 entry is left"), "a run uses it");
    daemon.kill();
    let plan: serde_json::Value = serde_json::from_slice(
        &std::fs::read(scratch.run_folder("tiny").join("plan.json")).unwrap(),
    )
    .unwrap();
    let model = std::path::PathBuf::from(plan["model"]["source"].as_str().unwrap());
    assert_eq!(std::fs::read(&model).unwrap(), MODEL);
    prune();
    assert!(!model.exists());
    let daemon = Daemon::start(&scratch);
    scratch.go("tiny");
    daemon.wait_for_state("tiny", "done");
    assert_eq!(std::fs::read(&model).unwrap(), MODEL);
}
