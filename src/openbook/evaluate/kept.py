"""A report that was kept in a file: read back, and refused in one line where it is none.

People edit such files, cut them, or take them from elsewhere. What the rest of openbook reads of a report is checked
here, once; what it does not know is kept as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openbook.errors import DatasetError, QueryError
from openbook.evaluate.report import Asked, Measure, Report, settings_of
from openbook.recipe import LanguageModel

_Number = Annotated[float, Field(ge=-1e15, le=1e15)]  # more overflows in sums, and NaN is none
_Count = Annotated[int, Field(ge=0)]
_ABSENT: Any = None  # of what may be left out, but is no null


class _Part(BaseModel):
    """A group of keys, of which some may be missing; others are kept."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)


class _Reason(_Part):
    count: _Count
    question: str
    why: str


class _Evidence(_Part):
    not_found: dict[str, list[Any]] = {}
    reasons: dict[str, _Reason] = {}
    unknown_documents: dict[str, list[Any]] = {}


class _Threshold(_Part):
    value: _Number | None = None


class _Point(_Part):
    coverage: _Number
    risk: _Number


class _Quantile(_Part):
    value: _Number
    low: _Number | None
    high: _Number | None


class _Stage(_Part):
    p50: _Quantile
    p95: _Quantile
    p99: _Quantile


class _First(_Part):
    total: _Number


class _Failed(_Part):
    n: _Count


class _Latency(_Part):
    n: _Count
    first: _First | None
    failed: _Failed
    stages: dict[str, _Stage]


class _Median(_Part):
    median: _Number


class _Error(_Part):
    """What could not be measured says why."""

    error: str


class _Cold(_Part):
    verb: str
    process: _Median
    open: _Number
    first: _Number
    second: _Number


class _Wait(_Part):
    median: _Number | None
    searches: _Count | None


class _Freshness(_Part):
    same_process: _Wait
    other_process: _Wait
    removal: _Wait
    search: _Median


class _Bytes(_Part):
    total: _Number
    rows: _Number
    hnsw: _Number
    btrees: _Number
    keyword: _Number


class _Size(_Part):
    index: _Bytes
    texts: _Number
    documents: _Count
    chunks: _Count
    per_chunk: _Number | None
    per_character: _Number | None


class _Used(_Part):
    total: _Count
    mean: _Number


class _Tokens(_Part):
    input: _Used
    output: _Used


class _Price(_Part):
    source: str
    as_of: str
    input: _Number
    output: _Number


class _Money(_Part):
    model: str | None
    total: _Number | None
    per_question: _Number | None
    price: _Price | None = None
    notes: list[str] = []


class _Operations(_Part):
    latency: _Latency = _ABSENT
    size: _Size = _ABSENT
    tokens: _Tokens = _ABSENT
    money: _Money = _ABSENT
    cold: _Cold | _Error = _ABSENT
    freshness: _Freshness | _Error = _ABSENT


class _Details(_Part):
    evidence: _Evidence = _ABSENT
    copies: dict[str, Any] = _ABSENT
    threshold: _Threshold = _ABSENT
    coverage_risk: list[_Point] = _ABSENT
    operations: _Operations = _ABSENT


class _Style(_Part):
    file: str
    examples: str


class _Budget(_Part):
    calls: _Count | None = None
    tokens: _Count | None = None
    dollars: _Number | None = None


class _Settings(_Part):
    limit: Annotated[int, Field(ge=1)] | None = None
    measures: list[str] = []
    answered: bool | None = None
    attacks: _Count | None = None
    llm: LanguageModel | None = None
    judge: LanguageModel | None = None
    budget: _Budget | None = None
    style: _Style | None = None
    as_: list[str] | None = Field(default=None, alias="as")
    kb: str = "default"
    in_turns: bool = False


class _File(_Part):
    dataset: str
    data: str
    split: Literal["dev", "test", "all"]
    release: str
    recipe: str
    created: str
    db: str | None
    measures: dict[str, Measure]
    per_question: dict[str, dict[str, _Number]]
    asked: dict[str, Asked]
    failed: list[str]
    unanswered: list[str]
    ms: dict[str, _Number]
    details: _Details
    settings: _Settings = _Settings()


def read_report(path: Path) -> Report:
    """A report that ``openbook evaluate`` kept (``--out``) or printed (``--json``).

    Raises:
        QueryError: there is no such file.
        DatasetError: the file cannot be read, or is no such report.
    """
    try:
        # Half of a surrogate pair, out of a file name, is text to JSON and to nobody else.
        text = json.dumps(json.loads(path.read_bytes()), ensure_ascii=False).encode("utf-8", "replace")
        file = _File.model_validate_json(text)
        wrong = _wrong(file) or ""
        details, settings = (
            part.model_dump(exclude_unset=True, by_alias=True) for part in (file.details, file.settings)
        )
    except FileNotFoundError:
        raise QueryError("no such file", where=str(path), do="name a report that openbook evaluate kept") from None
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except json.JSONDecodeError as error:
        wrong = f"line {error.lineno} is no JSON"
    except ValidationError as error:
        wrong = _told(error)
    except (ValueError, RecursionError):
        wrong = "no UTF-8 text, or nested or a number beyond reading"
    if wrong:
        raise DatasetError(f"not a report: {wrong}", where=str(path), do="make one: openbook evaluate DATA --out FILE")
    for model in ("llm", "judge"):
        part = getattr(file.settings, model)
        if part is not None:
            settings[model] = settings_of(part)
    return Report(
        dataset=file.dataset,
        data=file.data,
        split=file.split,
        release=file.release,
        recipe=file.recipe,
        measures=file.measures,
        per_question=file.per_question,
        questions=file.asked,
        failed=tuple(file.failed),
        unanswered=tuple(file.unanswered),
        ms=file.ms,
        details=details,
        created=file.created,
        db=file.db,
        settings=settings,
    )


def _wrong(file: _File) -> str | None:
    """What keys that are sound each by itself do not agree in."""
    named = {**{f"per_question.{name}": of for name, of in file.per_question.items()},
             "failed": file.failed, "unanswered": file.unanswered}  # fmt: skip
    for where, ids in named.items():
        unknown = next((id for id in ids if id not in file.asked), None)
        if unknown is not None:
            return f"{where} has the question {unknown!r}, which was not asked"
    if file.ms and not file.ms.keys() >= {"p50", "p95", "p99"}:
        return "ms has not all of p50, p95 and p99"
    return None


def _told(error: ValidationError) -> str:
    """The first thing that is wrong, and at which key."""
    first = error.errors(include_url=False, include_context=False)[0]
    # Of a value that may be one of two things, pydantic names both by their classes.
    steps = [str(step)[:60] for step in first["loc"] if not str(step).startswith("_")]
    where = ".".join(steps) or "it"
    if first["type"] == "missing":
        return f"{'.'.join(steps[:-1]) or 'it'} lacks {steps[-1]}"
    kind = next((words for start, words in _WORDS.items() if first["type"].startswith(start)), None)
    return f"{where} {kind or 'is not what it should be'}"


_WORDS = {
    "float": "is no number",
    "finite": "is no number",
    "int": "is no whole number",
    "string": "is no text",
    "bool": "is neither true nor false",
    "list": "is no list",
    "dict": "is no object",
    "model": "is no object",
    "dataclass": "is no object",
    "greater": "is too small",
    "less": "is too large",
    "json": "is nested beyond reading",
    "extra": "is no key that is known",
    "literal": "is none of those that may be",
}
"""What pydantic's kinds of errors mean, by the start of their name."""
