"""Serving is in the making: its tests run where its packages have been installed (`pip install 'tritonclient[grpc]'`)."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("tritonclient") else ["test_serve.py", "test_triton_config.py"]
