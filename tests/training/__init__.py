"""Tests of `charnn/training/`."""
