"""Principals and roles: bearer tokens, browser sessions and CSRF tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from perdure_topics.private import read_secret

ROLES: Final = ("read", "operate", "admin")
SESSION_S: Final = 12 * 3600
COOKIE: Final = "perdure_session"
TOKEN_CHARS_MIN: Final = 16
TOKEN_CHARS_MAX: Final = 8192
MARK_CHARS: Final = 32
TOKENS_MAX: Final = 10_000
_SESSION_KIND: Final = "perdure-session"


class SignInError(Exception):
    """A token that lets nobody in; the message says why, without the token."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Somebody who asks: their name stands in the events of what they do."""

    name: str
    role: str
    by_header: bool = False
    """Proven by a header that no foreign page can set, so no CSRF token is needed."""

    def may(self, role: str) -> bool:
        """Whether they have this role, or one above it."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Verifier(Protocol):
    """Something that knows tokens."""

    async def principal(self, token: str) -> Principal | None:
        """Who a token is, None when it is none of ours. Raises SignInError for one that is bad."""


class TokenList:
    """Tokens from a file, one a line: `role name token`, the token also as sha256:HEX."""

    def __init__(self, entries: Sequence[tuple[str, str, bytes]]) -> None:
        self._entries = list(entries)

    @classmethod
    def of_file(cls, path: Path) -> TokenList:
        """Read a file. Raises ValueError with its line for one that is wrong, OSError."""
        return cls.of_text(read_secret(path), where=str(path))

    @classmethod
    def of_text(cls, text: str, *, where: str) -> TokenList:
        """Read lines. Raises ValueError with the line for one that is wrong."""
        entries = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 3 or words[0] not in ROLES:
                raise ValueError(f"{where}, line {number}: write `{'|'.join(ROLES)} NAME TOKEN`")
            entries.append((words[0], words[1], _digest(words[2], f"{where}, line {number}")))
        if not entries:
            raise ValueError(f"{where} holds no token: write `{'|'.join(ROLES)} NAME TOKEN`")
        if len(entries) > TOKENS_MAX:
            raise ValueError(f"{where} holds more than {TOKENS_MAX} tokens")
        return cls(entries)

    async def principal(self, token: str) -> Principal | None:
        """Who a token is. Every entry is compared, each in constant time."""
        digest = hashlib.sha256(token.encode()).digest()
        found: tuple[str, str] | None = None
        for role, name, known in self._entries:
            if hmac.compare_digest(known, digest):
                found = (name, role)
        return None if found is None else Principal(name=found[0], role=found[1], by_header=True)


def _digest(token: str, where: str) -> bytes:
    if token.startswith("sha256:"):
        try:
            digest = bytes.fromhex(token.removeprefix("sha256:"))
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise ValueError(f"{where}: sha256: wants 64 hexadecimal digits behind it")
        return digest
    if len(token) < TOKEN_CHARS_MIN:
        raise ValueError(
            f"{where}: the token has {len(token)} characters, at least {TOKEN_CHARS_MIN} are"
            " needed; make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return hashlib.sha256(token.encode()).digest()


class Register:
    """Everybody who may come in: tokens, their sessions, and whoever is here when none is asked."""

    def __init__(self, verifiers: Sequence[Verifier] = (), *, local_name: str = "local") -> None:
        self._verifiers = tuple(verifiers)
        self._key = secrets.token_bytes(32)
        self._local = Principal(name=local_name, role="admin")

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are: on loopback only."""
        return not self._verifiers

    async def by_token(self, token: str) -> Principal:
        """Who a bearer token is. Raises SignInError."""
        if not 0 < len(token) <= TOKEN_CHARS_MAX:
            raise SignInError("the token is empty or too long")
        for verifier in self._verifiers:
            principal = await verifier.principal(token)
            if principal is not None:
                return principal
        raise SignInError("nobody has this token")

    def by_session(self, cookie: str) -> Principal:
        """Who a browser's session is of. Raises SignInError."""
        import jwt  # With cryptography, a seventh of what a worker's start would load.

        try:
            claims = jwt.decode(
                cookie,
                self._key,
                algorithms=["HS256"],
                audience=_SESSION_KIND,
                options={"require": ["exp", "sub", "aud"]},
            )
            role = str(claims["role"])
            if role not in ROLES:
                raise SignInError("the session has no role")
            return Principal(name=str(claims["sub"]), role=role)
        except (jwt.InvalidTokenError, KeyError) as error:
            raise SignInError("the session has ended: sign in again") from error

    def nobody(self) -> Principal:
        """Who is here without any proof. Raises SignInError where proof is asked."""
        if not self.is_open:
            raise SignInError("sign in first: this gateway asks for a token")
        return self._local

    def session_of(self, principal: Principal) -> str:
        """A session for a browser, signed; it ends with this gateway's process, or its time."""
        import jwt

        claims = {
            "sub": principal.name,
            "role": principal.role,
            "aud": _SESSION_KIND,
            "exp": int(time.time()) + SESSION_S,
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def reply_mark_of(self, principal: Principal) -> str:
        """What the correlation ids of somebody's asks begin with; nobody else can guess it."""
        name = b"replies|" + principal.name.encode()
        return hmac.new(self._key, name, hashlib.sha256).hexdigest()[:MARK_CHARS] + "."

    def csrf_of(self, session: str) -> str:
        """The token that every change from this session must carry."""
        return hmac.new(self._key, b"csrf|" + session.encode(), hashlib.sha256).hexdigest()

    def is_csrf(self, session: str, given: str) -> bool:
        """Whether a change carries its token, compared in constant time."""
        return hmac.compare_digest(self.csrf_of(session).encode(), given.encode())
