//! `docs/guide-coverage.md` goes through the whole guide, and what it names is there.
//!
//! The page has the guide's headings in the guide's order. Below each stands a table with a row for every statement: a
//! sentence or point of a list, a value of a JSON block, a command line. A row's cells are the statement, commands, tests, and a page.

use std::path::Path;

use super::{links, read, root};
use crate::guide::GUIDE;
use clap::error::ErrorKind;

const PAGE: &str = "docs/guide-coverage.md";

/// A heading, and what is said below it before the next one.
type Section = (String, Vec<String>);

/// The statements of the guide.
fn statements(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut block: Option<(String, String)> = None;
    for line in text.lines() {
        let said = match (line.strip_prefix("```"), block.take()) {
            (Some(kind), None) => {
                block = Some((kind.to_owned(), String::new()));
                continue;
            }
            (Some(_), Some((kind, text))) => said_by_block(&kind, &text),
            (None, Some((kind, text))) => {
                block = Some((kind, text + line + "\n"));
                continue;
            }
            (None, None) if line.starts_with('#') => {
                sections.push((line.to_owned(), Vec::new()));
                continue;
            }
            (None, None) => sentences(point(line)),
        };
        sections.last_mut().unwrap().1.extend(said);
    }
    assert!(block.is_none(), "a block that never ends");
    sections
}

/// A line without what makes it a point of a list.
fn point(line: &str) -> &str {
    let line = line.trim();
    let unnumbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = line.strip_prefix("- ").or(unnumbered.strip_prefix(". "));
    rest.unwrap_or(line)
}

/// Sentences end with a stop before white space and what may begin another one.
fn sentences(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for word in text.split_whitespace() {
        let last = found.last_mut().unwrap();
        let begins = word.starts_with(|c: char| c.is_uppercase() || c == '`' || c == '*');
        match last.ends_with(['.', '!', '?']) && begins {
            true => found.push(word.to_owned()),
            false if last.is_empty() => last.push_str(word),
            false => last.push_str(&format!(" {word}")),
        }
    }
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// The values of a JSON block with their keys, as they stand there; the command lines of another one.
fn said_by_block(kind: &str, text: &str) -> Vec<String> {
    if kind == "json" {
        return values(text);
    }
    let text = text.replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(sentences).collect()
}

/// The guide has one value a line, and the items of an array on lines of their own.
fn values(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines().map(|line| line.trim().trim_end_matches(',')) {
        let open = |last: &&mut String| last.contains('[') && !last.ends_with(']');
        match found.last_mut().filter(open) {
            Some(array) if array.ends_with('[') || line == "]" => array.push_str(line),
            Some(array) => array.push_str(&format!(", {line}")),
            None if line.starts_with('"') && !line.ends_with('{') => found.push(line.to_owned()),
            None => {}
        }
    }
    found
}

/// A row of the page.
struct Row {
    statement: String,
    commands: Vec<String>,
    tests: Vec<String>,
    page: String,
}

/// The rows of the page below each of its headings.
fn rows(text: &str) -> Vec<(String, Vec<Row>)> {
    let mut sections: Vec<(String, Vec<Row>)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            sections.push((line.to_owned(), Vec::new()));
        }
        let cells = line
            .strip_prefix("| ")
            .and_then(|rest| rest.strip_suffix(" |"));
        let Some(cells) = cells.map(|cells| cells.split(" | ").collect::<Vec<_>>()) else {
            continue;
        };
        let [statement, commands, tests, page] = cells[..] else {
            panic!("four cells a row: {line}");
        };
        if statement != "the guide" {
            sections.last_mut().unwrap().1.push(Row {
                statement: statement.to_owned(),
                commands: code(commands),
                tests: code(tests),
                page: page.to_owned(),
            });
        }
    }
    sections
}

/// What stands between backticks.
fn code(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// What is wrong with a row; empty for a good one.
fn faults(row: &Row) -> Vec<String> {
    let mut found = Vec::new();
    let count = [row.commands.len(), row.tests.len(), links(&row.page).len()];
    if count.contains(&0) {
        found.push("names no command, no test, or no page".to_owned());
    }
    for command in &row.commands {
        let parsed = agp::cli::command().try_get_matches_from(command.split(' '));
        let shows = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
        if let Some(error) = parsed.err().filter(|error| !shows.contains(&error.kind())) {
            found.push(format!("`{command}`: {error}"));
        }
    }
    let missing = row.tests.iter().filter(|test| !is_there(test));
    found.extend(missing.map(|test| format!("there is no `{test}`")));
    // Whether they lead somewhere is tested with all links of all pages.
    let elsewhere = links(&row.page)
        .into_iter()
        .filter(|link| link.contains("://"));
    found.extend(elsewhere.map(|link| format!("{link} is no page of ours")));
    found
}

/// Whether a test is there: `tests/it/x.rs::name` or `src/x.rs::name`, marked as a test; a script, or `script.py::name` in it.
fn is_there(test: &str) -> bool {
    let (file, name) = test.split_once("::").unwrap_or((test, ""));
    let text = read(file);
    let is_script = Path::new(file)
        .extension()
        .is_some_and(|extension| extension == "py");
    match (is_script, name) {
        (true, "") => root().join(file).is_file(),
        (true, _) => text.contains(&format!("\ndef {name}(")),
        (false, _) => text
            .split("#[test]")
            .skip(1)
            .any(|after| after.trim_start().starts_with(&format!("fn {name}("))),
    }
}

#[test]
fn every_statement_of_the_guide_has_its_row_in_its_place() {
    let mut said = statements(GUIDE);
    // The page's own title is not the guide's, which stands one level lower.
    said[0].0.insert(0, '#');
    let page = rows(&read(PAGE)).into_iter().skip(1);
    let shown: Vec<Section> = page
        .map(|(heading, rows)| (heading, rows.into_iter().map(|row| row.statement).collect()))
        .collect();
    for (said, shown) in said.iter().zip(&shown) {
        assert_eq!(said, shown);
    }
    assert_eq!(said.len(), shown.len());
}

#[test]
fn every_row_names_commands_tests_and_pages_that_are_there() {
    let mut found = Vec::new();
    for row in rows(&read(PAGE)).iter().flat_map(|(_, rows)| rows) {
        let faults = faults(row);
        found.extend(
            faults
                .iter()
                .map(|fault| format!("{}: {fault}", row.statement)),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn statements_are_what_a_reader_takes_for_one() {
    let text = "# T\n\nOne thing. Another, e.g. this. `three`\n- **A**: b vs. c\n12. d\n\n## U\n```json\n{\n  \"a\": {\n    \"b\": [\n      1,\n      \"x\"\n    ]\n  },\n  \"c\": true\n}\n```\n```bash\n# why\ntool \\\n  --flag\n\nexport A=\"b\"\n```\n";
    let expected = [
        (
            "# T",
            vec![
                "One thing.",
                "Another, e.g. this.",
                "`three`",
                "**A**: b vs. c",
                "d",
            ],
        ),
        (
            "## U",
            vec![
                "\"b\": [1, \"x\"]",
                "\"c\": true",
                "tool --flag",
                "export A=\"b\"",
            ],
        ),
    ];
    let expected = expected.map(|(heading, said)| {
        let said = said.into_iter().map(str::to_owned).collect();
        (heading.to_owned(), said)
    });
    assert_eq!(statements(text), expected);
}

#[test]
fn a_row_that_is_not_true_is_reported() {
    let good = "`tests/it/guide.rs::one_stage_of_a_pipeline_runs_alone`";
    for (commands, tests, page, expected) in [
        ("`agp sign --input-dir output`", good, "[a](cli.md)", ""),
        (
            "`agp --version`; `agp run`",
            "`tests/run/check.py::main`, `tests/run/check.py`",
            "[a](cli.md)",
            "",
        ),
        ("`agp singe`", good, "[a](cli.md)", "agp singe"),
        (
            "`agp sign --inputdir output`",
            good,
            "[a](cli.md)",
            "--inputdir",
        ),
        ("", good, "[a](cli.md)", "names no command"),
        ("`agp run`", "", "[a](cli.md)", "names no command"),
        ("`agp run`", good, "see there", "names no command"),
        (
            "`agp run`",
            good,
            "[a](https://example.org)",
            "no page of ours",
        ),
        (
            "`agp run`",
            "`tests/it/guide.rs::visit`",
            "[a](cli.md)",
            "there is no",
        ),
        (
            "`agp run`",
            "`tests/it/none.rs::a`",
            "[a](cli.md)",
            "there is no",
        ),
        (
            "`agp run`",
            "`tests/run/check.py::no`",
            "[a](cli.md)",
            "there is no",
        ),
        (
            "`agp run`",
            "`tests/run/none.py`",
            "[a](cli.md)",
            "there is no",
        ),
    ] {
        let text = format!(
            "# H\n| the guide | c | t | p |\n|---|---|---|---|\n| s | {commands} | {tests} | {page} |\n"
        );
        let sections = rows(&text);
        let found = faults(&sections[0].1[0]);
        match expected.is_empty() {
            true => assert_eq!(found, [""; 0]),
            false => assert!(
                found.len() == 1 && found[0].contains(expected),
                "{expected}: {found:?}"
            ),
        }
    }
}
