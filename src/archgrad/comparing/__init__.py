"""Comparing methods: their searches side by side, and one test of everything at the end."""
