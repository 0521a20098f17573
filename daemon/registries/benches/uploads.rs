//! One large file to servers on this machine, beside curl and the official clients, each begun on a
//! quiet disk: `make bench-uploads`, or with another size in GB as its argument.
//!
//! What a registry does not check itself is read back, by both. Peak memory is this program's, with
//! all of evopressd's registries in it. The Hugging Face Hub is the tests' stand-in, once with LFS
//! and once with Hugging Face's own Xet store behind it.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/servers/places.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod places;
#[path = "../tests/servers/support.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use evopress_registries::{Bundle, Endpoints, registry_of};
use evopress_spec::{Publish, RunDir};

use support::{
    PASSWORD, Server, USER, answer, basic, debian, free_port, python, said, secret, start,
};

/// The largest file for moto, which takes many minutes for 4 GB whoever sends them.
const MOST_FOR_MOTO: u64 = 1_000_000_000;
/// What this program is called with to be a Xet store, in a process of its own, until that is
/// killed.
const XET_STORE: &str = "xet-store";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, port, folder] = &arguments[..]
        && word == XET_STORE
    {
        return serve_xet_store(port.parse().unwrap(), folder.into());
    }
    // Cargo passes flags of its own.
    let size = arguments
        .iter()
        .find_map(|argument| argument.parse::<f64>().ok());
    let num_bytes = (size.unwrap_or(4.0) * 1e9) as u64;
    let folder = tempfile::tempdir().unwrap();
    eprintln!("making a file of {:.1} GB", num_bytes as f64 / 1e9);
    let large = bundle(folder.path(), num_bytes);
    println!(
        "{:.1} GB to servers on this machine: seconds to send it, and to read it back where the server has no digests",
        num_bytes as f64 / 1e9
    );
    let bench = Bench {
        folder: folder.path().to_owned(),
        bundle: large,
    };
    bench.docker_registry();
    bench.mlflow();
    bench.hub(false);
    bench.hub(true);
    drop(bench);
    let folder = tempfile::tempdir().unwrap();
    let num_bytes = num_bytes.min(MOST_FOR_MOTO);
    println!("and {:.1} GB:", num_bytes as f64 / 1e9);
    let bench = Bench {
        bundle: bundle(folder.path(), num_bytes),
        folder: folder.path().to_owned(),
    };
    bench.s3();
}

fn serve_xet_store(port: u16, folder: PathBuf) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(places::xet_store(port, folder));
}

/// A run whose model is one file of noise.
fn bundle(folder: &Path, num_bytes: u64) -> Bundle {
    let run_dir = RunDir::new(folder.join("large-aaa"));
    fs::create_dir_all(run_dir.model()).unwrap();
    let file = File::create(run_dir.model().join("model.safetensors")).unwrap();
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..num_bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
    Bundle::of_run(&run_dir).unwrap()
}

struct Bench {
    folder: PathBuf,
    bundle: Bundle,
}

impl Bench {
    /// Each client has a registry of its own: a blob that is there already is thrown away after it
    /// was sent.
    fn docker_registry(&self) {
        let folder = self.folder("oci-curl");
        let (server, port) = places::docker_registry(&folder);
        let curl = || {
            let uploads = format!("http://127.0.0.1:{port}/v2/team/curl/blobs/uploads/");
            let mut begin = curl();
            begin.args(["-X", "POST", "-D", "-", "-o", "/dev/null", &uploads]);
            let head = said(begin);
            let mut lines = head.lines();
            let place = lines.find_map(|line| line.strip_prefix("Location: "));
            let digest = &self.file().sha256;
            let place = format!("{}&digest=sha256:{digest}", place.unwrap().trim());
            let mut put = curl();
            put.args(["-H", "Content-Type: application/octet-stream", "-T"]);
            put.arg(&self.file().source).arg(place);
            said(put);
        };
        let theirs = timed(curl);
        drop(server);
        fs::remove_dir_all(folder).unwrap();

        let folder = self.folder("oci");
        let (_server, port) = places::docker_registry(&folder);
        let to = places::to_oci(port, basic(&folder, PASSWORD));
        self.compare("docker-registry", &to, "curl", theirs);
        fs::remove_dir_all(folder).unwrap();
    }

    fn mlflow(&self) {
        let folder = self.folder("mlflow");
        let (_server, port) = places::mlflow(&folder);
        // Makes its tables on the first calls.
        for call in [
            "experiments/get-by-name?experiment_name=Default",
            "registered-models/search?max_results=1",
        ] {
            let mut get = curl();
            get.arg(format!("http://127.0.0.1:{port}/api/2.0/mlflow/{call}"));
            said(get);
        }
        let artifacts = "api/2.0/mlflow-artifacts/artifacts/0/curl/artifacts/model.safetensors";
        let url = format!("http://127.0.0.1:{port}/{artifacts}");
        let curl = || {
            let mut put = curl();
            put.arg("-T").arg(&self.file().source).arg(&url);
            said(put);
            let mut get = curl();
            get.args(["-o", "/dev/null", &url]);
            said(get);
        };
        let to = places::to_mlflow(port, basic(&folder, PASSWORD));
        self.compare("MLflow", &to, "curl", timed(curl));
        fs::remove_dir_all(folder).unwrap();
    }

    fn s3(&self) {
        let folder = self.folder("s3");
        let (_server, port) = places::moto(&folder);
        let url = format!("http://127.0.0.1:{port}");
        let boto3 = |script: &str| {
            let mut client = python(script, "EVOPRESS_TEST_SERVERS");
            client
                .env("AWS_ACCESS_KEY_ID", places::ACCOUNT)
                .env("AWS_SECRET_ACCESS_KEY", places::KEY)
                .env("AWS_DEFAULT_REGION", "us-east-1")
                .args([&url, "models"]);
            client
        };
        answer(boto3("read_s3.py")); // makes the bucket
        let send = || {
            let mut send = boto3("send_s3.py");
            send.arg(&self.file().source);
            said(send);
        };
        let to = places::to_s3(
            &url,
            secret(&folder, places::ACCOUNT),
            secret(&folder, places::KEY),
        );
        self.compare("S3 (moto)", &to, "boto3", timed(send));
        fs::remove_dir_all(folder).unwrap();
    }

    /// Each client has a Hub of its own: what one has sent the other would not have to.
    fn hub(&self, has_xet: bool) {
        let name = if has_xet { "xet" } else { "lfs" };
        let folder = self.folder(&format!("{name}-official"));
        let (servers, port) = hub(&folder, has_xet);
        let mut client = python("hub_upload.py", "EVOPRESS_TEST_PYTHONPATH");
        client
            .env("HF_ENDPOINT", format!("http://127.0.0.1:{port}"))
            .env("HF_TOKEN", places::HUB_TOKEN)
            .env("HF_HOME", folder.join("home"))
            .env("HF_HUB_DISABLE_XET", if has_xet { "0" } else { "1" })
            .env_remove("HF_HUB_OFFLINE")
            .arg("acme/tiny")
            .arg(self.file().source.parent().unwrap());
        let theirs = timed(|| said(client));
        drop(servers);
        fs::remove_dir_all(folder).unwrap();

        let folder = self.folder(name);
        let (_servers, port) = hub(&folder, has_xet);
        let to = places::to_hub(port, secret(&folder, places::HUB_TOKEN));
        self.compare(&format!("Hub ({name})"), &to, "hf", theirs);
        fs::remove_dir_all(folder).unwrap();
    }

    /// Publishes beside what another client took, and prints a row.
    fn compare(&self, registry: &str, to: &Publish, name: &str, theirs: Duration) {
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let ours = timed(|| {
            let registry = registry_of(to, &Endpoints::default());
            registry.publish(&self.bundle, &mut |_| ()).unwrap();
        });
        println!(
            "  {registry:<16} evopressd {:6.1} s, {:4.0} MB/s, {:3.0} MB of memory; {name:<6} {:6.1} s; ratio {:.2}",
            ours.as_secs_f64(),
            self.bundle.size_bytes() as f64 / 1e6 / ours.as_secs_f64(),
            peak_bytes() as f64 / 1e6,
            theirs.as_secs_f64(),
            theirs.as_secs_f64() / ours.as_secs_f64()
        );
    }

    fn file(&self) -> &evopress_registries::BundleFile {
        &self.bundle.files[0]
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }
}

/// The tests' stand-in for the Hub, with Hugging Face's own Xet store in a process beside it or
/// with LFS alone, and its port.
fn hub(folder: &Path, has_xet: bool) -> (Vec<Server>, u16) {
    let store_port = free_port();
    let mut servers = Vec::new();
    if has_xet {
        let chunks = folder.join("chunks");
        fs::create_dir(&chunks).unwrap();
        let mut store = Command::new(std::env::current_exe().unwrap());
        store.args([XET_STORE, &store_port.to_string(), chunks.to_str().unwrap()]);
        servers.push(start(store, store_port, &folder.join("store.log")));
    }
    let store = has_xet.then(|| format!("http://127.0.0.1:{store_port}"));
    let (server, port) = places::hub(folder, store.as_deref());
    servers.push(server);
    (servers, port)
}

fn curl() -> Command {
    let mut curl = debian("curl");
    curl.args(["-sS", "--fail", "-u", &format!("{USER}:{PASSWORD}")]);
    curl
}

/// Begins when the disk has nothing left to write: what went before would slow down whoever comes
/// next.
fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    rustix::fs::sync();
    let start = Instant::now();
    run();
    start.elapsed()
}

/// This program's greatest resident set since it was last forgotten.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() * 1024
}
