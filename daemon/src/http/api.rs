//! The read-only JSON API.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use evopress_spec::events::Reader;
use evopress_spec::{Event, RunDir};
use serde::Serialize;
use serde_json::json;

use super::Site;
use crate::journal::{JournalError, Run, RunState};
use crate::progress::Live;

/// At most this many runs are listed.
const MAX_RUNS: u32 = 500;

/// A run with its progress, while it has one.
#[derive(Debug, Serialize)]
pub(super) struct RunView {
    #[serde(flatten)]
    pub(super) run: Run,
    pub(super) live: Option<Live>,
}

/// An answer that is not what was asked for.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

pub(super) async fn runs(State(site): State<Arc<Site>>) -> Result<Json<Vec<RunView>>, Refusal> {
    list(&site).map(Json)
}

pub(super) async fn run(
    State(site): State<Arc<Site>>,
    UrlPath(id): UrlPath<String>,
) -> Result<Json<RunView>, Refusal> {
    let run = find(&site, &id)?;
    Ok(Json(RunView {
        live: site.board.get(&run.id),
        run,
    }))
}

pub(super) async fn events(
    State(site): State<Arc<Site>>,
    UrlPath(id): UrlPath<String>,
) -> Result<Json<Vec<Event>>, Refusal> {
    let run_dir = folder(&site, &find(&site, &id)?)?;
    let mut reader = Reader::new(&run_dir.events());
    reader
        .poll()
        .map(Json)
        .map_err(|error| unreadable(&run_dir.events(), &error))
}

pub(super) async fn report(
    State(site): State<Arc<Site>>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    let run_dir = folder(&site, &find(&site, &id)?)?;
    let text = std::fs::read(run_dir.report_json())
        .map_err(|error| unreadable(&run_dir.report_json(), &error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

pub(super) fn list(site: &Site) -> Result<Vec<RunView>, Refusal> {
    let runs = site.journal.list(MAX_RUNS)?;
    Ok(runs
        .into_iter()
        .map(|run| RunView {
            live: site.board.get(&run.id),
            run,
        })
        .collect())
}

/// Only the journal's IDs become paths, never what a request says.
pub(super) fn find(site: &Site, id: &str) -> Result<Run, Refusal> {
    site.journal
        .get(id)?
        .ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("there is no run {id:?}")))
}

pub(super) fn folder(site: &Site, run: &Run) -> Result<RunDir, Refusal> {
    if run.state == RunState::Rejected {
        return Err(Refusal(
            StatusCode::NOT_FOUND,
            "the spec was rejected; nothing ran".to_owned(),
        ));
    }
    Ok(RunDir::of_run(site.state.root(), &run.id))
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Refusal(StatusCode::NOT_FOUND, format!("the run has no {name} yet"))
        }
        _ => Refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{name} cannot be read: {error}"),
        ),
    }
}
