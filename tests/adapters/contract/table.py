"""The table of docs/adapters/clients.md: every behaviour of the contract, for every client.

``python -m tests.adapters.contract.table`` writes it; ``test_table.py`` keeps it true.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

__all__ = ["DOCUMENT", "rendered", "written"]

HERE: Final = Path(__file__).parent
DOCUMENT: Final = HERE.parents[2] / "docs" / "adapters" / "clients.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

COLUMNS: Final = ("aiohttp", "httpx", "httpx async", "requests", "urllib3")
SECTIONS: Final = (
    ("test_requests.py", "Requests"),
    ("test_attempts.py", "Retries, timeouts, failures"),
    ("test_connections.py", "Responses and connections"),
    ("test_tls.py", "TLS"),
    ("test_hedging.py", "A second attempt (ClientPolicy)"),
    ("test_last_good.py", "The last good response (ClientPolicy)"),
)
DIFFERENCES: Final = {
    ("test_cookies_belong_to_the_host_called", "urllib3"): "keeps no cookies",
    ("test_the_sessions_cookie_of_consistent_hashing_is_kept", "urllib3"): "keeps no cookies",
}
"""Where a library has no such thing; the tests say the same."""

NAMES: Final = {
    "test_the_mesh_s_shorter_timeout_wins": "the shorter timeout of the mesh wins",
    "test_the_sessions_cookie_of_consistent_hashing_is_kept": "the cookie of consistent hashing is kept",
}


def behaviours(file: str) -> list[str]:
    """The tests of a file, in order."""
    tree = ast.parse((HERE / file).read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def rendered() -> str:
    """The table as it has to be."""
    lines = [f"| behaviour | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for file, title in SECTIONS:
        lines.append(f"| **{title}** |{' |' * len(COLUMNS)}")
        for name in behaviours(file):
            text = NAMES.get(name, name.removeprefix("test_").replace("_", " "))
            cells = [DIFFERENCES.get((name, column), "yes") for column in COLUMNS]
            lines.append(f"| {text} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def written() -> str:
    """The table as the document has it."""
    return DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + rendered() + END + rest.partition(END)[2])
