"""OpenID Connect: JWTs checked against a provider's keys, which are cached."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from perdure_views.gateway.principals import ROLES, Principal, SignInError
from perdure_views.gateway.settings import SettingsError, is_loopback

_LOG = logging.getLogger("perdure.gateway")
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Signatures by a private key only: no token says itself how it is checked."""
FETCH_S: Final = 5.0
FETCH_BYTES_MAX: Final = 512 * 1024
REFRESH_S: Final = 300.0
ASK_AGAIN_S: Final = 10.0
"""Keys are asked for again at most so often, whatever tokens come in."""
KEEP_S: Final = 7 * 24 * 3600.0
"""Known keys are used for so long while the provider does not answer."""
LEEWAY_S: Final = 30
NAME_CHARS_MAX: Final = 200
LIFETIME_MAX_S: Final = 24 * 3600
"""A token that is good for longer is none that a provider should give for a person."""
RSA_BITS_MIN: Final = 2048


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """Which provider is trusted, for whom its tokens must be, and where they say the role."""

    issuer: str
    audience: str
    role_claim: str = "roles"
    name_claim: str = ""

    def check(self) -> None:
        """Refuse a provider that anybody on the way could be. Raises SettingsError."""
        parts = urlsplit(self.issuer)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and is_loopback(parts.hostname or "")
        ):
            raise SettingsError(f"the issuer {self.issuer!r} must begin with https://")
        if not self.audience:
            raise SettingsError("say for whom the tokens must be: --oidc-audience")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The provider's addresses are fixed: an answer must not lead elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing."""


class OidcVerifier:
    """Knows people by the tokens of one provider."""

    def __init__(self, settings: OidcSettings) -> None:
        settings.check()
        self._settings = settings
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._known_at = float("-inf")
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def principal(self, token: str) -> Principal | None:
        """Who a token is of; None when it is no JWT at all. Raises SignInError."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            return None
        if header.get("alg") not in ALGORITHMS:
            raise SignInError(f"a token signed with {header.get('alg')!r} proves nothing here")
        key = await self._key(str(header.get("kid", "")))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[str(header["alg"])],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise SignInError(f"the token is not valid: {error}") from error
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        settings = self._settings
        self._check_claims(claims)
        found = claims.get(settings.role_claim) or []
        given = [found] if isinstance(found, str) else found
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise SignInError(f"the claim {settings.role_claim!r} is no list of texts")
        roles = [role for role in ROLES if role in given or f"perdure:{role}" in given]
        email = claims.get("email") if claims.get("email_verified") is True else ""
        name = str(claims.get(settings.name_claim) or email or claims["sub"])
        if not roles:
            raise SignInError(
                f"{name[:NAME_CHARS_MAX]} has no role here: the claim {settings.role_claim!r} needs"
                f" one of {', '.join(ROLES)}"
            )
        return Principal(
            name=name[:NAME_CHARS_MAX],
            role=roles[-1],
            by_header=True,
            until_s=float(claims["exp"]) + LEEWAY_S,
        )

    def knows(self, _principal: Principal) -> bool:
        """A token of a provider is good until its time is over."""
        return False

    def _check_claims(self, claims: dict[str, Any]) -> None:
        """What a signature does not say. Raises SignInError."""
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if len(audiences) > 1 and claims.get("azp") != self._settings.audience:
            raise SignInError("the token is for several, and was not given to us (azp)")
        if claims["exp"] > time.time() + LIFETIME_MAX_S + LEEWAY_S:
            raise SignInError(f"the token is good for more than {LIFETIME_MAX_S // 3600} h")

    async def _key(self, kid: str) -> jwt.PyJWK:
        now = time.monotonic()
        if kid not in self._keys:
            await self._refresh()
        elif now - self._known_at > REFRESH_S and not self._lock.locked():
            # Nobody whose key is known waits for a provider that is slow.
            self._refreshing = asyncio.create_task(self._refresh())
        key = self._keys.get(kid)
        if key is None:
            raise SignInError("the token is signed with a key that its provider does not show")
        if time.monotonic() - self._known_at > KEEP_S:
            raise SignInError("the identity provider has not answered for too long")
        return key

    async def _refresh(self) -> None:
        """Ask for the keys; the known ones stay when there is no answer."""
        async with self._lock:
            if time.monotonic() - self._asked_at < ASK_AGAIN_S:
                return
            self._asked_at = time.monotonic()
            try:
                self._keys = await asyncio.to_thread(self._fetch_keys)
                self._known_at = time.monotonic()
            except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
                _LOG.warning(
                    "the keys of %s could not be read (%s); the known ones stay",
                    self._settings.issuer,
                    error,
                )

    def _fetch_keys(self) -> dict[str, jwt.PyJWK]:
        issuer = self._settings.issuer
        about = self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if about.get("issuer") != issuer:
            raise ValueError(f"it says that it is {about.get('issuer')!r}")
        place = str(about["jwks_uri"])
        if urlsplit(place).scheme != urlsplit(issuer).scheme:
            raise ValueError(f"its keys are at {place!r}")
        keys = {}
        for one in self._fetch(place)["keys"]:
            if one.get("use", "sig") != "sig":
                continue  # what is encrypted for it proves nothing
            try:
                key = jwt.PyJWK(one)
            except jwt.PyJWTError:
                continue  # a key of a kind that no token here is checked with
            if getattr(key.key, "key_size", RSA_BITS_MIN) < RSA_BITS_MIN and one["kty"] == "RSA":
                _LOG.warning("a key of %s is shorter than %d bits", issuer, RSA_BITS_MIN)
                continue
            keys[str(one.get("kid", ""))] = key
        return keys

    def _fetch(self, url: str) -> dict[str, Any]:
        with self._opener.open(url, timeout=FETCH_S) as answer:
            raw = answer.read(FETCH_BYTES_MAX + 1)
        if len(raw) > FETCH_BYTES_MAX:
            raise ValueError(f"{url} answered with more than {FETCH_BYTES_MAX} bytes")
        found = json.loads(raw)
        if not isinstance(found, dict):
            raise TypeError(f"{url} answered with no object")
        return found
