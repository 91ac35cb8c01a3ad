//! Intent and layout, kept with revisions.
