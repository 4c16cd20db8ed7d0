"""Tests of `charnn/config/`."""
