//! A version of a registered model of MLflow, context files the MLflow server itself gives out.
//! MLflow tells their sizes and no digests; what evopressd has published has a manifest with them.

use evopress_core::digest_bytes;
use evopress_spec::{Address, Credentials, ModelVersion, Origin};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::FetchError;
use super::error::ErrorContext;
use super::file_stream::FileStream;
use super::listing::{Listing, RemoteFile};
use crate::http::Http;
use crate::mlflow::{API, ARTIFACTS, KIND, NO_SERVER, escaped, text};
use crate::{Endpoints, PublishError};

/// A registered model.
pub(super) struct Mlflow {
    pub(super) context: ErrorContext,
    http: Http,
    name: String,
    version: ModelVersion,
}

impl Mlflow {
    pub(super) fn new(
        origin: &Origin,
        credentials: &Credentials,
        endpoints: &Endpoints,
        context: ErrorContext,
    ) -> Result<Self, PublishError> {
        let Address::Mlflow { name, version } = &origin.address else {
            return Err(PublishError::Settings("it is not of MLflow".to_owned()));
        };
        let url = origin.url.as_deref().or(endpoints.mlflow.as_deref());
        let url = url.ok_or_else(|| PublishError::Settings(NO_SERVER.to_owned()))?;
        // `3 of RUN`: what a run began with stays, wherever an alias goes.
        let pinned = origin.version.as_deref().and_then(|version| {
            let number = version.split(' ').next()?.parse().ok()?;
            Some(ModelVersion::Number(number))
        });
        Ok(Self {
            http: Http::new(KIND, url, origin.plain_http, credentials)?,
            name: name.clone(),
            version: pinned.unwrap_or_else(|| version.clone()),
            context,
        })
    }

    pub(super) async fn list(&self) -> Result<Listing, FetchError> {
        let about = self.about().await?;
        let version = text(&about["version"]);
        let query = [("name", self.name.as_str()), ("version", version.as_str())];
        let found = self.get("model-versions/get-download-uri", &query).await?;
        let uri = self.of_run(text(&found["artifact_uri"])).await?;
        let folder = served(&uri).ok_or_else(|| {
            FetchError::Registry(PublishError::Settings(format!(
                "{} is at {uri}, which the MLflow server does not give out itself: start it with --serve-artifacts",
                self.context.address
            )))
        })?;
        let request = self.http.request(Method::GET, ARTIFACTS);
        let request = request.query(&[("path", folder.as_str())]);
        let listed = self.http.json("the list of files", request).await;
        let listed = listed.map_err(|error| self.context.answered(error))?;
        let listed = listed["files"].as_array().into_iter().flatten();
        let files = listed.filter_map(|entry| file(&folder, entry)).collect();
        let run = match about["run_id"].as_str() {
            Some(run) if !run.is_empty() => run.to_owned(),
            _ => digest_bytes(uri.as_bytes())[..32].to_owned(),
        };
        let mut listing = Listing {
            version: format!("{version} of {run}"),
            files,
        };
        if let Some(manifest) = listing.manifest() {
            let path = format!("{ARTIFACTS}/{}", escaped(&manifest.at));
            let answer = self.http.send(self.http.request(Method::GET, &path)).await;
            let answer = answer.map_err(|error| self.context.answered(error))?;
            let text = answer.bytes().await;
            let text = text.map_err(|error| self.context.interrupted(error.to_string()))?;
            listing.adopt_digests(&text);
        }
        Ok(listing)
    }

    /// `runs:/RUN/PATH` as the place of the run's artifacts; any other URI as it is.
    async fn of_run(&self, uri: String) -> Result<String, FetchError> {
        let Some(path) = uri.strip_prefix("runs:/") else {
            return Ok(uri);
        };
        let (run, path) = path.split_once('/').unwrap_or((path, ""));
        let found = self.get("runs/get", &[("run_id", run)]).await?;
        let artifacts = text(&found["run"]["info"]["artifact_uri"]);
        Ok(format!("{}/{path}", artifacts.trim_end_matches('/')))
    }

    /// What MLflow knows of the version.
    async fn about(&self) -> Result<Value, FetchError> {
        let name = self.name.as_str();
        match &self.version {
            ModelVersion::Number(number) => {
                let number = number.to_string();
                let query = [("name", name), ("version", number.as_str())];
                let found = self.get("model-versions/get", &query).await?;
                Ok(found["model_version"].clone())
            }
            ModelVersion::Alias(alias) => {
                let query = [("name", name), ("alias", alias.as_str())];
                let found = self.get("registered-models/alias", &query).await?;
                Ok(found["model_version"].clone())
            }
            ModelVersion::Latest => {
                let filter = format!("name='{name}'");
                let query = [
                    ("filter", filter.as_str()),
                    ("order_by", "version_number DESC"),
                    ("max_results", "1"),
                ];
                let found = self.get("model-versions/search", &query).await?;
                let newest = found["model_versions"].get(0);
                newest
                    .cloned()
                    .ok_or_else(|| self.context.missing("no such model has a version"))
            }
        }
    }

    async fn get(&self, call: &str, query: &[(&str, &str)]) -> Result<Value, FetchError> {
        let request = self.http.request(Method::GET, &format!("{API}/{call}"));
        let answer = self.http.answer(request.query(query)).await;
        let (status, said) = answer.map_err(|error| self.context.answered(error))?;
        if status.is_success() {
            return Ok(said);
        }
        let refused = self.http.refused(call, status, &said);
        // MLflow knows no other status for an alias that is not there.
        let is_missing = status == StatusCode::BAD_REQUEST
            && said["message"]
                .as_str()
                .is_some_and(|it| it.contains("not found"));
        Err(match refused {
            PublishError::Refused { said, .. } if is_missing => self.context.missing(said),
            other => self.context.answered(other),
        })
    }

    pub(super) async fn open(
        &self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<FileStream, FetchError> {
        let path = format!("{ARTIFACTS}/{}", escaped(&file.at));
        let request = self.http.request(Method::GET, &path);
        let opened = FileStream::over_http(&self.http, &self.context, file, request, offset).await;
        opened.map_err(|error| self.context.answered(error))
    }
}

/// The folder of a URI context files the server gives out:
/// `mlflow-artifacts:/1/RUN/artifacts/model`.
fn served(uri: &str) -> Option<String> {
    let path = uri.strip_prefix("mlflow-artifacts:")?;
    let path = match path.strip_prefix("//") {
        Some(rest) => rest.split_once('/')?.1,
        None => path,
    };
    Some(path.trim_matches('/').to_owned())
}

fn file(folder: &str, entry: &Value) -> Option<RemoteFile> {
    let path = entry["path"].as_str()?;
    if entry["is_dir"] == true {
        return None;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    // Numbers of 64 bits may come as texts.
    let size = &entry["file_size"];
    let size_bytes = size.as_u64().or_else(|| size.as_str()?.parse().ok())?;
    Some(RemoteFile {
        name: name.to_owned(),
        at: format!("{folder}/{name}"),
        size_bytes,
        digest: None,
        etag: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_gives_out_has_a_folder() {
        let check = |uri: &str, folder: Option<&str>| assert_eq!(served(uri).as_deref(), folder);
        check(
            "mlflow-artifacts:/1/ab/artifacts/model",
            Some("1/ab/artifacts/model"),
        );
        check("mlflow-artifacts://host:5000/1/ab/", Some("1/ab"));
        check("s3://bucket/1/ab", None);
        check("/mlruns/1/ab", None);
    }
}
