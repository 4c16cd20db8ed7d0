"""What is shown: the console, tables, plots, records."""
