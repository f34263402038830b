//! Scores: J, F, mIoU and PCK.
