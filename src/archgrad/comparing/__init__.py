"""Comparing methods: what was measured, its statistics, the tables and the checklist."""
