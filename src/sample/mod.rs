//! Rendered clips with exact ground truth.
