"""A robot's loop: the newest frame of a camera, a deadline, and what to do when the camera or the engine fails.

python examples/robot_loop.py 0                 # a camera
python examples/robot_loop.py clip.mp4 model.onnx
"""

import logging
import sys

from fastscnn import FastSCNNError, Segmenter, Source, ready_model

DEADLINE_MS = 100.0


def main(place: str = "0", model: str | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # the library logs, and prints nothing itself
    try:
        with Segmenter(model or ready_model(), deadline_ms=DEADLINE_MS) as segmenter, Source(place) as camera:
            segmenter.warm_up()  # the first real frame is as fast as the rest
            car = segmenter.artifact.classes.index("car")
            # Of a camera the newest frame each time, of a recording every frame; a camera that is silent raises an error.
            with segmenter.stream(camera, timeout=5) as results:
                for result in results:
                    near = result.labels[-result.labels.shape[0] // 3 :]
                    print(
                        f"car ahead: {(near == car).mean():.1%}, {result.timings.total:.0f} ms, dropped {results.dropped}"
                    )
            latency = segmenter.latency
            print(f"p99 {latency.p99:.0f} ms, {latency.misses} frames after {DEADLINE_MS:.0f} ms")
    except FastSCNNError as error:  # the base of all; docs/robots.md has the others
        print(f"stopped: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
