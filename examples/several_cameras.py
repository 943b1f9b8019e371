"""Several cameras, one model: the newest frame of each, fairly; one that hangs holds up nobody.

python examples/several_cameras.py front=0 left=1
python examples/several_cameras.py front=a.mp4 left=b.mp4
"""

import sys
from contextlib import ExitStack

from fastscnn import Segmenter, Source, ready_model


def main(*cameras: str) -> int:
    with ExitStack() as opened:
        sources = {}
        for name, place in (one.split("=", 1) for one in cameras):
            sources[name] = opened.enter_context(Source(place))
        segmenter = opened.enter_context(Segmenter(ready_model()))
        road = segmenter.artifact.classes.index("road")
        with segmenter.stream(sources, timeout=5) as results:
            for result in results:
                free = (result.labels == road).mean()
                print(f"{result.camera}: frame {result.index}, {free:.0%} road, {result.timings.total:.0f} ms")
            for name, camera in results.cameras.items():
                print(f"{name}: {camera.read} read, {camera.dropped} dropped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
