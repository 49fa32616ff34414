"""Many searches whose options vary, each a run folder of its own."""
