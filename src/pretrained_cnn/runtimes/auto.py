"""Which runtime, and which precision, is the fastest for a network on this machine: measured once, then remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import override

from pretrained_cnn._cache import cache_folder, mark_used
from pretrained_cnn._files import atomic_write
from pretrained_cnn._process import cores
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.runtimes import PRECISIONS, RUNTIMES, Precision, RuntimeSpec, get_runtime

__all__ = ["AUTO", "Candidate", "candidates", "quickest", "recall", "remember"]

log = logging.getLogger(__name__)

AUTO = "auto"
"""As a runtime, or as a precision: the fastest."""

WARM_UP = 2
"""Calls that do not count: the first ones compile, and fill caches."""
ROUNDS = range(5, 51)
"""How often each candidate is measured: as often as `SECONDS` allow, within these bounds."""
SECONDS = 1.5
PAUSE = 0.02
"""Seconds until the threads of the candidate before no longer spin."""
CPU = Path("/proc/cpuinfo")


class Candidate(NamedTuple):
    """A way to compute a network."""

    runtime: str
    precision: Precision

    @override
    def __str__(self) -> str:
        return self.runtime if self.precision == "float32" else f"{self.runtime} {self.precision}"


def candidates(
    runtime: str, precision: str, *, format: str | None = None, threads: int | None = None
) -> list[Candidate]:
    """The ways to compute a network that ``runtime`` and ``precision`` leave open, on what is installed here.

    Args:
        runtime: A name, or ``"auto"`` for all that are installed.
        precision: A precision, or ``"auto"`` for all floating-point ones that this machine has.
        format: The only format that the network is there in; None if it can be converted.
        threads: A number that the runtime must be able to take.

    Raises InvalidArgumentError if there are none.
    """
    found = []
    for spec in _runtimes(runtime):
        if format is not None and spec.format != format:
            continue
        for each in PRECISIONS:
            if each == precision or (precision == AUTO and each != "int8"):
                with contextlib.suppress(InvalidArgumentError):
                    spec.check_threads(threads)
                    spec.check_precision(each)
                    found.append(Candidate(spec.name, each))
    if not found:
        asked = {"runtime": runtime, "precision": precision, **({} if threads is None else {"threads": threads})}
        given = ", ".join(f"{name}={value!r}" for name, value in asked.items())
        raise InvalidArgumentError(
            f"{given}: nothing that is installed here computes this network so; list_runtimes() and "
            "list_precisions() say what there is"
        )
    return found


def quickest(runs: Mapping[Candidate, Callable[[], object]]) -> Candidate:
    """The candidate whose call takes the least time, by the median. In each round all take turns."""
    times: dict[Candidate, list[float]] = {candidate: [] for candidate in runs}
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    end = time.monotonic() + SECONDS
    for number in range(ROUNDS.stop):
        if number >= ROUNDS.start and time.monotonic() > end:
            break
        for candidate, run in runs.items():
            time.sleep(PAUSE)
            begin = time.perf_counter()
            run()
            times[candidate].append(time.perf_counter() - begin)
    medians = {candidate: statistics.median(found) for candidate, found in times.items()}
    log.info("an image takes %s", ", ".join(f"{1000 * value:.1f} ms ({name})" for name, value in medians.items()))
    return min(medians, key=medians.__getitem__)


def recall(network: str, offered: Sequence[Candidate]) -> Candidate | None:
    """What was the fastest of those ``offered`` for that network, if it was measured on this machine before."""
    path = _path(network, offered)
    try:
        found = Candidate(*json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    mark_used(path)
    return found if found in offered else None


def remember(network: str, offered: Sequence[Candidate], candidate: Candidate) -> None:
    """Keep what was measured; a cache that cannot be written costs a measurement the next time."""
    path = _path(network, offered)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(candidate).encode())
    except OSError as error:
        log.info("%s is the fastest, but that is not kept: %s", candidate, error)


def _runtimes(name: str) -> Iterable[RuntimeSpec]:
    if name != AUTO:
        return [get_runtime(name)]
    # Keras comes last, so that the others are converted elsewhere and do not need it in this process.
    specs = sorted(map(get_runtime, _names()), key=lambda spec: spec.format == "keras")
    return [spec for spec in specs if spec.installed]


def _names() -> list[str]:
    return list(RUNTIMES.names())


def _path(network: str, offered: Sequence[Candidate]) -> Path:
    specs = [get_runtime(name) for name, _ in offered]
    facts = [network, offered, _machine(), [[_version(spec.package), _code(spec.factory)] for spec in specs]]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return cache_folder("runtimes") / f"{digest[:32]}.json"


def _machine() -> list[Any]:
    try:
        model = [line for line in CPU.read_text("utf-8").splitlines() if line.startswith(("model name", "flags"))][:2]
    except OSError:  # not Linux
        model = [platform.processor()]
    return [platform.node(), platform.machine(), model, cores()]


def _code(factory: Any) -> str:
    """Where a factory is defined: one of another name is another runtime."""
    return str(getattr(factory, "path", None) or f"{factory.__module__}:{getattr(factory, '__qualname__', factory)}")


def _version(module: str | None) -> str | None:
    from importlib import metadata

    try:
        return metadata.version((module or "pretrained-cnn").replace("_", "-"))
    except metadata.PackageNotFoundError:
        return None
