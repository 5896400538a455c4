//! The shapes of single values in the policy's JSON Schema: ranges, patterns and what people call
//! them. Schema only; no value of these types exists.
//!
//! `title` is how an error message and the reference name the shape; `format` asks the checker
//! for more than a pattern can say.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! shapes {
    ($($name:ident $schema:tt)*) => {$(
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

// 2^53-1, the largest integer that every JSON reader represents exactly (RFC 8785).
// A billion seconds are 31 years, 2^30 MiB a pebibyte: above all sense, and no product overflows.
shapes! {
    Count {"type": "integer", "minimum": 0, "maximum": 9007199254740991_u64}
    CountFromOne {"type": "integer", "minimum": 1, "maximum": 9007199254740991_u64}
    Mebibytes {"type": "integer", "minimum": 1, "maximum": 1_073_741_824}
    OneToHundred {"type": "integer", "minimum": 1, "maximum": 100}
    Days {"type": "integer", "minimum": 0, "maximum": 36500}
    DaysFromOne {"type": "integer", "minimum": 1, "maximum": 36500}
    SecretBytes {"type": "integer", "minimum": 1, "maximum": 4096}
    SegmentBytes {"type": "integer", "minimum": 65536, "maximum": 9007199254740991_u64}
    Port {"type": "integer", "minimum": 1, "maximum": 65535}
    ExitCode {"type": "integer", "minimum": 0, "maximum": 255}
    WholeSeconds {"type": "integer", "minimum": 0, "maximum": 1_000_000_000}
    Seconds {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000_000}
    Factor {"type": "number", "exclusiveMinimum": 0, "maximum": 1000}
    Share {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    Effect {"type": "number", "minimum": 0, "maximum": 1}
    Coverage {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    Filled {"type": "string", "minLength": 1}
    Argv {"type": "array", "items": {"type": "string"}, "minItems": 1}
    Glob {"type": "string", "format": "glob", "minLength": 1, "title": "a glob"}
    PortableGlob {
        "type": "string", "format": "glob", "pattern": r"^[^\[\]{}!\\]+$",
        "title": "a glob of `*`, `?`, `**` and literal characters (none of `[ ] { } ! \\`)"
    }
    Regex {"type": "string", "format": "regex", "minLength": 1, "title": "a regular expression"}
    Time {
        "type": "string", "format": "date-time",
        "title": "a time of the form `2026-11-23T14:06:00Z`"
    }
    KeyIdentifier {
        "type": "string", "pattern": "^[0-9a-f]{16}$", "title": "16 lower-case hex digits"
    }
    KeySource {
        "type": ["string", "array"], "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$",
        "items": {"type": "string"}, "minItems": 1,
        "title": "`env:NAME`, `file:PATH` or an argv array"
    }
    Variable {
        "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
        "title": "the name of an environment variable"
    }
    // An entry of a channel that is not used may stand empty, as the shape in the reference does.
    VariableOrEmpty {
        "type": "string", "pattern": "^([A-Za-z_][A-Za-z0-9_]*)?$",
        "title": "the name of an environment variable, or empty text"
    }
    LabelName {
        "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
        "title": "a name of letters, digits and `_` that starts with no digit"
    }
}
