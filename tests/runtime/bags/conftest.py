"""Bags need the extra of that name."""

import importlib.util

if importlib.util.find_spec("rosbags") is None:
    collect_ignore_glob = ["test_*.py"]
