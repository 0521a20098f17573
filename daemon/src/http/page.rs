//! The page for people: all runs with their states and progress. One file without a script or other
//! files; it reloads itself every three seconds.

use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use evopress_spec::Stage;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Site;
use super::api::{Refusal, RunView, find, folder, list, unreadable};
use crate::journal::{Run, RunState};
use crate::progress::{Live, duration};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("page.css");

pub(super) async fn page(State(site): State<Arc<Site>>) -> Result<Response, Refusal> {
    let page = runs_page(&list(&site)?).into_string();
    Ok(([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(page)).into_response())
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

fn runs_page(runs: &[RunView]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta http-equiv="refresh" content="3";
                title { "evopressd" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Runs" }
                table {
                    thead {
                        tr {
                            @for head in ["run", "state", "attempt", "progress", "since (UTC)"] {
                                th { (head) }
                            }
                        }
                    }
                    tbody {
                        @for view in runs { (row(view)) }
                        @if runs.is_empty() {
                            tr {
                                td colspan="5" {
                                    "No runs yet: drop a pipeline spec into the watched folder."
                                }
                            }
                        }
                    }
                }
                footer {
                    "evopressd " (env!("CARGO_PKG_VERSION")) " · "
                    a href="/metrics" { "metrics" } " · "
                    a href="/api/runs" { "JSON" }
                }
            }
        }
    }
}

fn row(RunView { run, live }: &RunView) -> Markup {
    let finished_or_started = run.finished.as_deref().or(run.started.as_deref());
    html! {
        tr {
            td { (name(run)) }
            td class=(run.state) { (run.state) }
            td { (run.attempt) }
            td {
                @if let Some(live) = live { (progress(live)) }
                @if let Some(reason) = &run.reason {
                    @if live.is_some() { br; }
                    (reason)
                }
            }
            td { (finished_or_started.unwrap_or(&run.created)) }
        }
    }
}

/// The run's ID, with a link to its report, or to its entry in the API while it has none.
fn name(run: &Run) -> Markup {
    let link = match run.state {
        RunState::Done | RunState::GateFailed => Some(format!("/runs/{}/report.html", run.id)),
        RunState::Rejected => None,
        _ => Some(format!("/api/runs/{}", run.id)),
    };
    html! {
        @match link {
            Some(link) => { a href=(link) { (run.id) } }
            None => { (run.id) }
        }
    }
}

fn progress(live: &Live) -> Markup {
    let (done, total) = match (&live.progress, live.stage) {
        (Some(progress), _) => (progress.done, progress.total),
        (None, Some(Stage::Search)) => (live.generation.into(), live.generations.into()),
        _ => (0, 0),
    };
    let seconds_left = live.stage_seconds_left.or(live.search_seconds_left);
    html! {
        @if let Some(stage) = live.stage { (stage) " " }
        @if total > 0 {
            progress value=(done) max=(total) {}
            " " (done) "/" (total)
        }
        @if let Some(progress) = &live.progress { " " (progress.unit) }
        @if let Some(seconds) = seconds_left { ", " (duration(seconds)) " left" }
        @if let Some(fitness) = live.best_fitness { (format!(", best fitness {fitness:.4}")) }
        @if let Some(speed) = live.forward_tokens_per_second { (format!(", {speed:.0} tokens/s")) }
    }
}
