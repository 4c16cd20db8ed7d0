"""Tests of `charnn/sampling/`."""
