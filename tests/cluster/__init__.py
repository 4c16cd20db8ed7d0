"""Tests of `charnn/cluster/`."""
