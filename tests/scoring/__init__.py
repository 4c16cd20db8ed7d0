"""Tests of `charnn/scoring/`."""
