//! What HTTP shows, and to whom.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Daemon, Scratch, debian, eventually};

#[test]
fn the_api_shows_runs_their_progress_events_and_reports() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("slow", "slow");
    let run = daemon.wait_for_generation("slow");
    let id = run["id"].as_str().unwrap();
    assert_eq!(run["live"]["stage"], "search");
    assert_eq!(run["live"]["generations"], 5);
    assert_eq!(
        daemon.get(&format!("/api/runs/{id}/report")).0,
        404,
        "not yet"
    );
    assert!(
        daemon
            .get("/")
            .1
            .contains("<progress value=\"1\" max=\"5\">")
    );

    scratch.go("slow");
    daemon.wait_for_state("slow", "done");
    assert_eq!(daemon.json(&format!("/api/runs/{id}"))["state"], "done");
    assert_eq!(
        daemon.json(&format!("/api/runs/{id}/report"))["published"][0]["version"],
        "v1"
    );
    let events = daemon.json(&format!("/api/runs/{id}/events"));
    let kinds: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        (kinds[0], *kinds.last().unwrap()),
        ("started", "stage_finished"),
        "publishing is told at the end"
    );
    let (status, page) = daemon.get("/");
    assert!(status == 200 && page.contains(&format!("/runs/{id}/report.html")));
    assert!(
        daemon
            .get(&format!("/runs/{id}/report.html"))
            .1
            .contains("<title>report</title>")
    );
}

#[test]
fn what_is_not_there_is_404_and_paths_do_not_leave_the_runs() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    for path in [
        "/api/runs/none",
        "/api/runs/..%2f..%2fetc",
        "/runs/..%2f/report.html",
        "/nothing",
    ] {
        assert_eq!(daemon.get(path).0, 404, "{path}");
    }
    let (status, _) = daemon.get("/healthz");
    assert_eq!(status, 200);
    eventually("readiness", || {
        (daemon.get("/readyz").0 == 200).then_some(())
    });
}

#[test]
fn foreign_hosts_are_refused_and_the_page_loads_nothing_from_elsewhere() {
    let scratch = Scratch::new();
    let daemon = Daemon::start_with(&scratch, "allowed_hosts: [evopress.internal]");
    let port = daemon.address().port();
    for path in ["/", "/metrics", "/api/runs", "/healthz"] {
        assert_eq!(daemon.get_as(path, "evil.example").0, 403, "{path}");
        assert_eq!(
            daemon.get_as(path, &format!("127.0.0.1:{port}")).0,
            200,
            "{path}"
        );
        assert_eq!(daemon.get_as(path, "evopress.internal").0, 200, "{path}");
    }
    let (_, page) = daemon.get("/");
    assert!(
        page.to_lowercase()
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(!page.contains("http://") && !page.contains("https://"));
}

#[test]
fn metrics_have_good_names_and_bounded_labels() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("slow", "slow");
    daemon.wait_for_generation("slow");
    assert_eq!(
        daemon.metric("evopress_run_stage{slot=\"0\",stage=\"search\"}"),
        Some(1.0)
    );
    promtool(&daemon.metrics());
    scratch.go("slow");
    daemon.wait_for_state("slow", "done");
    eventually("the run's series to go", || {
        (!daemon.metrics().contains("slot=")).then_some(())
    });

    let metrics = daemon.metrics();
    promtool(&metrics);
    // Values that depend on time and place are left out; names, labels and help are the interface.
    let shown: String = metrics
        .lines()
        .filter(|line| !line.contains("_bucket{"))
        .map(|line| match line.strip_prefix('#') {
            Some(_) => format!("{line}\n"),
            None => format!("{}\n", line.rsplit_once(' ').unwrap().0),
        })
        .collect();
    insta::assert_snapshot!(shown);
}

/// `promtool check metrics` finds nothing wrong.
fn promtool(metrics: &str) {
    let mut child = debian("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: `make test` sets it up");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_metric_of_the_examples_is_on_metrics() {
    let scratch = Scratch::new();
    let daemon = Daemon::start(&scratch);
    scratch.drop_spec("slow", "slow");
    daemon.wait_for_generation("slow");
    let metrics = daemon.metrics();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    for file in ["prometheus/alerts.yaml", "grafana/evopressd.json"] {
        let text = std::fs::read_to_string(format!("{examples}/{file}")).unwrap();
        let names = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("evopress_"));
        // A pace takes two generations, and this search stays in its first.
        for name in names.filter(|name| *name != "evopress_run_forward_tokens_per_second") {
            assert!(
                metrics.contains(&format!("\n{name}{{")) || metrics.contains(&format!("\n{name} ")),
                "{file}: {name}"
            );
        }
    }
}
