"""Tests of `charnn/cells/`."""
