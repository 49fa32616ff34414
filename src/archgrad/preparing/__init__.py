"""From options to a search that has passed every check and has not begun."""
