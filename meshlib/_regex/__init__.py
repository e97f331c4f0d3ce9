"""RE2 expressions: their syntax, and programs that match and replace."""

from meshlib._regex.programs import HAS_RE2, RegexError, Substitution, compile_regex, compile_substitution

__all__ = ["HAS_RE2", "RegexError", "Substitution", "compile_regex", "compile_substitution"]
