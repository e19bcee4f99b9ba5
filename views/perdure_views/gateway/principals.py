"""Principals and roles: bearer tokens, browser sessions and CSRF tokens."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from perdure_topics.private import read_secret

_LOG: Final = logging.getLogger("perdure.gateway")
ROLES: Final = ("read", "operate", "admin")
SESSION_S: Final = 12 * 3600
SESSIONS_MAX: Final = 10_000
LOOK_EVERY_S: Final = 5.0
"""The file of tokens is looked at so often."""
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
    until_s: float = math.inf
    """When what proved it is over, by the wall clock."""
    key: bytes = b""
    """The digest of the token of a list that proved it."""
    session: str = ""
    """The browser's session that they are in."""

    def may(self, role: str) -> bool:
        """Whether they have this role, or one above it."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Verifier(Protocol):
    """Something that knows tokens."""

    async def principal(self, token: str) -> Principal | None:
        """Who a token is, None when it is none of ours. Raises SignInError for one that is bad."""

    def knows(self, principal: Principal) -> bool:
        """Whether the token that proved who somebody is still does, and for the same role."""


class TokenList:
    """Tokens from a file, one a line: `role name token`, the token also as sha256:HEX."""

    def __init__(
        self, entries: Sequence[tuple[str, str, bytes]], *, path: Path | None = None
    ) -> None:
        self._entries = list(entries)
        self._path = path
        """The file to read again, when it has changed."""
        self._seen = _state_of(path)
        self._looked_s = time.monotonic()

    @classmethod
    def of_file(cls, path: Path) -> TokenList:
        """Read a file. Raises ValueError with its line for one that is wrong, OSError."""
        seen = _state_of(path)
        found = cls(cls.of_text(read_secret(path), where=str(path))._entries, path=path)
        found._seen = seen
        return found

    def _look(self) -> None:
        """Read the file again if it has changed; one that is wrong now lets nobody else in."""
        now_s = time.monotonic()
        if self._path is None or now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        seen = _state_of(self._path)
        if seen == self._seen:
            return
        try:
            self._entries = self.of_text(read_secret(self._path), where=str(self._path))._entries
            self._seen = seen
            _LOG.warning("the tokens of %s were read again: %d", self._path, len(self._entries))
        except (OSError, ValueError) as error:
            _LOG.error("the tokens cannot be read again, the known ones stay: %s", error)

    def knows(self, principal: Principal) -> bool:
        """Whether the token is in the list still, with that name and role."""
        self._look()
        return (principal.role, principal.name, principal.key) in self._entries

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
        self._look()
        digest = hashlib.sha256(token.encode()).digest()
        found: tuple[str, str] | None = None
        for role, name, known in self._entries:
            if hmac.compare_digest(known, digest):
                found = (name, role)
        if found is None:
            return None
        return Principal(name=found[0], role=found[1], by_header=True, key=digest)


def _state_of(path: Path | None) -> tuple[int, int, int] | None:
    """By what a file is known to have changed; None where there is none."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return None
    return None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino)


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
        self._sessions: OrderedDict[str, Principal] = OrderedDict()
        """Those who have signed in and not out, by session."""
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
                options={"require": ["exp", "jti", "aud"]},
            )
            principal = self._sessions[str(claims["jti"])]
        except (jwt.InvalidTokenError, KeyError) as error:
            raise SignInError("the session has ended: sign in again") from error
        if not self.holds(principal):
            self._sessions.pop(principal.session, None)
            raise SignInError("the session has ended: sign in again")
        return principal

    def holds(self, principal: Principal) -> bool:
        """Whether what proved who somebody is still does: asked while they are served on and on."""
        if principal.session and principal.session not in self._sessions:
            return False
        if time.time() >= principal.until_s:
            return False
        return not principal.key or any(one.knows(principal) for one in self._verifiers)

    def end_session(self, cookie: str) -> Principal | None:
        """Sign out: the session is over, wherever its cookie went. Who was in it."""
        try:
            return self._sessions.pop(self.by_session(cookie).session, None)
        except SignInError:
            return None

    def nobody(self) -> Principal:
        """Who is here without any proof. Raises SignInError where proof is asked."""
        if not self.is_open:
            raise SignInError("sign in first: this gateway asks for a token")
        return self._local

    def session_of(self, principal: Principal) -> str:
        """A session for a browser, signed; it ends with this gateway's process, or its time."""
        import jwt

        session = secrets.token_urlsafe(16)
        until_s = min(time.time() + SESSION_S, principal.until_s)
        self._sessions[session] = replace(
            principal, session=session, by_header=False, until_s=until_s
        )
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        claims = {"jti": session, "aud": _SESSION_KIND, "exp": int(until_s)}
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
