"""Reports of a search: drawings, tables and pages."""
