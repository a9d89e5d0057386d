"""Does the pipeline know when it does not know? False answers, false abstentions, and what another threshold gives.

A pipeline that answers less is wrong less often, so risk is read against coverage (El-Yaniv and Wiener, 2010; Geifman
and El-Yaniv, 2017). Wherever less is better a failure counts as the worst that could have happened: as a false answer,
a false abstention, an answer given in full confidence and wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError, QueryError
from openbook.evaluate.datasets.dataset import Question, Split
from openbook.evaluate.measures import answers
from openbook.evaluate.report import Measure, Measured, Outcome, statistic

if TYPE_CHECKING:
    from openbook.evaluate.significance import FloatArray

FALSE_ABSTENTIONS = 0.1
"""The share of answerable questions that a threshold may refuse where nothing else is said: one in ten."""

MOST_POINTS = 100
"""Of the curve in a report."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question as a threshold sees it.

    ``right``: whether the answer, given or withheld, holds an accepted one (``answers.contained``); never where the
    question cannot be answered; ``None`` where the data set does not tell. ``failed``: there is neither an answer nor
    an abstention.
    """

    id: str
    answerable: bool | None
    answered: bool
    confidence: float | None
    right: bool | None
    failed: bool


@dataclass(frozen=True, slots=True)
class Rates:
    """What a threshold does to ``questions`` questions; ``None`` where none of them is of the kind that is counted."""

    questions: int
    coverage: float
    false_answer_rate: float | None
    false_abstention_rate: float | None
    risk: float | None


def measure(questions: Mapping[str, Question], outcomes: Mapping[str, Outcome]) -> Measured:
    """What is answered, what is refused, and whether the confidence tells one from the other; each in [0, 1].

    ====================== ====================== ================================================================
    measure                asked where known      is
    ====================== ====================== ================================================================
    coverage               always                 the share of questions that is answered
    false_answer_rate      unanswerable questions the share of them that is answered
    false_abstention_rate  answerable questions   the share of them that is not answered
    risk                   accepted answers       the share of answers that is wrong, as all to unanswerable ones are
    risk_coverage_area     the same, confidence   the mean risk over all coverages (AURC): 0 is perfect
    abstention_auroc       both, confidence       the chance that an answerable question has the higher confidence
    ====================== ====================== ================================================================

    The last three are no means over questions: they stand in ``totals``. ``details`` holds the ``coverage_risk``
    curve, at most ``MOST_POINTS`` of threshold, coverage and risk, and the ``threshold`` that ``choose_threshold``
    finds (or ``value`` ``None`` with the ``reason``), where there are dev questions of both kinds to choose it on. A
    generator that tells no confidence has neither.
    """
    cases = _cases(questions, outcomes)
    per_question = {
        "coverage": {case.id: float(case.answered) for case in cases},
        "false_answer_rate": {case.id: float(case.answered or case.failed) for case in _unanswerable(cases)},
        "false_abstention_rate": {case.id: float(not case.answered) for case in _answerable(cases)},
    }
    totals: dict[str, Measure] = {}
    details: dict[str, Any] = {}
    known = _known(cases)
    if any(case.answered or case.failed for case in known):
        rows = [(float(case.answered or case.failed), float(not case.right)) for case in known]
        totals["risk"] = _statistic(_risk, rows)
    if known and _tells_confidence(known):
        rows = [(2.0 if case.confidence is None else case.confidence, float(not case.right)) for case in known]
        totals["risk_coverage_area"] = _statistic(_area, rows)
        details["coverage_risk"] = _curve(known)
    judged = [*_answerable(cases), *_unanswerable(cases)]
    if _answerable(cases) and _unanswerable(cases) and _tells_confidence(judged):
        rows = [
            ((-1.0 if case.answerable else 2.0) if case.confidence is None else case.confidence, float(case.answerable))
            for case in judged
            if case.answerable is not None
        ]
        totals["abstention_auroc"] = _statistic(_auroc, rows)
    dev = _in_split(cases, questions, "dev")
    if _tells_confidence(judged) and _answerable(dev) and _unanswerable(dev):
        try:
            details["threshold"] = _chosen(cases, questions, "max_false_abstention", FALSE_ABSTENTIONS)
        except DatasetError as error:  # the other measures stand
            details["threshold"] = {"value": None, "reason": error.what}
    return Measured({name: values for name, values in per_question.items() if values}, totals, details)


def choose_threshold(
    questions: Mapping[str, Question],
    outcomes: Mapping[str, Outcome],
    *,
    max_false_abstention: float | None = None,
    max_risk: float | None = None,
) -> dict[str, Any]:
    """The confidence below which to abstain, chosen on the dev questions only, and what it gives on both splits.

    Of the thresholds that refuse at most ``max_false_abstention`` of the answerable questions (default
    ``FALSE_ABSTENTIONS``) the highest; or of those whose answers are wrong in at most ``max_risk`` of the cases the
    lowest, which answers most.

    Returns ``{"value", "chosen_on": "dev", "rule": {option: its value}, "dev": rates, "test": rates}``, ``"test"``
    being ``None`` where no test question was asked. Rates are those of ``Rates``.

    Raises:
        QueryError: both limits are given, or one is not from 0 to 1.
        DatasetError: the dev questions or the generator do not tell what is needed, or no threshold keeps the limit.
    """
    limits = {"max_false_abstention": max_false_abstention, "max_risk": max_risk}
    rule = {name: limit for name, limit in limits.items() if limit is not None}
    [(name, limit), *others] = (rule or {"max_false_abstention": FALSE_ABSTENTIONS}).items()
    if others:
        raise QueryError("two limits for one threshold", do="give max_false_abstention or max_risk")
    if not 0 <= limit <= 1:
        raise QueryError(f"{name} is {limit}", do="give a share from 0 to 1")
    return _chosen(_cases(questions, outcomes), questions, name, limit)


def _chosen(cases: Sequence[Case], questions: Mapping[str, Question], name: str, limit: float) -> dict[str, Any]:
    dev, test = (_in_split(cases, questions, split) for split in ("dev", "test"))
    if not _tells_confidence(dev):
        raise DatasetError("the generator tells no confidence", do="choose a threshold for an extractive generator")
    value = _refusing_at_most(limit, dev) if name == "max_false_abstention" else _wrong_at_most(limit, dev)
    return {
        "value": value,
        "chosen_on": "dev",
        "rule": {name: limit},
        "dev": asdict(_rates(dev, value)),
        "test": asdict(_rates(test, value)) if test else None,
    }


def _refusing_at_most(limit: float, dev: Sequence[Case]) -> float:
    confidences = sorted(-1.0 if case.confidence is None else case.confidence for case in _answerable(dev))
    if not confidences:
        raise DatasetError("no dev question can be answered", do="add answerable questions, or widen the split")
    refused = int(limit * len(confidences) + 1e-9)
    if refused < len(confidences) and confidences[refused] < 0:
        raise DatasetError(f"more than {limit:.0%} of the dev questions failed", do="mend what made them fail")
    return confidences[refused] if refused < len(confidences) else 1.0


def _wrong_at_most(limit: float, dev: Sequence[Case]) -> float:
    known = _known(dev)
    if not known:
        raise DatasetError("no dev question has an accepted answer", do="add answers, or give max_false_abstention")
    tried = {t: _rates(known, t).risk for t in {case.confidence for case in known if case.confidence is not None}}
    kept = [threshold for threshold, risk in tried.items() if risk is not None and risk <= limit]
    if not kept:
        lowest = min((risk for risk in tried.values() if risk is not None), default=1.0)
        raise DatasetError(
            f"no threshold brings the risk on dev down to {limit}", do=f"the lowest is {lowest:.3f}: raise max_risk"
        )
    return min(kept)


# --- cases ------------------------------------------------------------------------------------------------------------


def _cases(questions: Mapping[str, Question], outcomes: Mapping[str, Outcome]) -> list[Case]:
    languages = answers.languages(questions.values())
    cases = []
    for id, question in questions.items():
        outcome = outcomes.get(id)
        answer = None if outcome is None or outcome.error is not None else outcome.answer
        text = answers.said(outcome)
        cases.append(
            Case(
                id=id,
                answerable=answers.is_answerable(question),
                answered=answer is not None and not answer.abstained,
                confidence=None if answer is None else answer.confidence,
                right=_right(question, text or (answer.withheld if answer else ""), languages[id]),
                failed=answer is None,
            )
        )
    return cases


def _right(question: Question, text: str, language: str) -> bool | None:
    if answers.is_answerable(question) is False:
        return False
    accepted = [answers.tokens(answer, language) for answer in answers.accepted_answers(question)]
    return bool(answers.contained(answers.tokens(text, language), accepted)) if accepted else None


def _answerable(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case.answerable]


def _unanswerable(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case.answerable is False]


def _known(cases: Sequence[Case]) -> list[Case]:
    """Those of which it is known whether an answer is right; none where no answer could be: that would be no risk."""
    known = [case for case in cases if case.right is not None]
    return known if _answerable(known) else []


def _in_split(cases: Sequence[Case], questions: Mapping[str, Question], split: Split) -> list[Case]:
    return [case for case in cases if questions[case.id].is_in(split)]


def _tells_confidence(cases: Sequence[Case]) -> bool:
    return any(not case.failed for case in cases) and all(case.failed or case.confidence is not None for case in cases)


# --- what a threshold gives -------------------------------------------------------------------------------------------


def _rates(cases: Sequence[Case], threshold: float) -> Rates:
    """With an answer wherever the confidence reaches ``threshold``."""
    answered = {case.id for case in cases if case.confidence is not None and case.confidence >= threshold}
    given = [case for case in _known(cases) if case.failed or case.id in answered]
    return Rates(
        questions=len(cases),
        coverage=len(answered) / len(cases),
        false_answer_rate=_share([case.failed or case.id in answered for case in _unanswerable(cases)]),
        false_abstention_rate=_share([case.id not in answered for case in _answerable(cases)]),
        risk=_share([not case.right for case in given]),
    )


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _curve(known: Sequence[Case]) -> list[dict[str, float]]:
    """Threshold, coverage and risk, from the highest confidence down; failures are wrong at every threshold."""
    import numpy as np

    answered = sum(case.failed for case in known)
    wrong, points = answered, []
    by_confidence: dict[float, list[Case]] = {}
    for case in known:
        if case.confidence is not None:
            by_confidence.setdefault(case.confidence, []).append(case)
    for threshold in sorted(by_confidence, reverse=True):
        answered += len(by_confidence[threshold])
        wrong += sum(not case.right for case in by_confidence[threshold])
        points.append({"threshold": threshold, "coverage": answered / len(known), "risk": wrong / answered})
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).round().astype(int))
    return [points[n] for n in kept]


def _statistic(function: Callable[[FloatArray], float], rows: Sequence[tuple[float, float]]) -> Measure:
    import numpy as np

    return statistic(function, np.asarray(rows, dtype=np.float64))


def _risk(rows: FloatArray) -> float:
    """The share of answers that is wrong; ``rows``: (N, 2) answered and wrong (0, 1). NaN: nothing was answered."""
    answered = float(rows[:, 0].sum())
    return float(rows[:, 0] @ rows[:, 1]) / answered if answered else float("nan")


def _area(rows: FloatArray) -> float:
    """The mean, over n = 1 … N, of the risk among the n most confident; ``rows``: (N, 2) confidence and wrong (0, 1).

    Among equal confidences every order is as good: each counts with their mean.
    """
    import numpy as np

    _, place, sizes = np.unique(-rows[:, 0], return_inverse=True, return_counts=True)
    wrong = np.bincount(place, weights=rows[:, 1]) / sizes
    return float((np.repeat(wrong, sizes).cumsum() / np.arange(1, len(rows) + 1)).mean())


def _auroc(rows: FloatArray) -> float:
    """The area under the ROC curve as Mann and Whitney's U; ``rows``: (N, 2) score and class (0, 1). NaN: one class."""
    import numpy as np

    positive = rows[:, 1] > 0
    n, others = int(positive.sum()), int((~positive).sum())
    if not n or not others:
        return float("nan")
    _, place, sizes = np.unique(rows[:, 0], return_inverse=True, return_counts=True)
    ranks = sizes.cumsum() - (sizes - 1) / 2  # equal scores share the mean of their ranks
    return float((ranks[place][positive].sum() - n * (n + 1) / 2) / (n * others))
