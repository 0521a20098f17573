//! The daemon's HTTP: metrics, health, a read-only API, and a page. It changes nothing.

mod api;
mod host;
mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::progress::Board;
use crate::state_dir::StateDir;
use crate::stop::Stop;

/// What the handlers read.
#[derive(Debug)]
pub struct Site {
    /// Where the runs are.
    pub state: StateDir,
    /// The runs and their states.
    pub journal: Arc<Journal>,
    /// How far they are.
    pub board: Arc<Board>,
    /// For Prometheus.
    pub metrics: Metrics,
    /// Names that may be asked for, besides localhost and IP addresses.
    pub allowed_hosts: Vec<String>,
}

/// Serves `site` until told to stop.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, site: Arc<Site>, stop: Stop) -> std::io::Result<()> {
    let stopped = async move { stop.requested().await };
    axum::serve(listener, router(site))
        .with_graceful_shutdown(stopped)
        .await
}

/// All routes.
pub fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/api/runs", get(api::runs))
        .route("/api/runs/{id}", get(api::run))
        .route("/api/runs/{id}/events", get(api::events))
        .route("/api/runs/{id}/report", get(api::report))
        .route("/runs/{id}/report.html", get(page::report))
        .layer(middleware::from_fn_with_state(
            site.clone(),
            host::refuse_foreign,
        ))
        .layer(middleware::map_response(harden))
        .with_state(site)
}

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    match site.metrics.render() {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Whether specs that arrive now are accepted.
async fn ready(State(site): State<Arc<Site>>) -> (StatusCode, String) {
    let not = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if site.metrics.draining.get() != 0 {
        return not("the daemon is stopping");
    }
    if site.metrics.watcher.healthy.get() == 0 {
        return not("the watched folder cannot be read");
    }
    match site.journal.counts() {
        Ok(_) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => not(&error.to_string()),
    }
}

/// Sets headers: browsers guess no types, show no frames, cache nothing, and send no referrer.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}
