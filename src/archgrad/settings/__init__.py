"""The options of every command: names, defaults, ranges, units, sources. No torch."""
