//! A message as Slack's incoming webhooks take it.
//!
//! Every text is plain, so that nothing in it is markup or an emoji, and `&`, `<` and `>` are escaped, without
//! which `<!channel>` in a file's name would call everybody.

use serde_json::{Value, json};

use super::super::message::{Message, short};

/// Findings that are shown of a message.
const FINDINGS_MAX: usize = 10;
// Slack's limits are 50 blocks, of which there are never more than 8 here, and characters after escaping: of a
// header 150, of a section 3000, of an element of a context 2000.
/// Characters of a header, and of one circumstance.
const HEADER_CHARS_MAX: usize = 150;
/// Characters of a section.
const SECTION_CHARS_MAX: usize = 3000;
/// Characters of one finding, so that ten of them fit into one section with room for escapes.
const FINDING_CHARS_MAX: usize = 280;

/// The body of the request.
pub(super) fn body(message: &Message) -> Value {
    let title = message.title();
    let mut blocks = vec![
        json!({"type": "header", "text": plain(&title, HEADER_CHARS_MAX)}),
        section(&message.headline),
    ];
    let mut room = FINDINGS_MAX;
    for happened in &message.events {
        let shown = happened.findings.iter().take(room);
        let mut lines: Vec<String> = shown
            .map(|finding| format!("• {}", short(&finding.in_words(), FINDING_CHARS_MAX)))
            .collect();
        let left_out = happened.left_out(room);
        room -= lines.len();
        if left_out > 0 {
            lines.push(format!("and {left_out} more"));
        }
        blocks.push(section(&format!(
            "{}:\n{}",
            happened.title(),
            lines.join("\n")
        )));
    }
    let circumstances = message.circumstances().into_iter();
    let elements: Vec<Value> = circumstances
        .map(|(name, value)| plain(&format!("{name}: {value}"), HEADER_CHARS_MAX))
        .collect();
    blocks.push(json!({"type": "context", "elements": elements}));
    // What notifications and readers of screens show.
    json!({"text": escaped(&title, SECTION_CHARS_MAX), "mrkdwn": false, "blocks": blocks})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": plain(text, SECTION_CHARS_MAX)})
}

fn plain(text: &str, chars_max: usize) -> Value {
    // A text must not be empty.
    let text = if text.is_empty() { "–" } else { text };
    json!({"type": "plain_text", "text": escaped(text, chars_max), "emoji": false})
}

/// Escapes, and cuts between characters so that the escaped text keeps within the limit.
fn escaped(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = 0;
    for character in text.chars() {
        let escape = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => "",
        };
        let length = escape.len().max(1);
        if chars + length >= chars_max {
            out.push('…');
            break;
        }
        match escape {
            "" => out.push(character),
            escape => out.push_str(escape),
        }
        chars += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_text_keeps_within_its_limit_and_no_escape_is_cut() {
        assert_eq!(escaped("a<!channel>&", 150), "a&lt;!channel&gt;&amp;");
        for limit in 1..40 {
            let text = escaped(&"<&>x".repeat(20), limit);
            assert!(text.chars().count() <= limit, "{limit}: {text}");
            let plain = text.replace("&lt;", "").replace("&gt;", "");
            assert!(
                !plain.replace("&amp;", "").contains(['&', '<', ';']),
                "{text}"
            );
        }
    }
}
