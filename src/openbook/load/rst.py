"""reStructuredText becomes Markdown through docutils; Sphinx's directives and roles keep their text.

Nothing is read but the file itself: file insertion and raw output are off, and no configuration file is looked for.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openbook.load.draft import Draft, decode
from openbook.load.html import to_markdown
from openbook.load.markdown import headings

_ALONE = threading.Lock()  # docutils keeps directives and roles in module-wide tables
_DIRECTIVE = re.compile(r"^\s*\.\.[ ]+(?:\|[^|\n]+\|[ ]+)?([\w][\w:.+-]*)[ ]?::(?:\s|$)", re.MULTILINE)
_ROLE = re.compile(r":([\w][\w:.+-]*):`|`:([\w][\w:.+-]*):")
_CODE = {"sourcecode", "prompt", "ipython", "doctest", "testcode", "testoutput", "testsetup", "productionlist"}
_CODE |= {"graphviz", "digraph", "mermaid", "plantuml", "code-cell", "jupyter-execute"}
_TARGET = re.compile(r"\s*(?<!\\)<[^<>]*>$")


def read(data: bytes) -> Draft:
    """One reStructuredText file. Raises: SourceError."""
    text, encoding = decode(data)
    markdown, _ = to_markdown(_html(text), page=False)
    return Draft(markdown, metadata={"encoding": encoding} if encoding else {}, headings=headings(markdown))


def _html(source: str) -> str:
    from docutils import nodes
    from docutils.core import publish_doctree, publish_from_doctree

    settings: dict[str, Any] = {
        "_disable_config": True,
        "doctitle_xform": False,
        "file_insertion_enabled": False,
        "halt_level": 6,
        "initial_header_level": 1,
        "input_encoding": "unicode",
        "line_length_limit": 10_000_000,
        "math_output": "LaTeX",
        "output_encoding": "unicode",
        "raw_enabled": False,
        "report_level": 1,  # all messages stay in the tree, for some hold the text that was not understood
        "smart_quotes": False,
        "syntax_highlight": "none",
        "embed_stylesheet": False,
        "warning_stream": io.StringIO(),
    }
    with _ALONE, _understanding(source):
        tree = publish_doctree(source, settings_overrides=settings)
        for message in list(tree.findall(nodes.system_message)):
            kept = [node for node in message.children if isinstance(node, nodes.literal_block)]
            kept = [node for node in kept if not re.match(r"\.\.\s+include::", node.astext())]
            if message.parent is not None:
                message.parent.replace(message, kept)
        tree.transform_messages = []
        for section in list(tree.findall(nodes.section)):
            if "system-messages" in section["classes"]:
                section.parent.remove(section)
        for topic in list(tree.findall(nodes.topic)):
            if "contents" in topic["classes"]:
                topic.parent.remove(topic)
        output: str = publish_from_doctree(tree, writer="html5", settings_overrides=settings)
    return output


@contextmanager
def _understanding(source: str) -> Iterator[None]:
    """Directives and roles in ``source`` that docutils does not know keep their text while it parses."""
    from docutils import nodes
    from docutils.parsers.rst import Directive, directives, roles
    from docutils.parsers.rst.languages import en

    class AnyOption(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            return directives.unchanged

    class Unknown(Directive):
        optional_arguments = 1
        final_argument_whitespace = True
        has_content = True
        option_spec = AnyOption(name=directives.unchanged)

        def run(self) -> list[nodes.Node]:
            found: list[nodes.Node] = []
            code = self.name in _CODE
            if self.arguments and not (code and self.content):
                words, messages = self.state.inline_text(self.arguments[0], self.lineno)
                found += [nodes.paragraph("", "", *words), *messages]
            if code and self.content:
                found.append(nodes.literal_block("", "\n".join(self.content)))
            elif self.content:
                inner = nodes.container()
                self.state.nested_parse(self.content, self.content_offset, inner)
                found += inner.children
            return found

    def unknown(
        role: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = None
    ) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        shown = _TARGET.sub("", text) or text
        return [nodes.inline(rawtext, shown.lstrip("~!").replace("\x00", ""))], []

    known_directives, known_roles = dict(directives._directives), dict(roles._roles)  # type: ignore[attr-defined]
    try:
        for name in {name.lower() for name in _DIRECTIVE.findall(source)}:
            if name not in en.directives and name not in known_directives:
                directives.register_directive(name, Unknown)
        for name in {(before or after).lower() for before, after in _ROLE.findall(source)}:
            if name not in en.roles and name not in known_roles:
                roles.register_local_role(name, unknown)  # type: ignore[arg-type]
        yield
    finally:
        for table, known in ((directives._directives, known_directives), (roles._roles, known_roles)):  # type: ignore[attr-defined]
            table.clear()
            table.update(known)
