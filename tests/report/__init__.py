"""Tests of `charnn/analysis/`."""
