//! Instants of the wall clock, in UTC, and the two spellings that the wire formats use.
//!
//! The only module that reads the wall clock; everything pure takes `now` as an argument.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};

/// An instant: milliseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_millis: i64,
}

/// The text is not `YYYY-MM-DDTHH:MM:SSZ` or no such instant exists.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a time of the form `2026-11-23T14:06:00Z`")]
pub struct TimestampError(pub String);

/// The last second of the year 9999, the largest that four digits of a year can write.
const UNIX_SECONDS_MAX: i64 = 253_402_300_799;
/// The first second of the year 1.
const UNIX_SECONDS_MIN: i64 = -62_135_596_800;

/// Reads the wall clock.
pub fn now() -> Timestamp {
    let unix_millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    Timestamp::clamped(unix_millis)
}

impl Timestamp {
    fn clamped(unix_millis: i64) -> Self {
        let unix_millis = unix_millis.clamp(UNIX_SECONDS_MIN * 1000, UNIX_SECONDS_MAX * 1000 + 999);
        Self { unix_millis }
    }

    /// The instant that many seconds after 1970 (negative: before), held within the years 1 to 9999.
    pub fn from_unix_seconds(unix_seconds: i64) -> Self {
        Self::clamped(unix_seconds.saturating_mul(1000))
    }

    /// The instant that many milliseconds after 1970 (negative: before), held within the years 1
    /// to 9999.
    pub fn from_unix_millis(unix_millis: i64) -> Self {
        Self::clamped(unix_millis)
    }

    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.unix_millis.div_euclid(1000)
    }

    /// Milliseconds since 1970.
    pub fn unix_millis(self) -> i64 {
        self.unix_millis
    }

    /// This instant without its fraction of a second.
    pub fn whole_seconds(self) -> Self {
        Self::from_unix_seconds(self.unix_seconds())
    }

    /// The instant that many seconds later (negative: earlier).
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::clamped(
            self.unix_millis
                .saturating_add(seconds.saturating_mul(1000)),
        )
    }

    /// Reads `YYYY-MM-DDTHH:MM:SSZ` and nothing else: no fraction, no offset, no leap second.
    ///
    /// # Errors
    /// Any other text, and days or hours that do not exist.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let refused = || TimestampError(text.chars().take(64).collect());
        let shape = b"dddd-dd-ddTdd:dd:ddZ";
        let fits = text.len() == shape.len()
            && text.bytes().zip(shape).all(|(byte, shape)| match shape {
                b'd' => byte.is_ascii_digit(),
                _ => byte == *shape,
            });
        if !fits || &text[17..19] == "60" {
            return Err(refused());
        }
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%SZ");
        let unix_seconds = naive.map_err(|_| refused())?.and_utc().timestamp();
        if unix_seconds < UNIX_SECONDS_MIN {
            return Err(refused());
        }
        Ok(Self::from_unix_seconds(unix_seconds))
    }

    /// Reads what [`fmt::Display`] writes (`YYYY-MM-DDTHH:MM:SS.mmmZ`), and the form without a fraction.
    ///
    /// # Errors
    /// Any other text, and days or hours that do not exist.
    pub fn parse_millis(text: &str) -> Result<Self, TimestampError> {
        let Some((seconds, fraction)) = text.split_once('.') else {
            return Self::parse(text);
        };
        let millis = fraction.strip_suffix('Z');
        let millis = millis.filter(|digits| digits.len() == 3);
        let millis = millis.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let millis = millis.and_then(|digits| digits.parse::<i64>().ok());
        let millis = millis.ok_or_else(|| TimestampError(text.chars().take(64).collect()))?;
        let whole = Self::parse(&format!("{seconds}Z"))?;
        Ok(Self::clamped(whole.unix_millis + millis))
    }

    fn datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.unix_millis).unwrap_or_default()
    }

    /// `2026-11-23T14:06:00Z`, the form of manifests.
    pub fn to_seconds_string(self) -> String {
        self.datetime().to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// `2026-11-23T14:06:00.123Z`, the form of reports and audit records.
impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.datetime().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_millis(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "2026-11-23T14:06:00Z",
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "2024-02-29T12:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_seconds_string(), text);
        }
    }

    #[test]
    fn reads_milliseconds_where_they_may_stand() {
        for text in ["2026-11-23T14:06:00.123Z", "0001-01-01T00:00:00.999Z"] {
            assert_eq!(Timestamp::parse_millis(text).unwrap().to_string(), text);
        }
        let whole = Timestamp::parse_millis("2026-11-23T14:06:00Z").unwrap();
        assert_eq!(whole.to_string(), "2026-11-23T14:06:00.000Z");
        for text in [
            "2026-11-23T14:06:00.12Z",
            "2026-11-23T14:06:00.+12Z",
            "2026-11-23T14:06:00.123",
            ".",
        ] {
            assert!(Timestamp::parse_millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_every_other_spelling() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T14:06:00",
            "2026-11-23T14:06:00.000Z",
            "2026-11-23T14:06:00+00:00",
            "2026-11-23t14:06:00z",
            "2026-11-23 14:06:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-12-31T23:59:60Z",
            "0000-01-01T00:00:00Z",
            "+026-11-23T14:06:00Z",
            "２026-11-23T14:06:0Z",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }
}
