//! The Hugging Face Hub: files by Xet, by Git LFS or inside the commit, as the Hub wants them, one
//! commit, and a tag named after the run.
//!
//! A large file never goes into a commit as base64, whatever the server says: it goes by Xet or
//! LFS. A commit is made only where the files are not there yet, so that a repeated publication
//! commits nothing.

mod lfs;
mod xet;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use evopress_spec::{Published, ToHub};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use crate::http::Http;
use crate::mlflow::escaped;
use crate::transfer::{self, Counter};
use crate::{Bundle, BundleFile, Endpoints, PublishError, Registry};

pub(crate) const KIND: &str = "huggingface";
pub(crate) const HUB: &str = "https://huggingface.co";
/// A file beyond this never goes into a commit itself.
const INLINE_BYTES: u64 = 5 << 20;
/// The Hub is asked about so many files in one request.
const FILES_AT_ONCE: usize = 256;
const SAMPLE_BYTES: usize = 512;
/// Weights of an earlier version, which would be loaded beside the new ones.
const WEIGHTS: [&str; 3] = [".safetensors", ".safetensors.index.json", ".gguf"];

/// A repository.
pub(crate) struct HubRegistry {
    to: ToHub,
    url: String,
}

impl HubRegistry {
    pub(crate) fn new(to: ToHub, endpoints: &Endpoints) -> Self {
        let url = to.url.clone().or_else(|| endpoints.huggingface.clone());
        Self {
            to,
            url: url.unwrap_or_else(|| HUB.to_owned()),
        }
    }
}

impl Registry for HubRegistry {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn publish(
        &self,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Published, PublishError> {
        let http = Http::new(KIND, &self.url, self.to.plain_http, &self.to.credentials)?;
        let counter = Counter::default();
        let upload = Upload {
            to: &self.to,
            http: &http,
            bundle,
            counter: &counter,
        };
        let commit = transfer::run(&counter, progress, upload.run())?;
        Ok(Published {
            registry: KIND.to_owned(),
            location: format!("{}/{}/tree/{commit}", http.base(), self.to.repository),
            version: commit,
            digest: bundle.digest(),
        })
    }
}

/// One publication.
struct Upload<'a> {
    to: &'a ToHub,
    http: &'a Http,
    bundle: &'a Bundle,
    counter: &'a Counter,
}

impl Upload<'_> {
    /// The commit.
    async fn run(&self) -> Result<String, PublishError> {
        self.create().await?;
        if let Some(commit) = self.tagged().await? {
            self.counter.done(self.bundle.size_bytes());
            return Ok(commit);
        }
        let there = self.tree("main").await?;
        let mut commit = None;
        if self.missing(&there)?.is_none() {
            self.counter.done(self.bundle.size_bytes());
        } else {
            commit = Some(self.commit(&there).await?);
        }
        let commit = match commit {
            Some(commit) => commit,
            None => self.head().await?,
        };
        let there = self.tree(&commit).await?;
        if let Some(file) = self.missing(&there)? {
            return Err(PublishError::Differs {
                registry: KIND,
                place: file.name.clone(),
                found: there
                    .get(&file.name)
                    .cloned()
                    .unwrap_or_else(|| "none".to_owned()),
                expected: file.sha256.clone(),
            });
        }
        self.tag(&commit).await?;
        Ok(commit)
    }

    async fn create(&self) -> Result<(), PublishError> {
        let (organization, name) = self
            .to
            .repository
            .split_once('/')
            .unwrap_or(("", &self.to.repository));
        let visibility = if self.to.private { "private" } else { "public" };
        let body = json!({"name": name, "organization": organization, "type": "model", "visibility": visibility});
        let request = self
            .http
            .request(Method::POST, "/api/repos/create")
            .json(&body);
        let (status, said) = self.http.answer(request).await?;
        if status == StatusCode::CONFLICT {
            return Ok(());
        }
        let about = self
            .http
            .answer(self.http.request(Method::GET, &self.home()))
            .await?;
        match status {
            _ if status.is_success() && self.to.private && about.1["private"] != true => {
                Err(PublishError::Settings(format!(
                    "{} was to be private and the Hub has made it public: nothing is sent",
                    self.to.repository
                )))
            }
            _ if status.is_success() => Ok(()),
            // A token that may not create repositories may still write to one.
            StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN
                if about.0.is_success() =>
            {
                Ok(())
            }
            _ => Err(self
                .http
                .refused("the creation of the repository", status, &said)),
        }
    }

    /// The commit that carries the run's tag.
    async fn tagged(&self) -> Result<Option<String>, PublishError> {
        let refs = self.http.json("the list of tags", self.get("refs")).await?;
        let tags = refs["tags"].as_array().into_iter().flatten();
        let ours = |tag: &&Value| tag["name"] == self.bundle.run.as_str();
        let commit = tags
            .clone()
            .find(ours)
            .and_then(|tag| tag["targetCommit"].as_str());
        Ok(commit.map(str::to_owned))
    }

    async fn head(&self) -> Result<String, PublishError> {
        let what = "the newest revision";
        let answer = self.http.json(what, self.get("revision/main")).await?;
        let commit = answer["sha"].as_str().map(str::to_owned);
        commit.ok_or_else(|| self.http.lacks(what, "its commit"))
    }

    /// Digests by file: SHA-256 of those in LFS, else the SHA-1 of the Git object.
    async fn tree(&self, revision: &str) -> Result<BTreeMap<String, String>, PublishError> {
        let mut digests = BTreeMap::new();
        let mut next = Some(
            self.get(&format!("tree/{revision}"))
                .query(&[("recursive", "true")]),
        );
        while let Some(request) = next.take() {
            let response = self.http.send(request).await?;
            let (status, link) = (response.status(), next_page(&response));
            let text = response.text().await.unwrap_or_default();
            let entries: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if status == StatusCode::NOT_FOUND {
                return Ok(digests); // an empty repository
            }
            if !status.is_success() {
                return Err(self.http.refused("the list of files", status, &entries));
            }
            for entry in entries.as_array().into_iter().flatten() {
                let oid = entry["lfs"]["oid"]
                    .as_str()
                    .or_else(|| entry["oid"].as_str());
                if let (Some(path), Some(oid), true) =
                    (entry["path"].as_str(), oid, entry["type"] == "file")
                {
                    digests.insert(path.to_owned(), oid.to_owned());
                }
            }
            next = link.map(|url| self.http.elsewhere(Method::GET, &url));
        }
        Ok(digests)
    }

    /// The first file that is not there as it should be.
    fn missing(
        &self,
        there: &BTreeMap<String, String>,
    ) -> Result<Option<&BundleFile>, PublishError> {
        for file in &self.bundle.files {
            let same = match there.get(&file.name) {
                Some(oid) if oid.len() == 64 => *oid == file.sha256,
                Some(oid) if file.size_bytes <= INLINE_BYTES => *oid == git_oid(file)?,
                _ => false,
            };
            if !same {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    async fn commit(&self, there: &BTreeMap<String, String>) -> Result<String, PublishError> {
        let modes = self.preupload().await?;
        // An empty object is none: the Hub's store takes no empty file.
        let is_lfs = |file: &&BundleFile| {
            let is_wanted = modes.get(&file.name).is_some_and(|mode| mode == "lfs");
            file.size_bytes > INLINE_BYTES || (is_wanted && file.size_bytes > 0)
        };
        let (large, small): (Vec<_>, Vec<_>) = self.bundle.files.iter().partition(is_lfs);
        let objects = lfs::Objects {
            http: self.http,
            repository: &self.to.repository,
            counter: self.counter,
        };
        objects.send(&large).await?;

        let summary = format!("{} by evopressd", self.bundle.run);
        let mut lines = vec![
            json!({"key": "header", "value": {"summary": summary, "description": self.bundle.facts.summary}}),
        ];
        for file in large {
            let value = json!({"path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size_bytes});
            lines.push(json!({"key": "lfsFile", "value": value}));
        }
        for file in small {
            let content = BASE64.encode(read(file)?);
            let value = json!({"path": file.name, "encoding": "base64", "content": content});
            lines.push(json!({"key": "file", "value": value}));
            self.counter.done(file.size_bytes);
        }
        let ours = |name: &&String| self.bundle.files.iter().any(|file| file.name == **name);
        let stale = there.keys().filter(|name| !ours(name));
        for name in stale.filter(|name| WEIGHTS.iter().any(|end| name.ends_with(end))) {
            lines.push(json!({"key": "deletedFile", "value": {"path": name}}));
        }
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let request = self
            .http
            .request(Method::POST, &self.api("commit/main"))
            .header("Content-Type", "application/x-ndjson")
            .body(body);
        let answer = self.http.json("the commit", request).await?;
        let commit = answer["commitOid"].as_str().map(str::to_owned);
        commit.ok_or_else(|| self.http.lacks("the commit", "commitOid"))
    }

    /// How the Hub wants each file: `lfs` or `regular`.
    async fn preupload(&self) -> Result<BTreeMap<String, String>, PublishError> {
        let what = "the announcement of the files";
        let mut modes = BTreeMap::new();
        for files in self.bundle.files.chunks(FILES_AT_ONCE) {
            let mut announced = Vec::new();
            for file in files {
                let sample = BASE64.encode(head(file)?);
                announced
                    .push(json!({"path": file.name, "sample": sample, "size": file.size_bytes}));
            }
            let request = self.http.request(Method::POST, &self.api("preupload/main"));
            let request = request.json(&json!({"files": announced}));
            let answer = self.http.json(what, request).await?;
            for file in answer["files"].as_array().into_iter().flatten() {
                if let (Some(path), Some(mode)) =
                    (file["path"].as_str(), file["uploadMode"].as_str())
                {
                    modes.insert(path.to_owned(), mode.to_owned());
                }
            }
        }
        Ok(modes)
    }

    async fn tag(&self, commit: &str) -> Result<(), PublishError> {
        let request = self
            .http
            .request(Method::POST, &self.api(&format!("tag/{commit}")));
        let (status, said) = self
            .http
            .answer(request.json(&json!({"tag": self.bundle.run})))
            .await?;
        if status.is_success() || status == StatusCode::CONFLICT {
            Ok(())
        } else {
            Err(self.http.refused("the tag", status, &said))
        }
    }

    fn home(&self) -> String {
        format!("/api/models/{}", self.to.repository)
    }

    fn api(&self, call: &str) -> String {
        format!("{}/{}", self.home(), escaped(call))
    }

    fn get(&self, call: &str) -> reqwest::RequestBuilder {
        self.http.request(Method::GET, &self.api(call))
    }
}

/// The `next` of a `Link` header.
pub(crate) fn next_page(response: &reqwest::Response) -> Option<String> {
    let link = response.headers().get("link")?.to_str().ok()?;
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let url = next.split_once('<')?.1.split_once('>')?.0;
    Some(url.to_owned())
}

fn read(file: &BundleFile) -> Result<Vec<u8>, PublishError> {
    std::fs::read(&file.source).map_err(PublishError::io("read", &file.source))
}

fn head(file: &BundleFile) -> Result<Vec<u8>, PublishError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(&file.source)
        .and_then(|source| source.take(SAMPLE_BYTES as u64).read_to_end(&mut bytes))
        .map_err(PublishError::io("read", &file.source))?;
    Ok(bytes)
}

/// What Git calls a file of this content.
fn git_oid(file: &BundleFile) -> Result<String, PublishError> {
    let content = read(file)?;
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(&content);
    Ok(hex::encode(hasher.finalize()))
}
