"""What Ray costs beside the local stream, on one machine with the same cores, and what an actor's memory is.

Run: ``python benchmarks/on_ray.py BUNDLE FOLDER [--images 2000] [--rounds 3]`` with a folder of photos, which are
linked to until there are enough. The two take turns. Both are measured from their first rows on, and starting Ray and
its actor apart. On a machine that is busy with other things the processors' time is what counts: the clock's share of
several processes is another than that of one.

- local: ``Classifier.stream`` over the paths, a decoding thread for each core.
- ray: `pretrained_cnn.integrations.ray.classify` over the same paths, one actor with as many decoding threads; the time
  is that of all of Ray's processes.
- memory: of the actor's process after a tenth of its batches, after half, and at most.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import psutil
import ray
from throughput import fill

from pretrained_cnn import Classifier
from pretrained_cnn.images.batch import default_workers
from pretrained_cnn.integrations.ray import classify

BLOCKS = 40


class Measured(NamedTuple):
    """From the first rows on."""

    rate: float
    """Images a second."""
    milliseconds: float
    """Of processors, an image."""


def local(bundle: str, paths: list[str]) -> Measured:
    results = Classifier.load(bundle).stream(paths, top=1)
    for _ in range(len(paths) // BLOCKS):
        next(results)
    start, busy = time.perf_counter(), time.process_time()
    rest = sum(1 for _ in results)
    return Measured(rest / (time.perf_counter() - start), (time.process_time() - busy) * 1000 / rest)


def on_ray(bundle: str, paths: list[str]) -> tuple[Measured, float, list[float]]:
    """Also the seconds until the first rows, and the actor's memory after each."""
    begin = time.perf_counter()
    dataset = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=BLOCKS)
    rows = classify(dataset, bundle, top=1, column="path", concurrency=1, num_cpus=default_workers())
    tables = iter(rows.iter_batches(batch_size=None, batch_format="pyarrow"))
    first = next(tables)
    processes: dict[int, float] = {}
    start, busy = time.perf_counter(), processors(processes)
    memory, end = [actor_memory()], start
    for _ in tables:
        end, spent = time.perf_counter(), processors(processes) - busy
        memory.append(actor_memory())
    rest = len(paths) - len(first)
    return Measured(rest / (end - start), spent * 1000 / rest), start - begin, memory


def processors(processes: dict[int, float]) -> float:
    """Seconds of this process and of all that it has started; ``processes`` keeps those of the ones that ended."""
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes[process.pid] = sum(process.cpu_times()[:2])
    return sum(processes.values())


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
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=200 * 1024**2)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    print("| | local | ray | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        photos = fill(Path(work, "photos"), sorted(options.folder.iterdir()), options.images)
        paths = sorted(map(str, photos.iterdir()))
        for _ in range(options.rounds):
            here, (there, first, memory) = local(options.bundle, paths), on_ray(options.bundle, paths)
            for name, mine, its in zip(("images a second", "ms of processors an image"), here, there, strict=True):
                print(f"| {name} | {mine:.1f} | {its:.1f} | {its / mine:.2f} |")
            part = ", ".join(f"{memory[len(memory) * tenths // 10]:.0f}" for tenths in (1, 5))
            print(
                f"| first rows after {first:.1f} s; MiB of the actor: {part}, at most {max(memory):.0f} |", flush=True
            )
    ray.shutdown()


if __name__ == "__main__":
    main()
