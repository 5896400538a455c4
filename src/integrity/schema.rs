//! The JSON Schema of a manifest: the part of the grammar that a schema can say.
//!
//! Duplicate keys, canonical form and the rules between fields stand in
//! `docs/formats/manifest.md`.

use serde_json::{Value, json};

use crate::base::canon::INTEGER_MAX;

/// The JSON Schema (draft 2020-12) of a manifest of version 1.0.
pub fn schema() -> Value {
    let integer = integer();
    let time = json!({"type": "string", "pattern": "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$"});
    let digest = digest();
    let summary_fields = [
        "file_count",
        "symlink_count",
        "directory_count",
        "total_size_bytes",
    ];
    let summary = summary_fields
        .iter()
        .map(|field| ((*field).to_owned(), integer.clone()));
    let mut head = object(
        &["log_id", "sequence", "mac"],
        json!({"log_id": {"type": "string"}, "sequence": integer, "mac": {"type": ["string", "null"]}}),
    );
    head["type"] = json!(["object", "null"]);
    let mut schema = object(
        &[
            "manifest_version",
            "created_at",
            "algorithm",
            "subject",
            "sequence",
            "expires_at",
            "root_relative_to_manifest",
            "options",
            "summary",
            "file_inventory",
            "directories",
            "audit_head",
            "signature",
        ],
        json!({
            "manifest_version": {"const": super::manifest::VERSION},
            "created_at": time, "algorithm": {"const": super::manifest::ALGORITHM},
            "subject": {"type": "string", "minLength": 1},
            "sequence": {"type": "integer", "minimum": 1, "maximum": INTEGER_MAX},
            "expires_at": {"type": ["string", "null"], "pattern": time["pattern"]},
            "root_relative_to_manifest": {"type": ["string", "null"], "pattern": "^(\\.|\\.\\.(/\\.\\.)*)$"},
            "options": object(&["exclude", "exempt", "symlinks"], json!({
                "exclude": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
                "exempt": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
                "symlinks": {"const": super::manifest::SYMLINKS},
            })),
            "summary": object(&summary_fields, Value::Object(summary.collect())),
            "file_inventory": {"type": "object", "additionalProperties": entry()},
            "directories": {"type": "object", "additionalProperties":
                object(&["mode"], json!({"mode": mode(), "path_encoding": escaped()}))},
            "audit_head": head,
            "signature": object(
                &["signature", "algorithm", "signed_at", "content_hash", "key_id", "signature_version"],
                json!({
                    "signature": digest, "algorithm": {"const": super::manifest::ALGORITHM}, "signed_at": time,
                    "content_hash": digest, "key_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
                    "signature_version": {"const": super::manifest::SIGNATURE_VERSION},
                }),
            ),
        }),
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Integrity manifest, version 1.0");
    schema
}

/// A file or a link.
fn entry() -> Value {
    let entry_fields = [
        "absolute_path",
        "size_bytes",
        "checksum_sha256",
        "modified_time",
        "mode",
        "type",
    ];
    object(
        &entry_fields,
        json!({
            "absolute_path": {"type": "string"}, "size_bytes": integer(), "checksum_sha256": digest(),
            "modified_time": integer(), "mode": mode(), "type": {"enum": ["file", "symlink"]},
            "symlink_target": {"type": "string", "minLength": 1}, "path_encoding": escaped(),
        }),
    )
}

/// An object with these fields and no others.
fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

fn integer() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": INTEGER_MAX})
}

fn digest() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
}

fn mode() -> Value {
    json!({"type": "string", "pattern": "^[0-7]{4}$"})
}

/// Says that a name is written with its bytes escaped.
fn escaped() -> Value {
    json!({"const": "escaped"})
}
