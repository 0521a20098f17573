//! The page's other tables.

use evopress_spec::{Report, SearchResult, SequenceStart};
use maud::{Markup, html};

use super::text::{bytes, duration, grouped, number, percent};

/// What was demanded and what was found; nothing where there are no gates.
pub(super) fn gates(report: &Report) -> Option<Markup> {
    let table = html! {
        table {
            thead {
                tr { th { "set" } th { "limit" } th { "found" } th {} }
            }
            tbody {
                @for gate in &report.gates {
                    tr {
                        td { (gate.set) }
                        td { code { (gate.limit) } }
                        td { (number(gate.value)) }
                        td {
                            @if gate.passed {
                                span.badge.good { "passed" }
                            } @else {
                                span.badge.bad { "missed" }
                            }
                        }
                    }
                }
            }
        }
    };
    (!report.gates.is_empty()).then_some(table)
}

/// What the levels were made of; nothing where no method needs a database.
pub(super) fn databases(report: &Report) -> Option<Markup> {
    let table = html! {
        div.scroll {
            table.files {
                thead {
                    tr {
                        th { "method" }
                        th { "size" }
                        th { "calibration tokens" }
                        th { "built in" }
                        th { "key" }
                    }
                }
                tbody {
                    @for it in &report.databases {
                        tr {
                            td { (it.method) }
                            td { (bytes(it.bytes)) }
                            td { (grouped(it.tokens)) }
                            td {
                                (duration(it.build_seconds))
                                @if it.reused { ", before this run" }
                            }
                            td { code { (it.key) } }
                        }
                    }
                }
            }
        }
    };
    (!report.databases.is_empty()).then_some(table)
}

/// What was written and where it was published; nothing where nothing was.
pub(super) fn files(report: &Report) -> Option<Markup> {
    let table = html! {
        div.scroll {
            table.files {
                thead {
                    tr {
                        th { "what" }
                        th { "where" }
                        th { "size or version" }
                        th { "SHA-256" }
                    }
                }
                tbody {
                    @for artifact in &report.artifacts {
                        tr {
                            td { (artifact.format) }
                            td.path { (artifact.path) }
                            td { (bytes(artifact.bytes)) }
                            td { code { (artifact.digest) } }
                        }
                    }
                    @for place in &report.published {
                        tr {
                            td { "published (" (place.registry) ")" }
                            td.path { (place.location) }
                            td { (place.version) }
                            td { code { (place.digest) } }
                        }
                    }
                }
            }
        }
    };
    (!report.artifacts.is_empty() || !report.published.is_empty()).then_some(table)
}

/// Everything else, as pairs.
pub(super) fn settings(report: &Report) -> Markup {
    let search = &report.search;
    html! {
        dl {
            dt { "target" }
            dd { code { (report.target.to_string()) } }
            dt { "reached" }
            dd { (reached(report)) }
            @if let Some(starts) = SequenceStart::summary(&report.sequences) {
                dt { "sequences begin with BOS" }
                dd { (starts) }
            }
            dt { "search" }
            dd {
                (mode_words(search)) " mode, " (search.generations) " generations"
                @if let Some(why) = &search.ended { "; it ended because " (why) }
            }
            dt { "tokens forward" }
            dd { (grouped(search.forward_tokens)) }
            dt { "time of the search" }
            dd { (time_of(search)) }
            dt { "peak memory of the worker" }
            dd { (bytes(report.peak_memory_bytes)) }
            dt { "machine" }
            dd { (report.hardware) }
            dt { "digest of the spec" }
            dd { code { (report.spec_digest) } }
        }
    }
}

fn reached(report: &Report) -> String {
    let achieved = &report.achieved;
    match achieved.measure.as_str() {
        "size_bytes" => format!("size_bytes {}", grouped(achieved.value as u64)),
        measure => format!("{measure} {}", number(achieved.value)),
    }
}

fn mode_words(search: &SearchResult) -> String {
    let mode = serde_json::to_value(search.mode).ok();
    let words = mode.and_then(|mode| mode.as_str().map(str::to_owned));
    words.unwrap_or_default()
}

fn time_of(search: &SearchResult) -> String {
    let all = duration(search.seconds);
    if search.switch_seconds > 0.0 && search.seconds > 0.0 {
        let share = percent(search.switch_seconds / search.seconds);
        format!("{all}, {share} of it in level switches")
    } else {
        all
    }
}
