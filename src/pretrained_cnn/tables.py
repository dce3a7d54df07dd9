"""Results as flat rows: one schema, whether they go to a file, to pandas, or through a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pretrained_cnn.errors import MissingDependencyError

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from pretrained_cnn.results import Result

__all__ = ["COLUMNS", "encode", "import_arrow", "key", "rows", "to_arrow", "to_frame"]

COLUMNS = {
    "source": "string",
    "rank": "Int64",
    "index": "Int64",
    "id": "string",
    "label": "string",
    "score": "Float64",
    "error": "string",
}
"""The columns, in their order, and the type that each has in pandas; all but ``source`` may be empty."""


def rows(result: Result) -> list[dict[str, Any]]:
    """A row for each class named, best first, with ``rank`` from 1; for an image that has none, one row.

    ``error`` is the reason alone, since ``source`` stands beside it. Every row has all `COLUMNS`.

    >>> from pretrained_cnn import Prediction, Result
    >>> rows(Result("a.png", (Prediction("n02708093", "analog_clock", 0.7, 409),)))
    [{'source': 'a.png', 'rank': 1, 'index': 409, 'id': 'n02708093', 'label': 'analog_clock', 'score': 0.7, \
'error': None}]
    """
    error = None if result.error is None else result.error.reason
    found = [
        dict(zip(COLUMNS, (result.source, rank, index, id_, label, score, error), strict=True))
        for rank, (id_, label, score, index) in enumerate(result, 1)
    ]
    return found or [{**dict.fromkeys(COLUMNS), "source": result.source, "error": error}]


def key(source: str) -> str:
    """An image's name as any format can hold it: bytes that are not UTF-8 are written out.

    >>> key("caf\\udce9.jpg")
    'caf\\\\xe9.jpg'
    """
    return encode(source).decode("utf-8", "backslashreplace")


def encode(text: str) -> bytes:
    """UTF-8; a file name that is none keeps the bytes that it has on disk."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character that comes from no file name
        return text.encode("utf-8", "backslashreplace")


def to_arrow(found: Iterable[dict[str, Any]]) -> pyarrow.Table:
    """Rows as an Arrow table, always of the same schema, whatever is empty in them.

    Raises MissingDependencyError without pyarrow (extra ``parquet``).
    """
    arrow = import_arrow()
    kinds = {"string": arrow.string(), "Int64": arrow.int64(), "Float64": arrow.float64()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    return arrow.Table.from_pylist([_as_unicode(row) for row in found], schema)


def import_arrow() -> Any:
    """The package pyarrow, with its module for parquet. Raises MissingDependencyError without it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", extra="parquet") from None
    return pyarrow


def _as_unicode(row: dict[str, Any]) -> dict[str, Any]:
    return {name: key(value) if isinstance(value, str) else value for name, value in row.items()}


def to_frame(results: Iterable[Result]) -> pandas.DataFrame:
    """Results as a pandas table, with the rows and columns that ``pretrained-cnn classify --output`` writes.

    The columns are ``source``, ``rank`` (from 1), ``index`` (of the class), ``id``, ``label``, ``score`` and ``error``.
    An image has a row for each class named, a failed one a row with its error and nothing else. Raises
    MissingDependencyError without pandas (extra ``pandas``).

    >>> from pretrained_cnn import Classifier
    >>> clf = Classifier("EfficientNetLite0")
    >>> frame = to_frame(clf.stream(["examples/images/clock.png", "no.jpg"], top=1))
    >>> frame[["source", "rank", "label", "error"]]
                          source  rank         label                  error
    0  examples/images/clock.png     1  analog_clock                   <NA>
    1                     no.jpg  <NA>          <NA>  there is no such file
    """
    try:
        import pandas
    except ImportError:
        raise MissingDependencyError("pandas", extra="pandas") from None
    data: dict[str, list[Any]] = {column: [] for column in COLUMNS}
    for result in results:
        for row in rows(result):
            for column, value in row.items():
                data[column].append(value)
    return pandas.DataFrame({column: pandas.array(data[column], dtype=kind) for column, kind in COLUMNS.items()})
