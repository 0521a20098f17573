//! Servers on loopback that are published to, and the entries of a spec that name them.

use std::fs;
use std::path::{Path, PathBuf};

use evopress_spec::{Credentials, Publish, Secret, ToHub, ToMlflow, ToObjects, ToOci};
use tokio::runtime::Handle;
use xet_client::cas_client::{LocalServer, LocalServerConfig};
use xet_runtime::config::XetConfig;
use xet_runtime::core::XetContext;

use crate::support::{PASSWORD, Server, USER, debian, free_port, python, start};

/// The account of s3s-fs.
pub(crate) const ACCOUNT: &str = "AKIA7D1C90AA";
pub(crate) const KEY: &str = "key-5b0e1f77";
/// What MLflow takes instead of an account.
pub(crate) const TOKEN: &str = "token-5e0cb7f2";
/// What the Hub takes.
pub(crate) const HUB_TOKEN: &str = "hf_7d1c90aa";
/// bcrypt of the password.
const HASH: &str = "$2b$05$Xllmx5ZnLV21gqFeNWr9eeY8Vdv5RsDqKDrO4NyzeMi9DOpDxJSje";

/// Debian's docker-registry, with an account.
pub(crate) fn docker_registry(folder: &Path) -> (Server, u16) {
    let port = free_port();
    let root = folder.display();
    let (config, accounts) = (folder.join("config.yml"), folder.join("htpasswd"));
    fs::write(&accounts, format!("{USER}:{HASH}\n")).unwrap();
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}/store}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n\
         auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n"
    );
    fs::write(&config, text).unwrap();
    let mut server = debian("docker-registry");
    server.arg("serve").arg(&config);
    (start(server, port, &folder.join("log")), port)
}

/// MLflow's server with an account and a token, on SQLite.
pub(crate) fn mlflow(folder: &Path) -> (Server, u16) {
    let port = free_port();
    let accounts = folder.join("accounts.ini");
    let text = format!(
        "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{}/accounts.db\n\
         admin_username = {USER}\nadmin_password = {PASSWORD}\n\
         authorization_function = mlflow_accounts:authenticate\n",
        folder.display()
    );
    fs::write(&accounts, text).unwrap();
    let mut server = python("serve_mlflow.py", "EVOPRESS_TEST_SERVERS");
    server
        .args([&port.to_string(), folder.to_str().unwrap()])
        .env("MLFLOW_AUTH_CONFIG_PATH", &accounts)
        .env("EVOPRESS_TEST_TOKEN", TOKEN)
        .env("EVOPRESS_TEST_USER", USER)
        .env("MLFLOW_FLASK_SERVER_SECRET_KEY", "only for this test")
        .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        .current_dir(folder);
    (start(server, port, &folder.join("log")), port)
}

/// moto's S3, in Python, which takes any account.
pub(crate) fn moto(folder: &Path) -> (Server, u16) {
    let port = free_port();
    let mut server = python("serve_s3.py", "EVOPRESS_TEST_SERVERS");
    server.arg(port.to_string());
    (start(server, port, &folder.join("log")), port)
}

/// s3s-fs, in Rust, with the one account, until its runtime ends.
pub(crate) async fn s3s_fs(port: u16, folder: PathBuf) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single(ACCOUNT, KEY));
    let service = service.build().into_shared();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.unwrap();
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move {
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

/// Hugging Face's own Xet store, until its runtime ends.
pub(crate) async fn xet_store(port: u16, folder: PathBuf) {
    let context = XetContext::from_external(Handle::current(), XetConfig::default());
    let config = LocalServerConfig {
        data_directory: folder,
        host: "127.0.0.1".to_owned(),
        port,
        in_memory: false,
    };
    let server = LocalServer::new(context, config).await.unwrap();
    server.run().await.unwrap();
}

/// The stand-in for the Hugging Face Hub, which keeps large files in the Xet store at a URL, if
/// there is one.
pub(crate) fn hub(folder: &Path, xet: Option<&str>) -> (Server, u16) {
    let (port, store) = (free_port(), folder.join("store"));
    fs::create_dir(&store).unwrap();
    let mut server = python("hub.py", "EVOPRESS_TEST_PYTHONPATH");
    server.args([&port.to_string(), HUB_TOKEN, store.to_str().unwrap()]);
    server.args(xet);
    (start(server, port, &folder.join("log")), port)
}

/// `acme/tiny` of the Hub, private.
pub(crate) fn to_hub(port: u16, token: Secret) -> Publish {
    Publish::Huggingface(ToHub {
        url: Some(format!("http://127.0.0.1:{port}")),
        plain_http: false,
        repository: "acme/tiny".to_owned(),
        private: true,
        credentials: Credentials::Bearer { token },
    })
}

/// `team/tiny` of an OCI registry.
pub(crate) fn to_oci(port: u16, credentials: Credentials) -> Publish {
    Publish::Oci(ToOci {
        repository: format!("127.0.0.1:{port}/team/tiny"),
        tag: "latest".to_owned(),
        plain_http: false,
        credentials,
    })
}

/// The model `tiny` of MLflow.
pub(crate) fn to_mlflow(port: u16, credentials: Credentials) -> Publish {
    Publish::Mlflow(ToMlflow {
        url: Some(format!("http://127.0.0.1:{port}")),
        plain_http: false,
        experiment: "compression".to_owned(),
        name: "tiny".to_owned(),
        alias: Some("candidate".to_owned()),
        credentials,
    })
}

/// `team/edge/tiny` in the bucket `models`.
pub(crate) fn to_s3(url: &str, account: Secret, key: Secret) -> Publish {
    Publish::S3(ToObjects {
        url: Some(url.to_owned()),
        plain_http: false,
        bucket: "models".to_owned(),
        prefix: "team/edge".to_owned(),
        name: "tiny".to_owned(),
        region: None,
        account: Some(account),
        key: Some(key),
    })
}
