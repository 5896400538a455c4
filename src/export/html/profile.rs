//! What only a profile has: the stages over time, where each one's time went, and its plots.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::chart::{self, Bar, Past, Plot, Series};
use super::markup::Markup;
use crate::base::units;

/// The parts of the wall time: class, name, place in the report.
const PARTS: [(&str, &str, &str); 8] = [
    ("cpu", "on CPU", "/on_cpu_seconds"),
    ("wait", "waiting for CPU", "/cpu_wait_seconds"),
    ("disk", "I/O stall", "/io_stall_seconds"),
    ("memory", "memory stall", "/memory_stall_seconds"),
    ("lock", "locks", "/other/lock_seconds"),
    ("network", "network", "/other/network_seconds"),
    ("sleep", "sleep", "/other/sleep_seconds"),
    ("other", "other waiting", "/other/unknown_seconds"),
];

/// A run of a stage.
struct Run<'a> {
    stage: &'a str,
    number: usize,
    of: usize,
    start: f64,
    end: f64,
    section: &'a Value,
}

/// Draws what the body of a profile report holds; nothing for another one.
pub(super) fn sections(page: &mut Markup, body: &Map<String, Value>) {
    let Some(stages) = body.get("stages").and_then(Value::as_array) else {
        return;
    };
    let runs: Vec<Run<'_>> = stages.iter().flat_map(runs).collect();
    if runs.is_empty() {
        return;
    }
    judgement(page, body.get("judgement").unwrap_or(&Value::Null));
    gantt(page, &runs);
    page.raw("<h2>Stages</h2>\n");
    for stage in stages {
        one_stage(page, stage);
    }
    measuring(page, body);
}

fn runs(stage: &Value) -> Vec<Run<'_>> {
    let name = stage["stage"].as_str().unwrap_or_default();
    let runs = stage["runs"].as_array().map_or(&[][..], Vec::as_slice);
    let each = runs.iter().enumerate().map(|(at, section)| {
        let start = number(&section["offset_seconds"]);
        Run {
            stage: name,
            number: at + 1,
            of: runs.len(),
            start,
            end: start + number(&section["figures"]["wall_seconds"]),
            section,
        }
    });
    each.collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().into_iter().flatten();
    values.filter_map(Value::as_f64).collect()
}

/// Every run where it lay in time, one row a stage.
fn gantt(page: &mut Markup, runs: &[Run<'_>]) {
    let end = runs.iter().fold(0.0, |end: f64, run| end.max(run.end));
    page.raw("<h2>Time line</h2>\n");
    let mut at = 0;
    while at < runs.len() {
        let stage = runs[at].stage;
        let own = &runs[at..at + runs[at].of];
        at += own.len();
        let bars: Vec<Bar> = own
            .iter()
            .map(|run| Bar {
                class: match run.section["outcome"].as_str() {
                    Some("passed") => "cpu",
                    _ => "bad",
                },
                from: share(run.start, end),
                to: share(run.end, end),
            })
            .collect();
        let total: f64 = own.iter().map(|run| run.end - run.start).sum();
        page.within("<div class=\"row\"><b>", stage, "</b>");
        let label = format!(
            "{stage}: {total:.2} s in {}",
            units::count(own.len() as u64, "run")
        );
        chart::bars(page, &label, &bars);
        page.raw("<span>").number(total, 2).raw(" s</span></div>\n");
    }
    page.raw("<div class=\"axis\"><span>0 s</span><span>")
        .number(end, 2)
        .raw(" s</span></div>\n");
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn one_stage(page: &mut Markup, stage: &Value) {
    let runs = runs(stage);
    let median = stage["median_run"].as_u64().unwrap_or(0);
    let Some(run) = usize::try_from(median).ok().and_then(|at| runs.get(at)) else {
        return;
    };
    page.within("<section class=\"card\"><h3>", run.stage, "</h3>");
    let command = stage["command"].as_str().unwrap_or_default();
    page.within("<p class=\"dim\"><code>", command, "</code></p>\n");
    if run.of > 1 {
        let text = format!(
            "Run {} of {}, the one of median wall time.",
            run.number, run.of
        );
        page.within("<p class=\"dim\">", &text, "</p>\n");
    }
    figures(page, run);
    time(page, run);
    plots(page, &run.section["time_line"]);
    page.raw("</section>\n");
}

fn figures(page: &mut Markup, run: &Run<'_>) {
    let figures = &run.section["figures"];
    let cpu = number(&figures["cpu_user_seconds"]) + number(&figures["cpu_system_seconds"]);
    let size = |name: &str| {
        figures[name]
            .as_u64()
            .map_or("not known".into(), units::bytes)
    };
    let facts = [
        (
            "wall time",
            format!("{:.3} s", number(&figures["wall_seconds"])),
        ),
        ("CPU time", format!("{cpu:.3} s")),
        ("peak memory", size("peak_memory_bytes")),
        ("read", size("read_bytes")),
        ("written", size("written_bytes")),
        (
            "processors busy",
            format!("{:.2}", number(&run.section["time"]["parallelism"])),
        ),
    ];
    page.raw("<ul class=\"facts\">");
    for (name, value) in facts {
        page.within("<li><small>", name, "</small>")
            .text(&value)
            .raw("</li>");
    }
    page.raw("</ul>\n");
}

/// Where the time went, as one bar of parts.
fn time(page: &mut Markup, run: &Run<'_>) {
    let identity = &run.section["time"]["identity"];
    let part = |pointer: &str| identity.pointer(pointer).map_or(0.0, number);
    let whole: f64 = PARTS.iter().map(|(_, _, pointer)| part(pointer)).sum();
    let mut bars = Vec::new();
    let mut keys = Vec::new();
    let mut from = 0.0;
    for (class, name, pointer) in PARTS {
        let share = share(part(pointer), whole);
        // Less than this is no share that anybody can see or mend.
        if share >= 0.001 {
            bars.push(Bar {
                class,
                from,
                to: from + share,
            });
            keys.push((class, name, share));
        }
        from += share;
    }
    page.raw("<p><b>Where the time went</b></p><div class=\"bars\">");
    let label: Vec<String> = keys
        .iter()
        .map(|(_, name, share)| format!("{name} {:.1} %", share * 100.0))
        .collect();
    chart::bars(page, &label.join(", "), &bars);
    page.raw("</div><div class=\"keys\">");
    for (class, name, share) in keys {
        page.raw("<span class=\"key\"><i class=\"")
            .raw(class)
            .raw("\"></i>")
            .text(name)
            .raw(" ");
        page.number(share * 100.0, 1).raw(" %</span>");
    }
    page.raw("</div>\n");
}

fn plots(page: &mut Markup, line: &Value) {
    let ends = numbers(&line["end_seconds"]);
    let column = |name: &str| numbers(&line[name]);
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let (cpus, waiting) = (column("cpus"), column("waiting_for_cpu"));
    let memory = column("memory_bytes");
    let (read, written) = (
        column("read_bytes_per_second"),
        column("written_bytes_per_second"),
    );
    let rate = |values: &[f64]| format!("{}/s", units::bytes(most(values) as u64));
    let series = |class, name, values, is_filled| Series {
        class,
        name,
        values,
        is_filled,
    };
    let plot = |title, peak, series: &[Series<'_>], page: &mut Markup| {
        Plot {
            title,
            peak,
            ends: &ends,
            series,
        }
        .draw(page);
    };
    let busy = format!("at most {:.2} processors busy", most(&cpus));
    let lines = [
        series("cpu", "busy", &cpus, true),
        series("wait", "waiting", &waiting, false),
    ];
    plot("CPU", busy, &lines, page);
    let peak = format!("at most {}", units::bytes(most(&memory) as u64));
    plot("Memory", peak, &[series("memory", "", &memory, true)], page);
    let peak = format!("at most {} read, {} written", rate(&read), rate(&written));
    let lines = [
        series("network", "read", &read, false),
        series("disk", "written", &written, false),
    ];
    plot("Storage", peak, &lines, page);
}

/// The past of every series, with its levels and the band in which a change may stay unseen.
fn judgement(page: &mut Markup, judgement: &Value) {
    let all = judgement["series"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return;
    }
    page.raw("<h2>Compared with the past</h2>\n");
    let (young, all): (Vec<&Value>, Vec<&Value>) = all
        .iter()
        .partition(|series| series["verdict"] == "not_enough_history");
    if !all.is_empty() {
        page.raw("<p class=\"dim\">Every point is a run, the newest on the right; lines are levels, and within the band a change may stay unseen.</p>\n");
    }
    let name = |series: &Value, key: &str| series[key].as_str().unwrap_or_default().to_owned();
    for series in all {
        let name = |key: &str| name(series, key);
        let (stage, metric, verdict) = (name("stage"), name("metric"), name("verdict"));
        page.within("<section class=\"card\"><h3>", &stage, " ");
        page.within("<span class=\"dim\">", &metric, "</span> ");
        page.raw(match verdict.as_str() {
            "regression" => "<span class=\"badge fail\">",
            "inconclusive" => "<span class=\"badge warn\">",
            _ => "<span class=\"badge\">",
        });
        page.text(&verdict.replace('_', " ")).raw("</span></h3>");
        page.within("<p>", &name("why"), "</p>\n");
        past(page, series, &format!("{stage}, {metric}"));
        page.raw("</section>\n");
    }
    if !young.is_empty() {
        let mut stages: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for series in young {
            let metric = name(series, "metric").replace('_', " ");
            stages
                .entry(name(series, "stage"))
                .or_default()
                .push(metric);
        }
        let stages = stages.iter();
        let stages: Vec<String> = stages
            .map(|(stage, metrics)| format!("{stage} ({})", metrics.join(", ")))
            .collect();
        let text = stages.join("; ");
        page.within(
            "<p class=\"dim\">Not enough past runs yet: ",
            &text,
            ".</p>\n",
        );
    }
}

fn past(page: &mut Markup, series: &Value, label: &str) {
    let history = numbers(&series["history"]);
    let current = numbers(&series["current"]);
    let place = |value: &Value| usize::try_from(value.as_u64()?).ok();
    let level = |level: &Value| {
        Some((
            place(&level["from"])?,
            place(&level["to"])?,
            level["level"].as_f64()?,
        ))
    };
    let levels = series["levels"].as_array().map_or(&[][..], Vec::as_slice);
    let levels: Vec<_> = levels.iter().filter_map(level).collect();
    let all: Vec<f64> = history.iter().chain(&current).copied().collect();
    let (low, high) = all.iter().fold((f64::MAX, 0.0), |(low, high), value| {
        (f64::min(low, *value), f64::max(high, *value))
    });
    // One point is no past.
    if history.is_empty() || all.len() < 2 {
        return;
    }
    let unit = match label.ends_with("bytes") {
        true => |value: f64| units::bytes(value as u64),
        false => |value: f64| format!("{value:.3}"),
    };
    Past {
        values: &all,
        levels: &levels,
        band: match numbers(&series["band"])[..] {
            [low, high] => Some((low, high)),
            _ => None,
        },
        now_from: history.len(),
        label: format!(
            "{label}: {} past runs from {} to {}",
            history.len(),
            unit(low),
            unit(high)
        ),
    }
    .draw(page);
    page.raw("<div class=\"axis\"><span>")
        .text(&units::count(history.len() as u64, "past run"));
    page.within(
        "</span><span>",
        &format!("{} to {}", unit(low), unit(high)),
        "</span>",
    );
    page.within(
        "<span>now: ",
        &current.last().map_or(String::new(), |now| unit(*now)),
        "</span></div>",
    );
}

fn measuring(page: &mut Markup, body: &Map<String, Value>) {
    let machine = body.get("machine").unwrap_or(&Value::Null);
    let (cpus, memory) = (number(&machine["cpus"]), machine["memory_bytes"].as_u64());
    page.raw("<h2>Measured on</h2>\n<p>")
        .text(machine["platform"].as_str().unwrap_or_default());
    page.within(", ", &format!("{cpus} processors"), "");
    page.text(&memory.map_or(String::new(), |bytes| {
        format!(", {} of memory", units::bytes(bytes))
    }));
    if let Some(load) = machine["load"].as_f64() {
        page.text(&format!(", load {load:.2} before the first run"));
    }
    page.raw("</p>\n");
    let degraded = body
        .get("measuring")
        .and_then(|it| it["degraded"].as_array());
    for text in degraded.into_iter().flatten().filter_map(Value::as_str) {
        page.within("<p class=\"dim\">Not as it should be: ", text, ".</p>\n");
    }
}
