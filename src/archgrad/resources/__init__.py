"""What a search will need of memory, time and budget, before it begins."""
