"""What a comparison measured: values, statistics, tables, the checklist. No torch."""
