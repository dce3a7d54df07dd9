"""Results one by one: a `ResultStream` knows what its results depend on, and can leave out images."""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from typing_extensions import override

from pretrained_cnn.errors import ImageError, InvalidArgumentError
from pretrained_cnn.images.archives import is_archive
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.skipping import Skipped
from pretrained_cnn.images.sources import Item, count, is_address, iter_items
from pretrained_cnn.results.names import absolute
from pretrained_cnn.results.result import EmbeddingResult, Result
from pretrained_cnn.results.rows import Schema

__all__ = ["Done", "Found", "Origin", "ResultStream", "Sources", "find_images"]

T = TypeVar("T", bound=Result | EmbeddingResult)

Start = Callable[[Iterable[tuple[str, Any]]], Generator[T]]


class Origin(NamedTuple):
    """Where a result comes from."""

    image: Any
    """The image's path or address, which can be read again; None for an image in memory."""
    listed: bool
    """Whether the library found the image in a folder or by a pattern."""


@dataclass(frozen=True)
class Sources:
    """Several sources, one after the other, each as ``Classifier.stream`` takes one as a string.

    A source without an image is an error in the place of an image, unless no source has one.
    """

    names: tuple[str, ...]
    without: str | None = None
    """A folder whose files are left out."""


class Found(NamedTuple):
    """One image that was found."""

    item: Item
    listed: bool
    """Whether the library found it in a folder or by a pattern."""


class Done:
    """The names of images that are done, each as often as it is there.

    Args:
        names: The names, as `Result.source` gives them.
        folder: What relative names are relative to.
        sources: How the sources were written when these names were made.
    """

    def __init__(self, names: Iterable[str], folder: str, sources: Iterable[str] = ()) -> None:
        self.folder = folder
        self.sources = tuple(sources)
        self._left = Counter(absolute(name, folder) for name in names)
        roots = [_root(source) for source in self.sources if source != "-"]
        self._roots = {absolute(root or ".", folder): root for root in reversed(roots)}  # the first spelling of each

    def take(self, name: str, folder: str) -> bool:
        """Whether the image is done. Each call with the same name takes it away once."""
        key = absolute(name, folder)
        if not self._left.get(key):
            return False
        self._left[key] -= 1
        return True

    def __contains__(self, name: str) -> bool:
        """Whether an image of that name is done, as seen from the folder in which the run began."""
        return self._left[absolute(name, self.folder)] > 0

    def spell(self, name: str, folder: str) -> str:
        """The name of an image that is not done, written like those that are.

        >>> done = Done(["few/a.jpg"], "/data", ["few"])
        >>> done.spell("/data/few/b.jpg", "/"), done.spell("../new/c.jpg", "/data/few")
        ('few/b.jpg', 'new/c.jpg')
        """
        path = absolute(name, folder)
        if not os.path.isabs(path):
            return name
        for known, root in self._roots.items():
            if path != known and path.startswith(os.path.join(known, "")):
                return os.path.join(root, os.path.relpath(path, known))
        return name if os.path.isabs(name) or folder == self.folder else os.path.relpath(path, self.folder)


def _root(source: str) -> str:
    """The folder of a pattern; any other source as it is."""
    while not os.path.exists(source) and glob.has_magic(source):
        source = os.path.dirname(source)
    return source


class ResultStream(Iterator[T], Generic[T]):
    """An iterator of results in the order of their images. Work starts with the first result.

    ``Classifier.stream`` and ``Classifier.embed_stream`` return one. `close`, or an exception in the loop around it,
    ends its threads. `write_results` also uses `is_empty`, `next_with_origin` and `again`.

    >>> from pretrained_cnn import Classifier
    >>> clf = Classifier("EfficientNetLite0")
    >>> stream = clf.stream("examples/images", top=1).skip(["examples/images/balloon.png"])
    >>> next(stream)
    Result('examples/images/candle.png': candle 74.4 %)
    >>> stream.settings["top"]
    1
    """

    def __init__(
        self,
        source: Any,
        image_policy: ImagePolicy,
        start: Start[T],
        *,
        schema: Schema,
        settings: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> None:
        self.schema = schema
        """The schema of the rows of the results."""
        self.search = _Search(source, image_policy)
        """Where the images are looked for, and how many were found."""
        self._start = start
        self._settings = settings
        self._known: Mapping[str, Any] | None = None
        self._images: Iterator[tuple[str, Any]] | None = None
        self._first: list[tuple[str, Any]] = []
        self._results: Generator[T] | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that the results depend on, by content: the network, its weights and labels, the runtime, the
        image policy, and the arguments. A resumed run compares these settings. May build the network.

        >>> from pretrained_cnn import Classifier
        >>> Classifier("EfficientNetLite0").stream("examples/images", top=3).settings["model"]
        'EfficientNetLite0'
        """
        return self.settings_after({})

    def settings_after(self, before: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings, for a run that continues and had those of ``before``: ``"auto"`` is then what it was.

        >>> from pretrained_cnn import Classifier
        >>> stream = Classifier("EfficientNetLite0", runtime="auto").stream("examples/images")
        >>> stream.settings_after({"runtime": "litert"})["runtime"]
        'litert'
        """
        if self._known is None:
            self._known = self._settings(before)
        return self._known

    @property
    def skipped(self) -> dict[str, int]:
        """The number of files among the images that were skipped so far, by reason. The reason is a suffix, such as
        ``".txt"``, ``"no suffix"``, or the kind of a file that is not regular, such as ``"FIFO"``.

        Hidden files and folders are not counted. The counts are complete after the last result.

        >>> from pretrained_cnn import Classifier
        >>> stream = Classifier("EfficientNetLite0").stream("examples")
        >>> len(list(stream)), stream.skipped[".md"]
        (6, 2)
        """
        return dict(self.search.skipped())

    def skip(self, names: Iterable[str] | Done) -> ResultStream[T]:
        """Leave out the images of these names; a name that occurs twice leaves out two images. Returns the stream.

        Paths are compared as absolute, normalized paths: ``./few/a.jpg`` is ``few/a.jpg``. Raises InvalidArgumentError
        if the stream has begun.

        >>> from pretrained_cnn import Classifier
        >>> clf = Classifier("EfficientNetLite0")
        >>> list(clf.stream(["no.jpg", "no.png"]).skip(["./no.jpg"]))
        [Result('no.png': error: the file does not exist)]
        """
        if self._images is not None:
            raise InvalidArgumentError("skip: the stream has begun; call skip before the first result is taken")
        self.search.done = names if isinstance(names, Done) else Done(names, os.getcwd())
        return self

    @override
    def __next__(self) -> T:
        return self.next_with_origin()[0]

    def next_with_origin(self) -> tuple[T, Origin]:
        """The next result, and where it comes from. Raises StopIteration after the last one."""
        if self.is_empty():
            raise StopIteration
        if self._results is None:
            self._results = self._start(itertools.chain(self._first, self._images or ()))
        result = next(self._results)
        return result, self.search.origins.popleft()

    def is_empty(self) -> bool:
        """Whether there is no image that is not left out. Finds the first one; reads none, and builds no network."""
        if self._images is None:
            self._images = self.search.images()
            self._first = list(itertools.islice(self._images, 1))
        return not self._first

    def again(self, result: T) -> T:
        """Try an image again whose path or address is known."""
        again = self._start([(result.source, result.image)])
        try:
            return next(again)
        finally:
            again.close()

    def close(self) -> None:
        """End the stream and its threads."""
        if self._results is not None:
            self._results.close()
        self.search.close()


class _Search:
    """The images of a stream's sources, except those that are left out."""

    def __init__(self, source: Any, image_policy: ImagePolicy) -> None:
        several = source.names if isinstance(source, Sources) else (source,)
        self.sources = tuple(os.fspath(each) for each in several if isinstance(each, str | os.PathLike))
        """The folders, patterns, archives and lists that are searched, as they were given."""
        self.found = Counter[str]()
        """For each source, how many images were found in it so far."""
        self.fresh = Counter[str]()
        """For each source, how many of these are not done."""
        self.left_out = 0
        """How many images were left out because they lie in the folder that `Sources` excludes."""
        self.done: Done | None = None
        """The images that are done."""
        self.origins: deque[Origin] = deque()
        """Where the images come from whose results are not there yet."""
        self._without = _Folder(source.without) if isinstance(source, Sources) and source.without else None
        self._opened = _open(several, image_policy)

    def images(self) -> Iterator[tuple[str, Any]]:
        """The images as ``(name, image)`` pairs, each name written as in the run that continues."""
        here = os.getcwd()
        for source, listed, found, skipped in self._opened:
            for item in found:
                name = item.name
                if self._without is not None and item.path is not None and self._without.holds(item.path):
                    self.left_out += 1
                    continue
                if source is not None:
                    self.found[source] += 1
                if self.done is not None:
                    # A path is relative to the working directory; any other name is as it was when the run began.
                    is_path = source is not None or item.path == name
                    if self.done.take(name, here if is_path else self.done.folder):
                        continue
                    if is_path and (here != self.done.folder or source not in self.done.sources):
                        name = self.done.spell(name, here)
                if source is not None:
                    self.fresh[source] += 1
                self.origins.append(Origin(item.path, listed))
                yield name, item.image
            skipped.report(source or "")

    def skipped(self) -> Counter[str]:
        """How many files were skipped so far, by suffix or kind."""
        total = Counter[str]()
        for opened in self._opened:
            total += opened.skipped.counts
        return total

    def count(self) -> int | None:
        """How many images there are, or None if only reading them would tell. May list each folder once more."""
        counts = [
            None if source is None else skipped.count_images() if skipped.count_images else count(source)
            for source, _, _, skipped in self._opened
        ]
        return None if None in counts else sum(filter(None, counts))

    def close(self) -> None:
        """Close the sources."""
        for _, _, found, _ in self._opened:
            found.close()


def find_images(
    sources: Sources, image_policy: ImagePolicy = ImagePolicy(), skipped: Counter[str] | None = None
) -> Iterator[Found]:
    """The images of several sources. Raises the first ImageError if no source has an image.

    Files that are left out are logged, and counted in ``skipped`` by suffix or kind.
    """
    for source, listed, found, passed in _open(sources.names, image_policy):
        for item in found:
            yield Found(item, listed)
        passed.report(source or "")
        if skipped is not None:
            skipped.update(passed.counts)


class _Folder:
    """A folder, and whether files lie in it or below, links on the way to it followed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[str, bool] = ("", False)

    def holds(self, path: str) -> bool:
        """Whether a file lies in it; a link to a file lies where the link is."""
        if is_address(path):
            return False
        folder = os.path.dirname(path) or os.curdir
        if folder != self._seen[0]:
            inner, outer = (os.path.join(os.path.realpath(each), "") for each in (folder, self._path))
            self._seen = folder, inner.startswith(outer)
        return self._seen[1]


class _Opened(NamedTuple):
    """One source."""

    name: str | None
    """The source, as it was given; None for an iterable."""
    is_searched: bool
    """Whether the library itself finds the images."""
    images: Generator[Item]
    """The images, which are not read yet."""
    skipped: Skipped
    """What is passed over."""


def _open(sources: Iterable[Any], policy: ImagePolicy) -> list[_Opened]:
    """The sources. They are looked at until one has an image; the others wait for their turn.

    Raises the first ImageError if no source has an image.
    """
    failed: list[ImageError] = []
    opened: list[_Opened] = []
    for source in sources:
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        skipped = Skipped()
        if name is not None and len(failed) < len(opened):
            found = _later(name, policy, skipped)
        else:
            try:
                found = iter_items(source if name is None else name, policy, skipped)
            except ImageError as error:
                failed.append(error)
                found = _failed(error)
        opened.append(_Opened(name, name is not None and _is_searched(name), found, skipped))
    if failed and len(failed) == len(opened):
        raise failed[0]
    return opened


def _is_searched(source: str) -> bool:
    """Whether the library itself finds the images of a source: in a folder, by a pattern, in an archive."""
    if os.path.isfile(source):
        return is_archive(source)
    return os.path.isdir(source) or (glob.has_magic(source) and not is_address(source))


def _later(source: str, policy: ImagePolicy, skipped: Skipped) -> Generator[Item]:
    """The images of a source that is looked at when its turn comes; what is wrong with it is one image's error."""
    try:
        found = iter_items(source, policy, skipped)
    except ImageError as error:
        found = _failed(error)
    yield from found


def _failed(error: ImageError) -> Generator[Item]:
    yield Item(0, error.source, error)
