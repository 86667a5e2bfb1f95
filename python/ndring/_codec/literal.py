"""Parses the text of a .npy header with a small fixed grammar.

numpy writes the header as a Python literal. The grammar has what occurs in one: dicts, lists,
tuples, strings, integers, ``True``, ``False`` and ``None``. Nothing is evaluated, and depth and
length are bounded.
"""
from __future__ import annotations

import re
from typing import Any, Dict, List, Tuple

#: A struct nests two brackets per level; numpy itself writes only a few.
MAX_DEPTH = 160

_TOKEN = re.compile(
    r"[ \t\r\n\f]*(?:"
    r"(?P<punct>[\[\](){},:])"
    r"|(?P<int>-?[0-9]{1,19})L?(?![0-9A-Za-z_.])"
    r"|(?P<word>True|False|None)(?![0-9A-Za-z_])"
    r"|u?(?P<str>'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")"
    r"|(?P<end>\Z))"
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"True": True, "False": False, "None": None}


class LiteralError(ValueError):
    """Raised when the text is not a literal of the grammar. The message says where."""


def parse_literal(text: str) -> Any:
    """Returns the value of a literal. Raises LiteralError for anything outside the grammar."""
    value, position = _value(text, 0, 0)
    if _next(text, position)[0] != "end":
        raise LiteralError(f"unexpected text after the literal at character {position}")
    return value


def _next(text: str, position: int) -> Tuple[str, str, int]:
    match = _TOKEN.match(text, position)
    if match is None:
        raise LiteralError(f"not a literal at character {position}")
    kind = match.lastgroup or ""
    return kind, match.group(kind), match.end()


def _value(text: str, position: int, depth: int) -> Tuple[Any, int]:
    kind, token, position = _next(text, position)
    if kind == "str":
        return _string(token[1:-1]), position
    if kind == "int":
        return int(token), position
    if kind == "word":
        return _WORDS[token], position
    if depth >= MAX_DEPTH:
        raise LiteralError(f"nested deeper than {MAX_DEPTH} levels")
    if token == "(":
        items, commas, position = _items(text, position, ")", depth)
        # (x) is just x, only (x,) is a tuple.
        return (items[0] if len(items) == 1 and not commas else tuple(items)), position
    if token == "[":
        items, _, position = _items(text, position, "]", depth)
        return items, position
    if token == "{":
        return _dict(text, position, depth)
    raise LiteralError(f"not a literal at character {position}")


def _items(text: str, position: int, closing: str, depth: int) -> Tuple[List[Any], int, int]:
    items: List[Any] = []
    commas = 0
    while True:
        kind, token, after = _next(text, position)
        if token == closing and kind == "punct":
            return items, commas, after
        if len(items) > commas:
            raise LiteralError(f"missing comma at character {position}")
        value, position = _value(text, position, depth + 1)
        items.append(value)
        kind, token, after = _next(text, position)
        if token == "," and kind == "punct":
            commas += 1
            position = after


def _dict(text: str, position: int, depth: int) -> Tuple[Dict[Any, Any], int]:
    result: Dict[Any, Any] = {}
    open_for_more = True
    while True:
        kind, token, after = _next(text, position)
        if token == "}" and kind == "punct":
            return result, after
        if kind != "str" or not open_for_more:
            raise LiteralError(f"missing key or comma at character {position}")
        key = _string(token[1:-1])
        if key in result:
            raise LiteralError(f"the key {key!r} occurs twice")
        kind, token, after = _next(text, after)
        if token != ":" or kind != "punct":
            raise LiteralError(f"missing colon at character {after}")
        result[key], position = _value(text, after, depth + 1)
        kind, token, after = _next(text, position)
        open_for_more = token == "," and kind == "punct"
        if open_for_more:
            position = after


def _string(body: str) -> str:
    if "\\" not in body:
        return body
    return _ESCAPE.sub(_unescape, body)


def _unescape(match: "re.Match[str]") -> str:
    code = match.group(1)
    if len(code) > 1:
        try:
            return chr(int(code[1:], 16))
        except (ValueError, OverflowError):
            raise LiteralError(f"no such character: \\{code}") from None
    if code not in _SIMPLE_ESCAPES:
        raise LiteralError(f"unknown escape \\{code}")
    return _SIMPLE_ESCAPES[code]
