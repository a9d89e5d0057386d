"""Pages of reports and comparisons: what they show, and that nothing in them runs, loads or breaks out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from openbook.errors import QueryError
from openbook.evaluate.comparison import Comparison, compare
from openbook.evaluate.datasets.dataset import Question, dataset
from openbook.evaluate.evaluation import evaluate
from openbook.evaluate.measures import operations
from openbook.evaluate.pages import html, plots
from openbook.evaluate.report import Asked, Measure, Outcome, Report, mean
from openbook.knowledge_base import KnowledgeBase
from openbook.types import Document

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title></textarea><svg onload=alert(1)>",
    "'; javascript:alert(1) //",
    "</text><script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt;",
    "$x_1$ \x1b[31m \x00 \u202e \ud800 <!--",
    "https://evil.example/pixel.png",
]


def a_report(
    texts: Sequence[str], *, gain: float = 0.0, name: str = "notes", sources: Sequence[str] = ("a.md", "b.md")
) -> Report:
    """A report over these questions; ``gain`` is added to every value."""
    ids = [f"q{n}" for n in range(len(texts))]
    values = {id: min(1.0, (n * 37 % 100) / 100 + gain) for n, id in enumerate(ids)}
    per_question = {
        "ndcg@10": values,
        "recall@100": {id: min(1.0, value + 0.2) for id, value in values.items()},
        "f1": {id: value / 2 for id, value in values.items()},
        "false_abstention_rate": {id: float(value < 0.3) for id, value in values.items()},
        "ms_total": {id: 10.0 + n % 7 for n, id in enumerate(ids)},
    }
    latency = operations.latency([Outcome(id, ms={"embed": 3.0, "total": 10.0 + n}) for n, id in enumerate(ids)])
    return Report(
        dataset=name,
        data="0123456789ab",
        split="dev",
        release="r1",
        recipe="abcdef012345",
        measures={
            **{measure: mean(list(of.values())) for measure, of in per_question.items()},
            "risk": Measure(0.25, 0.2, 0.3, len(ids)),
        },
        per_question=per_question,
        questions={
            id: Asked(
                text,
                {"team": "it" if n % 2 else "hr"},
                list(sources),
                f"Answer: {text}",
                trace=f"00000000-0000-0000-0000-{n:012}",
            )
            for n, (id, text) in enumerate(zip(ids, texts, strict=True))
        },
        ms={"p50": 12.0, "p95": 20.0, "p99": 30.0},
        details={
            "operations": {"latency": latency},
            "coverage_risk": [{"threshold": 1 - n / 10, "coverage": n / 10, "risk": n / 40} for n in range(1, 11)],
        },
        created="2026-01-15T10:00:00+00:00",
        db=".openbook",
    )


def plain_texts(n: int) -> list[str]:
    return [f"What does rule {number} say about case {number * 7}?" for number in range(n)]


def hostile_report(gain: float = 0.0) -> Report:
    texts = [*HOSTILE, *plain_texts(12)]
    report = a_report(texts, gain=gain, name=HOSTILE[0], sources=HOSTILE)
    asked = {id: replace(one, slices={HOSTILE[4]: HOSTILE[1] if n % 2 else HOSTILE[2]})
             for n, (id, one) in enumerate(report.questions.items())}  # fmt: skip
    asked["q0"] = replace(asked["q0"], error=HOSTILE[1], answer=None)
    details = {**report.details, "operations": {**report.details["operations"], "cold": {"error": HOSTILE[0]}}}
    return replace(report, questions=asked, failed=("q0",), unanswered=("q1",), db=HOSTILE[1], details=details)


def compared(a: Report, b: Report, names: tuple[str, str] = ("live", "candidate")) -> Comparison:
    return compare(a, b, names=names, resamples=199)


PAGES: dict[str, Callable[[], str]] = {
    "report": lambda: html.report_page(a_report(plain_texts(40))),
    "hostile report": lambda: html.report_page(hostile_report()),
    "comparison": lambda: html.comparison_page(
        compared(a_report(plain_texts(40)), a_report(plain_texts(40), gain=0.1))
    ),
    "hostile comparison": lambda: html.comparison_page(
        compared(hostile_report(), hostile_report(0.1), (HOSTILE[0], HOSTILE[1]))
    ),
}


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]()


class TestEveryPage:
    def test_runs_its_own_script_and_no_other(self, page: str) -> None:
        tree = LexborHTMLParser(page)
        assert len(tree.css("script")) == 1
        [source] = re.findall("<script>(.*)</script>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        policy = tree.css_first('meta[http-equiv="Content-Security-Policy"]').attributes["content"] or ""
        assert f"script-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'")
        for node in tree.css("*"):
            assert not [name for name in node.attributes if name.startswith("on")], node.html

    def test_loads_nothing_and_leads_nowhere(self, page: str) -> None:
        tree = LexborHTMLParser(page)
        assert not tree.css("img, iframe, link, object, embed, base, form, image, audio, video, a[target]")
        for node in tree.css("*"):
            for name in ("href", "src", "xlink:href", "srcset", "action"):
                assert (node.attributes.get(name) or "#").startswith("#"), node.html
        style = tree.css_first("style").text()
        assert "@import" not in style
        for address in re.findall(r"url\(([^)]*)\)", re.sub(r"<script.*?</script>", "", page)):
            assert address.startswith("#")

    def test_can_be_read_by_everyone(self, page: str) -> None:
        tree = LexborHTMLParser(page)
        assert tree.css_first("html").attributes["lang"] == "en"
        assert "width=device-width" in (tree.css_first('meta[name="viewport"]').attributes["content"] or "")
        assert tree.css_first("title").text().strip()
        levels = [int(node.tag[1]) for node in tree.css("h1, h2, h3, h4, h5")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), levels
        for table in tree.css("table"):
            assert table.css_first("caption").text().strip()
            assert all(head.attributes.get("scope") for head in table.css("th"))
            assert (table.parent and table.parent.attributes.get("tabindex")) == "0", (
                "scrolls by itself, by keyboard too"
            )
        figures = tree.css("figure svg")
        assert figures
        for svg in figures:
            assert svg.attributes["role"] == "img"
            named = [tree.css_first(f"#{id}") for id in (svg.attributes["aria-labelledby"] or "").split()]
            assert len(named) == 2
            assert all(node.text().strip() for node in named)
        for field in tree.css("input"):
            assert tree.css_first(f'label[for="{field.attributes["id"]}"]')
        ids = [node.attributes["id"] for node in tree.css("[id]")]
        assert len(ids) == len(set(ids))
        for use in tree.css("use"):
            assert (use.attributes["href"] or "#").removeprefix("#") in ids

    def test_tells_no_path_of_its_maker(self) -> None:
        """It is passed on: where somebody keeps their documents and databases is nobody's business."""
        sources = [f"file:///home/ann/{name}" for name in ("it/vpn%20key.md", "it/README.md", "hr/README.md")]
        a, b = (a_report(plain_texts(9), gain=gain, sources=sources) for gain in (0.0, 0.1))
        failed = {**a.questions, "q1": replace(a.questions["q1"], error="/home/ann/.openbook: it does not answer")}
        a, b = replace(a, db="/home/ann/.openbook", questions=failed, failed=("q1",)), replace(b, db="/home/ann/.other")
        for page in (html.report_page(a), html.comparison_page(compare(a, b, names=("live", "/home/ann/rrf.toml")))):
            assert "/home" not in page
            assert "ann" not in LexborHTMLParser(page).text().split("/")
            text = LexborHTMLParser(page).text()
            assert all(name in text for name in ("vpn key.md", "it/README.md", "hr/README.md", "--db .openbook"))
        assert ".openbook: it does not answer" in html.report_page(a)
        assert "rrf.toml" in page

    def test_is_utf8_without_what_html_may_not_hold(self, page: str) -> None:
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", page)
        page.encode()

    def test_follows_the_readers_colours(self, page: str) -> None:
        for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
            assert not re.search("#[0-9a-fA-F]{6}", svg), "a fixed colour is unreadable in one of light and dark"
            assert "var(--" in svg


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=3), st.text(min_size=1, max_size=40))
def test_whatever_a_question_says_is_shown_as_text(texts: list[str], source: str) -> None:
    report = a_report(texts, sources=[source])
    tree = LexborHTMLParser(html.report_page(replace(report, details={})))
    assert len(tree.css("#questions > li")) == len(texts)
    said = [squeezed(node.text()) for node in tree.css("#questions summary .text")]
    assert sorted(said) == sorted(squeezed(text) for text in texts)
    assert {squeezed(node.text()) for node in tree.css("#questions ol li")} == {squeezed(source)}


def squeezed(text: str) -> str:
    """As a reader sees it: blanks are one, and what cannot be shown is a replacement character."""
    return " ".join(re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", text).split())


class TestAReport:
    def test_shows_every_measure_with_its_interval_and_meaning(self) -> None:
        report = a_report(plain_texts(40))
        tree = LexborHTMLParser(html.report_page(report))
        rows = {
            cells[0].text().split("less")[0]: [cell.text() for cell in cells[1:]]
            for row in tree.css('table.fit tbody tr:not([class="group"])')
            if len(cells := row.css("th, td")) == 4
        }
        assert rows.keys() == report.measures.keys()
        found = report.measures["ndcg@10"]
        assert rows["ndcg@10"] == [f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}", "40"]
        assert rows["risk"] == ["0.250", "0.200 to 0.300", "40"]
        assert {node.text() for node in tree.css("dl.words dt")} == report.measures.keys()

    def test_lists_the_worst_questions_first_with_what_happened(self) -> None:
        report = a_report(plain_texts(40))
        tree = LexborHTMLParser(html.report_page(report))
        values = [float(node.text()) for node in tree.css("#questions .figure")]
        assert values == sorted(values)
        assert len(values) == 40
        first = tree.css_first("#questions > li")
        worst = min(report.questions, key=lambda id: report.per_question["ndcg@10"][id])
        assert report.questions[worst].text in first.text()
        assert f"openbook show --trace {report.questions[worst].trace} --db .openbook" in first.text()
        assert [node.text() for node in first.css("ol li")] == ["a.md", "b.md"]

    def test_tells_what_failed(self) -> None:
        report = hostile_report()
        tree = LexborHTMLParser(html.report_page(report))
        section = tree.css_first("#lost").parent
        assert section is not None
        assert HOSTILE[1] in section.text()
        assert "1 questions failed and 1 found nothing" in " ".join(tree.css_first("main").text().split())

    def test_tells_where_judgements_do_not_fit_the_documents(self) -> None:
        """Only the terminal did."""
        details = {"evidence": {"not_found": {HOSTILE[1]: ["b.md: not there"]}}, "copies": {"q1": [["a.md", "b.md"]]}}
        report = a_report(plain_texts(4))
        page = html.report_page(replace(report, details={**report.details, **details}))
        text = " ".join(LexborHTMLParser(page).css_first("main").text().split())
        assert " ".join(f"Evidence not found in the documents for 1 question: {HOSTILE[1]}.".split()) in text
        assert "Documents that are there twice, but not judged alike, for 1 question: q1." in text

    def test_slices_by_what_enough_questions_share(self) -> None:
        report = a_report(plain_texts(40))
        rare = {**report.questions, "q0": replace(report.questions["q0"], slices={"team": "rare"})}
        tree = LexborHTMLParser(html.report_page(replace(report, questions=rare)))
        [table] = [t for t in tree.css("table") if "By team" in t.css_first("caption").text()]
        shown = [row.css_first("th").text() for row in table.css("tbody tr")]
        assert shown == ["it", "hr"]
        assert "not shown: 1" in table.css_first("caption").text()

    def test_of_a_run_that_tells_nothing_but_measures_is_a_page_all_the_same(self) -> None:
        report = Report(
            "run", "0", "all", "", "", {"mrr@10": Measure(0.5, 0.4, 0.6, 2)}, {"mrr@10": {"a": 0.0, "b": 1.0}}
        )
        tree = LexborHTMLParser(html.report_page(report))
        assert "0.400 to 0.600" in tree.css_first("table").text()
        assert not tree.css("#questions")

    def test_of_nothing_measured_says_so(self) -> None:
        report = Report("run", "0", "all", "", "", {}, {}, {"a": Asked("What?")})
        assert "nothing that could be measured" in html.report_page(report)

    def test_says_that_a_price_is_unknown(self) -> None:
        report = a_report(plain_texts(4))
        money = {"currency": "USD", "total": None, "per_question": None, "unknown": 4, "model": "openai:m",
                 "price": None, "notes": []}  # fmt: skip
        tokens = {"input": {"total": 4000, "mean": 1000.0}, "output": {"total": 80, "mean": 20.0}}
        details = {"operations": {**report.details["operations"], "money": money, "tokens": tokens}}
        page = LexborHTMLParser(html.report_page(replace(report, details=details))).css_first("main").text()
        assert page.count("price unknown") == 2
        assert "$0.00" not in page

    def test_tells_of_cold_starts_and_freshness(self) -> None:
        report = a_report(plain_texts(4))
        waits = {"ms": [21.0], "median": 21.0, "max": 21.0, "searches": 1}
        extra = {
            "cold": {"verb": "ask", "process": {"ms": [900.0], "median": 900.0}, "open": 5.0, "first": 30.0,
                     "second": 9.0},
            "freshness": {"same_process": waits, "other_process": {**waits, "median": None, "max": None},
                          "removal": waits, "search": {"median": 9.0}},
        }  # fmt: skip
        details = {"operations": {**report.details["operations"], **extra}}
        page = LexborHTMLParser(html.report_page(replace(report, details=details))).css_first("main").text()
        assert "900\xa0ms" in page
        assert "21.0\xa0ms, by the first search" in page
        assert "not seen in time" in page

    def test_stays_small(self) -> None:
        sources = [f"file:///srv/handbook/part-{n}/a-rather-long-name-of-a-document-{n}.md" for n in range(10)]
        texts = [f"{text} {'Tell me more about it. ' * 8}" for text in plain_texts(400)]
        assert len(html.report_page(a_report(texts, sources=sources)).encode()) < 1_000_000

    def test_lists_no_more_than_can_be_read(self) -> None:
        tree = LexborHTMLParser(html.report_page(a_report(plain_texts(html.MOST_QUESTIONS + 5))))
        assert len(tree.css("#questions > li")) == html.MOST_QUESTIONS
        assert f"The worst {html.MOST_QUESTIONS} of {html.MOST_QUESTIONS + 5}" in tree.css_first("main").text()


class TestAComparison:
    @pytest.mark.parametrize(("gain", "word"), [(0.2, "ship"), (-0.2, "don't ship"), (0.0, "insufficient evidence")])
    def test_gives_the_verdict_first_and_why(self, gain: float, word: str) -> None:
        found = compared(a_report(plain_texts(60), gain=0.2), a_report(plain_texts(60), gain=0.2 + gain))
        tree = LexborHTMLParser(html.comparison_page(found))
        verdict = tree.css_first("main .verdict")
        assert verdict.css_first("b").text().split(maxsplit=1)[1] == word == found.verdict
        assert [node.text() for node in verdict.css("li")] == list(found.reasons)

    def test_shows_every_measure_of_both(self) -> None:
        found = compared(a_report(plain_texts(60)), a_report(plain_texts(60), gain=0.1))
        tree = LexborHTMLParser(html.comparison_page(found))
        rows = [[cell.text() for cell in row.css("th, td")] for row in tree.css_first("table").css("tbody tr")]
        primary = found.primary.paired
        [row] = [row for row in rows if row[0] == "ndcg@10"]
        assert row[1:3] == [f"{primary.a:.3f}", f"{primary.b:.3f}"]
        assert row[3] == f"{primary.difference:+.3f} better"
        assert row[4] == f"{primary.low:+.3f} to {primary.high:+.3f}"
        assert {row[0].split("less")[0].split("told")[0] for row in rows if len(row) > 1} == {
            *found.rows,
            *found.totals,
        }

    def test_lists_losses_with_both_sides_and_both_traces(self) -> None:
        a, b = a_report(plain_texts(30)), a_report(plain_texts(30))
        worse = {**b.per_question["ndcg@10"], "q5": 0.0}
        b = replace(b, per_question={**b.per_question, "ndcg@10": worse}, db="elsewhere")
        b = replace(b, questions={**b.questions, "q5": replace(b.questions["q5"], found=["c.md"], answer="Other.")})
        tree = LexborHTMLParser(html.comparison_page(compared(a, b)))
        [loss] = tree.css("#losses > li")
        assert not tree.css("#wins")
        left, right = loss.css("section")
        assert "a.md" in left.text()
        assert f"--trace {a.questions['q5'].trace} --db .openbook" in left.text()
        assert "c.md" in right.text()
        assert "Other." in right.text()
        assert "--db elsewhere" in right.text()

    def test_lists_no_more_than_can_be_read_and_stays_small(self) -> None:
        sources = [f"file:///srv/handbook/part-{n}/a-rather-long-name-of-a-document-{n}.md" for n in range(10)]
        a, b = (a_report(plain_texts(400), gain=gain, sources=sources) for gain in (0.0, 0.1))
        page = html.comparison_page(compared(a, b))
        assert len(LexborHTMLParser(page).css("#wins > li")) == html.MOST_CHANGES
        assert len(page.encode()) < 1_000_000


class TestFigures:
    def test_are_the_same_for_the_same_figures(self) -> None:
        rows = [plots.Interval("f1", 0.5, 0.4, 0.6)]
        assert plots.dots(rows, id="x", title="X") == plots.dots(rows, id="x", title="X")

    def test_say_in_words_what_they_show(self) -> None:
        tree = LexborHTMLParser(plots.forest([plots.Interval("f1", -0.5, -0.6, -0.4)], [-1], id="x", title="X"))
        assert tree.css_first("desc").text() == "f1 -0.500 (-0.600 to -0.400), worse"

    def test_keep_names_as_they_are(self) -> None:
        """A name with two dollar signs was set as a formula, and one without a glyph was warned about."""
        tree = LexborHTMLParser(plots.dots([plots.Interval("$x_1$ 税 <b>", 0.5, 0.4, 0.6)], id="x", title="X"))
        assert "$x_1$ 税 <b>" in [node.text() for node in tree.css("text")]

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
    def test_of_any_values_can_be_drawn(self, pairs: list[tuple[float, float]]) -> None:
        a, b = [x for x, _ in pairs], [y for _, y in pairs]
        tree = LexborHTMLParser(plots.scatter(a, b, id="x", title="X", measure="f1"))
        more, less = sum(y > x for x, y in pairs), sum(y < x for x, y in pairs)
        rounded = sum(round(y, 3) == round(x, 3) and x != y for x, y in pairs)
        said = [int(n) for n in re.findall(r"\d+", tree.css_first("desc").text())]
        assert sum(said) == len(pairs)
        assert more + less - rounded == said[0] + said[1]


class TestWriting:
    def test_replaces_the_former_page_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.write_text("former")
        html.write(path, "<p>näher</p>")
        assert path.read_text(encoding="utf-8") == "<p>näher</p>"
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]

    def test_leaves_the_former_page_where_it_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "report.html"
        path.write_text("former")

        def full(self: Path, *_: object, **__: object) -> int:
            self.touch()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(QueryError, match="No space left"):
            html.write(path, "new")
        assert path.read_bytes() == b"former"
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]

    @pytest.mark.parametrize("name", ["nowhere/report.html", "."])
    def test_says_in_a_line_what_cannot_be_written(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(QueryError) as caught:
            html.write(tmp_path / name, "page")
        assert caught.value.do
        assert "\n" not in str(caught.value)


def test_a_real_evaluation_makes_a_page_that_explains_every_measure(kb: KnowledgeBase) -> None:
    notes = {
        "leave": "# Leave\n\nEvery employee gets ten days of paid sick leave a year.\n",
        "vpn": "# VPN\n\nError KX-77 means that the certificate has expired.\n",
    }
    kb.add(*(Document(name, text) for name, text in notes.items()))
    asked = dataset(
        "notes",
        [
            Question("q1", "How many sick days do I get?", {"leave": 1}, ("ten days",), split="dev"),
            Question("q2", "What does KX-77 mean?", {"vpn": 1}, ("expired",), split="dev"),
            Question("q3", "Who won the race?", answerable=False, split="dev"),
        ],
    )
    report = evaluate(kb, asked, attacks=0)
    page = html.report_page(report)
    tree = LexborHTMLParser(page)
    assert [name for name in report.measures if html.definition(name) is None] == []
    assert {node.text() for node in tree.css("dl.words dt")} == report.measures.keys()
    assert "HNSW" in page
    json.dumps(report.as_json(), allow_nan=False)


# --- in a browser -----------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def browsed(tmp_path: Path) -> Callable[..., LexborHTMLParser]:
    """The page as a browser has it after loading."""
    if CHROMIUM is None:
        pytest.skip("no chromium")

    def load(page: str) -> LexborHTMLParser:
        file = tmp_path / "page.html"
        html.write(file, page)
        command = [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()),
        ]
        return LexborHTMLParser(subprocess.run(command, capture_output=True, text=True, timeout=60).stdout)

    return load


def test_its_own_script_is_allowed_to_run(browsed: Callable[[str], LexborHTMLParser]) -> None:
    tree = browsed(html.report_page(hostile_report()))
    [field] = tree.css(".filter")
    assert "hidden" not in field.attributes, "the policy's hash does not fit the script"


@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_a_phone_shows_it_without_scrolling_sideways(kind: str, browsed: Callable[[str], LexborHTMLParser]) -> None:
    sources = [f"file:///srv/{'a-very-long-name-' * 9}{n}.md" for n in range(3)]
    texts = [*plain_texts(20), "W" * 300]
    a, b = (a_report(texts, gain=gain, sources=sources, name="D" * 90) for gain in (0.0, 0.1))
    page = html.report_page(a) if kind == "report" else html.comparison_page(compared(a, b, ("L" * 80, "C" * 80)))
    literal = json.dumps(page).replace("<", "\\u003c")
    # A window of a browser has a smallest width that is more than a phone's; a frame in it has none.
    probe = f"""<!doctype html><body><iframe style="width: 375px; height: 800px; border: 0"></iframe><script>
      const frame = document.querySelector("iframe");
      frame.onload = () => {{
        const page = frame.contentDocument;
        for (const details of page.querySelectorAll("details")) details.open = true;
        const width = page.documentElement.scrollWidth;
        const input = page.querySelector(".filter input");
        input.value = "CASE 119?";
        input.dispatchEvent(new Event("input"));
        const list = page.getElementById(page.querySelector(".filter").dataset.of);
        const left = [...list.children].filter((item) => !item.hidden).map((item) => item.textContent);
        const room = page.documentElement.clientWidth;
        const seen = {{width, room, window: frame.contentWindow.innerWidth, left, all: list.children.length}};
        document.body.dataset.seen = JSON.stringify(seen);
      }};
      frame.srcdoc = {literal};
    </script></body>"""
    seen: dict[str, Any] = json.loads(browsed(probe).css_first("body").attributes["data-seen"] or "{}")
    assert seen["window"] == 375
    assert seen["width"] <= seen["room"], "something is wider than the page"
    assert seen["all"] > 1
    assert len(seen["left"]) == 1
    assert "What does rule 17 say" in seen["left"][0]
