"""Segmentation inside an asyncio program: the event loop never waits for the network or the camera.

python examples/asyncio_robot.py clip.mp4
"""

import asyncio
import sys
import time
from itertools import pairwise

from fastscnn import Segmenter, Source, ready_model

PERIOD = 0.02  # seconds between two beats


async def look(place: str, segmenter: Segmenter) -> int:
    count = 0
    with Source(place) as camera:
        async with segmenter.stream(camera, timeout=5) as results:
            async for result in results:
                count += 1
                road = result.labels == result.artifact.classes.index("road")
                print(f"frame {count}: {road.mean():.0%} road")
    return count


async def heartbeat(beats: list[float]) -> None:
    """Whatever else the robot must not miss."""
    while True:
        beats.append(time.monotonic())
        await asyncio.sleep(PERIOD)


async def main(place: str, model: str | None = None) -> int:
    beats: list[float] = []
    with Segmenter(model or ready_model()) as segmenter:
        beating = asyncio.create_task(heartbeat(beats))
        count = await look(place, segmenter)
        beating.cancel()
    longest = max((after - before for before, after in pairwise(beats)), default=0.0)
    print(f"{count} frames; {len(beats)} beats meanwhile, at most {longest * 1e3:.0f} ms apart")
    return count


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
