"""Tests of `charnn/text/`."""
