//! Datasets as they are released: which clips there are, and where their frames and labels lie.
