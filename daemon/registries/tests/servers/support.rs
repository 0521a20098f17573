//! Servers that end with the test, scripts, and a run to publish.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use evopress_core::digest_bytes;
use evopress_registries::{Bundle, Endpoints, MetricPoint, PublishError, registry_of};
use evopress_spec::{Credentials, Publish, Published, RunDir, Secret};
use serde_json::Value;

pub(crate) const USER: &str = "ada";
pub(crate) const PASSWORD: &str = "password-7d1c90aa";

/// A process that ends with the test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Its children end with it: they are told by a closed pipe or a signal to their group.
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on, and that no other test of this program was told: a server takes
/// a while until it listens, and the system would give its port away again.
pub(crate) fn free_port() -> u16 {
    static TOLD: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if TOLD.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Starts a server and waits until it listens; what it says goes into `log`.
pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Server {
    use std::os::unix::process::CommandExt;
    let said = || File::options().create(true).append(true).open(log).unwrap();
    command.process_group(0).stdin(Stdio::null());
    let child = command.stdout(said()).stderr(said()).spawn();
    let mut server =
        Server(child.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}")));
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = server.0.try_wait().unwrap();
        let waits = ended.is_none() && start.elapsed() < Duration::from_secs(180);
        assert!(
            waits,
            "{command:?} is not up:\n{}",
            fs::read_to_string(log).unwrap()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    server
}

/// Waits until somebody in this process listens.
pub(crate) fn wait_for(port: u16) {
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A script of `scripts/`, with the packages of the folder that the variable names.
pub(crate) fn python(script: &str, packages: &str) -> Command {
    let folder = std::env::var_os(packages)
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            panic!("{packages} is not set: `make test` sets it in .cargo/config.toml")
        });
    assert!(
        folder.is_dir(),
        "{} is missing: run `make test` once",
        folder.display()
    );
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/scripts");
    let mut command = Command::new("python3");
    command.arg(scripts.join(script)).env("PYTHONPATH", folder);
    command
}

/// A program of Debian's: the one that `make test` has unpacked, else the system's.
pub(crate) fn debian(program: &str) -> Command {
    let unpacked = std::env::var_os("EVOPRESS_TEST_TOOLS")
        .map(|folder| Path::new(&folder).join(program))
        .filter(|path| path.is_file());
    Command::new(unpacked.unwrap_or_else(|| PathBuf::from(program)))
}

pub(crate) fn said(mut command: Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The last line of what a script says, which is JSON.
pub(crate) fn answer(command: Command) -> Value {
    let said = said(command);
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// A secret in a file of its own.
pub(crate) fn secret(folder: &Path, value: &str) -> Secret {
    let name = digest_bytes(value.as_bytes());
    let path = folder.join(format!("secret-{}", &name[..12]));
    fs::write(&path, format!("{value}\n")).unwrap();
    Secret::File(path)
}

pub(crate) fn basic(folder: &Path, password: &str) -> Credentials {
    Credentials::Basic {
        username: USER.to_owned(),
        password: secret(folder, password),
    }
}

/// A run with a file of 20 MB, which takes several parts, some small ones and an empty one.
pub(crate) fn bundle(folder: &Path, run: &str) -> Bundle {
    let run_dir = RunDir::new(folder.join(run));
    let model = run_dir.model();
    fs::create_dir_all(model.join("onnx")).unwrap();
    let seed = run.bytes().fold(0u32, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let weights: Vec<u8> = (0..20_000_000u32)
        .map(|n| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(model.join("model.safetensors"), weights).unwrap();
    fs::write(model.join("config.json"), format!("{{\"run\": \"{run}\"}}")).unwrap();
    fs::write(model.join("onnx/extra file.txt"), "x").unwrap();
    fs::write(model.join("onnx/empty.bin"), "").unwrap();
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

/// Publishes, and expects progress to end with everything.
pub(crate) fn publish(to: &Publish, bundle: &Bundle) -> Published {
    let mut last = 0;
    let registry = registry_of(to, &Endpoints::default());
    let published = registry.publish(bundle, &mut |bytes| last = bytes).unwrap();
    assert_eq!(last, bundle.size_bytes(), "progress ends with everything");
    published
}

/// Publishes where the registry says no, in a sentence without secrets.
pub(crate) fn refused(to: &Publish, bundle: &Bundle, secret: &str) -> PublishError {
    let registry = registry_of(to, &Endpoints::default());
    let error = registry.publish(bundle, &mut |_| ()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    error
}

/// Expects each file of a bundle with its digest in an object of digests by name.
pub(crate) fn assert_same(bundle: &Bundle, digests: &Value) {
    for file in &bundle.files {
        assert_eq!(digests[&file.name], file.sha256.as_str(), "{}", file.name);
    }
    assert_eq!(
        digests.as_object().unwrap().len(),
        bundle.files.len(),
        "{digests}"
    );
}
