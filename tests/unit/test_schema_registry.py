"""The registry's client: nobody waits for it, each wait has its end, and no secret is said."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perdure_topics.kafka.access import HIDDEN, access_settings, hidden
from perdure_topics.kafka.settings import shared_settings
from perdure_topics.schema_registry_port import NotToBeHad, OnItsWay, RegistryError

pytest.importorskip("authlib", reason="the extra `registry` is not installed")
from perdure_topics.kafka.schema_registry import ConfluentRegistry, open_registry, shown


class Answering:
    """An HTTP server that answers as the test says, for what a good registry never does."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                path = self.path.partition("?")[0]
                status, body = outer.answers.get(path, (404, {"error_code": 40403}))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815 - the library's name

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Nobody answers any more."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def answering() -> Iterator[Answering]:
    made = Answering()
    yield made
    made.close()


class Looking:
    """Looks a schema up until the answer is what is waited for, woken by the registry's bell."""

    def __init__(self, registry: ConfluentRegistry) -> None:
        self.registry = registry
        self.bell = threading.Event()

    def until(self, kind: type, schema_id: int) -> str | OnItsWay | NotToBeHad:
        while True:
            self.bell.clear()
            found = self.registry.look_up(schema_id, on_ready=self.bell.set)
            if isinstance(found, kind) and found != OnItsWay(""):
                return found
            assert self.bell.wait(20.0), f"{found}"


def test_a_schema_is_asked_for_once_and_kept(answering: Answering) -> None:
    answering.answers["/schemas/ids/7"] = (200, {"schema": '"string"'})
    registry = ConfluentRegistry({"url": answering.url})
    looking = Looking(registry)

    assert registry.look_up(7, on_ready=looking.bell.set) == OnItsWay("")
    assert looking.until(str, 7) == '"string"'
    assert registry.look_up(7, on_ready=looking.bell.set) == '"string"'
    assert len(answering.asked) == 1
    registry.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"schema": "{}", "schemaType": "JSON"}, "schema 7 of the registry is JSON"),
        (
            {"schema": "{}", "references": [{"name": "a", "subject": "b", "version": 1}]},
            "refers to other schemas",
        ),
    ],
)
def test_what_is_no_whole_avro_schema_is_refused_at_once(
    answering: Answering, body: object, says: str
) -> None:
    answering.answers["/schemas/ids/7"] = (200, body)
    registry = ConfluentRegistry({"url": answering.url})

    found = Looking(registry).until(NotToBeHad, 7)

    assert isinstance(found, NotToBeHad)
    assert says in found.reason
    registry.close()


def test_an_unknown_id_is_asked_for_a_moment_longer(answering: Answering) -> None:
    registry = ConfluentRegistry({"url": answering.url})

    found = Looking(registry).until(NotToBeHad, 9)

    assert isinstance(found, NotToBeHad)
    assert f"{answering.url} has no schema with id 9" in found.reason
    assert len(answering.asked) > 1
    registry.close()


def test_a_registry_that_is_away_is_waited_for_and_given_up_in_the_end() -> None:
    closed = Answering()
    closed.close()
    now_s = [0.0]
    registry = ConfluentRegistry({"url": closed.url}, away_s=600.0, clock=lambda: now_s[0])
    looking = Looking(registry)

    found = looking.until(OnItsWay, 7)
    assert isinstance(found, OnItsWay)
    assert f"{closed.url} does not answer" in found.problem
    now_s[0] = 601.0
    refused = looking.until(NotToBeHad, 7)

    assert isinstance(refused, NotToBeHad)
    assert "asked for 601 s" in refused.reason
    now_s[0] = 700.0
    assert isinstance(registry.look_up(7, on_ready=looking.bell.set), OnItsWay)  # anew
    with pytest.raises(RegistryError, match="does not answer"):
        registry.register("s", '"string"')
    registry.close()


def test_a_wrong_password_is_held_and_says_what_to_set(
    answering: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="perdure")
    answering.answers["/schemas/ids/7"] = (401, {"error_code": 401, "message": "who are you?"})
    url = answering.url.replace("://", "://ada:s3cret@")
    registry = open_registry({"schema.registry.url": url})
    assert registry is not None

    found = Looking(registry).until(OnItsWay, 7)

    assert isinstance(found, OnItsWay)
    assert "set schema.registry.basic.auth.user.info" in found.problem
    assert "s3cret" not in f"{found}{registry.address}{caplog.text}"
    registry.close()


def test_settings_of_a_registry_stay_away_from_librdkafka_and_hidden() -> None:
    environment = {
        "PERDURE_KAFKA_SCHEMA_REGISTRY_URL": "http://ada:s3cret@registry:8081",
        "PERDURE_KAFKA_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "ada:s3cret",
    }

    settings = access_settings(environment=environment)

    assert settings["schema.registry.basic.auth.user.info"] == "ada:s3cret"
    assert set(hidden(settings).values()) == {HIDDEN}
    assert not [name for name in shared_settings("b:1", settings) if name.startswith("schema.")]
    assert shown("http://a:b@x:1/p,https://y") == "http://x:1/p,https://y"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"schema.registry.ssl.ca.location": "/nowhere"}, "without schema.registry.url"),
        ({"schema.registry.url": "ftp://ada:s3cret@x"}, "cannot be used"),
        ({"schema.registry.url": "http://x", "schema.registry.colour": "red"}, "colour"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        open_registry(settings)

    assert "s3cret" not in str(caught.value)
    assert open_registry({}) is None
