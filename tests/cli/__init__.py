"""Tests of `charnn/cli/`."""
