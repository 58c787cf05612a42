"""A stand-in for CUDA's runtime whose GPU memory is this process's own."""

import ctypes
from enum import IntEnum

cudaMemcpyKind = IntEnum("cudaMemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])
_memory = {}


def cudaMalloc(size: int) -> tuple[int, int]:
    buffer = ctypes.create_string_buffer(size)
    _memory[ctypes.addressof(buffer)] = buffer
    return 0, ctypes.addressof(buffer)


def cudaFree(address: int) -> tuple[int]:
    del _memory[address]
    return (0,)


def cudaMemcpy(target: int, source: int, size: int, kind: cudaMemcpyKind) -> tuple[int]:
    ctypes.memmove(target, source, size)
    return (0,)


def cudaStreamCreate() -> tuple[int, int]:
    return 0, 7


def cudaStreamSynchronize(stream: int) -> tuple[int]:
    return (0,)


def cudaStreamDestroy(stream: int) -> tuple[int]:
    return (0,)
