//! What only a budget has: how it comes about, as a waterfall; what else is budgeted, and advice.

use serde_json::{Map, Value};

use super::chart::{self, Bar};
use super::markup::Markup;
use crate::base::units;

/// Draws what the body of a budget report holds; nothing for another one.
pub(super) fn sections(page: &mut Markup, body: &Map<String, Value>) {
    let Some(budgets) = body.get("budgets").filter(|budgets| budgets.is_object()) else {
        return;
    };
    waterfall(page, &budgets["processing_seconds"]);
    amounts(page, budgets);
    let suggestions = body.get("suggestions").and_then(Value::as_array);
    let texts = suggestions.into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|one| one["message"].as_str()).collect();
    if !texts.is_empty() {
        page.raw("<h2>Advice</h2>\n<ul>");
        for text in texts {
            page.within("<li>", text, "</li>");
        }
        page.raw("</ul>\n");
    }
}

/// What each stage of a run was to take and took; nothing for another report.
pub(super) fn stages(page: &mut Markup, body: &Map<String, Value>) {
    let list =
        |value: Option<&'_ Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let took = list(
        body.get("profile")
            .and_then(|profile| profile.get("stages")),
    );
    let actual = |stage: &Value| {
        let section = took.iter().find(|section| section["stage"] == *stage)?;
        let median = usize::try_from(section["median_run"].as_u64()?).ok()?;
        section["runs"].get(median)?["figures"]["wall_seconds"].as_f64()
    };
    let rows = list(body.get("budget"));
    let rows = rows.iter().filter_map(|row| {
        let budget = row["advice"]["budget_seconds"].as_f64()?;
        Some((row["stage"].as_str()?, budget, actual(&row["stage"])?))
    });
    let rows: Vec<(&str, f64, f64)> = rows.collect();
    let whole = rows
        .iter()
        .fold(f64::MIN_POSITIVE, |whole, (_, budget, actual)| {
            whole.max(*budget).max(*actual)
        });
    if rows.is_empty() {
        return;
    }
    page.raw("<h2>Stages and their budgets</h2>\n<p class=\"dim\">What each took, within what was predicted for it.</p>\n");
    for (stage, budget, actual) in rows {
        let class = if actual > budget { "bad" } else { "cpu" };
        let bar = |class, to| Bar {
            class,
            from: 0.0,
            to: to / whole,
        };
        page.within("<div class=\"row\"><b>", stage, "</b>");
        let label = format!("{stage}: {actual:.2} of {budget:.2} s");
        chart::bars(page, &label, &[bar("info", budget), bar(class, actual)]);
        page.raw("<span>")
            .number(actual, 2)
            .raw(" s</span></div>\n");
    }
    page.raw("<div class=\"axis\"><span>0 s</span><span>")
        .number(whole, 2)
        .raw(" s</span></div>\n");
}

/// From what half of such jobs take, by the margin for the share that is to keep within, to the
/// budget below the policy's maximum.
fn waterfall(page: &mut Markup, budget: &Value) {
    let number = |name: &str| budget[name].as_f64();
    let (Some(recommended), Some(asked), Some(ceiling)) = (
        number("recommended"),
        number("recommended_without_ceiling"),
        number("ceiling"),
    ) else {
        return;
    };
    let expected = number("expected").unwrap_or(0.0).min(asked);
    let whole = asked.max(ceiling).max(f64::MIN_POSITIVE);
    let mut steps = vec![
        ("half of such jobs take", "cpu", 0.0, expected),
        ("margin for the others", "wait", expected, asked),
    ];
    if asked > recommended {
        steps.push(("cut by the policy's maximum", "bad", recommended, asked));
    }
    steps.push(("budget", "network", 0.0, recommended));
    page.raw("<h2>How the budget comes about</h2>\n");
    for (name, class, from, to) in steps {
        page.within("<div class=\"row\"><b>", name, "</b>");
        let bar = Bar {
            class,
            from: from / whole,
            to: to / whole,
        };
        chart::bars(page, &format!("{name}: {:.2} s", to - from), &[bar]);
        page.raw("<span>")
            .number(to - from, 2)
            .raw(" s</span></div>\n");
    }
    page.raw("<div class=\"axis\"><span>0 s</span><span>")
        .number(whole, 0);
    page.raw(if asked > ceiling {
        " s</span></div>\n"
    } else {
        " s, the policy's maximum</span></div>\n"
    });
}

fn amounts(page: &mut Markup, budgets: &Value) {
    let amount = |name: &str| budgets[name]["recommended"].as_f64();
    let known = [
        ("peak memory", amount("peak_memory_bytes")),
        ("read", amount("read_bytes")),
        ("written", amount("written_bytes")),
    ];
    if known.iter().all(|(_, bytes)| bytes.is_none()) {
        return;
    }
    page.raw("<h2>Other budgets</h2>\n<ul class=\"facts\">");
    for (name, bytes) in known {
        if let Some(bytes) = bytes {
            page.within("<li><small>", name, "</small>")
                .text(&units::bytes(bytes as u64))
                .raw("</li>");
        }
    }
    page.raw("</ul>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn html(processing: &Value) -> String {
        let body = json!({
            "budgets": {"processing_seconds": processing, "peak_memory_bytes": {"recommended": 1048576.0}, "read_bytes": null},
            "suggestions": [{"message": "split <it>"}],
        });
        let mut page = Markup::default();
        sections(&mut page, body.as_object().unwrap_or(&Map::new()));
        page.into_string()
    }

    #[test]
    fn the_budget_falls_from_what_jobs_take_to_what_they_get() {
        let fits = html(
            &json!({"expected": 3.0, "recommended": 18.0, "recommended_without_ceiling": 18.0, "ceiling": 300.0}),
        );
        for part in [
            "half of such jobs take: 3.00 s",
            "margin for the others: 15.00 s",
            "budget: 18.00 s",
            "300 s, the policy&#39;s maximum",
            "<small>peak memory</small>1.0 MiB",
            "<li>split &lt;it&gt;</li>",
        ] {
            assert!(
                fits.contains(part) || fits.contains(&part.replace("&#39;", "'")),
                "{part}: {fits}"
            );
        }
        assert!(!fits.contains("cut by"));
        let cut = html(
            &json!({"expected": null, "recommended": 300.0, "recommended_without_ceiling": 400.0, "ceiling": 300.0}),
        );
        assert!(
            cut.contains("cut by the policy&#39;s maximum: 100.00 s"),
            "{cut}"
        );
        assert_eq!(html(&json!({})).matches("<h2>").count(), 2);
    }
}
