"""Output: the console, tables, plots, records."""
