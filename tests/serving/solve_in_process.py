"""Solves picture files in a process of its own, so that a crash, a hang or a memory hog is seen and does no harm.

    python -m tests.serving.solve_in_process < list of files > what became of each

Both are pickled. Who does not come to the end says so by what is missing."""

from __future__ import annotations

import pickle
import resource
import signal
import sys
from pathlib import Path

from sdk import FaceParamClient
from sdk.image import decode
from tests.serving.same_answer import outcome_of

ADDRESS_SPACE = 4 * 2**30
"""Bytes, most of which are never touched: code, and what thread stacks and arenas reserve."""
SECONDS = 20
"""For one file; a hundredth is usual."""


def main() -> None:
    """For each file an outcome of decoding and one of solving; then the most memory that was used at a time, in bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with FaceParamClient.embedded() as client:
        for file in pickle.load(sys.stdin.buffer):
            signal.alarm(SECONDS)
            pickle.dump((outcome_of(decode, file), outcome_of(client.infer, file)), sys.stdout.buffer)
            sys.stdout.buffer.flush()
    # Not getrusage: what the process that started this one had used counts there.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    pickle.dump(1024 * int(status["VmHWM"].split()[0]), sys.stdout.buffer)


if __name__ == "__main__":
    main()
