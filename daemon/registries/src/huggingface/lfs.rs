//! Git LFS as the Hub speaks it: a file that is missing is sent to the URL that the server names,
//! in one piece or in parts, or to its Xet store.

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{FILES_AT_ONCE, xet};
use crate::http::Http;
use crate::transfer::Counter;
use crate::{BundleFile, PublishError};

const LFS_JSON: &str = "application/vnd.git-lfs+json";

/// The large files of a repository.
pub(super) struct Objects<'a> {
    pub(super) http: &'a Http,
    pub(super) repository: &'a str,
    pub(super) counter: &'a Counter,
}

impl Objects<'_> {
    /// Sends the files that are missing.
    ///
    /// # Errors
    /// One was not taken.
    pub(super) async fn send(&self, files: &[&BundleFile]) -> Result<(), PublishError> {
        for files in files.chunks(FILES_AT_ONCE) {
            self.batch(files).await?;
        }
        Ok(())
    }

    async fn batch(&self, files: &[&BundleFile]) -> Result<(), PublishError> {
        let objects: Vec<Value> = files
            .iter()
            .map(|file| json!({"oid": file.sha256, "size": file.size_bytes}))
            .collect();
        let body = json!({"operation": "upload", "transfers": ["basic", "multipart", "xet"], "hash_algo": "sha256", "objects": objects});
        let path = format!("/{}.git/info/lfs/objects/batch", self.repository);
        let request = self
            .http
            .request(Method::POST, &path)
            .header(ACCEPT, LFS_JSON)
            .header(CONTENT_TYPE, LFS_JSON)
            .json(&body);
        let what = "the LFS batch";
        let answer = self.http.json(what, request).await?;
        let is_xet = answer["transfer"] == "xet";
        let mut for_xet = Vec::new();
        for file in files {
            let objects = answer["objects"].as_array().into_iter().flatten();
            let object = objects
                .clone()
                .find(|object| object["oid"] == file.sha256.as_str());
            let object = object.ok_or_else(|| self.http.lacks(what, &file.name))?;
            if let Some(said) = object["error"]["message"].as_str() {
                let said = Value::String(said.to_owned());
                return Err(self
                    .http
                    .refused(&file.name, StatusCode::UNPROCESSABLE_ENTITY, &said));
            }
            if is_xet {
                for_xet.push(*file); // of what is there already nothing travels
            } else if object["actions"]["upload"].is_null() {
                self.counter.done(file.size_bytes); // it is there
            } else {
                self.send_object(file, object).await?;
            }
        }
        if for_xet.is_empty() {
            return Ok(());
        }
        xet::send(self.http, self.repository, &for_xet, self.counter).await
    }

    async fn send_object(&self, file: &BundleFile, object: &Value) -> Result<(), PublishError> {
        let upload = &object["actions"]["upload"];
        let href = upload["href"].as_str();
        let href = href.ok_or_else(|| self.http.lacks("the LFS batch", "where to upload"))?;
        let header = upload["header"].as_object();
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        match header.and_then(|header| number(header.get("chunk_size")?)) {
            Some(size) if size > 0 => self.send_parts(file, href, upload, size).await?,
            _ => {
                let mut put = self.http.elsewhere(Method::PUT, href);
                for (name, value) in header.into_iter().flatten() {
                    put = put.header(name, value.as_str().unwrap_or_default());
                }
                let whole = (0, file.size_bytes);
                self.http
                    .put_file(&file.name, put, file, whole, self.counter)
                    .await?;
            }
        }
        let verify = &object["actions"]["verify"];
        if let Some(href) = verify["href"].as_str() {
            let mut post = self.http.elsewhere(Method::POST, href);
            for (name, value) in verify["header"].as_object().into_iter().flatten() {
                post = post.header(name, value.as_str().unwrap_or_default());
            }
            let body = json!({"oid": file.sha256, "size": file.size_bytes});
            self.http.json("the verification", post.json(&body)).await?;
        }
        Ok(())
    }

    /// Parts, whose URLs are header fields of decimal names, and then their list.
    async fn send_parts(
        &self,
        file: &BundleFile,
        href: &str,
        upload: &Value,
        size: u64,
    ) -> Result<(), PublishError> {
        let mut parts: Vec<(u64, &str)> = upload["header"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, url)| Some((name.parse().ok()?, url.as_str()?)))
            .collect();
        parts.sort_unstable();
        let wanted = file.size_bytes.div_ceil(size);
        if parts.len() as u64 != wanted {
            return Err(self
                .http
                .lacks("the LFS batch", &format!("{wanted} parts of {}", file.name)));
        }
        let mut done = Vec::new();
        for (idx, (number, url)) in parts.into_iter().enumerate() {
            let offset = idx as u64 * size;
            let part = (offset, size.min(file.size_bytes - offset));
            let put = self.http.elsewhere(Method::PUT, url);
            let response = self
                .http
                .put_file(&file.name, put, file, part, self.counter)
                .await?;
            let etag = response
                .headers()
                .get("etag")
                .and_then(|etag| etag.to_str().ok());
            let etag = etag.ok_or_else(|| self.http.lacks("a part", "its ETag"))?;
            done.push(json!({"partNumber": number, "etag": etag}));
        }
        let post = self.http.elsewhere(Method::POST, href);
        let post = post.header(ACCEPT, LFS_JSON).header(CONTENT_TYPE, LFS_JSON);
        let body = json!({"oid": file.sha256, "parts": done});
        self.http
            .json("the end of the parts", post.json(&body))
            .await
            .map(|_| ())
    }
}
