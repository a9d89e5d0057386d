"""How often the verdict on fine-tuning says "ship" where there is nothing to find.

    python benchmarks/verdict.py BASE.json TUNED.json [TUNED.json ...]

The reports are those of ``openbook evaluate DATA --out``: one of the base, one of each seed of a model. For every
question the values are dealt out anew, so that which is the base's and which a seed's is chance; the verdict is asked
of each of so many deals. It should say "ship" in no more than 5 of 100, and in half of that by its two-sided test.
General sets and the questions that were not trained on are left out: they can only stop what would ship.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from openbook.evaluate import Report, read_report
from openbook.finetune.verdict import Candidate, judge

ALLOWED = 0.05


def dealt(reports: list[Report], measure: str, rng: np.random.Generator) -> list[Report]:
    """The reports with each question's values given to one or another by chance."""
    questions = list(reports[0].per_question[measure])
    values = np.array([[report.per_question[measure][question] for question in questions] for report in reports])
    shuffled = rng.permuted(values, axis=0)
    return [
        replace(report, per_question={measure: dict(zip(questions, row.tolist(), strict=True))})
        for report, row in zip(reports, shuffled, strict=True)
    ]


def verdicts(reports: list[Report], measure: str, deals: int, seed: int) -> Counter[str]:
    """What is said of so many deals."""
    rng, found = np.random.default_rng(seed), Counter[str]()
    for number in range(deals):
        base, *runs = dealt(reports, measure, rng)
        trial = judge(base, [Candidate("tuned", runs)], general={}, primary=measure, resamples=999, seed=number)
        found[trial.verdict] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("tuned", type=Path, nargs="+")
    parser.add_argument("--measure", default="ndcg@10")
    parser.add_argument("--deals", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    reports = [read_report(path) for path in (args.base, *args.tuned)]
    as_it_is = judge(reports[0], [Candidate("tuned", reports[1:])], general={}, primary=args.measure)
    row = as_it_is.candidates[0].primary
    print(
        f"{reports[0].dataset}, {row.paired.n} questions, {len(args.tuned)} seeds: {args.measure}"
        f" {row.paired.a:.4f} to {row.paired.b:.4f}, {as_it_is.verdict}"
    )
    found = verdicts(reports, args.measure, args.deals, args.seed)
    share = found["ship"] / args.deals
    for verdict, count in found.most_common():
        print(f"  {count / args.deals:6.1%}  {verdict}")
    print(f"ship in {share:.1%} of {args.deals:,} deals ({'within' if share <= ALLOWED else 'BEYOND'} {ALLOWED:.0%})")


if __name__ == "__main__":
    main()
