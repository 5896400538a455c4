//! Transcripts of a shell in Markdown, run as they are printed.
//!
//! Every fenced block marked `console` runs. A line `$ command` goes to `/bin/sh` (`> ` continues it)
//! with `agp` on the path, and what follows must be what it prints, stdout and stderr as they come.
//! `? 1` behind the output is the exit code, 0 where it is left out. `[..]` stands for anything within a
//! line, a line `...` for any number of lines. All blocks of a page are one session that begins in an
//! empty directory with an empty environment: files, `export` and `cd` last from block to block.
//!
//! The notation is trycmd's. trycmd itself starts programs without a shell, and whoever reads a README
//! pastes into one.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{AGP, Place};

/// One command of a transcript.
#[derive(Debug, Default, PartialEq)]
struct Step {
    command: String,
    expected: Vec<String>,
    code: i32,
    /// From 1.
    line: usize,
}

/// The commands of every `console` block, in order.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (inside, fence) {
            (None, Some(kind)) => inside = Some(kind.trim() == "console"),
            (Some(_), Some(_)) => inside = None,
            (Some(true), None) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command: command.to_owned(),
                    line: number + 1,
                    ..Step::default()
                }),
                (None, Some(step)) => step.take(line),
                (None, None) => panic!("line {}: output without a command", number + 1),
            },
            _ => {}
        }
    }
    steps
}

impl Step {
    fn take(&mut self, line: &str) {
        if let Some(more) = line.strip_prefix("> ").filter(|_| self.expected.is_empty()) {
            self.command.push_str(&format!("\n{more}"));
        } else if let Some(code) = line.strip_prefix("? ") {
            self.code = code.trim().parse().expect("a number behind `? `");
        } else {
            self.expected.push(line.to_owned());
        }
    }
}

/// Runs the steps of a text as one session; gives every difference.
pub fn differences(text: &str) -> Vec<String> {
    let steps = steps(text);
    let place = Place::without_key();
    let mark = "--- a step of the transcript ends with";
    let mut script = String::new();
    for step in &steps {
        script.push_str(&format!(
            "{{ {}\n}} </dev/null\nprintf '\\n{mark} %s\\n' \"$?\"\n",
            step.command
        ));
    }
    let folder = Path::new(AGP).parent().unwrap().to_str().unwrap();
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "exec 2>&1; . /dev/stdin"])
        .current_dir(place.path())
        .env_clear()
        .env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"))
        .env("HOME", place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    let mut found = Vec::new();
    let mut rest = output.as_str();
    for step in &steps {
        let Some((printed, after)) = rest.split_once(&format!("\n{mark} ")) else {
            found.push(format!(
                "line {}: `{}` ended the session: {rest}",
                step.line, step.command
            ));
            break;
        };
        let (code, after) = after.split_once('\n').unwrap();
        rest = after;
        let printed: Vec<&str> = printed.lines().collect();
        let expected: Vec<&str> = step.expected.iter().map(String::as_str).collect();
        if code != step.code.to_string() || !agrees(&printed, trimmed(&expected)) {
            found.push(format!(
                "line {}: `{}`\nexit {code}, expected {}\n{}\nexpected\n{}",
                step.line,
                step.command,
                step.code,
                printed.join("\n"),
                expected.join("\n")
            ));
        }
    }
    found
}

/// Without the empty lines that set steps apart.
fn trimmed<'a>(lines: &'a [&'a str]) -> &'a [&'a str] {
    let kept = lines.iter().rposition(|line| !line.is_empty());
    &lines[..kept.map_or(0, |last| last + 1)]
}

/// Whether lines are as expected, where `...` stands for any number of lines.
fn agrees(lines: &[&str], expected: &[&str]) -> bool {
    match (lines, expected) {
        (lines, []) => trimmed(lines).is_empty(),
        (_, ["...", more @ ..]) => (0..=lines.len()).any(|skipped| agrees(&lines[skipped..], more)),
        ([], _) => false,
        ([line, lines @ ..], [pattern, more @ ..]) => {
            line_agrees(line, pattern) && agrees(lines, more)
        }
    }
}

/// Whether a line is as expected, where `[..]` stands for anything.
fn line_agrees(line: &str, pattern: &str) -> bool {
    match pattern.split_once("[..]") {
        None => line == pattern,
        Some((before, pattern)) => line.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| line_agrees(&rest[at..], pattern))
        }),
    }
}
