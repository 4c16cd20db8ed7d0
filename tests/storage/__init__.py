"""Tests of `charnn/storage/`."""
