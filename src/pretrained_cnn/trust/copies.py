"""Which images are copies of others, though their bytes differ: by embedding and by a perceptual hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.trust.looks import SIDE

__all__ = ["Copies", "find_copies", "nearest"]

NEIGHBORS = 6
"""How many of the nearest images, by embedding and by hash, may be copies of one."""

SAME_FRAMING = 0.9
"""From this agreement of their hashes on, images of the same framing are copies: at most 3 of 63 signs differ."""

EVIDENCE = 1.4
"""Images of another framing are copies if the agreement of their hashes and the closeness of their embeddings reach
this sum. Both are at most 1."""

SCALES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""Which parts of an image, by side, are tried as the framing of the other."""

PLACES = 4
"""How many places of such a part are tried along each side."""

FAINT = 0.006
"""A frequency below this part of the strongest one is left out of the hash."""

FREQUENCIES = 8
"""The hash has the signs of this number of lowest frequencies of the cosine transform each way, without the mean."""

BLOCK = 512
"""The number of pairs that are compared at once, and the most rows of similarities in memory."""

NUMBERS = 2**23
"""The most similarities in memory, 32 MB."""

SAMPLE = 2000
"""Images among which it is seen how close any two are."""


class Copies(NamedTuple):
    """Pairs of images that are copies; ``k`` of them, the first of each pair before the second."""

    pairs: NDArray[np.intp]
    """``(k, 2)``."""
    similarity: NDArray[np.float64]
    """The mean of the cosine of the embeddings and the agreement of the hashes, 0 to 1, ``(k,)``."""


def find_copies(units: NDArray[np.float32], thumbnails: NDArray[np.uint8]) -> Copies:
    """Find copies among images with embeddings ``(n, D)`` of length 1 and thumbnails ``(n, SIDE, SIDE)``.

    Candidates are each image's nearest ones by embedding, and by hash, mirrored or not. A candidate is a copy in two
    cases: the hashes agree and the embeddings are closer than those of most pairs; or the hashes agree for some part of
    one of the two and the embeddings are extremely close. So copies are found after a change
    of the file, the size or the framing. Memory holds blocks of similarities.
    """
    if len(units) < 2:
        return Copies(np.empty((0, 2), np.intp), np.empty(0))
    usual, close = _cosines(units)
    blocks = (thumbnails[start : start + BLOCK] for start in range(0, len(thumbnails), BLOCK))
    hashes = np.concatenate([_hashes(block, WHOLE)[:, 0] for block in blocks])
    found = [_candidates(units, units), _candidates(hashes, hashes), _candidates(hashes * MIRRORED, hashes)]
    pairs = np.unique(np.concatenate(found), axis=0)
    kept, similarities = [np.empty((0, 2), np.intp)], [np.empty(0)]
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        cosines = np.einsum("nd,nd->n", units[block[:, 0]], units[block[:, 1]]).astype(np.float64)
        closeness = (cosines - close) / max(1 - close, 1e-6)
        agreement = _agreement(*(hashes[block[:, side], np.newaxis] for side in (0, 1)))
        copies = (agreement >= SAME_FRAMING) & (cosines > usual)
        unsure = np.flatnonzero(~copies & (closeness >= EVIDENCE - 1))
        agreement[unsure] = _framed(*(thumbnails[block[unsure, side]] for side in (0, 1)))
        copies[unsure] = closeness[unsure] + agreement[unsure] >= EVIDENCE
        kept.append(block[copies])
        similarities.append(np.clip((cosines + agreement) / 2, 0, 1)[copies])
    return Copies(np.concatenate(kept), np.concatenate(similarities))


def nearest(
    queries: NDArray[np.float32], references: NDArray[np.float32], count: int, *, same: bool
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """For blocks of the rows of ``queries``: the ``count`` rows of ``references`` with the largest dot products.

    Gives their numbers and the products, both ``(m, count)``, the largest first. With ``same``, row i of both is the
    same image, which is not near itself.
    """
    count = min(count, len(references) - same)
    rows = int(np.clip(NUMBERS // len(references), 1, BLOCK))
    for start in range(0, len(queries), rows):
        products = queries[start : start + rows] @ references.T
        each = np.arange(len(products))
        if same:
            products[each, each + start] = -np.inf
        found = np.argpartition(products, -count, axis=1)[:, -count:]
        values = np.take_along_axis(products, found, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        yield np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)


def _cosines(units: NDArray[np.float32]) -> tuple[float, float]:
    """The cosines that half, and about 99 %, of the pairs of a sample of different images do not exceed.

    The second is extrapolated from the median and the 90 % quantile as for a normal distribution, since copies may be
    more than one in a hundred pairs.
    """
    sample = units[np.random.default_rng(0).permutation(len(units))[:SAMPLE]]
    cosines = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    usual, high = np.quantile(cosines, (0.5, 0.9)) if len(sample) > 2 else (0.0, 0.3)
    return float(usual), float(usual + 1.8 * (high - usual))


def _candidates(queries: NDArray[np.float32], references: NDArray[np.float32]) -> NDArray[np.intp]:
    """Pairs ``(k, 2)`` of each row and its nearest ones, the lower number first."""
    near = np.concatenate([found for found, _ in nearest(queries, references, NEIGHBORS, same=True)])
    rows = np.repeat(np.arange(len(near)), near.shape[1])
    return np.sort(np.stack([rows, near.ravel()], axis=1), axis=1)


# The hash: the signs of the lowest frequencies, of the whole thumbnail or of a part of it.


def _bases(scales: tuple[float, ...], places: int) -> NDArray[np.float32]:
    """For each part of a side, ``(p, FREQUENCIES, SIDE)``: what takes pixels to the frequencies of that part."""
    points = np.arange(SIDE) + 0.5
    cosines = np.cos(np.pi / SIDE * np.arange(FREQUENCIES)[:, np.newaxis] * points)
    found = []
    for scale in scales:
        for start in np.linspace(0, SIDE * (1 - scale), places if scale < 1 else 1):
            at = np.clip(start + points * scale - 0.5, 0, SIDE - 1)
            first = np.minimum(at.astype(int), SIDE - 2)
            interpolate = np.zeros((SIDE, SIDE))
            interpolate[np.arange(SIDE), first] = first + 1 - at
            interpolate[np.arange(SIDE), first + 1] = at - first
            found.append(cosines @ interpolate)
    return np.array(found, np.float32)


WHOLE = _bases((1.0,), 1)
PARTS = _bases(SCALES, PLACES)
MIRRORED = np.tile((-1.0) ** np.arange(FREQUENCIES), FREQUENCIES)[1:].astype(np.float32)
"""What a hash is multiplied by to be that of the mirrored image: each odd frequency across changes its sign."""


def _hashes(thumbnails: NDArray[np.uint8], bases: NDArray[np.float32]) -> NDArray[np.float32]:
    """The hash of each part of each thumbnail, of length 1: ``(n, p * p, FREQUENCIES ** 2 - 1)``.

    A frequency that is all but missing counts as 0: its sign would be that of noise.
    """
    rows = np.tensordot(thumbnails.astype(np.float32), bases, axes=(1, 2))  # (n, across, p, f)
    found = np.tensordot(rows, bases, axes=(1, 2))  # (n, p, f, q, g)
    found = found.transpose(0, 1, 3, 2, 4).reshape(len(thumbnails), len(bases) ** 2, FREQUENCIES**2)
    sizes = np.abs(found[..., 1:])
    hashes = np.sign(found[..., 1:]) * (sizes >= np.maximum(FAINT * sizes.max(axis=-1, keepdims=True), 1))
    return np.asarray(hashes / np.maximum(np.linalg.norm(hashes, axis=-1, keepdims=True), 1), np.float32)


def _agreement(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """How well the best of the hashes ``(n, p, bits)`` of each image agrees with that of the other, mirrored or not.

    1 if all signs are the same, 0 if half of them are, which is chance.
    """
    products = [np.matmul(a, (b * mirror).transpose(0, 2, 1)).max(axis=(1, 2)) for mirror in (1, MIRRORED)]
    return np.asarray(np.max(products, axis=0), np.float64)


def _framed(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How well two thumbnails agree if one of them shows a part of the other, ``(n,)``."""
    found = [np.empty(0)]
    for start in range(0, len(a), 64):
        x, y = a[start : start + 64], b[start : start + 64]
        both = (_agreement(_hashes(parts, PARTS), _hashes(whole, WHOLE)) for parts, whole in ((x, y), (y, x)))
        found.append(np.maximum(*both))
    return np.concatenate(found)
