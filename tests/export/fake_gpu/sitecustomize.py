"""Run at the start of every Python process that has this folder on its PYTHONPATH: gives it a GPU."""

import contextlib

with contextlib.suppress(ImportError):  # not in Triton's environment before its folder is known
    from export import gpu

    gpu.first_gpu = lambda: gpu.Gpu("fake", "8.6")
