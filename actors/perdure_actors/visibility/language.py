"""The list filter as people write it: its grammar, and errors that say where and what instead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from perdure_actors.visibility.fields import FIELDS, Field, near_name, value_of
from perdure_actors.visibility.filters import EVERYTHING, All, Compare, Missing, Node, Not, Some

if TYPE_CHECKING:
    from perdure_actors.visibility.values import Value

QUERY_LENGTH_MAX: Final = 10_000
DEPTH_MAX: Final = 50
"""So deep may parentheses and NOTs be nested."""
CONDITIONS_MAX: Final = 100
VALUES_MAX: Final = 500

_GRAMMAR: Final = r"""
start: [condition] [order] [group]
?condition: conjunction (_OR conjunction)*             -> some
?conjunction: negation (_AND negation)*                -> every
?negation: NOT negation                                -> negated
    | "(" condition ")"
    | name OPERATOR literal                            -> compare
    | name "!=" literal                                -> differs
    | name [NOT] _IN "(" literal ("," literal)* ")"    -> among
    | name [NOT] _BETWEEN literal _AND literal         -> between
    | name [NOT] _STARTS_WITH literal                  -> starts_with
    | name _IS [NOT] _NULL                             -> missing
order: _ORDER _BY name [DIRECTION]
group: _GROUP _BY name
name: NAME | QUOTED_NAME
literal: TEXT | NUMBER | TRUTH

OPERATOR: "<=" | ">=" | "=" | "<" | ">"
DIRECTION.2: /(ASC|DESC)(?![\w.])/i
TRUTH.2: /(TRUE|FALSE)(?![\w.])/i
_AND.2: /AND(?![\w.])/i
_OR.2: /OR(?![\w.])/i
NOT.2: /NOT(?![\w.])/i
_IN.2: /IN(?![\w.])/i
_BETWEEN.2: /BETWEEN(?![\w.])/i
_STARTS_WITH.2: /STARTS_WITH(?![\w.])/i
_IS.2: /IS(?![\w.])/i
_NULL.2: /NULL(?![\w.])/i
_ORDER.2: /ORDER(?![\w.])/i
_GROUP.2: /GROUP(?![\w.])/i
_BY.2: /BY(?![\w.])/i
NAME: /[^\W\d][\w.]*/
QUOTED_NAME: /`[^`]+`/
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?(?![\w.])/
TEXT: /'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"/s
%ignore /\s+/
"""
_WORDS: Final = {
    "NAME": "a field",
    "QUOTED_NAME": "a field",
    "TEXT": "a text in quotes",
    "NUMBER": "a number",
    "TRUTH": "true or false",
    "OPERATOR": "an operator (=, !=, <, >, <=, >=, IN, BETWEEN, STARTS_WITH, IS)",
    "DIRECTION": "ASC or DESC",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": "a comma",
    "$END": "the end",
}
_OF_OPERATOR: Final = frozenset({"__ANON_0", "_IN", "_BETWEEN", "_STARTS_WITH", "_IS"})


class FilterError(ValueError):
    """A filter that cannot be understood: where, and what to write instead."""


@dataclass(frozen=True)
class Order:
    """By what a list is sorted."""

    field: str
    descends: bool


@dataclass(frozen=True)
class Query:
    """What is asked for."""

    where: Node = EVERYTHING
    order: Order | None = None
    group: str = ""


class _Named(str):
    """The name of a field, with the column it stands at."""

    __slots__ = ("column",)
    column: int


@dataclass(frozen=True)
class _Literal:
    value: Value
    column: int


@lru_cache(256)
def parse(query: str, *, counts: bool = False) -> Query:
    """Understand a filter; of a count when it may group. Raises FilterError."""
    if len(query) > QUERY_LENGTH_MAX:
        raise FilterError(f"the filter has {len(query)} characters; {QUERY_LENGTH_MAX} is the most")
    if not query or query.isspace():
        # The first list of a process need not wait for the grammar.
        return Query()
    try:
        found = cast(Query, _parser().parse(query))  # what the transformer makes of the tree
    except VisitError as error:
        if isinstance(error.orig_exc, FilterError):
            raise error.orig_exc from None
        if isinstance(error.orig_exc, ArithmeticError):
            raise FilterError("the filter has a value that is too large") from None
        raise
    except (ArithmeticError, RecursionError):
        raise FilterError("the filter has a value that is too large, or is too deep") from None
    except UnexpectedInput as error:
        raise _unexpected(query, error) from None
    _check_size(found.where)
    if found.group and not counts:
        raise FilterError("GROUP BY is for counts: count_workflows, or `perdure workflow count`")
    if found.order and counts:
        raise FilterError("ORDER BY is for lists: a count has no order")
    return found


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Maker(), maybe_placeholders=True)


def _check_size(node: Node) -> None:
    """Refuse a tree that takes too long to hold against a run. Raises FilterError."""
    conditions, values, stack = 0, 0, [(node, 1)]
    while stack:
        at, depth = stack.pop()
        if depth > DEPTH_MAX:
            raise FilterError(f"the filter is nested more than {DEPTH_MAX} deep: write it flatter")
        if isinstance(at, All | Some):
            stack += [(part, depth + 1) for part in at.parts]
        elif isinstance(at, Not):
            stack.append((at.part, depth + 1))
        else:
            conditions += 1
            values += len(at.values) if isinstance(at, Compare) else 1
    if conditions > CONDITIONS_MAX:
        raise FilterError(f"the filter has {conditions} conditions; {CONDITIONS_MAX} is the most")
    if values > VALUES_MAX:
        raise FilterError(f"the filter compares {values} values; {VALUES_MAX} is the most")


def _unexpected(query: str, error: UnexpectedInput) -> FilterError:
    if isinstance(error, UnexpectedToken):
        expected = error.accepts or error.expected
        at_end = error.token.type == "$END"
        column = len(query.rstrip()) if at_end else (error.token.start_pos or 0)
        found = "it ends" if at_end else f"there is {str(error.token)[:40]!r}"
        if error.token.type == "COMMA" and " BY " in query[:column].upper():
            return _at(column, "lists are sorted, and counts grouped, by one field")
    else:
        assert isinstance(error, UnexpectedCharacters)
        expected = error.allowed
        column = cast(int, error.pos_in_stream)  # None in the stubs of its base only
        found = f"there is {query[column : column + 20]!r}"
        if query[column] in "'\"`":
            return _at(column, f"the quote {query[column]} is never closed")
    return _at(column, f"{found}, where {_list(expected)} should be")


def _list(expected: Any) -> str:
    names = set(expected or ())
    if "OPERATOR" in names:
        names -= _OF_OPERATOR | {"NOT"}
    words = {_WORDS.get(name, name.strip("_").replace("_", " ")) for name in names}
    ordered = sorted(words)
    return " or ".join(filter(None, (", ".join(ordered[:-1]), ordered[-1]))) if ordered else "more"


def _at(column: int, what: str) -> FilterError:
    return FilterError(f"the filter is wrong at column {column + 1}: {what}")


def _text_of(token: str) -> str:
    """A quoted text without its quotes; a doubled quote or a backslash stands for a sign."""
    quote, inner = token[0], token[1:-1]
    out: list[str] = []
    signs = iter(inner)
    for sign in signs:
        if sign in ("\\", quote):
            out.append(next(signs))
        else:
            out.append(sign)
    return "".join(out)


def _number_of(token: Token) -> Value:
    try:
        return int(token)
    except ValueError:
        number = float(token)
    if not isfinite(number):
        raise _at(token.start_pos or 0, f"{token[:40]} is larger than any number")
    return number


class _Maker(Transformer[Token, Query]):
    """What each rule of the grammar makes."""

    def start(self, found: list[Any]) -> Query:
        where, order, group = found
        return Query(EVERYTHING if where is None else where, order, group or "")

    def some(self, parts: list[Node]) -> Node:
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def every(self, parts: list[Node]) -> Node:
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def negated(self, parts: list[Any]) -> Node:
        return Not(parts[1])

    def order(self, found: list[Any]) -> Order:
        name, direction = found
        return Order(_sortable(name), direction is not None and direction.upper() == "DESC")

    def group(self, found: list[Any]) -> str:
        return str(found[0])

    def name(self, found: list[Token]) -> _Named:
        token = found[0]
        is_quoted = token.type == "QUOTED_NAME"
        name = _Named(token[1:-1] if is_quoted else token)
        name.column = token.start_pos or 0
        near = "" if is_quoted or name in FIELDS else near_name(name)
        if near:
            raise _at(
                name.column,
                f"there is no field {name}: write {near}, or `{name}` in backticks for a search"
                " attribute of that name",
            )
        return name

    def literal(self, found: list[Token]) -> _Literal:
        token = found[0]
        column = token.start_pos or 0
        if token.type == "TEXT":
            return _Literal(_text_of(token), column)
        if token.type == "TRUTH":
            return _Literal(token.lower() == "true", column)
        return _Literal(_number_of(token), column)

    def compare(self, found: list[Any]) -> Node:
        name, op, literal = found
        return _compare(name, str(op), literal)

    def differs(self, found: list[Any]) -> Node:
        return Not(_compare(found[0], "=", found[1]))

    def among(self, found: list[Any]) -> Node:
        name, negation, *literals = found
        return _negated(negation, _compare(name, "=", *literals))

    def between(self, found: list[Any]) -> Node:
        name, negation, low, high = found
        return _negated(negation, _compare(name, "between", low, high))

    def starts_with(self, found: list[Any]) -> Node:
        name, negation, literal = found
        kind = FIELDS[name].kind if name in FIELDS else "text"
        if kind != "text" or not isinstance(literal.value, str):
            raise _at(literal.column, f"{name} STARTS_WITH takes texts only")
        return _negated(negation, _compare(name, "starts_with", literal))

    def missing(self, found: list[Any]) -> Node:
        name, negation = found
        return _negated(negation, Missing(str(name)))


def _negated(negation: Token | None, node: Node) -> Node:
    return node if negation is None else Not(node)


def _compare(name: _Named, op: str, *literals: _Literal) -> Compare:
    field = FIELDS.get(name)
    if field is not None and field.kind in ("status", "truth") and op != "=":
        raise _at(name.column, f"{name} has no order: compare it with =, != or IN")
    return Compare(str(name), op, tuple(_value(field, literal) for literal in literals))


def _value(field: Field | None, literal: _Literal) -> Value:
    if field is None:
        return literal.value
    try:
        return value_of(field, literal.value)
    except ValueError as error:
        raise _at(literal.column, str(error)) from None


def _sortable(name: _Named) -> str:
    field = FIELDS.get(name)
    if field is not None and not (field.is_indexed or field.name == "StartTime"):
        fit = [one.name for one in FIELDS.values() if one.is_indexed]
        raise _at(
            name.column,
            f"runs cannot be sorted by {name}: sort by StartTime, {', '.join(fit)} or a search"
            " attribute",
        )
    return str(name)
