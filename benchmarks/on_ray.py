"""What Ray costs beside the local stream, on one machine with the same cores, and what an actor's memory is.

Run: ``python benchmarks/on_ray.py BUNDLE FOLDER [--pictures 4000] [--rounds 3]`` with a folder of photos, which are
linked to until there are enough. The local stream and Ray take turns, so that what else the machine is busy with meets
both. Starting Ray and its actor is measured apart: Ray's rate counts from its first rows, ours from the first batch.

- local: ``Classifier.stream`` over the paths, a decoding thread for each core.
- ray: `pretrained_cnn.integrations.ray.classify` over the same paths, one actor with as many decoding threads.
- memory: of the actor's process after a tenth of its batches, and after all of them.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import psutil
import ray
from throughput import fill

from pretrained_cnn import Classifier
from pretrained_cnn.images.batch import default_workers
from pretrained_cnn.integrations.ray import classify

BLOCKS = 40


def local(bundle: str, paths: list[str]) -> float:
    """Pictures a second."""
    results = Classifier.load(bundle).stream(paths, top=1)
    for _ in range(len(paths) // BLOCKS):
        next(results)
    start = time.perf_counter()
    rest = sum(1 for _ in results)
    return rest / (time.perf_counter() - start)


def on_ray(bundle: str, paths: list[str]) -> tuple[float, float, float, float]:
    """Pictures a second, seconds until the first rows, and the actor's MiB after a tenth and in the end."""
    start = time.perf_counter()
    dataset = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=BLOCKS)
    rows = classify(dataset, bundle, top=1, column="path", concurrency=1, num_cpus=default_workers())
    sizes, times, memory = [], [], []
    for table in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
        sizes.append(len(table))
        times.append(time.perf_counter())
        memory.append(actor_memory())
    tenth = len(memory) // 10
    return sum(sizes[1:]) / (times[-1] - times[0]), times[0] - start, memory[tenth], max(memory)


def actor_memory() -> float:
    """MiB that no other process shares with the one actor."""
    children = psutil.Process().children(recursive=True)
    (actor,) = [child for child in children if child.name().startswith("ray::MapWorker")]
    return float(actor.memory_full_info().uss) / 1024**2


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=200 * 1024**2)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    print("| local, a second | ray, a second | ray / local | first rows after (s) | actor, MiB at a tenth | at most |")
    print("|---|---|---|---|---|---|")
    ratios = []
    with tempfile.TemporaryDirectory() as work:
        photos = fill(Path(work, "photos"), sorted(options.folder.iterdir()), options.pictures)
        paths = sorted(map(str, photos.iterdir()))
        for _ in range(options.rounds):
            here, (there, first, tenth, most) = local(options.bundle, paths), on_ray(options.bundle, paths)
            ratios.append(there / here)
            print(f"| {here:.1f} | {there:.1f} | {there / here:.2f} | {first:.1f} | {tenth:.0f} | {most:.0f} |", flush=True)
    print(f"\nmedian of ray / local: {statistics.median(ratios):.2f}; {len(os.sched_getaffinity(0))} cores")
    ray.shutdown()


if __name__ == "__main__":
    main()
