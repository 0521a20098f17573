//! The page for people: all runs with their states and progress. One file, no script, no assets; it refreshes itself.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use evopress_spec::Stage;

use super::Site;
use super::api::{Refusal, RunView, find, folder, list, unreadable};
use crate::journal::RunState;
use crate::progress::duration;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
const HEAD: &str = include_str!("page.html");

pub(super) async fn page(State(site): State<Arc<Site>>) -> Result<Response, Refusal> {
    let runs = list(&site)?;
    let mut rows = String::new();
    for view in &runs {
        row(&mut rows, view);
    }
    if runs.is_empty() {
        rows.push_str("<tr><td colspan=\"5\">No runs yet: drop a pipeline spec into the watched folder.</td></tr>");
    }
    let html = HEAD
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{rows}", &rows);
    Ok(([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(html)).into_response())
}

pub(super) async fn report(
    State(site): State<Arc<Site>>,
    UrlPath(id): UrlPath<String>,
) -> Result<Response, Refusal> {
    let run_dir = folder(&site, &find(&site, &id)?)?;
    let html = std::fs::read(run_dir.report_html())
        .map_err(|error| unreadable(&run_dir.report_html(), &error))?;
    Ok(([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(html)).into_response())
}

fn row(rows: &mut String, RunView { run, live }: &RunView) {
    let id = escape(&run.id);
    let shown = match run.state {
        RunState::Done | RunState::GateFailed => {
            format!("<a href=\"/runs/{id}/report.html\">{id}</a>")
        }
        RunState::Rejected => id,
        _ => format!("<a href=\"/api/runs/{id}\">{id}</a>"),
    };
    let mut detail = String::new();
    if let Some(live) = live {
        let (done, total) = match (&live.progress, live.stage) {
            (Some(progress), _) => (progress.done, progress.total),
            (None, Some(Stage::Search)) => (live.generation.into(), live.generations.into()),
            _ => (0, 0),
        };
        if let Some(stage) = live.stage {
            let _ = write!(detail, "{stage} ");
        }
        if total > 0 {
            let _ = write!(
                detail,
                "<progress value=\"{done}\" max=\"{total}\"></progress> {done}/{total}"
            );
        }
        if let Some(progress) = &live.progress {
            let _ = write!(detail, " {}", escape(&progress.unit));
        }
        if let Some(seconds) = live.stage_seconds_left.or(live.search_seconds_left) {
            let _ = write!(detail, ", {} left", duration(seconds));
        }
        if let Some(fitness) = live.best_fitness {
            let _ = write!(detail, ", best fitness {fitness:.4}");
        }
        if let Some(speed) = live.forward_tokens_per_second {
            let _ = write!(detail, ", {speed:.0} tokens/s");
        }
    }
    if let Some(reason) = &run.reason {
        let gap = if detail.is_empty() { "" } else { "<br>" };
        let _ = write!(detail, "{gap}{}", escape(reason));
    }
    let when = run
        .finished
        .as_deref()
        .or(run.started.as_deref())
        .unwrap_or(&run.created);
    let _ = write!(
        rows,
        "<tr><td>{shown}</td><td class=\"{0}\">{0}</td><td>{1}</td><td>{detail}</td><td>{when}</td></tr>",
        run.state, run.attempt
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
