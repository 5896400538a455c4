//! What the policy's maxima say of a run (pure).
