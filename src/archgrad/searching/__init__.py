"""The search loop and what it needs; it names no method."""
