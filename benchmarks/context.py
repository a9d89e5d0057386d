"""What a generator is handed within a budget of tokens: how much of the evidence, in how many passages.

For each set it asks the first questions of the dev half whose evidence (or whose documents) are known, and puts the
hits together in several ways. It prints the share of the evidence that is handed over, its difference to the hits as
they come with the interval, the tokens, by openbook's estimate, and the passages; where a set knows only documents, the
share of those of which a passage is there. With ``--flags`` it answers the questions by quotes instead, and prints
every disagreement that is told. A corpus is indexed where it is not yet.

    python benchmarks/context.py [--data ../shared/data] [--limit 100] [--flags] [SET ...]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import openbook
from openbook.embed.folder import read_folder
from openbook.evaluate import Dataset, Question, open_corpus, read
from openbook.evaluate.datasets.evidence import locate
from openbook.evaluate.measures.answers import evidence_contained
from openbook.evaluate.report import Outcome
from openbook.evaluate.significance import paired
from openbook.generate.context import assemble, room_for
from openbook.generate.disagreement import disagreements
from openbook.generate.prompt import fit, messages
from openbook.generate.tokens import counting
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import Assembly, Disagreements, Recipe
from openbook.types import Hit, Trace

SETS = ("squad2-a", "hotpotqa-300", "multihoprag-evidence", "chroma-chunking")
BUDGETS = (500, 1000, 2000)
CONTEXT = 10
BY_WORDPIECE = "as they come, by WordPiece"
"""Counted by the packaged model's tokenizer, which stands for a language model's own, and not by the estimate."""
WAYS = {
    "as they come": None,
    "the first 30 as they come": Assembly(),
    BY_WORDPIECE: None,
    "stitch = 0": Assembly(stitch=0),
    "stitch = 400": Assembly(stitch=400),
    "per_document = 1": Assembly(per_document=1),
    "per_document = 2": Assembly(per_document=2),
    "stitch = 0, per_document = 2": Assembly(stitch=0, per_document=2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int, default=100, help="questions of each set")
    parser.add_argument("--flags", action="store_true", help="tell the disagreements in answers instead")
    options = parser.parse_args()
    for name in options.sets:
        if name == "chroma-chunking" and not options.flags:
            long_texts(options.data / name, options.limit)
            continue
        whole = read(options.data / name)
        dev = whole.select("dev").questions.items()
        known = [(id, q) for id, q in dev if options.flags or q.evidence or q.judgements]
        dataset = Dataset(name, dict(known[: options.limit]), whole.corpus)
        assert dataset.corpus is not None
        with open_corpus(dataset, Recipe()) as kb:
            kb.add(dataset.corpus)
            flags(kb, dataset) if options.flags else shares(kb, dataset)


def shares(kb: KnowledgeBase, dataset: Dataset) -> None:
    located = locate(kb, dataset.questions.values())
    traces = {id: kb.search(q.text, Assembly().pool, record=False) for id, q in dataset.questions.items()}

    def of_evidence(handed: Mapping[str, Sequence[Hit]]) -> dict[str, float]:
        if not located.spans:
            return {id: of_documents(hits, located.judgements[id]) for id, hits in handed.items()}
        outcomes = {id: Outcome(id, hits) for id, hits in handed.items()}
        return evidence_contained(dataset.questions, outcomes, located.spans)

    what = "evidence" if located.spans else "documents"
    print(f"{dataset.name} ({len(traces)} questions; share of {what})")
    compare(kb, traces, of_evidence)


def long_texts(folder: Path, limit: int) -> None:
    """The shorter three of its texts, whole, as a user has them; the set's corpus.jsonl is cut into pieces already."""
    files = [file for file in sorted((folder / "corpora").iterdir()) if file.stat().st_size < 200_000]
    rows = [json.loads(line) for line in (folder / "questions_spans.jsonl").open(encoding="utf-8")]
    names = {file.stem for file in files}
    rows = [row for row in rows if row["corpus_id"] in names and Question(row["_id"], "").is_dev][:limit]
    wanted = {
        row["_id"]: {(row["corpus_id"], n) for r in row["references"] for n in range(r["start_index"], r["end_index"])}
        for row in rows
    }

    def of_characters(handed: Mapping[str, Sequence[Hit]]) -> dict[str, float]:
        shares = {}
        for id, hits in handed.items():
            held = {(Path(hit.source).stem, n) for hit in hits for n in range(hit.chunk.start, hit.chunk.end)}
            shares[id] = len(wanted[id] & held) / len(wanted[id])
        return shares

    with tempfile.TemporaryDirectory() as place, openbook.open(place) as kb:
        kb.add(*files)
        traces = {row["_id"]: kb.search(row["question"], Assembly().pool, record=False) for row in rows}
        print(
            f"{folder.name}, {', '.join(sorted(names))} ({len(traces)} questions; share of the evidence's characters)"
        )
        compare(kb, traces, of_characters)


def compare(
    kb: KnowledgeBase,
    traces: Mapping[str, Trace],
    measured: Callable[[Mapping[str, Sequence[Hit]]], Mapping[str, float]],
) -> None:
    for budget in BUDGETS:
        base: Mapping[str, float] = {}
        for way, part in WAYS.items():
            own = str(read_folder("default").tokenizer) if way == BY_WORDPIECE else None
            handed = {id: passages(kb, trace, part, budget, counting(own)) for id, trace in traces.items()}
            values = measured({id: hits for id, (hits, _) in handed.items()})
            base = base or values
            against = paired(base, values, name=way)
            tokens = np.mean([tokens for _, tokens in handed.values()])
            count = np.mean([len(hits) for hits, _ in handed.values()])
            told = f"{against.b:.3f} {against.difference:+.3f} [{against.low:+.3f}, {against.high:+.3f}]"
            print(f"  {budget:>5}  {way:<29} {told}  {tokens:5.0f} tokens, {count:4.1f} passages", flush=True)


def passages(
    kb: KnowledgeBase, trace: Trace, part: Assembly | None, budget: int, count: Callable[[str], int]
) -> tuple[list[Hit], int]:
    """What a language model would be handed, as hits, and the tokens of it."""
    hits = trace.hits[:CONTEXT] if part is None else trace.hits
    if part is not None and part.is_on:
        room = room_for(budget, count)
        hits = assemble(trace.hits, part, CONTEXT, lambda places: kb.documents.spans(places, None), room)
    shown = fit(hits, budget, count)
    user = messages("?", shown)[1]
    tokens = count(user[user.index("\n\n") : user.rindex("\n\nThat was the last")])
    return [kept(one.hit, one.start, one.text) for one in shown], tokens


def kept(hit: Hit, start: int, text: str) -> Hit:
    begin = hit.chunk.start + start
    return replace(hit, chunk=replace(hit.chunk, start=begin, end=begin + len(text), text=text))


def of_documents(hits: Sequence[Hit], judged: Mapping[str, int]) -> float:
    wanted = {document for document, grade in judged.items() if grade > 0}
    found = {hit.document for hit in hits} | {hit.source for hit in hits}
    return len(wanted & found) / len(wanted) if wanted else 0.0


def flags(kb: KnowledgeBase, dataset: Dataset) -> None:
    """What is told as it is; and what would be if every document were of another date, which is as bad as it can get:
    then the rules alone keep what is no contradiction from being told."""
    answered, spent, told = 0, [], {"as they are": 0, "every one dated": 0}
    for question in dataset.questions.values():
        trace = kb.search(question.text, CONTEXT, record=False)
        answer = kb.answer(trace)
        answered += not answer.abstained
        for way, hits in zip(told, (trace.hits, list(map(dated, trace.hits))), strict=True):
            begun = time.perf_counter()
            apart = disagreements(question.text, answer.citations, hits, Disagreements())
            spent.append(1000 * (time.perf_counter() - begun))
            told[way] += bool(apart)
            for one in apart:
                print(f"  {way}: {question.text}")
                for place, date in zip((one.older, one.newer), one.dates, strict=True):
                    print(f"    {date}: {' '.join(place.quote.split())!r} ({place.source})", flush=True)
    print(f"{dataset.name}: of {answered} answers ({len(dataset.questions)} questions) so many tell a disagreement:")
    print(f"  {told}; {np.median(spent):.1f} ms, 95th percentile {np.percentile(spent, 95):.1f}", flush=True)


def dated(hit: Hit) -> Hit:
    day = int(hashlib.sha256(hit.document.encode()).hexdigest()[:8], 16) % 100_000
    return replace(hit, metadata={"effective": f"2{day:05}"}, also=tuple(map(dated, hit.also)))


if __name__ == "__main__":
    main()
