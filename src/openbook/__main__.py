"""The command ``openbook``, also as ``python -m openbook``."""

from __future__ import annotations

import sys


def run() -> None:
    """Load the command line and run it; Ctrl-C while it loads is as clean as later."""
    try:
        from openbook.cli import main
    except KeyboardInterrupt:
        print("openbook: interrupted; run it again", file=sys.stderr)
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
