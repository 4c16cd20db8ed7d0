"""Tests, a file a module.

Where several processes share the tests out (pytest-xdist), each computes with one thread: their threads would wait for each
other on cores that the other processes use. What threads do is tested with threads that are made for it.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
