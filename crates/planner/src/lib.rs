//! The controller's pure decisions.
