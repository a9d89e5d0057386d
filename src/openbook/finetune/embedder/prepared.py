"""Rows as they are trained on, and what forbids it: all that can be known before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from openbook.errors import DatasetError
from openbook.finetune.data.formats import examples_of, scored_of
from openbook.finetune.data.report import require_enough, require_labels
from openbook.finetune.data.rows import Dropped, Example, Rows, Scored, grouped, placed, same_text
from openbook.finetune.settings import OF_PAIRS, EmbedderSettings

if TYPE_CHECKING:
    from openbook.embed import Embedder


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is trained on: examples with a group each, or scored pairs; the rows that are not, with the reason; and
    ``cut``: how many of how many texts are longer than the model reads; ``tokens`` that are read of all rows."""

    examples: tuple[Example, ...]
    scored: tuple[Scored, ...]
    dropped: tuple[Dropped, ...]
    cut: tuple[int, int]
    tokens: int

    @property
    def rows(self) -> Rows:
        return Rows(self.examples, self.scored)

    @property
    def used(self) -> int:
        return len(self.scored) or sum(len(example.positives) for example in self.examples)


def prepare(rows: Rows, settings: EmbedderSettings, embedder: Embedder) -> Prepared:
    """``rows`` as ``settings`` (resolved) take them, read by ``embedder``, the base.

    Raises:
        DatasetError: nothing could be learnt: too few rows, one label, all the same, all of one group without
            negatives, nothing but what is cut away, scores that a cosine cannot have, or rows of the wrong kind.
    """
    if settings.loss in OF_PAIRS:
        data = Rows(scored=scored_of(rows), dropped=rows.dropped)
    elif rows.scored and not all(one.score in (0.0, 1.0) for one in rows.scored):
        do = f"take a loss of scored pairs: {' or '.join(OF_PAIRS)}"
        raise DatasetError(f"scored pairs, and a loss of queries and passages ({settings.loss})", do=do)
    else:
        require_labels(rows)  # which would be taken for pairs, as if they had no label
        data = Rows(examples_of(rows), dropped=rows.dropped)
    read = len(data.examples) + len(data.scored) + len(data.dropped)
    require_enough(data, read)
    if embedder.remote:
        data = _without_local_only(data)
        require_enough(data, read)
    _require_scores(data.scored)
    limit = min(settings.max_tokens or embedder.max_tokens, embedder.max_tokens)
    kept, cut, counts = _distinct_as_read(data, embedder, limit)
    require_enough(kept, read)
    examples = kept.examples if all(one.group for one in kept.examples) else grouped(kept.examples)
    if settings.loss == "triplet":
        idle = [one for one in examples if not one.negatives]
        examples = tuple(one for one in examples if one.negatives)
        gone = tuple(Dropped(place_of(one), "no negative, which a triplet has") for one in idle)
        kept = replace(kept, dropped=(*kept.dropped, *gone))
        require_enough(Rows(examples), read)
    elif examples and len({one.group for one in examples}) == 1 and not any(one.negatives for one in examples):
        do = "add queries about other things, or negatives: openbook finetune data --negatives 4"
        raise DatasetError(f"all {len(examples)} queries are of one group: nothing may stand as a negative", do=do)
    texts = [one.query for one in examples] + [passage.text for passage in Rows(examples, kept.scored).passages]
    return Prepared(examples, kept.scored, kept.dropped, cut, sum(counts[text] for text in texts))


def _require_scores(scored: Sequence[Scored]) -> None:
    """A score beyond what a cosine can be is never reached: the loss would pull for ever."""
    beyond = next((one for one in scored if not -1.0 <= one.score <= 1.0), None)
    if beyond is not None:
        what = f"a score of {beyond.score:g}, where a cosine has -1 to 1"
        raise DatasetError(what, where=beyond.where, do="divide the scores by the largest")


def _without_local_only(data: Rows) -> Rows:
    """What a remote base may be sent."""
    told = []
    rows: tuple[Example | Scored, ...] = (*data.examples, *data.scored)
    for one in rows:
        passages = one.passages if isinstance(one, Example) else (one.first, one.second)
        if any(passage.local_only for passage in passages):
            told.append((place_of(one), one))
    withheld = {id(one) for _, one in told}
    gone = tuple(Dropped(place, "local-only, and the base is remote") for place, _ in told)
    return Rows(
        tuple(one for one in data.examples if id(one) not in withheld),
        tuple(one for one in data.scored if id(one) not in withheld),
        (*data.dropped, *gone),
    )


def _distinct_as_read(data: Rows, embedder: Embedder, limit: int) -> tuple[Rows, tuple[int, int], dict[str, int]]:
    """The rows whose texts still differ where the model stops reading, how many of how many texts are cut there, and
    how many tokens are read of each.

    Raises:
        DatasetError: none is left.
    """
    queries = [example.query for example in data.examples]
    texts = list(dict.fromkeys([*queries, *(passage.text for passage in data.passages)]))
    read: dict[str, str] = {}
    counts: dict[str, int] = {}
    cut = 0
    for text, tokens in zip(texts, embedder.tokens(texts), strict=True):
        cut += len(tokens) > limit
        counts[text] = min(len(tokens), limit)
        end = int(tokens[limit - 1][1]) if len(tokens) > limit else len(text)
        read[text] = same_text(text[:end])
    dropped: list[Dropped] = []
    examples: list[Example] = []
    for example in data.examples:
        right = {read[passage.text] for passage in example.positives} - {""}
        negatives = tuple(one for one in example.negatives if read[one.text] not in right and read[one.text])
        positives = tuple(one for one in example.positives if read[one.text])
        if not positives or not read[example.query]:
            dropped.append(Dropped(place_of(example), "nothing of it is read"))
        elif example.negatives and not negatives:
            what = f"its negatives are its positives as far as they are read ({limit} tokens)"
            dropped.append(Dropped(place_of(example), what))
        else:
            examples.append(replace(example, positives=positives, negatives=negatives))
    scored: list[Scored] = []
    for one in data.scored:
        first, second = read[one.first.text], read[one.second.text]
        if not first or not second:
            dropped.append(Dropped(place_of(one), "nothing of it is read"))
        elif first == second and same_text(one.first.text) != same_text(one.second.text):
            dropped.append(Dropped(place_of(one), f"the two are one as far as they are read ({limit} tokens)"))
        else:
            scored.append(one)
    distinct = {read[passage.text] for example in examples for passage in example.positives}
    if dropped and not examples and not scored:
        raise DatasetError(f"all {len(dropped)} rows are cut away: {dropped[0].reason}", do=_DO)
    if len(examples) > 1 and len(distinct) == 1 and cut:
        what = f"the positives of all {len(examples)} queries are the same in the {limit} tokens that are read"
        raise DatasetError(what, do=_DO)
    return Rows(tuple(examples), tuple(scored), (*data.dropped, *dropped)), (cut, len(texts)), counts


_DO = "cut the texts into passages, or take a base that reads more"


def place_of(one: Example | Scored) -> str:
    """By what it is told that a row is meant."""
    return placed(one.where, one.query if isinstance(one, Example) else one.first.text)
