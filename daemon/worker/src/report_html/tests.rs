//! The page is whole, tells the truth, and lets no text become markup.

use evopress_spec::Status;

use super::{render, text};
use crate::example_reports::{dropped, joint, mixture, of_levels, quantized};

/// Every element that is opened is closed, in order: the page is well formed.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = html.split_once("</style>").map_or(html, |(_, body)| body);
    for tag in body
        .split('<')
        .skip(1)
        .map(|rest| rest.split_once('>').expect("a tag ends").0)
    {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .expect("a tag has a name");
        if let Some(closed) = tag.strip_prefix('/') {
            if ["head", "html"].contains(&closed) {
                continue;
            }
            assert_eq!(open.pop(), Some(closed), "near </{closed}>");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

/// The text between the tags of a page, one piece a line, without its style and its drawings.
fn words(page: &str) -> String {
    let mut lines = Vec::new();
    let mut is_drawing = false;
    let body = page.split_once("</style>").map_or(page, |(_, body)| body);
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        if tag.starts_with("svg") {
            is_drawing = true;
        }
        if !is_drawing && !text.trim().is_empty() {
            lines.push(text.trim());
        }
        if tag == "/svg" {
            is_drawing = false;
            lines.extend((!text.trim().is_empty()).then_some(text.trim()));
        }
    }
    lines.join("\n")
}

#[test]
fn pages_say_what_they_have_always_said() {
    insta::assert_snapshot!("dropped", words(&render(&dropped())));
    insta::assert_snapshot!("quantized", words(&render(&quantized())));
}

#[test]
fn a_page_is_well_formed_and_self_contained() {
    let page = render(&dropped());
    assert_well_formed(&page);
    for outside in [
        "<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", "http:",
        "https:",
    ] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
}

#[test]
fn pages_of_levels_are_well_formed_and_tell_packed_sizes_and_means() {
    let sparse = of_levels("sparsity", 0.5, |number| {
        format!("{:.4}", f64::from(number) / 12.0)
    });
    for (report, more) in [
        (
            quantized(),
            &[
                "Mean bits by kind of layer",
                "bits a weight",
                "96.5 MB packed, 2.788×",
            ][..],
        ),
        (
            sparse,
            &[
                "Mean sparsity by block",
                "<th>sparsity</th>",
                "0.4167 <small>",
            ],
        ),
        (joint(), &["× smaller", "sparsegpt:2:4", "hue-1"]),
    ] {
        let page = render(&report);
        assert_well_formed(&page);
        for text in more.iter().chain(&[
            "<h2>Levels</h2>",
            "Level databases",
            "packed size",
            "265.4 MB",
            "0.7 % of it in level switches",
        ]) {
            assert!(page.contains(text), "{text}");
        }
    }
    assert!(
        !render(&joint()).contains("Mean "),
        "levels of several measures have no mean"
    );
    let dropped = render(&dropped());
    assert!(dropped.contains("<h2>What was kept</h2>") && !dropped.contains("packed"));
}

#[test]
fn a_page_of_thousands_of_experts_is_small() {
    let (small, large) = (render(&mixture(12)), render(&mixture(48)));
    assert_well_formed(&large);
    assert!(
        large.len() < 4 * small.len() && large.len() < 500_000,
        "{}",
        large.len()
    );
    for text in [
        "<figcaption>Mean bits by kind of layer</figcaption>",
        "<th>expert gate_proj</th>",
        ">expert 112</text>",
    ] {
        assert!(large.contains(text), "{text}");
    }
    // Of one level, the experts of a block are one cell.
    let uniform = &large[large.find("levels of the experts of uniform").unwrap()..];
    let path = &uniform[uniform.find(" d=\"").unwrap()..];
    let path = &path[..path.find("></path>").unwrap()];
    assert_eq!(path.matches('M').count(), 48, "{path}");
}

#[test]
fn an_expert_that_is_left_out_is_an_empty_place() {
    let mut report = mixture(1);
    // Rows of 3.
    let num_cells = |page: &str| -> u32 {
        let map = &page[page.find("levels of the experts of EvoPress").unwrap()..];
        let map = &map[..map.find("</svg>").unwrap()];
        let heights = map.split("h20v").skip(1);
        let heights = heights.map(|rest| rest[..rest.find('h').unwrap()].parse::<u32>().unwrap());
        heights.sum::<u32>() / 3
    };
    assert_eq!(num_cells(&render(&report)), 128);
    for layer in ["gate_proj", "up_proj", "down_proj"] {
        let unit = format!("model.layers.0.mlp.experts.7.{layer}");
        report.genotype.insert(unit, "dropped".to_owned());
    }
    assert_eq!(num_cells(&render(&report)), 127);
}

#[test]
fn a_higher_level_is_deeper_and_the_same_in_every_picture() {
    let page = render(&quantized());
    let depth = |level: &str| -> u32 {
        let end = format!(": {level}</title>");
        let rects = page.match_indices(&end).map(|(at, _)| {
            let rect = &page[page[..at].rfind("<rect").unwrap()..at];
            let depth = rect.split_once("--depth:").unwrap().1;
            depth.split_once('%').unwrap().0.parse().unwrap()
        });
        let depths: Vec<u32> = rects.collect();
        assert!(
            depths.len() > 1 && depths.iter().all(|it| *it == depths[0]),
            "{level}"
        );
        depths[0]
    };
    let depths = ["2bit", "3bit", "4bit", "5bit", "8bit"].map(depth);
    assert!(
        depths.is_sorted() && depths[0] > 0 && depths[4] == 100,
        "{depths:?}"
    );
}

#[test]
fn a_winning_baseline_is_named_plainly() {
    let mut report = dropped();
    let sentence = "<b>A baseline is better than this result:</b> window cosine (70.95), against 71.81 of the search.";
    assert!(render(&report).contains(sentence));
    report.beaten_by.clear();
    assert!(!render(&report).contains("better than this result"));
}

#[test]
fn a_result_that_is_a_baseline_says_so() {
    let mut report = dropped();
    let sentence = "The search ended with the same levels as the baseline window cosine.";
    assert!(!render(&report).contains(sentence));
    report.genotype = report.baselines[0].genotype.clone();
    assert!(render(&report).contains(sentence));
}

#[test]
fn no_text_of_a_report_becomes_markup() {
    let hostile = "</title></style><script>alert('x')</script>\"&";
    let mut report = dropped();
    for field in [
        &mut report.run,
        &mut report.name,
        &mut report.spec_digest,
        &mut report.hardware,
    ] {
        *field = hostile.to_owned();
    }
    report.reason = Some(hostile.to_owned());
    report.target = serde_json::json!({ hostile: hostile });
    report.achieved.measure = hostile.to_owned();
    report
        .genotype
        .insert(hostile.to_owned(), hostile.to_owned());
    report
        .genotype
        .insert(format!("layers.3.{hostile}"), hostile.to_owned());
    report.warnings.push(hostile.to_owned());
    report.beaten_by.push(hostile.to_owned());
    for result in &mut report.evaluation {
        result.set = hostile.to_owned();
        result.baselines.insert(hostile.to_owned(), 1.0);
    }
    report.baselines[0].name = hostile.to_owned();
    report.gates[0].set = hostile.to_owned();
    report.gates[0].limit = hostile.to_owned();
    let artifact = &mut report.artifacts[0];
    (artifact.path, artifact.format, artifact.digest) =
        (hostile.to_owned(), hostile.to_owned(), hostile.to_owned());
    let place = &mut report.published[0];
    (place.registry, place.location) = (hostile.to_owned(), hostile.to_owned());
    (place.version, place.digest) = (hostile.to_owned(), hostile.to_owned());
    let page = render(&report);
    assert!(!page.contains("<script"));
    assert_well_formed(&page);
}

#[test]
fn a_report_of_almost_nothing_is_a_page() {
    let mut report = dropped();
    report.status = Status::Failed;
    report.reason = Some("the model is not there".to_owned());
    report.evaluation.clear();
    report.genotype.clear();
    report.search.history.clear();
    report.timings.clear();
    report.gates.clear();
    report.artifacts.clear();
    report.published.clear();
    report.achieved.dense_parameters = 0;
    let page = render(&report);
    assert_well_formed(&page);
    assert!(page.contains("the model is not there"));
    assert!(!page.contains("<h2>Search</h2>"));
}

#[test]
fn numbers_that_are_none_show_a_dash() {
    let mut report = dropped();
    report.evaluation[0].compressed = f64::INFINITY;
    report.search.history[3].best_fitness = f64::NAN;
    report.search.history.truncate(5);
    let page = render(&report);
    assert_well_formed(&page);
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn numbers_for_people() {
    let check = |found: String, expected: &str| assert_eq!(found, expected);
    check(text::number(35.4512), "35.45");
    check(text::number(0.74612), "0.7461");
    check(text::number(8_123_456_789.0), "8.12e9");
    check(text::number(f64::NAN), "–");
    check(text::grouped(134_515_008), "134,515,008");
    check(text::grouped(0), "0");
    check(text::bytes(269_030_016), "269.0 MB");
    check(text::duration(187.4), "3 min 07 s");
    check(text::duration(59.96), "60.0 s");
    check(text::duration(7_260.0), "2 h 01 min");
}
