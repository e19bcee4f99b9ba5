"""Tokens of an identity provider: a real one over HTTP, honest, forged, late, and away."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from perdure_views.gateway import oidc
from perdure_views.gateway.oidc import OidcSettings, OidcVerifier
from perdure_views.gateway.principals import SignInError
from perdure_views.gateway.settings import SettingsError

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)
FOR_SECRETS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider:
    """A provider of identities on loopback."""

    def __init__(self) -> None:
        self.asked = 0
        self.moves_to = ""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        if self.moves_to:
            request.send_response(302)
            request.send_header("location", self.moves_to)
            request.end_headers()
            return
        about = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        shown = json.dumps({"keys": keys()} if request.path == "/keys" else about).encode()
        request.send_response(200)
        request.end_headers()
        request.wfile.write(shown)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def settings(self) -> OidcSettings:
        return OidcSettings(issuer=self.issuer, audience="perdure")

    def token(self, key: Any = RSA, algorithm: str = "RS256", kid: str = "one", **more: Any) -> str:
        claims = {
            "iss": self.issuer,
            "aud": "perdure",
            "sub": "ada",
            "exp": time.time() + 60,
            "roles": ["operate"],
            **more,
        }
        filled = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(filled, key, algorithm=algorithm, headers={"kid": kid})


def keys() -> list[dict[str, Any]]:
    one = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key()))
    two = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(CURVE.public_key()))
    short = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(SHORT.public_key()))
    enc = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(FOR_SECRETS.public_key()))
    more = [{**short, "kid": "short"}, {**enc, "kid": "for secrets", "use": "enc"}]
    strange = {"kty": "unknown", "kid": "three"}
    return [{**one, "kid": "one", "alg": "RS256"}, {**two, "kid": "two"}, *more, strange]


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


async def test_a_good_token_says_who_and_what_they_may(provider: Provider) -> None:
    verifier = OidcVerifier(provider.settings())

    ada = await verifier.principal(provider.token())
    eve = await verifier.principal(
        provider.token(
            CURVE,
            "ES256",
            "two",
            email="eve@example.org",
            email_verified=True,
            roles="perdure:admin",
        )
    )

    assert ada is not None
    assert eve is not None
    assert (ada.name, ada.role, ada.by_header) == ("ada", "operate", True)
    assert (eve.name, eve.role) == ("eve@example.org", "admin")


async def test_an_address_that_nobody_has_verified_is_no_name(provider: Provider) -> None:
    for verified in (None, False, "true"):
        token = provider.token(email="ada@example.org", email_verified=verified)
        found = await OidcVerifier(provider.settings()).principal(token)
        assert found is not None
        assert found.name == "ada"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"aud": "another"}, "[Aa]udience"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": 99_999_999_999}, "not yet"),
        ({"roles": []}, "no role"),
        ({"roles": None}, "no role"),
        ({"roles": ["root"]}, "no role"),
        ({"roles": {"admin": False}}, "no list of texts"),
        ({"roles": ["admin", 1]}, "no list of texts"),
        ({"aud": ["perdure", "another"], "azp": "another"}, "azp"),
        ({"aud": ["perdure", "another"]}, "azp"),
        ({"exp": time.time() + 48 * 3600}, "more than 24 h"),
        ({"key": SHORT, "kid": "short"}, "does not show"),
        ({"key": FOR_SECRETS, "kid": "for secrets"}, "does not show"),
        ({"kid": "nine"}, "does not show"),
        ({"key": STRANGER}, "[Ss]ignature"),
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_token_that_is_not_for_us_lets_nobody_in(
    provider: Provider, more: dict[str, Any], says: str
) -> None:
    verifier = OidcVerifier(provider.settings())

    with pytest.raises(SignInError, match=says):
        await verifier.principal(provider.token(**more))


async def test_a_token_does_not_say_how_it_is_checked(provider: Provider) -> None:
    verifier = OidcVerifier(provider.settings())
    public = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    unsigned = provider.token(None, "none")
    # The old trick: the public key, which everybody has, taken for a shared secret.
    front, _, _ = provider.token(b"x" * 32, "HS256").rpartition(".")
    signature = hmac.new(public, front.encode(), hashlib.sha256).digest()
    by_public_key = f"{front}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    for token in (unsigned, by_public_key):
        with pytest.raises(SignInError, match="proves nothing"):
            await verifier.principal(token)


async def test_a_token_that_is_none_is_left_to_others(provider: Provider) -> None:
    assert await OidcVerifier(provider.settings()).principal("operator-token-0123456789") is None


async def test_known_keys_serve_while_the_provider_is_away(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = OidcVerifier(provider.settings())
    token = provider.token()
    assert await verifier.principal(token) is not None
    monkeypatch.setattr(oidc, "REFRESH_S", 0.0)
    monkeypatch.setattr(oidc, "ASK_AGAIN_S", 0.0)
    provider.close()

    assert await verifier.principal(token) is not None
    monkeypatch.setattr(oidc, "KEEP_S", 0.0)
    with pytest.raises(SignInError, match="not answered for too long"):
        await verifier.principal(token)


async def test_nobody_whose_key_is_known_waits_for_a_slow_provider(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = OidcVerifier(provider.settings())
    assert await verifier.principal(provider.token()) is not None
    monkeypatch.setattr(oidc, "REFRESH_S", 0.0)
    monkeypatch.setattr(oidc, "ASK_AGAIN_S", 0.0)
    goes_on = threading.Event()
    fetch = verifier._fetch_keys

    def slow() -> dict[str, Any]:
        assert goes_on.wait(30)
        return fetch()

    monkeypatch.setattr(verifier, "_fetch_keys", slow)

    for _ in range(3):
        assert await verifier.principal(provider.token()) is not None
    refreshing = verifier._refreshing
    assert refreshing is not None
    assert not refreshing.done()
    goes_on.set()
    await refreshing


async def test_tokens_with_made_up_keys_do_not_make_us_ask_and_ask(provider: Provider) -> None:
    verifier = OidcVerifier(provider.settings())

    for number in range(20):
        with pytest.raises(SignInError):
            await verifier.principal(provider.token(kid=f"made-up-{number}"))

    assert provider.asked <= 2


async def test_the_provider_leads_nowhere_else(provider: Provider) -> None:
    provider.moves_to = "http://127.0.0.1:1/latest/meta-data"
    verifier = OidcVerifier(provider.settings())

    with pytest.raises(SignInError, match="does not show"):
        await verifier.principal(provider.token())


@pytest.mark.parametrize("issuer", ["http://id.example.org", "file:///etc/passwd", "ftp://x", ""])
def test_a_provider_that_anybody_could_be_is_refused(issuer: str) -> None:
    with pytest.raises(SettingsError):
        OidcVerifier(OidcSettings(issuer=issuer, audience="perdure"))
