"""Pages drawn from what `charnn.analysis` computes: reports and inspections as self-contained HTML files."""
