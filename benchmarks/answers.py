"""Do the extractive answers answer, and do they stay silent where the documents hold nothing?

Every question goes through the real pipeline: the whole corpus added, ten hits, quotes of at most two sentences. For
each data set and half (dev: first byte of sha256(question id) even) it prints

    forced      answerable questions whose quotes hold a gold answer, were none refused
    answered    the same with the threshold: a refusal is a failure
    refused     share refused of the answerable / of the unanswerable questions
    AUROC       of the confidence, answerable against unanswerable
    risk        share of wrong answers (unanswerable ones included) among the most confident 25, 50, 75, 100 %

"Holds" is after SQuAD's normalisation; where a set has evidence strings, clauses or passages instead of short answers,
a quote must overlap one in a gold document.

``--train ranking`` fits RANKING of ``openbook.generate.extractive`` and prints it; put in, ``--train confidence`` fits
CONFIDENCE and prints it with what each threshold refuses. Only the dev halves take part.

    python benchmarks/answers.py [--data ../shared/data] [--work FOLDER] [--limit N] [--train ranking] [SET ...]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import string
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import openbook
from openbook.embed import Embedder, TextKind
from openbook.generate import extractive
from openbook.types import Hit

HERE = Path(__file__).resolve().parent
SETS = ("squad2-a", "handbook-sourcegraph", "covid-faq", "multihoprag-evidence", "docs-etcd", "cuad-contracts-a")
# What each set counts for in training: answerable and unanswerable questions for the confidence. SQuAD's unanswerable
# questions come in two kinds: written to deceive, and answerable ones whose gold paragraph was taken out of the hits.
RANKING_SETS = ("squad2-a", "handbook-sourcegraph", "covid-faq")
CONFIDENCE_SETS = {
    "squad2-a": {"answerable": 1.0, "unanswerable": 0.5, "taken out": 0.5},
    "handbook-sourcegraph": {"answerable": 1.0, "unanswerable": 1.0},
    "multihoprag-evidence": {"answerable": 0.3, "unanswerable": 0.3},
    "covid-faq": {"answerable": 0.3},
}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    text: str
    answers: tuple[str, ...]  # normalised
    answerable: bool
    gold: frozenset[str]  # documents
    whole: bool  # the answers are clauses or passages: overlap counts
    dev: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with one list of hits (``taken_out``: without its gold documents)."""

    question: Question
    taken_out: bool
    rows: Floats
    right: npt.NDArray[np.bool_]  # for each row: the unit holds the answer
    summary: tuple[float, ...]
    confidence: float
    correct: bool

    @property
    def kind(self) -> str:
        return "taken out" if self.taken_out else "answerable" if self.question.answerable else "unanswerable"


# --- data sets ------------------------------------------------------------------------------------------------------

_DROPPED = str.maketrans("", "", string.punctuation + "–—’‘“”")


def normalised(text: str) -> str:
    """SQuAD's: lower case, without punctuation and articles, single spaces; link targets and mark-up dropped first."""
    text = extractive._bare(text).lower().translate(_DROPPED)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def read(folder: Path) -> list[Question]:
    def lines(name: str) -> Iterator[dict[str, Any]]:
        with (folder / name).open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    gold: dict[str, set[str]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        for question, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            if int(grade) > 0:
                gold.setdefault(question, set()).add(document)
    answers = {row["query_id"]: row for row in lines("answers.jsonl")}
    found = []
    for row in lines("queries.jsonl"):
        answer = answers[row["_id"]]
        evidence = [e["text"] for e in answer.get("evidence") or ()]
        found.append(
            Question(
                id=row["_id"],
                text=row["text"],
                answers=tuple(filter(None, map(normalised, evidence or answer["answers"]))),
                answerable=answer["answerable"],
                gold=frozenset(gold.get(row["_id"], ())),
                whole=bool(evidence) or folder.name in ("covid-faq", "cuad-contracts-a", "chroma-chunking"),
                dev=hashlib.sha256(row["_id"].encode()).digest()[0] % 2 == 0,
            )
        )
    return found


def holds(question: Question, document: str, text: str, anywhere: bool = False) -> bool:
    """Whether a quote holds an answer; ``anywhere``: in whichever document, where answers are short."""
    text = normalised(text)
    if question.whole:
        return document in question.gold and any(a in text or (len(text) > 8 and text in a) for a in question.answers)
    return (anywhere or document in question.gold) and any(f" {a} " in f" {text} " for a in question.answers)


# --- asking ---------------------------------------------------------------------------------------------------------


class Remembering:
    """The embedder, each text embedded once: the same sentences are candidates of many questions."""

    def __init__(self, embedder: Embedder, path: Path) -> None:
        self.embedder, self.path = embedder, path
        self.known: dict[str, npt.NDArray[np.float32]] = {}
        if path.exists():
            with np.load(path) as stored:
                self.known = dict(zip(stored["texts"].tolist(), stored["vectors"], strict=True))

    def encode(self, texts: Sequence[str], kind: TextKind = "document") -> npt.NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, self.embedder.encode(new, kind), strict=True))
        return np.stack([self.known[text] for text in texts])

    def save(self) -> None:
        np.savez(self.path, texts=np.array(list(self.known)), vectors=np.stack(list(self.known.values())))


def ask(folder: Path, work: Path, limit: int | None, taken_out: bool) -> tuple[list[Asked], list[float]]:
    """Every question of a set, and the milliseconds that choosing the quotes took where nothing was remembered."""
    asked: list[Asked] = []
    ms: list[float] = []
    with openbook.open(work / "db", folder.name) as kb:
        kb.add(folder / "corpus.jsonl")
        embedder = Remembering(kb.embedder, work / f"{folder.name}.npz")
        for question in read(folder)[:limit]:
            hits = kb.search(question.text, 30 if taken_out else 10, record=False).hits
            if len(ms) < 50:
                start = time.perf_counter()
                extractive.weigh(question.text, hits[:10], kb.embedder)
                ms.append((time.perf_counter() - start) * 1000)
            asked += filter(None, [weighed(question, hits[:10], embedder, False)])
            if taken_out and question.gold:
                others = [hit for hit in hits if hit.source not in question.gold][:10]
                asked += filter(None, [weighed(question, others, embedder, True)])
        embedder.save()
    return asked, ms


def weighed(question: Question, hits: Sequence[Hit], embedder: Remembering, taken_out: bool) -> Asked | None:
    text = " ".join(question.text[: extractive.MAX_QUESTION].split())
    evidence = extractive.weigh(text, hits, embedder)  # type: ignore[arg-type]  # it encodes, which is all that is asked
    if evidence is None:
        return None
    quoted = [(hits[i].source, hits[i].chunk.text[a:b]) for i, a, b in extractive._quotes(evidence, 2)]
    correct = not taken_out and (
        any(holds(question, source, quote) for source, quote in quoted)
        if question.whole
        else holds(question, "", " ".join(quote for _, quote in quoted), anywhere=True)
    )
    right = [holds(question, hits[u.hit].source, hits[u.hit].chunk.text[u.start : u.end]) for u in evidence.units]
    return Asked(
        question, taken_out, np.array(evidence.rows), np.array(right), evidence.summary, evidence.confidence, correct
    )


# --- figures --------------------------------------------------------------------------------------------------------


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    if not positive or not negative:
        return float("nan")
    p, n = np.array(positive)[:, None], np.array(negative)[None, :]
    return float(((p > n) + 0.5 * (p == n)).mean())


def report(name: str, asked: Sequence[Asked], ms: Sequence[float]) -> None:
    middle = f", {np.median(ms):.0f} ms an answer (median)" if ms else ""
    print(f"{name}: {sum(not a.taken_out for a in asked)} questions{middle}")
    for half in ("dev", "test", "all"):
        rows = [a for a in asked if not a.taken_out and (half == "all" or a.question.dev == (half == "dev"))]
        yes = [a for a in rows if a.question.answerable]
        no = [a for a in rows if not a.question.answerable]
        if not yes:
            continue
        kept = [a for a in yes if a.confidence >= extractive.THRESHOLD]
        refused_no = f"{np.mean([a.confidence < extractive.THRESHOLD for a in no]):.3f}" if no else "    -"
        ranked = sorted(rows, key=lambda a: -a.confidence)
        risk = [1 - np.mean([a.correct for a in ranked[: max(1, len(rows) * part // 4)]]) for part in (1, 2, 3, 4)]
        forced, answered = np.mean([a.correct for a in yes]), sum(a.correct for a in kept) / len(yes)
        print(
            f"  {half:4} forced {forced:.3f}  answered {answered:.3f}"
            f"  refused {1 - len(kept) / len(yes):.3f} / {refused_no}"
            f"  AUROC {auroc([a.confidence for a in yes], [a.confidence for a in no]):.3f}"
            f"  risk {' '.join(f'{r:.2f}' for r in risk)}"
        )


def thresholds(sets: dict[str, list[Asked]], confidence: Callable[[Asked], float], dev: bool = True) -> None:
    print(f"refused at a threshold, answerable / unanswerable, {'dev halves' if dev else 'all'}")
    for name, asked in sets.items():
        rows = [a for a in asked if a.question.dev or not dev]
        line = []
        for threshold in np.arange(0.2, 0.61, 0.04):
            shares = []
            for kind in ("answerable", "unanswerable"):
                of = [confidence(a) < threshold for a in rows if a.kind == kind]
                shares.append(f"{np.mean(of):.2f}" if of else "-")
            line.append(f"{threshold:.2f}: {'/'.join(shares)}")
        print(f"  {name[:12]:12} {'  '.join(line)}")


# --- training -------------------------------------------------------------------------------------------------------


def train_ranking(sets: dict[str, list[Asked]], l2: float = 10.0) -> Floats:
    """A conditional logit: among the units of one question, the right ones together should get the mass.

    A plain logistic regression over all units learns which *question* is easy instead (SQuAD: 85 % of the dev half
    against 88 %, handbook 50 % against 86 %).
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    rows: list[Floats] = []
    right: list[npt.NDArray[np.bool_]] = []
    group: list[Floats] = []
    weight: list[float] = []
    for name in RANKING_SETS:
        usable = [
            a for a in sets[name] if a.kind == "answerable" and a.question.dev and a.right.any() and not a.right.all()
        ]
        for a in usable:
            rows.append(a.rows)
            right.append(a.right)
            group.append(np.full(len(a.rows), len(weight)))
            weight.append(1000 / len(RANKING_SETS) / len(usable))
    x, y, g, w = np.vstack(rows), np.concatenate(right), np.concatenate(group), np.array(weight)
    scale = x.std(axis=0) + 1e-9
    z = (x - x.mean(axis=0)) / scale
    starts = np.r_[0, np.flatnonzero(np.diff(g)) + 1]

    def loss(v: Floats) -> tuple[float, Floats]:
        s = z @ v
        e = np.exp(s - np.maximum.reduceat(s, starts)[g])
        total, good = np.add.reduceat(e, starts), np.add.reduceat(e * y, starts)
        gradient = ((e * y / good[g] - e / total[g]) * w[g]) @ z
        return -(w * np.log(good / total)).sum() + l2 * (v @ v) / 2, -gradient + l2 * v

    return np.asarray(minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x / scale)


def train_confidence(sets: dict[str, list[Asked]], l2: float = 3.0) -> Floats:
    """A logistic regression, bias first, over the summaries; ``codes_missing`` keeps the weight set by hand."""
    from scipy.optimize import minimize

    rows, right, weight = [], [], []
    for name, kinds in CONFIDENCE_SETS.items():
        for kind, share in kinds.items():
            of = [a for a in sets[name] if a.kind == kind and a.question.dev]
            rows += [a.summary[:-1] for a in of]
            right += [kind == "answerable"] * len(of)
            weight += [share / len(of)] * len(of)
    x, t, w = np.array(rows), 2.0 * np.array(right) - 1, np.array(weight) / sum(weight) * 2000
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z = np.c_[np.ones(len(x)), (x - mean) / scale]
    penalty = np.r_[0, np.full(x.shape[1], l2)]

    def loss(v: Floats) -> tuple[float, Floats]:
        s = t * (z @ v)
        return (w * np.logaddexp(0, -s)).sum() + (penalty * v) @ v / 2, -(w * t / (1 + np.exp(s))) @ z + penalty * v

    bounds = [(None, None)] + [(0, None)] * x.shape[1]
    v = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    found: Floats = np.r_[v[0] - (v[1:] / scale * mean).sum(), v[1:] / scale, list(extractive.CONFIDENCE.values())[-1]]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS)
    data = os.environ.get("OPENBOOK_DATA", HERE.parent.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--work", type=Path, help="keeps databases and vectors for the next run (else thrown away)")
    parser.add_argument("--limit", type=int, help="the first N questions of each set")
    parser.add_argument("--train", choices=("ranking", "confidence"))
    options = parser.parse_args()
    if options.train == "ranking":
        extractive.MAX_UNITS = 10_000  # which units are embedded depends on the ranking: it learns from all of them
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        sets: dict[str, list[Asked]] = {}
        for name in options.sets:
            sets[name], ms = ask(options.data / name, work, options.limit, options.train == "confidence")
            report(name, sets[name], ms)
        thresholds(sets, lambda a: a.confidence, dev=False)
        if options.train == "ranking":
            ranking = train_ranking(sets)
            print({k: round(float(v), 3) for k, v in zip(extractive.RANKING, ranking, strict=True)})
        elif options.train == "confidence":
            bias, *rest = train_confidence(sets)
            print({k: round(float(v), 3) for k, v in zip(extractive.CONFIDENCE, (bias, *rest), strict=True)})
            thresholds(sets, lambda a: float(1 / (1 + np.exp(-(bias + np.array(rest) @ np.array(a.summary))))))


if __name__ == "__main__":
    main()
