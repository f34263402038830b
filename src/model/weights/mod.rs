//! Checkpoints in, encoder tensors under one set of names out.
