//! MLflow: a run with parameters, metrics and artifacts, and a version of a registered model.
//!
//! MLflow gives every request a new run and a new version, so both are looked for by our run's ID
//! before they are made.

use evopress_spec::{Published, ToMlflow};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bundle::MANIFEST;
use crate::http::Http;
use crate::transfer::{self, Counter};
use crate::{Bundle, BundleFile, Endpoints, PublishError, Registry};

pub(crate) const KIND: &str = "mlflow";
pub(crate) const API: &str = "/api/2.0/mlflow";
/// Files that the server itself keeps.
pub(crate) const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts";
pub(crate) const NO_SERVER: &str =
    "there is no MLflow server: set `url`, or MLFLOW_TRACKING_URI for the daemon";
/// MLflow takes no more metrics in one call.
const METRICS: usize = 1000;
/// Set on the MLflow run when all files are there and were compared.
const COMPLETE: &str = "evopress.files_sha256";

/// An MLflow server.
pub(crate) struct MlflowRegistry {
    to: ToMlflow,
    url: Option<String>,
}

impl MlflowRegistry {
    pub(crate) fn new(to: ToMlflow, endpoints: &Endpoints) -> Self {
        let url = to.url.clone().or_else(|| endpoints.mlflow.clone());
        Self { to, url }
    }
}

impl Registry for MlflowRegistry {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn publish(
        &self,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Published, PublishError> {
        let no_server = || PublishError::Settings(NO_SERVER.to_owned());
        let url = self.url.as_deref().ok_or_else(no_server)?;
        let http = Http::new(KIND, url, self.to.plain_http, &self.to.credentials)?;
        let counter = Counter::default();
        let upload = Upload {
            to: &self.to,
            http: &http,
            bundle,
            counter: &counter,
        };
        transfer::run(&counter, progress, upload.run())
    }
}

/// One publication.
struct Upload<'a> {
    to: &'a ToMlflow,
    http: &'a Http,
    bundle: &'a Bundle,
    counter: &'a Counter,
}

impl Upload<'_> {
    async fn run(&self) -> Result<Published, PublishError> {
        let experiment = self.experiment().await?;
        let (run, is_new) = self.find_or_create_run(&experiment).await?;
        let run_id = text(&run["info"]["run_id"]);
        let digest = self.bundle.digest();
        let complete = tags(&run).any(|(key, value)| key == COMPLETE && value == digest);
        if complete {
            self.counter.done(self.bundle.size_bytes());
        } else {
            self.log(&run_id).await?;
            self.artifacts(&run, is_new).await?;
            let body = json!({"run_id": run_id, "key": COMPLETE, "value": digest});
            self.post("runs/set-tag", &body).await?;
        }
        let version = self.version(&run_id).await?;
        if let Some(alias) = &self.to.alias {
            self.alias(alias, &version).await?;
        }
        if run["info"]["status"] != "FINISHED" {
            let body = json!({"run_id": run_id, "status": "FINISHED", "end_time": self.bundle.facts.ended_ms});
            self.post("runs/update", &body).await?;
        }
        let name = &self.to.name;
        Ok(Published {
            registry: KIND.to_owned(),
            location: format!("{}/#/models/{name}/versions/{version}", self.http.base()),
            version,
            digest,
        })
    }

    async fn experiment(&self) -> Result<String, PublishError> {
        let name = &self.to.experiment;
        for create in [true, false] {
            let query = [("experiment_name", name.as_str())];
            let (status, found) = self.get("experiments/get-by-name", &query).await?;
            if status.is_success() {
                return Ok(text(&found["experiment"]["experiment_id"]));
            }
            if status != StatusCode::NOT_FOUND || !create {
                return Err(self.http.refused("experiments/get-by-name", status, &found));
            }
            // Another process may have created it in between.
            self.create("experiments/create", &json!({"name": name}))
                .await?;
        }
        Err(self.http.lacks("experiments/create", "an experiment"))
    }

    /// The run, and whether it has just been made.
    async fn find_or_create_run(&self, experiment: &str) -> Result<(Value, bool), PublishError> {
        let run = &self.bundle.run;
        let search = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`evopress.run` = '{run}'"),
            "order_by": ["attributes.start_time ASC"],
            "max_results": 1,
        });
        let found = self.post("runs/search", &search).await?;
        if let Some(run) = found["runs"].get(0) {
            return Ok((run.clone(), false));
        }
        let tags: Vec<Value> = self.bundle.facts.tags.iter().map(pair).collect();
        let own = json!([{"key": "evopress.run", "value": run}]);
        let create = json!({
            "experiment_id": experiment,
            "run_name": run,
            "start_time": self.bundle.facts.started_ms,
            "tags": if tags.is_empty() { own } else { json!(tags) },
        });
        let made = self.post("runs/create", &create).await?;
        Ok((made["run"].clone(), true))
    }

    /// MLflow keeps a metric of the same key, step, time and value once, and a parameter of the
    /// same value.
    async fn log(&self, run_id: &str) -> Result<(), PublishError> {
        let facts = &self.bundle.facts;
        let metrics: Vec<Value> = facts
            .metrics
            .iter()
            .map(|it| json!({"key": it.key, "value": it.value, "timestamp": it.timestamp_ms, "step": it.step}))
            .collect();
        for metrics in metrics.chunks(METRICS) {
            let body = json!({"run_id": run_id, "metrics": metrics});
            self.post("runs/log-batch", &body).await?;
        }
        let params: Vec<Value> = facts.params.iter().map(pair).collect();
        let body = json!({"run_id": run_id, "params": params});
        self.post("runs/log-batch", &body).await?;
        Ok(())
    }

    /// Sends the files that are missing; a run that `is_new` has none yet.
    async fn artifacts(&self, run: &Value, is_new: bool) -> Result<(), PublishError> {
        let uri = text(&run["info"]["artifact_uri"]);
        let Some(root) = uri.strip_prefix("mlflow-artifacts:") else {
            return Err(PublishError::Settings(format!(
                "the MLflow server keeps artifacts at {uri} and does not take them itself: start it with --serve-artifacts"
            )));
        };
        let root = root.trim_start_matches('/');
        for file in &self.bundle.files {
            let path = format!("{ARTIFACTS}/{root}/model/{}", escaped(&file.name));
            if !is_new && self.has(&path, file).await? {
                self.counter.done(file.size_bytes);
                continue;
            }
            let put = self.http.request(Method::PUT, &path);
            let what = format!("the artifact {}", file.name);
            let whole = (0, file.size_bytes);
            self.http
                .put_file(&what, put, file, whole, self.counter)
                .await?;
            let found = self.digest(&path, file).await?;
            if found.as_deref() != Some(file.sha256.as_str()) {
                return Err(PublishError::Differs {
                    registry: KIND,
                    place: file.name.clone(),
                    found: found.unwrap_or_else(|| "none".to_owned()),
                    expected: file.sha256.clone(),
                });
            }
        }
        let put = self
            .http
            .request(Method::PUT, &format!("{ARTIFACTS}/{root}/model/{MANIFEST}"));
        let (status, said) = self.http.answer(put.body(self.bundle.manifest()?)).await?;
        match status.is_success() {
            true => Ok(()),
            false => Err(self.http.refused(MANIFEST, status, &said)),
        }
    }

    async fn has(&self, path: &str, file: &BundleFile) -> Result<bool, PublishError> {
        let found = self.digest(path, file).await?;
        Ok(found.as_deref() == Some(file.sha256.as_str()))
    }

    async fn digest(&self, path: &str, file: &BundleFile) -> Result<Option<String>, PublishError> {
        let get = self.http.request(Method::GET, path);
        let what = format!("the artifact {}", file.name);
        let found = self.http.digest(&what, get, self.counter).await;
        match found {
            // Some stores answer a missing file with another error than 404; then it is sent.
            Err(PublishError::Refused { status: 500, .. }) => Ok(None),
            other => Ok(other?.map(|(digest, _)| digest)),
        }
    }

    async fn version(&self, run_id: &str) -> Result<String, PublishError> {
        let name = &self.to.name;
        let about = json!({"name": name, "description": self.bundle.facts.summary});
        self.create("registered-models/create", &about).await?;
        let filter = format!("name='{name}' and run_id='{run_id}'");
        let query = [("filter", filter.as_str())];
        let (status, found) = self.get("model-versions/search", &query).await?;
        if !status.is_success() {
            return Err(self.http.refused("model-versions/search", status, &found));
        }
        if let Some(version) = found["model_versions"].get(0) {
            return Ok(text(&version["version"]));
        }
        let create = json!({
            "name": name,
            "source": format!("runs:/{run_id}/model"),
            "run_id": run_id,
            "tags": [{"key": "evopress.run", "value": self.bundle.run}],
        });
        let made = self.post("model-versions/create", &create).await?;
        Ok(text(&made["model_version"]["version"]))
    }

    /// An alias follows the newest version; publishing an old version again does not move it back.
    async fn alias(&self, alias: &str, version: &str) -> Result<(), PublishError> {
        let name = self.to.name.as_str();
        let query = [("name", name), ("alias", alias)];
        let (status, found) = self.get("registered-models/alias", &query).await?;
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        if status.is_success()
            && number(&text(&found["model_version"]["version"])) >= number(version)
        {
            return Ok(());
        }
        let body = json!({"name": name, "alias": alias, "version": version});
        self.post("registered-models/alias", &body)
            .await
            .map(|_| ())
    }

    async fn get(
        &self,
        call: &str,
        query: &[(&str, &str)],
    ) -> Result<(StatusCode, Value), PublishError> {
        let request = self.http.request(Method::GET, &format!("{API}/{call}"));
        self.http.answer(request.query(query)).await
    }

    async fn post(&self, call: &str, body: &Value) -> Result<Value, PublishError> {
        let request = self.http.request(Method::POST, &format!("{API}/{call}"));
        self.http.json(call, request.json(body)).await
    }

    /// A POST that creates something, and succeeds also where it exists already.
    async fn create(&self, call: &str, body: &Value) -> Result<(), PublishError> {
        let request = self.http.request(Method::POST, &format!("{API}/{call}"));
        let (status, said) = self.http.answer(request.json(body)).await?;
        if status.is_success() || said["error_code"] == "RESOURCE_ALREADY_EXISTS" {
            Ok(())
        } else {
            Err(self.http.refused(call, status, &said))
        }
    }
}

fn tags(run: &Value) -> impl Iterator<Item = (&str, &str)> {
    let tags = run["data"]["tags"].as_array();
    tags.into_iter()
        .flatten()
        .filter_map(|tag| Some((tag["key"].as_str()?, tag["value"].as_str()?)))
}

fn pair((key, value): (&String, &String)) -> Value {
    json!({"key": key, "value": value})
}

/// IDs come as texts, versions as texts or numbers.
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A name in a URL's path; `/` stays.
pub(crate) fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
