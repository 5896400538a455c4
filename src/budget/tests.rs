//! Tests of the recommendation.
