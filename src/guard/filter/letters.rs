//! How rare pairs of letters are in what people write: the table by which a text that was drawn at
//! random is told from names, words and sentences.
//!
//! Counted over 14 million pairs in the identifiers, words and paths of source code and
//! documentation of a developer's machine (Rust, Python, JavaScript, Perl, prose), lower-cased,
//! digits as one class and everything else as another; hexadecimal runs and long base64 left out.
//! A level is −2.5 · log2 of the share that the second has behind the first, rounded, as one digit
//! of base 36.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::random::entropy;

/// Rows are the first of a pair, columns the second, both in the order `a`–`z`, digit, other.
const LEVELS: [&[u8; CLASSES]; CLASSES] = [
    b"lcablhcqcrh8a9sbs8a6egggflfe",
    b"8hdf8ikp9co7ii9hqccf8mpncpaa",
    b"9keh8hm9dtabim6hrbe8dloshudc",
    b"ahhc4ggm7nnehiahqdcgdjimhsb8",
    b"bia9edgninnac8jeh689lehbhsga",
    b"9ihgaaiq6vqaji7ksbddbrmpgwb7",
    b"ckhj4jec9sodgbdhr9aealnpjoi8",
    b"6kii5mnp8tnhfk8jpcg9cnluhqka",
    b"dfabcdcumtlbb58dpea8oeshyejg",
    b"bmhj4llmelgkkj7glm5k9mjmlmhb",
    b"bifg3fgl8qnggdgioh9ffmfikoi8",
    b"8jjc6akp7ol9ll8gvjcbcjmucrkb",
    b"6dih5llr9sndck98okchconrjrha",
    b"ama88d8mbohfkfagsk97eflmiqkb",
    b"hfbajfgqgngba5eat7dbafcknrmd",
    b"7mgg7imfbvl9ik9br7dabjmncvib",
    b"gkiiikjojpmbjihjkefj1llpnpga",
    b"8lde5hdp8uggdd8iscbadglrdvjb",
    b"dkck6kkc9uhgijbclja6cljrcnj8",
    b"9kei6im97uogglaft9cddmilcqj8",
    b"dbdeaefucxr9a8jax887nrtlwsdj",
    b"6jhl3jkm7vmjgkdgrkhfnpplrscb",
    b"7lhg9km96qogkb8ho99jnneonpha",
    b"afaf9enkburbgni9qjf7nomghr58",
    b"ggegeigldroda9c6qf79jkfqmjj6",
    b"9ljh2jmk9olggh8jqkelklgmffcd",
    b"fffeefmpjsrpqrnouponjqsbvp19",
    b"ad9bbcdeajhcbcdakb9bdefjoi9e",
];
/// Words that sources and documentation are full of: four letters from within one are not rare, whatever
/// their pairs say.
const COMMON: &str = "\
     about above access address after against alloc allocator always another arch args array assert \
     attr attribute audit auto base because before begin between binary bitfield bits block bond bool \
     brport buffer byte bytes call card case cast char character check class client clone code \
     combining compare config const constant contains content context copy copyright core count crate \
     create created ctypes current data date debug default define defined derive devconf directory \
     document draft duration element elements else empty endif entries entry enum error errors event \
     example exhaustive expected expr extern false feature field file find first flag flags format \
     forwarditerator free from function given glapi group handle hash have header hexagon https \
     identifier ifndef impl include index info information init inline inner input insert instance \
     instruction integer interface into invalid ioctl ioring item iter iterator kernel kind last latin \
     left length letter level library license limit line link linux list local location long loop \
     machine make mask match memory message metadata method mips mode module more move must name \
     namespace next node noexcept none note null nullptr number object offset only operator option \
     options order other output override param parse part passed path pattern point pointer policy port \
     position posix previous private process program properties property pthread public range read \
     reference register registers repr request required reserved response result return returns right \
     root rust same schema second section self serde server short should sign signature size sizeof \
     slice small software some source space span start state static stats status stream string \
     stringref struct support symbol sync table target tcflag template test than that their then there \
     this thread through time traits transmute tree true type typedef typename types uint ulong under \
     unit unsafe unsigned unspec unwrap used user using usize valid value values vector version virtual \
     void wasm when where which while width will with within without would write zero";
/// 26 letters, digits, everything else.
const CLASSES: usize = 28;
const DIGIT: usize = 26;
const OTHER: usize = 27;
/// Levels in a bit.
const LEVELS_PER_BIT: f64 = 2.5;
/// How often two neighbouring letters of a written text that has both cases differ in case.
const FLIP_SHARE: f64 = 0.15;

/// How much a sign that names and paths do not have speaks for a text being drawn at random.
const SIGN_BITS: f64 = 3.0;
/// The shortest part of a text whose evidence counts for the whole, as in `prefix_…`.
const PART_CHARS: usize = 12;
/// The shortest run of hexadecimal digits that counts by itself, and what it counts.
const HEXADECIMAL_CHARS: usize = 16;
const HEXADECIMAL_BITS: f64 = 8.0;

/// How many bits speak for a text having been drawn at random from its own alphabet rather than
/// written: positive for keys, negative for words. Grows with the length. A text of several parts
/// is as random as the most random of them.
pub(super) fn evidence_bits(text: &[u8]) -> f64 {
    let parts = text.split(|byte| b"_-.:/|~ ".contains(byte));
    let long = parts.filter(|part| part.len() >= PART_CHARS && part.len() < text.len());
    long.map(bits)
        .fold(bits(text), f64::max)
        .max(hexadecimal_bits(text))
}

/// The evidence of the longest run of hexadecimal digits: nobody writes those, so that letters
/// between digits need not be rare pairs.
fn hexadecimal_bits(text: &[u8]) -> f64 {
    let run = |is_other: fn(&u8) -> bool| text.split(is_other).max_by_key(|run| run.len());
    let lower = run(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let upper = run(|byte| !matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let longest = lower.into_iter().chain(upper).max_by_key(|run| run.len());
    let longest = longest.unwrap_or_default();
    let digits = longest.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_mixed = digits * 5 >= longest.len() && digits < longest.len();
    match longest.len() >= HEXADECIMAL_CHARS && is_mixed && entropy(longest) >= 3.0 {
        true => longest.len() as f64 - HEXADECIMAL_CHARS as f64 + HEXADECIMAL_BITS,
        false => f64::MIN,
    }
}

fn bits(text: &[u8]) -> f64 {
    let alphabet = Alphabet::of(text);
    let pairs = text.windows(2);
    pairs
        .map(|pair| {
            let (first, second) = (class(pair[0]), class(pair[1]));
            if is_sign(pair[1]) {
                return SIGN_BITS;
            }
            let level = char::from(LEVELS[first][second]).to_digit(36);
            let written = f64::from(level.unwrap_or_default()) / LEVELS_PER_BIT;
            written + alphabet.share(second).log2() + alphabet.case_bits(pair[0], pair[1])
        })
        .sum()
}

/// How rare four letters, or fewer, are in what people write, in levels, whatever their case.
pub fn rarity(text: &[u8]) -> u32 {
    static GRAMS: LazyLock<HashSet<&[u8]>> = LazyLock::new(|| {
        let words = COMMON.split_ascii_whitespace();
        words.flat_map(|word| word.as_bytes().windows(4)).collect()
    });
    if GRAMS.contains(text) {
        return 0;
    }
    let level = |first: usize, second: usize| {
        let level = char::from(LEVELS[first][second]).to_digit(36);
        let members = match second {
            DIGIT => 10.0_f64,
            OTHER => 4.0,
            _ => 1.0,
        };
        level.unwrap_or_default() + (LEVELS_PER_BIT * members.log2()) as u32
    };
    let classes = text.iter().map(|byte| class(*byte));
    let (sum, _) = classes.fold((0, OTHER), |(sum, first), second| {
        (sum + level(first, second), second)
    });
    sum
}

/// What a text would have been drawn from.
struct Alphabet {
    size: f64,
    has_both_cases: bool,
}

impl Alphabet {
    fn of(text: &[u8]) -> Self {
        let any = |test: fn(&u8) -> bool| text.iter().any(test);
        let has_digits = any(u8::is_ascii_digit);
        let has_both_cases = any(u8::is_ascii_lowercase) && any(u8::is_ascii_uppercase);
        let is_hex = has_digits
            && !has_both_cases
            && text
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() || !byte.is_ascii_alphabetic());
        let letters = match (is_hex, has_both_cases) {
            (true, _) => 6.0,
            (_, true) => 52.0,
            _ => 26.0,
        };
        let digits = if has_digits { 10.0 } else { 0.0 };
        let others = if any(|byte| !byte.is_ascii_alphanumeric()) {
            2.0
        } else {
            0.0
        };
        Self {
            size: letters + digits + others,
            has_both_cases,
        }
    }

    /// The chance of a class.
    fn share(&self, class: usize) -> f64 {
        let members = match class {
            DIGIT => 10.0,
            OTHER => 2.0,
            _ if self.has_both_cases => 2.0,
            _ => 1.0,
        };
        members / self.size
    }

    /// What a change of case between two letters, or its absence, says.
    fn case_bits(&self, first: u8, second: u8) -> f64 {
        let letters = first.is_ascii_alphabetic() && second.is_ascii_alphabetic();
        match first.is_ascii_uppercase() != second.is_ascii_uppercase() {
            _ if !self.has_both_cases || !letters => 0.0,
            true => (0.5 / FLIP_SHARE).log2(),
            false => (0.5 / (1.0 - FLIP_SHARE)).log2(),
        }
    }
}

/// Whether a byte is punctuation that names, paths and base64 do not have.
fn is_sign(byte: u8) -> bool {
    byte.is_ascii_punctuation() && !b"_-./:,=+'\"".contains(&byte)
}

fn class(byte: u8) -> usize {
    match byte.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => usize::from(letter - b'a'),
        b'0'..=b'9' => DIGIT,
        _ => OTHER,
    }
}
