"""Markdown stays as it is; HTML and reStructuredText become it."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook.load import load
from openbook.load.html import to_markdown
from openbook.load.markdown import headings
from openbook.types import Document, Skipped

One = Callable[..., Document]


def titles(text: str) -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in headings(text)]


class TestMarkdown:
    def test_the_text_stays_as_it_is(self, tmp_path: Path, one: One) -> None:
        text = "# A  *b*\n\n\n* item\n* [link](x.md)\t\n\n    code\n\n<div>raw</div>\n"
        (tmp_path / "a.md").write_text(text)
        assert one(tmp_path / "a.md").text == text

    def test_line_ends_nul_and_byte_order_mark_are_normalised(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# A\r\n\r\nnul\x00here\rend")
        document = one(tmp_path / "a.md")
        assert document.text == "# A\n\nnul\ufffdhere\nend"
        assert [document.text[h.start : h.end] for h in document.headings] == ["# A"]

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("# A\n## B ##\n### *C* `d` [e](f)", [(1, "A"), (2, "B"), (3, "C d e")]),
            ("Over\ntwo lines\n====\n\nB\n-\n", [(1, "Over two lines"), (2, "B")]),
            ("```\n# no\n```\n# yes", [(1, "yes")]),
            ("~~~\n# no\n```\n# no\n~~~\n    # no\n", []),
            ("> # quoted\n\n- # listed\n", []),
            ("| a | b |\n| --- | --- |\n| 1 | 2 |\n", []),
            ("a | b\n---\n", [(2, "a | b")]),
            ("text\n\n---\n\ntext", []),
            ("#no\n#\n# \n", []),
            ("# Title {#anchor}\n## ![pic](x.png) C&amp;A \\# <br>", [(1, "Title"), (2, "pic C&A #")]),
            ("\u2028# no\n# ύψος 𝒳", [(1, "ύψος 𝒳")]),
        ],
    )
    def test_headings(self, text: str, found: list[tuple[int, str]]) -> None:
        assert titles(text) == found

    @given(st.text("# =-`~>*ab\n\t\u2028é𝒳", max_size=60))
    def test_heading_spans_are_whole_lines(self, text: str) -> None:
        for heading in headings(text):
            assert text[heading.start - 1 : heading.start] in ("", "\n")
            assert text[heading.end : heading.end + 1] in ("", "\n")
            assert text[heading.start : heading.end].strip()


class TestFrontMatter:
    def test_it_becomes_metadata_and_leaves_the_text(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.md").write_text(
            "---\ntitle: Sick *leave*\ntags: [hr, 2024]\ndate: 2024-05-01\nreviewed: 2024-05-01T10:00:00Z\n"
            "weight: 3\nratio: .nan\ndraft: false\nowner:\n  name: Ann\n  team: {id: 7}\nnothing:\npath: shown/here\n"
            "list: [{a: 1}]\n---\n# Heading\n"
        )
        document = one(tmp_path / "a.md")
        assert document.text == "# Heading\n"
        assert document.title == "Sick *leave*"
        own = {k: v for k, v in document.metadata.items() if k not in ("type", "modified")}
        assert own == {
            "tags": ("hr", 2024),
            "date": "2024-05-01",
            "reviewed": "2024-05-01T10:00:00+00:00",
            "weight": 3,
            "draft": False,
            "owner.name": "Ann",
            "owner.team.id": 7,
            "path": "shown/here",
        }

    def test_toml_between_plus_signs(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.md").write_text("+++\ntitle = 'T'\nday = 2024-05-01\n+++\ntext")
        document = one(tmp_path / "a.md")
        assert (document.title, document.metadata["day"], document.text) == ("T", "2024-05-01", "text")

    @pytest.mark.parametrize(
        "text",
        [
            "---\ntitle: [unclosed\n---\ntext",
            "---\njust words\n---\ntext",
            "---\nday: 2024-13-45\n---\ntext",
            "---\n? [a, b]\n: 1\n---\ntext",
            "---\nx: !!python/object/apply:os.system ['true']\n---\ntext",
            "---\nnever closed: 1\n\ntext",
            "+++\nnot toml\n+++\ntext",
            "---\n" + "[" * 5000 + "\n---\ntext",
        ],
    )
    def test_what_is_none_stays_text(self, tmp_path: Path, one: One, text: str) -> None:
        (tmp_path / "a.md").write_text(text)
        assert one(tmp_path / "a.md").text == text

    def test_a_bomb_of_aliases_does_no_harm(self, tmp_path: Path, one: One) -> None:
        lines = ["a0: &a0 {x: 1, y: 2}"]
        lines += [f"a{i}: &a{i} {{" + ", ".join(f"k{j}: *a{i - 1}" for j in range(9)) + "}" for i in range(1, 30)]
        (tmp_path / "a.md").write_text("---\n" + "\n".join(lines) + "\n---\ntext")
        begin = time.perf_counter()
        assert len(one(tmp_path / "a.md").metadata) < 250
        assert time.perf_counter() - begin < 5


def markdown(body: str) -> str:
    return to_markdown(f"<html><body>{body}</body></html>")[0]


class TestHtml:
    def test_main_content_without_the_frame(self) -> None:
        page = (
            "<nav>Home</nav><header>Logo</header><main><header><h1>Leave</h1></header><p>Words.</p><aside>Ad</aside>"
            "<aside class='admonition note'>Mind this.</aside></main><footer>Imprint</footer><script>x()</script>"
            "<style>p{}</style><p hidden>secret</p><div style='display: none'>none</div>"
        )
        assert markdown(page) == "# Leave\n\nWords.\n\nMind this."

    def test_a_page_that_is_all_frame_is_kept(self) -> None:
        assert markdown("<nav>Only this <a href='x'>link</a></nav>") == "Only this link"

    def test_a_stub_of_a_main_element_does_not_hide_the_page(self) -> None:
        assert "the words" in markdown("<main>…</main><div>" + "the words of the page " * 5 + "</div>")

    def test_inline_markup_becomes_words(self) -> None:
        page = "<p>A <b>bold</b>, <a href='x'>linked</a>&nbsp;&amp;\n  <code>--flag</code> x<sup>2</sup><br>next</p>"
        assert markdown(page) == "A bold, linked & `--flag` x2\nnext"

    def test_lists_nest(self) -> None:
        page = "<ul><li>a<ol start=3><li>b<li><p>c</p><p>d</p></ol><li>e</ul>"
        assert markdown(page) == "- a\n  3. b\n  4. c\n\n     d\n- e"

    def test_definitions(self) -> None:
        assert markdown("<dl><dt>PTO<dd>Paid time off.<dt>HR</dl>") == "- PTO: Paid time off.\n- HR:"

    def test_tables_have_a_header_and_escaped_pipes(self) -> None:
        page = (
            "<table><caption>Days</caption><thead><tr><th>Who|what<th colspan=2>When</thead>"
            "<tr><td rowspan=2>All<td>May<br>June<td>2<tr><td>July<td>3</table>"
        )
        assert markdown(page) == (
            "Days\n\n| Who\\|what | When |  |\n| --- | --- | --- |\n| All | May June | 2 |\n| All | July | 3 |"
        )

    def test_a_table_that_lays_out_a_page_is_no_table(self) -> None:
        page = "<table><tr><td><h2>A</h2><td><table><tr><th>k<th>v<tr><td>1<td>2</table></table>"
        assert markdown(page) == "## A\n\n| k | v |\n| --- | --- |\n| 1 | 2 |"

    def test_code_is_fenced_and_kept(self) -> None:
        page = "<pre><code class='language-py'>if a &lt; b:\n    ```\n</code></pre>"
        assert markdown(page) == "````py\nif a < b:\n    ```\n````"

    def test_text_that_looks_like_markdown_does_not_become_it(self) -> None:
        text = markdown("<p># no heading</p><p>a<br>---</p><p>```</p><p>last</p>")
        assert titles(text) == []
        assert "last" in text

    @pytest.mark.parametrize("tag", ["div", "span", "ul><li", "blockquote"])
    def test_deep_nesting_keeps_the_words(self, tag: str) -> None:
        assert "deep words" in markdown(f"<{tag}>" * 1500 + "deep words")

    @pytest.mark.parametrize(
        ("encoding", "page"),
        [
            ("shift_jis", "<meta charset=shift_jis><p>休暇規定</p>"),
            ("cp1251", "<meta http-equiv=x content='text/html; charset=windows-1251'><p>Отпуск</p>"),
            ("utf-8", "<meta charset=latin-1><p>Größe</p>"),
            ("iso-2022-jp", "<meta charset=iso-2022-jp><p>休暇規定</p>"),
            ("cp1252", "<meta charset=nonsense><p>Größe „für“ Männer</p>"),
        ],
    )
    def test_charset(self, tmp_path: Path, one: One, encoding: str, page: str) -> None:
        (tmp_path / "a.html").write_bytes(page.encode(encoding))
        assert one(tmp_path / "a.html").text == page.split("<p>")[1].removesuffix("</p>")

    def test_entities_cannot_smuggle_in_what_is_normalised(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.html").write_text("<h1>a&#13;b&#0;</h1><p>c&#13;d&#xD800;</p><pre>e&#13;f</pre>")
        text = one(tmp_path / "a.html").text
        assert not set("\r\0\ud800") & set(text)

    def test_title_of_the_page_stands_in_for_a_heading(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.html").write_text("<title>The\n page</title><h2>Below</h2>text")
        assert one(tmp_path / "a.html").title == "The page"

    def test_a_page_without_words_is_empty(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        (tmp_path / "a.html").write_text("<body><script>app()</script><div id=root></div></body>")
        assert refused(tmp_path).reason.startswith("empty")

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(st.text(max_size=80), st.sampled_from(["p", "h2", "li", "td", "pre", "dd", "blockquote"]))
    def test_words_survive(self, text: str, tag: str) -> None:
        found = markdown(f"<{tag}>{escape(text)}</{tag}>")
        words = "".join(c for c in text if c.isalnum())
        assert words in "".join(c for c in found if c.isalnum())


class TestRst:
    def test_structure(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.rst").write_text(
            "Title\n=====\n\nA ``code`` and *stress*.\n\nSub\n---\n\n1. x\n2. y\n\n== ==\nk  v\n== ==\n1  2\n== ==\n\n"
            ".. code-block:: python\n\n   def f():\n       pass\n"
        )
        document = one(tmp_path / "a.rst")
        assert document.text == (
            "# Title\n\nA `code` and stress.\n\n## Sub\n\n1. x\n2. y\n\n| k | v |\n| --- | --- |\n| 1 | 2 |\n\n"
            "```\ndef f():\n    pass\n```"
        )
        assert [(h.level, h.title) for h in document.headings] == [(1, "Title"), (2, "Sub")]

    def test_sphinx_loses_no_words_and_prints_nothing(
        self, tmp_path: Path, one: One, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "a.rst").write_text(
            "Title\n=====\n\n.. toctree::\n   :maxdepth: 2\n\n   intro\n\n"
            ".. versionadded:: 1.2\n   The *new* thing.\n\n"
            ".. py:function:: leave(days)\n\n   Takes :class:`~hr.Days`, see :ref:`the rules <rules>` and"
            " `nowhere`_.\n\n"
            ".. sourcecode:: bash\n\n   $ run --now\n\n.. unknown::\n   :option: x\n\n   Inside unknown.\n\n"
            "== ==\n broken table\n== == ==\n\nText *unclosed and |undefined|.\n"
        )
        text = one(tmp_path / "a.rst").text
        for words in ("intro", "The new thing.", "leave(days)", "Takes hr.Days, see the rules and", "$ run --now",
                      "Inside unknown.", "broken table", "unclosed and |undefined|."):  # fmt: skip
            assert words in text
        assert "System Message" not in text
        assert capfd.readouterr() == ("", "")

    def test_nothing_else_is_read(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "secret.txt").write_text("the secret")
        (tmp_path / "a.rst").write_text(
            f"Words.\n\n.. include:: {tmp_path}/secret.txt\n\n.. raw:: html\n   :file: secret.txt\n\n"
            ".. csv-table::\n   :file: secret.txt\n"
        )
        assert "the secret" not in one(tmp_path / "a.rst").text

    def test_docutils_is_left_as_it_was(self, tmp_path: Path, one: One) -> None:
        from docutils.parsers.rst import directives, roles

        (tmp_path / "a.rst").write_text(".. made-up:: x\n\n:made-role:`y` words\n")
        one(tmp_path / "a.rst")
        assert "made-up" not in directives._directives
        assert "made-role" not in roles._roles


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "text", "recorded"),
        [
            ("utf-8-sig", "Größe", None),
            ("utf-16", "Größe 𝒳", "utf-16"),
            ("utf-16-le", "plain words without a mark", "utf-16-le"),
            ("utf-16-be", "plain words without a mark", "utf-16-be"),
            ("utf-32", "Größe", "utf-32"),
            ("cp1252", "Die Größe der Straße für Männer – “quoted”.", "cp1252"),
            ("cp1252", "Le café est fermé à Noël, déjà décidé.", "cp1252"),
            ("cp1250", "Zażółć gęślą jaźń, proszę państwa, to jest regulamin.", "cp1250"),
            ("cp1251", "Привет, это документ о правилах отпуска.", "cp1251"),
            ("cp932", "これは休暇規定の文書です。", "cp932"),
        ],
    )
    def test_it_is_detected_and_recorded(
        self, tmp_path: Path, one: One, encoding: str, text: str, recorded: str | None
    ) -> None:
        (tmp_path / "a.txt").write_bytes(text.encode(encoding))
        document = one(tmp_path / "a.txt")
        assert (document.text, document.metadata.get("encoding")) == (text, recorded)

    @pytest.mark.parametrize(
        "data", [b"\x7fELF\x02\x01\x01" + b"\0" * 500, b"\xff\xd8\xff\xe0\0\x10JFIF" * 40, bytes(range(256)) * 4]
    )
    def test_binary_is_refused(self, tmp_path: Path, refused: Callable[..., Skipped], data: bytes) -> None:
        (tmp_path / "a.txt").write_bytes(data)
        assert refused(tmp_path).reason.startswith("not text: the bytes look binary; ")

    @pytest.mark.parametrize(
        ("text", "language"),
        [
            ("You get ten paid sick days in a year, and the days that you do not use are not carried over.", "en"),
            ("Der Urlaub beträgt dreißig Tage im Jahr und ist mit der Leitung rechtzeitig abzustimmen.", "de"),
            ("Les salariés ont droit à vingt-cinq jours de congés par an, et les dates sont fixées avec lui.", "fr"),
            ("يحق لكل موظف الحصول على عشرة أيام إجازة مرضية مدفوعة الأجر في السنة الواحدة دون ترحيل", "ar"),
            ("従業員は年間十日間の有給病気休暇を取得することができます。未使用の日数は繰り越されません。", "ja"),
            ("Каждый сотрудник получает десять оплачиваемых дней по болезни в год.", "ru"),
            ("EBITDA 2023 19,600 20,100 NVDA AAPL MSFT INTC AMZN GOOG META TSLA ORCL IBM SAP CRM ADBE", None),
            ("The short one.", None),
        ],
    )  # fmt: skip
    def test_language(self, tmp_path: Path, one: One, text: str, language: str | None) -> None:
        (tmp_path / "a.txt").write_text(text)
        assert one(tmp_path / "a.txt").metadata.get("lang") == language


def test_blank_files_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(" \n\t\n")
    (tmp_path / "b.md").write_text("---\ntitle: only front matter\n---\n")
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbf")
    assert [item.reason for item in load(tmp_path) if isinstance(item, Skipped)] == [
        "empty; write something into it, or remove it"
    ] * 3
