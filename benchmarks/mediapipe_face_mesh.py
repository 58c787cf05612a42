"""MediaPipe's own FaceMesh on the same photos, for `benchmarks.embedded`.

Run by path in an environment of its own (it pins an old NumPy), so it imports nothing of this repository:
``PYTHON mediapipe_face_mesh.py CORES REPEATS PHOTO...`` prints one JSON object.
"""

import json
import os
import sys
import time


def main() -> None:
    """Time decoding and solving of each photo, start-up and peak memory."""
    cores, repeats, photos = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    start = time.perf_counter()
    import cv2
    import mediapipe

    solver = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1)

    def decode(path: str):
        return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)

    found = {path: solver.process(decode(path)).multi_face_landmarks is not None for path in photos[:1]}
    start_up = 1e3 * (time.perf_counter() - start)
    times: dict = {"decode": [], "face_mesh": [], "face_mesh_cpu": [], "total": [], "cpu": []}
    for _ in range(repeats):
        for path in photos:
            begin, begin_cpu = time.perf_counter(), time.process_time()
            picture = decode(path)
            decoded, cpu = time.perf_counter(), time.process_time()
            found[path] = solver.process(picture).multi_face_landmarks is not None
            end = time.perf_counter()
            times["decode"].append(1e3 * (decoded - begin))
            times["face_mesh"].append(1e3 * (end - decoded))
            times["face_mesh_cpu"].append(1e3 * (time.process_time() - cpu))
            times["total"].append(1e3 * (end - begin))
            times["cpu"].append(1e3 * (time.process_time() - begin_cpu))
    with open("/proc/self/status") as status:  # not getrusage: its maximum is inherited from the parent
        peak = int(status.read().partition("VmHWM:")[2].split()[0]) / 1024
    result = {"version": mediapipe.__version__, "found": sum(found.values()), "photos": len(photos), "times": times}
    print(json.dumps({**result, "start_up_ms": start_up, "peak_mb": peak}))


if __name__ == "__main__":
    main()
