//! A repository of the Hugging Face Hub at one commit. Files in LFS have a SHA-256, others the
//! object ID of Git.

use std::path::Path;

use evopress_core::model_files;
use evopress_spec::{Address, Credentials, Origin};
use reqwest::Method;
use serde_json::Value;

use super::FetchError;
use super::error::ErrorContext;
use super::file_stream::FileStream;
use super::listing::{FileDigest, Listing, RemoteFile};
use crate::http::Http;
use crate::huggingface::{self, next_page};
use crate::mlflow::escaped;
use crate::{Endpoints, PublishError};

/// A repository.
pub(super) struct Hub {
    pub(super) context: ErrorContext,
    http: Http,
    repository: String,
    revision: String,
    file: Option<String>,
}

impl Hub {
    pub(super) fn new(
        origin: &Origin,
        credentials: &Credentials,
        endpoints: &Endpoints,
        context: ErrorContext,
    ) -> Result<Self, PublishError> {
        let Address::Hub {
            repository,
            revision,
            file,
        } = &origin.address
        else {
            return Err(PublishError::Settings("it is not of the Hub".to_owned()));
        };
        let url = origin.url.as_deref().or(endpoints.huggingface.as_deref());
        let url = url.unwrap_or(huggingface::HUB);
        Ok(Self {
            http: Http::new(huggingface::KIND, url, origin.plain_http, credentials)?,
            repository: repository.clone(),
            // What a run began with stays, wherever a branch goes.
            revision: origin.version.as_ref().unwrap_or(revision).clone(),
            file: file.clone(),
            context,
        })
    }

    pub(super) async fn list(&self) -> Result<Listing, FetchError> {
        let revision = escaped(&self.revision).replace('/', "%2F");
        let about = self.get(&format!("revision/{revision}"));
        let what = "the revision";
        let answer = self.http.json(what, about).await;
        let answer = answer.map_err(|error| self.answered(error))?;
        let commit = answer["sha"]
            .as_str()
            .ok_or_else(|| FetchError::Registry(self.http.lacks(what, "its commit")))?;
        let mut files = Vec::new();
        // A folder's own files are all that a model has.
        let folder = self.file.as_deref().and_then(|file| file.rsplit_once('/'));
        let folder = folder.map_or_else(String::new, |(folder, _)| format!("/{}", escaped(folder)));
        let mut next = Some(self.get(&format!("tree/{commit}{folder}")));
        while let Some(request) = next.take() {
            let response = self.http.send(request).await;
            let response = response.map_err(|error| self.answered(error))?;
            let (status, link) = (response.status(), next_page(&response));
            let text = response.text().await;
            let text =
                text.map_err(|error| self.context.interrupted(error.without_url().to_string()))?;
            let entries: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if !status.is_success() {
                let refused = self.http.refused("the list of files", status, &entries);
                return Err(self.answered(refused));
            }
            let entries = entries.as_array().into_iter().flatten();
            files.extend(entries.filter_map(|entry| self.file(commit, entry)));
            next = link.map(|url| self.http.elsewhere(Method::GET, &url));
        }
        if let Some(wanted) = &self.file {
            let at = |file: &str| format!("{commit}/{}", escaped(file));
            let parts = model_files(Path::new(wanted));
            let parts: Vec<String> = parts.iter().map(|it| at(&it.to_string_lossy())).collect();
            files.retain(|file| parts.contains(&file.at));
            if !files.iter().any(|file| file.at == at(wanted)) {
                return Err(self.context.missing("the repository has no such file"));
            }
        }
        Ok(Listing {
            version: commit.to_owned(),
            files,
        })
    }

    fn file(&self, commit: &str, entry: &Value) -> Option<RemoteFile> {
        let path = entry["path"].as_str()?;
        if entry["type"] != "file" || (self.file.is_none() && path.contains('/')) {
            return None;
        }
        let lfs = entry["lfs"]["oid"].as_str();
        let digest = match lfs {
            Some(sha256) => FileDigest::Sha256(sha256.to_owned()),
            None => FileDigest::GitSha1(entry["oid"].as_str()?.to_owned()),
        };
        Some(RemoteFile {
            name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            at: format!("{commit}/{}", escaped(path)),
            size_bytes: entry["size"].as_u64()?,
            digest: Some(digest),
            etag: None,
        })
    }

    pub(super) async fn open(
        &self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<FileStream, FetchError> {
        let path = format!("/{}/resolve/{}", self.repository, file.at);
        let request = self.http.request(Method::GET, &path);
        let opened = FileStream::over_http(&self.http, &self.context, file, request, offset).await;
        opened.map_err(|error| self.answered(error))
    }

    fn get(&self, call: &str) -> reqwest::RequestBuilder {
        let path = format!("/api/models/{}/{call}", self.repository);
        self.http.request(Method::GET, &path)
    }

    /// The Hub does not tell strangers whether a repository is private or not there.
    fn answered(&self, error: PublishError) -> FetchError {
        match error {
            PublishError::Refused {
                status: 401, said, ..
            } => self
                .context
                .unauthorized(format!("it is private or not there ({said})")),
            error => self.context.answered(error),
        }
    }
}
