"""How long the linear head takes for many classes with few images each.

Run: ``python benchmarks/many_classes.py [--classes 2000] [--images 5] [--features 1280]``. The embeddings are drawn:
classes of Gaussian clouds in features of very different scales. What is measured is what `Classifier.train` does after
the images are embedded: choose the strength of regularization, and fit the head on all images.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from pretrained_cnn._progress import showing
from pretrained_cnn.transfer.data import hold_out
from pretrained_cnn.transfer.heads import HeadData
from pretrained_cnn.transfer.linear import fit_linear


def embeddings(classes: int, images: int, features: int) -> HeadData:
    """Draw ``images`` embeddings of each class."""
    generator = np.random.default_rng(0)
    scales = np.geomspace(10, 0.1, features)
    targets = np.repeat(np.arange(classes), images)
    vectors = generator.normal(size=(classes, features))[targets] + 3 * generator.normal(size=(len(targets), features))
    return HeadData((scales * vectors).astype(np.float32), targets, np.ones(len(targets)))


def main() -> None:
    """Print a line of the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=2000)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--features", type=int, default=1280)
    options = parser.parse_args()
    train = embeddings(options.classes, options.images, options.features)
    wall, cpu = time.perf_counter(), time.process_time()
    held = hold_out(train.targets, np.arange(len(train.targets)), seed=0)
    with showing(True):
        fitted = fit_linear(train, [(train.keep(~which), train.keep(which)) for which in held], options.classes)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print("| classes x images x features | seconds | CPU seconds | strengths tried | C |")
    print("|---|--:|--:|--:|--:|")
    shape = f"{options.classes:,} x {options.images} x {options.features:,}"
    print(f"| {shape} | {wall:.1f} | {cpu:.1f} | {len(fitted.rows)} | {fitted.strength:.3g} |")


if __name__ == "__main__":
    main()
