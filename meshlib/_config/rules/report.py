"""Where the rules of one resource put what they find."""

from __future__ import annotations

from meshlib._config.check import Path, Problem

__all__ = ["Report"]


class Report:
    """Collects problems. ``path`` is that of the blamed field from the top of the resource."""

    __slots__ = ("_is_quiet", "problems")

    def __init__(self, problems: list[Problem] | None = None, *, is_quiet: bool = False) -> None:
        self.problems = [] if problems is None else problems
        self._is_quiet = is_quiet

    def without_warnings(self) -> Report:
        """The same report for a part of a resource whose warnings Istio's webhook loses on their way."""
        return Report(self.problems, is_quiet=True)

    def add(self, code: str, path: Path, message: str, hint: str = "") -> None:
        """An error: Istio refuses the resource."""
        self.problems.append(Problem(code, path, message, hint))

    def warn(self, path: Path, message: str, hint: str = "") -> None:
        """A warning: Istio takes the resource and says this."""
        if not self._is_quiet:
            self.problems.append(Problem("MESH085", path, message, hint))

    def check(self, code: str, path: Path, problem: str, hint: str = "") -> None:
        """An error if ``problem`` says one."""
        if problem:
            self.add(code, path, problem, hint)
