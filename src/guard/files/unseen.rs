//! Characters that make a name or a program read otherwise than it is: those that turn the
//! direction of writing, those that nobody sees, and letters that look like others.
//!
//! Which controls count follows Unicode's annexes 9 and 31 and technical standard 39; what they
//! can do to source code, Boucher and Anderson, "Trojan Source" (2021).

/// What a character does that a reader does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Writes what follows against its own direction: LRO, RLO.
    Override,
    /// Opens an embedding, or closes one or an override.
    Embedding,
    /// Opens or closes an isolate.
    Isolate,
    /// Takes no room.
    ZeroWidth,
    /// Joins or parts letters in the scripts and emoji that have it.
    Joiner,
    /// A letter without a shape, which names in programs may have.
    Filler,
    /// A tag, of which texts can be made that nobody sees.
    Tag,
    /// Selects among the shapes of the character before it.
    Selector,
}

/// What a character does unseen, if it does.
pub(super) fn of(character: char) -> Option<Unseen> {
    Some(match character {
        '\u{202d}' | '\u{202e}' => Unseen::Override,
        '\u{202a}'..='\u{202c}' => Unseen::Embedding,
        '\u{2066}'..='\u{2069}' => Unseen::Isolate,
        '\u{200b}' | '\u{180e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => Unseen::ZeroWidth,
        '\u{200c}' | '\u{200d}' => Unseen::Joiner,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => Unseen::Filler,
        '\u{e0000}'..='\u{e007f}' => Unseen::Tag,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => Unseen::Selector,
        _ => return None,
    })
}

/// The ways in which a line deceives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deceit {
    /// An override, or an embedding or isolate that the line leaves open.
    TurnsAround,
    /// An embedding or isolate that is closed.
    Embeds,
    /// A run of tags or selectors, which spells what nobody sees.
    HiddenText,
    /// A letter without a shape.
    Filler,
    /// Something without width inside or beside a name.
    ZeroWidth,
    /// A word of Latin letters and others that look like them.
    Homoglyph,
}

/// What deceives in a line, each kind once where it first stands: its column, from 1.
pub(super) fn deceits(line: &str) -> Vec<(Deceit, u64)> {
    let mut found: Vec<(Deceit, u64)> = Vec::new();
    let mut note = |deceit, column: u64| {
        if !found.iter().any(|(other, _)| *other == deceit) {
            found.push((deceit, column));
        }
    };
    let mut open: Vec<(Unseen, u64)> = Vec::new();
    let (mut before, mut run) = (' ', 0);
    let mut characters = line.chars().peekable();
    let mut column = 0;
    while let Some(character) = characters.next() {
        column += 1;
        let after = characters.peek().copied().unwrap_or(' ');
        let kind = of(character);
        match kind {
            Some(Unseen::Override) => {
                note(Deceit::TurnsAround, column);
                open.push((Unseen::Embedding, column));
            }
            Some(kind @ (Unseen::Embedding | Unseen::Isolate)) => {
                note(Deceit::Embeds, column);
                turn(&mut open, (character, kind), column);
            }
            Some(Unseen::Filler) => note(Deceit::Filler, column),
            Some(Unseen::ZeroWidth) if column > 1 && (is_word(before) || is_word(after)) => {
                note(Deceit::ZeroWidth, column);
            }
            Some(Unseen::Joiner) if is_word(before) && is_word(after) => {
                note(Deceit::ZeroWidth, column);
            }
            _ => {}
        }
        run = match kind {
            // A flag of emoji is followed by tags of its own.
            Some(Unseen::Tag) if run == 0 && before == '\u{1f3f4}' => -1,
            Some(Unseen::Tag | Unseen::Selector) if run >= 0 => run + 1,
            Some(Unseen::Tag | Unseen::Selector) => run,
            _ => 0,
        };
        if run == 2 {
            note(Deceit::HiddenText, column - 1);
        }
        before = character;
    }
    if let Some((_, column)) = open.first() {
        note(Deceit::TurnsAround, *column);
    }
    if let Some(column) = homoglyph(line) {
        note(Deceit::Homoglyph, column);
    }
    found.sort_unstable();
    found
}

/// Follows what is open over an embedding's or isolate's character.
fn turn(open: &mut Vec<(Unseen, u64)>, (character, kind): (char, Unseen), column: u64) {
    match character {
        '\u{202c}' => {
            if open
                .last()
                .is_some_and(|(other, _)| *other == Unseen::Embedding)
            {
                open.pop();
            }
        }
        '\u{2069}' => {
            // Closes its isolate and all embeddings in it.
            if let Some(at) = open
                .iter()
                .rposition(|(other, _)| *other == Unseen::Isolate)
            {
                open.truncate(at);
            }
        }
        _ => open.push((kind, column)),
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Where the first word begins that has ASCII letters and others, all of which look like ASCII
/// letters; columns from 1.
pub(super) fn homoglyph(text: &str) -> Option<u64> {
    if text.is_ascii() {
        return None;
    }
    let (mut start, mut latin, mut alike, mut other) = (0, false, false, false);
    let end = [' '];
    for (at, character) in text.chars().chain(end).enumerate() {
        if character.is_alphanumeric() || character == '_' {
            latin |= character.is_ascii_alphabetic();
            match looks_latin(character) {
                true => alike = true,
                false => other |= !character.is_ascii(),
            }
            continue;
        }
        if latin && alike && !other {
            return Some(start + 1);
        }
        (start, latin, alike, other) = (at as u64 + 1, false, false, false);
    }
    None
}

/// Whether a letter of another alphabet, or of another width, looks like an ASCII letter.
fn looks_latin(character: char) -> bool {
    // Cyrillic, Greek and Armenian letters that fonts draw like Latin ones.
    const ALIKE: &str = "аеорсухіјѕһԁԛԝүѵАВЕКМНОРСТУХІЈЅҮΑΒΕΖΗΙΚΜΝΟΡΤΥΧοօ";
    ALIKE.contains(character)
        || matches!(character, '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_deceive_say_how_and_where() {
        use Deceit::*;
        for (line, expected) in [
            ("let x = 1; // plain", &[][..]),
            (
                "/*\u{202e} } \u{2066}if (isAdmin)\u{2069} \u{2066} begin */",
                &[(TurnsAround, 3), (Embeds, 7)],
            ),
            ("\"user\u{2066}\" // open", &[(TurnsAround, 6), (Embeds, 6)]),
            ("\"\u{2068}name\u{2069}\"", &[(Embeds, 2)]),
            ("\"\u{202b}name\u{202c}\"", &[(Embeds, 2)]),
            ("\u{2066}\u{202b}a\u{2069} closes both", &[(Embeds, 1)]),
            ("a\u{200b}b", &[(ZeroWidth, 2)]),
            ("\u{feff}mark at the beginning", &[]),
            ("می\u{200c}خواهم", &[]),
            ("👩\u{200d}💻 works", &[]),
            ("pass\u{200d}word", &[(ZeroWidth, 5)]),
            ("const \u{3164}x = 1", &[(Filler, 7)]),
            (
                "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
                &[],
            ),
            ("hello\u{e0068}\u{e0069}", &[(HiddenText, 6)]),
            ("x\u{fe0f} \u{2764}\u{fe0f}", &[]),
            ("eval(\u{e0101}\u{e0122})", &[(HiddenText, 6)]),
            ("葛\u{e0100}飾", &[]),
            ("if sсope:", &[(Homoglyph, 4)]),
            ("# привет, HTML-файл и USBшный", &[]),
            ("Δt and αs and naïve µm", &[]),
            ("ａdmin", &[(Homoglyph, 1)]),
        ] {
            assert_eq!(deceits(line), expected, "{line:?}");
        }
    }
}
