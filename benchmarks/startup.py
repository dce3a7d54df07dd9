"""What importing and listing cost: a new Python process each time, against ``python -c pass``.

Run: ``python benchmarks/startup.py [--rounds 15]``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import pretrained_cnn": ["-c", "import pretrained_cnn"],
    "from pretrained_cnn import Classifier": ["-c", "from pretrained_cnn import Classifier"],
    "pretrained-cnn models": ["-m", "pretrained_cnn", "models"],
    "pretrained-cnn --help": ["-m", "pretrained_cnn", "--help"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times = {name: [seconds(arguments)] for name, arguments in COMMANDS.items()}  # the first fills the disk cache
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    base = medians["python -c pass"]
    print("| a new process | seconds | more than `python -c pass` |")
    print("|---|---|---|")
    for name, median in medians.items():
        print(f"| `{name}` | {median:.3f} | {median - base:.3f} |")


if __name__ == "__main__":
    main()
