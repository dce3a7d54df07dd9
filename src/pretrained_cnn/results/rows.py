"""Results as flat rows, with one schema for files, pandas and clusters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretrained_cnn.errors import ImageError, import_package
from pretrained_cnn.results.names import escape, unescape
from pretrained_cnn.results.result import EmbeddingResult, Prediction, Result

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["COLUMNS", "EMBEDDINGS", "RESULTS", "Row", "Schema", "import_arrow", "to_frame", "to_result", "to_rows"]

Row = dict[str, Any]

COLUMNS = {
    "source": "string",
    "rank": "Int64",
    "index": "Int64",
    "id": "string",
    "label": "string",
    "score": "Float64",
    "status": "string",
    "label_set": "string",
    "error": "string",
}
"""The columns of results, in their order, and the type that each has in pandas. All but ``source`` and ``status`` may
be empty."""


@dataclass(frozen=True)
class Schema:
    """One kind of rows."""

    name: str
    """What the rows are: ``"results"`` or ``"embeddings"``."""
    columns: Mapping[str, str]
    """The columns in their order, each with its type: a type of pandas, or ``"vector"`` for float32 ``(D,)``."""
    rows: Callable[[Any], list[Row]]
    """From what was found out about an image to its rows."""


def to_rows(result: Result) -> list[Row]:
    """A row for each class named, best first, with ``rank`` from 1; for an image that has none, one row.

    ``error`` is the reason alone, since ``source`` stands beside it. Every row has all `COLUMNS`, and is plain data
    that any format can hold: text is Unicode, see `escape`, and a score that is not a finite number is None. A label
    set is a JSON array, with an object of ``index``, ``id``, ``label`` and ``score`` for each class.

    >>> to_rows(Result("a.png", (Prediction("n02708093", "analog_clock", 0.7, 409),)))
    [{'source': 'a.png', 'rank': 1, 'index': 409, 'id': 'n02708093', 'label': 'analog_clock', 'score': 0.7, \
'status': 'ok', 'label_set': None, 'error': None}]
    """
    image = {
        "source": escape(result.source),
        "status": result.status,
        "label_set": None if result.label_set is None else json.dumps(list(map(_cells, result.label_set))),
        "error": None if result.error is None else escape(result.error.reason),
    }
    empty = {**dict.fromkeys(COLUMNS), **image}
    return [{**empty, "rank": rank, **_cells(each)} for rank, each in enumerate(result, 1)] or [empty]


def to_result(rows: Iterable[Row], source: str | None = None) -> Result:
    """The result whose rows these are; ``source`` replaces its name.

    >>> result = Result("a.png", (Prediction("n02708093", "analog_clock", 0.7, 409),))
    >>> to_result(to_rows(result)) == result
    True
    """
    rows = list(rows)
    first = rows[0]
    source = unescape(first["source"]) if source is None else source
    predictions = [_prediction(row) for row in rows if row["rank"] is not None]
    error = None if first["error"] is None else ImageError(source, unescape(first["error"]))
    label_set = None if first["label_set"] is None else tuple(map(_prediction, json.loads(first["label_set"])))
    return Result(source, tuple(predictions), error, status=first["status"], label_set=label_set)


def _cells(prediction: Prediction) -> Row:
    """A class with its score, as plain data."""
    return {
        "index": prediction.index,
        "id": escape(prediction.id),
        "label": escape(prediction.label),
        "score": prediction.score if math.isfinite(prediction.score) else None,
    }


def _prediction(cells: Mapping[str, Any]) -> Prediction:
    score = math.nan if cells["score"] is None else cells["score"]
    return Prediction(unescape(cells["id"]), unescape(cells["label"]), score, cells["index"])


def _embedding_rows(result: EmbeddingResult) -> list[Row]:
    error = None if result.error is None else escape(result.error.reason)
    return [{"source": escape(result.source), "embedding": result.embedding, "error": error}]


RESULTS = Schema("results", COLUMNS, to_rows)
EMBEDDINGS = Schema("embeddings", {"source": "string", "embedding": "vector", "error": "string"}, _embedding_rows)


def to_arrow(rows: Iterable[Row], schema: Schema = RESULTS, width: int | None = None) -> pyarrow.Table:
    """Rows as an Arrow table, always of the same schema, whatever is empty in them.

    ``width`` is that of the vectors. Raises MissingDependencyError without pyarrow (extra ``parquet``).
    """
    arrow = import_arrow()
    return arrow.Table.from_pylist(list(rows), arrow_schema(schema, width))


def arrow_schema(schema: Schema, width: int | None = None) -> Any:
    """The types of Arrow for a schema. Vectors have a fixed ``width``, or any if it is None."""
    arrow = import_arrow()
    kinds = {
        "string": arrow.string(),
        "Int64": arrow.int64(),
        "Float64": arrow.float64(),
        "vector": arrow.list_(arrow.float32(), -1 if width is None else width),
    }
    return arrow.schema([(name, kinds[kind]) for name, kind in schema.columns.items()])


def import_arrow() -> Any:
    """The package pyarrow, with its module for parquet. Raises MissingDependencyError without it."""
    import_package("pyarrow.parquet", extra="parquet", package="pyarrow")
    return import_package("pyarrow", extra="parquet")


def to_frame(results: Iterable[Result]) -> pandas.DataFrame:
    """Convert results to a pandas DataFrame with the rows and columns that ``pretrained-cnn classify --output`` writes.

    The columns are ``source``, ``rank`` (from 1), ``index`` (of the class), ``id``, ``label``, ``score``, ``status``,
    ``label_set`` and ``error``. An image has a row for each class in its result; a failed image has one row with its
    error. Raises MissingDependencyError without pandas (extra ``pandas``).

    >>> from pretrained_cnn import Classifier
    >>> clf = Classifier("EfficientNetLite0")
    >>> frame = to_frame(clf.stream(["examples/images/clock.png", "no.jpg"], top=1))
    >>> frame[["source", "rank", "label", "status"]]
                          source  rank         label  status
    0  examples/images/clock.png     1  analog_clock      ok
    1                     no.jpg  <NA>          <NA>  failed
    """
    pd = import_package("pandas", extra="pandas")
    data: dict[str, list[Any]] = {column: [] for column in COLUMNS}
    for result in results:
        for row in to_rows(result):
            for column, value in row.items():
                data[column].append(value)
    columns = {column: pd.array(data[column], dtype=kind) for column, kind in COLUMNS.items()}
    frame: pandas.DataFrame = pd.DataFrame(columns)
    return frame
