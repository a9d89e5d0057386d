"""The documentation's examples run, and print what it says they print.

In a ``console`` block, ``$`` starts a command and what follows is its expected output; ``...`` stands for anything.
The blocks of a page run in order in one folder that holds copies of examples/handbook, examples/migration and
examples/jargon.jsonl. Most pages begin by adding the handbook, which takes half of their time: that is done once for
all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from openbook.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "docs" / "reference" / "cli.md"
PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md")} - {GENERATED})


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


BEGINNING = "openbook add handbook"


@dataclass(frozen=True, slots=True)
class Begun:
    """What the beginning printed, a copy of the folder as it was then, and the folder's place: documents are known by
    their paths, so that pages which begin so are followed there, one after the other."""

    said: str
    kept: Path
    folder: Path

    def again(self) -> Path:
        if self.folder.exists():
            shutil.rmtree(self.folder)
        subprocess.run(["cp", "-a", self.kept, self.folder], check=True)
        return self.folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    place = tmp_path_factory.mktemp("pages")
    done = run(BEGINNING, provided(place / "page"))
    assert done.returncode == 0, done.stderr
    (place / "page").rename(place / "kept")
    return Begun(done.stdout, place / "kept", place / "page")


def provided(folder: Path) -> Path:
    for name in ("handbook", "migration"):
        shutil.copytree(ROOT / "examples" / name, folder / name)
    shutil.copy(ROOT / "examples" / "jargon.jsonl", folder)
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**{k: v for k, v in os.environ.items() if k not in ("OPENBOOK_DB", "OPENBOOK_LLM")}, "PATH": path}
    return subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "console")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path, begun: Begun) -> None:
    steps = [step for block in blocks(page, "console") for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    shared = steps[0].partition("\n")[0] == BEGINNING
    folder = begun.again() if shared else provided(tmp_path)
    for n, step in enumerate(steps):
        command, _, expected = step.partition("\n")
        if command.startswith("make"):
            continue  # shown for a person; what it runs is tested apart
        if shared and n == 0:
            said, error = begun.said.strip(), ""
        else:
            done = run(command, folder)
            said, error = done.stdout.strip(), done.stderr
        pattern = ".*".join(re.escape(part.strip()) for part in expected.strip().split("..."))
        assert re.fullmatch(pattern, said, re.DOTALL), f"$ {command}\n{said}\n{error}\nexpected:\n{expected}"


@pytest.mark.parametrize(
    ("page", "toml"),
    [pytest.param(page, toml, id=page.name) for page in PAGES for toml in blocks(page, "toml")],
)
def test_a_recipe_in_the_docs_can_be_read(page: Path, toml: str) -> None:
    Recipe.from_toml(toml)


def test_the_reference_states_the_defaults() -> None:
    [toml] = blocks(ROOT / "docs/reference/recipe.md", "toml")
    assert Recipe.from_toml(toml) == Recipe()


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_command_line_reference_is_what_help_says() -> None:
    """Made by: typer openbook.cli utils docs --name openbook --title "Command line" > docs/reference/cli.md"""
    typer = Path(sys.executable).with_name("typer")
    command = [typer, "openbook.cli", "utils", "docs", "--name", "openbook", "--title", "Command line"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == GENERATED.read_text()
