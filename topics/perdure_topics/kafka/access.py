"""How a Kafka cluster is reached: TLS, SASL and the rest of the way, from one file and environment.

Two rules of the room: a secret is never part of a message, and what the protocol rests on
(isolation, acks, commits) cannot be set from outside.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

CONFIG_VARIABLE: Final = "PERDURE_KAFKA_CONFIG"
VARIABLE_PREFIX: Final = "PERDURE_KAFKA_"
FILE_BYTES_MAX: Final = 1024 * 1024
SECRET_BYTES_MAX: Final = 64 * 1024
SESSION_MS_MIN: Final = 1_000
SESSION_MS_MAX: Final = 25_000
HIDDEN: Final = "(hidden)"

# Settings of the way to the broker; all others are ours.
_OF_THE_WAY: Final = (
    "security.",
    "sasl.",
    "ssl.",
    "enable.ssl.",
    "enable.sasl.",
    "https.",
    "socket.",
    "broker.address.",
    "reconnect.",
    "connections.",
    "metadata.",
    "schema.registry.",
)
_ALSO: Final = frozenset({"client.id", "client.rack", "client.dns.lookup", "debug", "log_level"})
OF_GROUPS: Final = frozenset({"session.timeout.ms", "group.protocol", "group.instance.id"})
"""How long a silent member stays one, by which protocol, and as whom: for group members alone."""
_SECRETS: Final = (
    "password",
    "secret",
    "private",
    "key.pem",
    "keystore.pem",
    "oauthbearer.config",
    "user.info",
    "auth.token",
    "registry.url",  # may hold a name and a password
)


class AccessError(ValueError):
    """Settings that cannot be used; the message says where they stand and what to do."""


def is_secret(name: str) -> bool:
    """Whether a setting's value must never be shown."""
    return any(part in name for part in _SECRETS)


def hidden(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they may be shown."""
    return {name: HIDDEN if is_secret(name) else value for name, value in settings.items()}


def access_settings(
    config: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Librdkafka's settings of the way to the cluster.

    They come from a file, the one given or the one that PERDURE_KAFKA_CONFIG names, and from
    variables PERDURE_KAFKA_<NAME>, which win: PERDURE_KAFKA_SASL_PASSWORD is sasl.password. The
    file is TOML with a table [kafka], or properties of lines name=value. A value may be
    {file = "/run/secrets/password"} or {env = "NAME"}.

    Raises AccessError for a file or a setting that cannot be used.
    """
    chosen = config or environment.get(CONFIG_VARIABLE)
    found = dict(_of_file(Path(chosen).expanduser(), environment)) if chosen else {}
    for name, value in environment.items():
        if name.startswith(VARIABLE_PREFIX) and name != CONFIG_VARIABLE:
            setting = name.removeprefix(VARIABLE_PREFIX).lower().replace("_", ".")
            found[setting] = _checked(setting, value, f"the variable {name}")
    return found


def checked_settings(settings: Mapping[str, Any], where: str) -> dict[str, str]:
    """Settings given by code, held to the same rules. Raises AccessError."""
    return {name: _checked(name, value, where) for name, value in settings.items()}


def _of_file(path: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise AccessError(f"{path} has over {FILE_BYTES_MAX} bytes: that is no configuration")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"the Kafka configuration {path} cannot be read: {error}") from error
    pairs = _toml(path, text) if path.suffix == ".toml" else _properties(path, text)
    for name, value in pairs:
        yield name, _checked(name, _resolved(name, value, path, environment), str(path))


def _toml(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    import tomllib

    try:
        table = tomllib.loads(text).get("kafka")
    except tomllib.TOMLDecodeError as error:
        raise AccessError(f"{path} is no TOML: {error}") from error
    if not isinstance(table, dict):
        raise AccessError(f"{path} has no table [kafka]")
    yield from _flat("", table)


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """TOML's dotted keys are nested tables; a table {file} or {env} is a value."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and not (len(value) == 1 and set(value) <= {"file", "env"}):
            yield from _flat(f"{name}.", value)
        else:
            yield name, value


def _properties(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "!")):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise AccessError(f"{path}, line {number}: not of the form name=value")
        yield name.strip(), value.strip()


def _resolved(name: str, value: Any, path: Path, environment: Mapping[str, str]) -> Any:
    """A value, or what the file or variable that it names holds."""
    if not isinstance(value, dict):
        return value
    if "env" in value:
        found = environment.get(value["env"])
        if found is None:
            raise AccessError(f"{path}: {name} is in the variable {value['env']}, which is not set")
        return found
    secret = (path.parent / str(value["file"])).expanduser()
    try:
        with secret.open(encoding="utf-8") as file:
            return file.read(SECRET_BYTES_MAX).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"{path}: {name} is in {secret}, which cannot be read: {error}") from None


def _checked(name: str, value: Any, where: str) -> str:
    if not name.startswith(_OF_THE_WAY) and name not in _ALSO | OF_GROUPS:
        raise AccessError(
            f"{where}: {name} is not for you to set, because the protocol rests on it; settings"
            " of the way to the broker (security., sasl., ssl., socket. ...) and to a schema"
            " registry (schema.registry.) are"
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int):
        raise AccessError(f"{where}: {name} is {type(value).__name__}: give text or a number")
    text = str(value)
    if name == "session.timeout.ms" and not (
        text.isdigit() and SESSION_MS_MIN <= int(text) <= SESSION_MS_MAX
    ):
        raise AccessError(
            f"{where}: {name} is {text!r}: give {SESSION_MS_MIN} to {SESSION_MS_MAX}, because a"
            " host that stands still must be out of its group after 25 s"
        )
    if name == "group.protocol" and text not in ("classic", "consumer"):
        raise AccessError(f"{where}: {name} is {text!r}: give classic or consumer")
    return text


def aiokafka_settings(settings: Mapping[str, str]) -> dict[str, Any]:
    """The same way for aiokafka, which Faust uses: its keyword arguments.

    Raises AccessError for what aiokafka has no word for.
    """
    protocol = settings.get("security.protocol", "PLAINTEXT").upper()
    out: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        out["ssl_context"] = _ssl_context(settings)
    if not protocol.startswith("SASL"):
        return out
    mechanism = settings.get("sasl.mechanism", settings.get("sasl.mechanisms", "PLAIN")).upper()
    if mechanism not in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
        raise AccessError(
            f"sasl.mechanism {mechanism} is not for Faust's client: give PLAIN or SCRAM-SHA-256/512"
        )
    out["sasl_mechanism"] = mechanism
    out["sasl_plain_username"] = settings.get("sasl.username", "")
    out["sasl_plain_password"] = settings.get("sasl.password", "")
    return out


def _ssl_context(settings: Mapping[str, str]) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(
            cafile=settings.get("ssl.ca.location"), cadata=settings.get("ssl.ca.pem")
        )
        certificate = settings.get("ssl.certificate.location")
        if certificate:
            context.load_cert_chain(
                certificate, settings.get("ssl.key.location"), settings.get("ssl.key.password")
            )
    except (OSError, ssl.SSLError) as error:
        raise AccessError(f"the TLS settings cannot be used: {error}") from error
    if settings.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if settings.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
