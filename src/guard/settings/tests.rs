//! What a policy, a name and a content make of each other, in tables.
