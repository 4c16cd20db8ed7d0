"""Tests of `charnn/report/`."""
