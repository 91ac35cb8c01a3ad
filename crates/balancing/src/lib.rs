//! Pure decisions of the data path.
