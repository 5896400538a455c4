//! HTML that cannot be injected into: text is escaped on its way in, and only what stands in the
//! source of this program is taken as it is.

use std::fmt::Write as _;

use crate::base::units::printable;

/// A growing page.
#[derive(Debug, Default)]
pub(super) struct Markup {
    html: String,
}

impl Markup {
    /// Adds markup that this program wrote.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.html.push_str(markup);
        self
    }

    /// Adds a text, inert whatever it is.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for character in printable(text).chars() {
            match character {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                character => self.html.push(character),
            }
        }
        self
    }

    /// Adds a number, with so many digits behind the point.
    pub(super) fn number(&mut self, number: f64, digits: usize) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.html, "{number:.digits$}");
        self
    }

    /// Adds a text between two pieces of markup.
    pub(super) fn within(
        &mut self,
        open: &'static str,
        text: &str,
        close: &'static str,
    ) -> &mut Self {
        self.raw(open).text(text).raw(close)
    }

    /// Adds a document of JSON as the content of a data block: no character of it ends that, and none
    /// is one that a reader cannot see.
    pub(super) fn data(&mut self, json: &str) -> &mut Self {
        for character in json.chars() {
            let is_plain = character.is_ascii() && !character.is_ascii_control();
            if (is_plain && !['<', '>', '&'].contains(&character)) || character == '\n' {
                self.html.push(character);
                continue;
            }
            // JSON spells a character beyond 16 bits as a pair.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(self.html, "\\u{unit:04x}");
            }
        }
        self
    }

    /// Its length so far, bytes.
    pub(super) fn len(&self) -> usize {
        self.html.len()
    }

    /// The page.
    pub(super) fn into_string(self) -> String {
        self.html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_data_stays_data() {
        let mut page = Markup::default();
        page.raw("<p>")
            .text("<b a='1' c=\"2\">&\u{202e}")
            .raw("</p>");
        assert_eq!(
            page.into_string(),
            "<p>&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\\u{202e}</p>"
        );
        let mut data = Markup::default();
        data.data("{\"a\":\"</script>&\u{2028}\u{e0001}\"}")
            .number(1.25, 1);
        assert_eq!(
            data.into_string(),
            "{\"a\":\"\\u003c/script\\u003e\\u0026\\u2028\\udb40\\udc01\"}1.2"
        );
    }
}
