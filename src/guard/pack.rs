//! The rules that we ship, embedded.

use super::rule::{LoadError, Pack};

/// Every file of rules, by name.
const FILES: &[(&str, &str)] = &[
    ("ai", include_str!("rules/ai.toml")),
    ("apis", include_str!("rules/apis.toml")),
    ("cloud", include_str!("rules/cloud.toml")),
    ("databases", include_str!("rules/databases.toml")),
    ("delivery", include_str!("rules/delivery.toml")),
    ("files", include_str!("rules/files.toml")),
    ("finance", include_str!("rules/finance.toml")),
    ("forges", include_str!("rules/forges.toml")),
    ("generic", include_str!("rules/generic.toml")),
    ("hosting", include_str!("rules/hosting.toml")),
    ("identity", include_str!("rules/identity.toml")),
    ("infrastructure", include_str!("rules/infrastructure.toml")),
    ("longtail", include_str!("rules/longtail.toml")),
    ("marketing", include_str!("rules/marketing.toml")),
    ("messaging", include_str!("rules/messaging.toml")),
    ("monitoring", include_str!("rules/monitoring.toml")),
    ("operations", include_str!("rules/operations.toml")),
    ("payments", include_str!("rules/payments.toml")),
    ("places", include_str!("rules/places.toml")),
    ("registries", include_str!("rules/registries.toml")),
    ("social", include_str!("rules/social.toml")),
    ("suppression", include_str!("rules/suppression.toml")),
    ("worktools", include_str!("rules/worktools.toml")),
];

/// The text of every file.
pub(super) fn texts() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(_, text)| *text)
}

/// The shipped rules.
///
/// # Errors
/// None that a test has not seen: the rules are checked when they are changed.
pub fn shipped() -> Result<Pack, LoadError> {
    let mut pack = Pack::default();
    for text in texts() {
        pack.add(text)?;
    }
    Ok(pack)
}
