"""Training a discrete architecture from scratch, and its one test."""
