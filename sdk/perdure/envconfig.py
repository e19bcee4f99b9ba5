"""Client configuration from a TOML file of profiles and from the environment.

The file is the one given, the one that PERDURE_CONFIG_FILE names, or perdure/perdure.toml in the
user's configuration. A variable of the environment counts more than the file, and PERDURE_PROFILE
chooses the profile.

Example:
    [profile.default]
    address = "kafka:9093"
    namespace = "orders"
    [profile.default.tls]
    server_ca_cert_path = "/etc/perdure/ca.pem"
    [profile.default.kafka]
    "sasl.mechanism" = "SCRAM-SHA-512"
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypedDict, cast

from perdure._connect_config import TLSConfig

DataSource = Path | str | bytes
"""A file by its path, or what it holds as text or bytes."""

DEFAULT_PROFILE: Final = "default"
DEFAULT_ADDRESS: Final = "localhost:9092"
FILE_BYTES_MAX: Final = 1024 * 1024
_PREFIX: Final = "PERDURE_"
_KAFKA: Final = "PERDURE_KAFKA_"
_TLS_FILES: Final = {
    "server_root_ca_cert": "server_ca_cert",
    "client_cert": "client_cert",
    "client_private_key": "client_key",
}


class ClientConfigTLSDict(TypedDict, total=False):
    """TLS as a file of profiles has it."""

    disabled: bool
    server_name: str
    server_ca_cert: Mapping[str, str]
    client_cert: Mapping[str, str]
    client_key: Mapping[str, str]


class ClientConfigProfileDict(TypedDict, total=False):
    """A profile as a file has it."""

    address: str
    namespace: str
    api_key: str
    tls: ClientConfigTLSDict
    grpc_meta: Mapping[str, str]
    kafka: Mapping[str, str]


class ClientConnectConfig(TypedDict, total=False):
    """What `Client.connect(**config)` takes."""

    target_host: str
    namespace: str
    api_key: str
    tls: bool | TLSConfig
    kafka_config: Mapping[str, str]


@dataclass(frozen=True)
class ClientConfigTLS:
    """How TLS is spoken."""

    disabled: bool | None = None
    server_name: str | None = None
    """Without effect: a broker is verified by the address that it is reached at."""
    server_root_ca_cert: DataSource | None = None
    client_cert: DataSource | None = None
    client_private_key: DataSource | None = None

    def to_dict(self) -> ClientConfigTLSDict:
        """As a file has it."""
        made: dict[str, Any] = {}
        if self.disabled is not None:
            made["disabled"] = self.disabled
        if self.server_name is not None:
            made["server_name"] = self.server_name
        for name, key in _TLS_FILES.items():
            source = getattr(self, name)
            if isinstance(source, Path):
                made[key] = {"path": str(source)}
            elif source is not None:
                text = source.decode() if isinstance(source, bytes) else source
                made[key] = {"data": text}
        return cast(ClientConfigTLSDict, made)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any] | None) -> Self | None:
        """From what a file has: `x_path` and `x_data`, or `x = {path = ...}`.

        Raises ValueError for both a path and data, and for what is neither.
        """
        if given is None:
            return None
        sources = {name: _source(given, key) for name, key in _TLS_FILES.items()}
        return cls(disabled=given.get("disabled"), server_name=given.get("server_name"), **sources)

    def to_connect_tls_config(self) -> bool | TLSConfig:
        """What `Client.connect(tls=...)` takes."""
        if self.disabled:
            return False
        if self == ClientConfigTLS(disabled=self.disabled):
            return True
        return TLSConfig(
            server_root_ca_cert=_content(self.server_root_ca_cert),
            client_cert=_content(self.client_cert),
            client_private_key=_content(self.client_private_key),
            domain=self.server_name,
        )


@dataclass(frozen=True)
class ClientConfigProfile:
    """One set of settings."""

    address: str | None = None
    namespace: str | None = None
    api_key: str | None = None
    tls: ClientConfigTLS | None = None
    grpc_meta: Mapping[str, str] = field(default_factory=dict)
    """Taken and without effect: no gRPC is spoken."""
    kafka: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """Settings of librdkafka, such as those of SASL."""

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """From what a file has. Raises ValueError for a key that there is not."""
        known = ClientConfigProfileDict.__annotations__
        unknown = [key for key in given if key not in known]
        if unknown:
            raise ValueError(f"a profile has no {unknown[0]!r}; there are {', '.join(known)}")
        return cls(
            address=given.get("address"),
            namespace=given.get("namespace"),
            api_key=given.get("api_key"),
            tls=ClientConfigTLS.from_dict(given.get("tls")),
            grpc_meta=dict(given.get("grpc_meta", {})),
            kafka={key: str(value) for key, value in given.get("kafka", {}).items()},
        )

    def to_dict(self) -> ClientConfigProfileDict:
        """As a file has it."""
        made: dict[str, Any] = {
            name: value
            for name in ("address", "namespace", "api_key")
            if (value := getattr(self, name)) is not None
        }
        if self.tls is not None and (tls := self.tls.to_dict()):
            made["tls"] = tls
        for name in ("grpc_meta", "kafka"):
            if getattr(self, name):
                made[name] = dict(getattr(self, name))
        return cast(ClientConfigProfileDict, made)

    def to_client_connect_config(self) -> ClientConnectConfig:
        """What `Client.connect(**config)` takes; a broker on this machine without an address."""
        config = ClientConnectConfig(target_host=self.address or DEFAULT_ADDRESS)
        if self.namespace is not None:
            config["namespace"] = self.namespace
        if self.api_key is not None:
            config["api_key"] = self.api_key
        if self.tls is not None:
            config["tls"] = self.tls.to_connect_tls_config()
        if self.kafka:
            config["kafka_config"] = self.kafka
        return config

    @classmethod
    def load(
        cls,
        profile: str | None = None,
        *,
        config_source: DataSource | None = None,
        disable_file: bool = False,
        disable_env: bool = False,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> Self:
        """A profile of the file, with what the environment says over it.

        Raises ValueError for a profile that was asked for and is not there, and for settings that
        cannot be.
        """
        variables = _variables(override_env_vars)
        name = profile or (None if disable_env else variables.get("PERDURE_PROFILE"))
        given: Mapping[str, Any] = {}
        if not disable_file:
            profiles = _profiles(config_source, variables, strict=config_file_strict)
            given = profiles.get(name or DEFAULT_PROFILE, {})
            if name is not None and name not in profiles:
                known = ", ".join(profiles) or "none"
                raise ValueError(f"there is no profile {name!r}; there are {known}")
        found = dict(given) if disable_env else _over(given, variables)
        return cls.from_dict(found)


@dataclass(frozen=True)
class ClientConfig:
    """All profiles of a file."""

    profiles: Mapping[str, ClientConfigProfile]

    def to_dict(self) -> Mapping[str, ClientConfigProfileDict]:
        """As a file has them, by name."""
        return {name: profile.to_dict() for name, profile in self.profiles.items()}

    @classmethod
    def from_dict(cls, given: Mapping[str, Mapping[str, Any]]) -> Self:
        """From what a file has, by name."""
        return cls({name: ClientConfigProfile.from_dict(one) for name, one in given.items()})

    @classmethod
    def load(
        cls,
        *,
        config_source: DataSource | None = None,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> Self:
        """The profiles of the file; the environment says only which file."""
        variables = _variables(override_env_vars)
        return cls.from_dict(_profiles(config_source, variables, strict=config_file_strict))

    @staticmethod
    def load_client_connect_config(
        profile: str | None = None,
        *,
        config_file: str | None = None,
        disable_file: bool = False,
        disable_env: bool = False,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> ClientConnectConfig:
        """What `Client.connect(**config)` takes, from file and environment.

        Raises ValueError for a profile that was asked for and is not there, and for settings that
        cannot be.

        Example:
            client = await Client.connect(**ClientConfig.load_client_connect_config())
        """
        return ClientConfigProfile.load(
            profile,
            config_source=None if config_file is None else Path(config_file),
            disable_file=disable_file,
            disable_env=disable_env,
            config_file_strict=config_file_strict,
            override_env_vars=override_env_vars,
        ).to_client_connect_config()


def _variables(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if given is None else given


def default_file(variables: Mapping[str, str]) -> Path:
    """Where the file is when nothing says so."""
    if sys.platform == "darwin":
        home = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        home = Path(variables.get("APPDATA") or Path.home() / "AppData/Roaming")
    else:
        home = Path(variables.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "perdure" / "perdure.toml"


def _profiles(
    source: DataSource | None, variables: Mapping[str, str], *, strict: bool
) -> dict[str, Any]:
    """The tables of profiles of a file; none where no file was named and there is none."""
    where = "the configuration"
    if source is None:
        named = variables.get("PERDURE_CONFIG_FILE")
        source = Path(named) if named else default_file(variables)
        if not named and not source.is_file():
            return {}
    if isinstance(source, Path):
        where = str(source)
        if not source.is_file():
            raise ValueError(f"there is no configuration file {source}")
        if source.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"{source} has more than {FILE_BYTES_MAX} bytes")
    content = _content(source) or b""
    try:
        whole = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where} is no TOML: {error}") from error
    unknown = [key for key in whole if key != "profile"]
    if unknown and strict:
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}; profiles are [profile.NAME]")
    profiles: dict[str, Any] = whole.get("profile", {})
    return profiles


def _over(given: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """A profile with what the environment says over it."""
    made = dict(given)
    for name in ("address", "namespace", "api_key"):
        if value := variables.get(f"{_PREFIX}{name.upper()}"):
            made[name] = value
    tls = dict(made.get("tls") or {})
    if switch := variables.get("PERDURE_TLS"):
        tls["disabled"] = switch.lower() not in ("1", "true", "yes", "on")
    if server := variables.get("PERDURE_TLS_SERVER_NAME"):
        tls["server_name"] = server
    for key in _TLS_FILES.values():
        for suffix in ("path", "data"):
            if value := variables.get(f"PERDURE_TLS_{key.upper()}_{suffix.upper()}"):
                for old in (key, f"{key}_path", f"{key}_data"):
                    tls.pop(old, None)
                tls[f"{key}_{suffix}"] = value
    if tls or made.get("tls") is not None:
        made["tls"] = tls
    return made


def _source(given: Mapping[str, Any], key: str) -> DataSource | None:
    """A file of a TLS table, however it is named there."""
    table = given.get(key) or {}
    path = given.get(f"{key}_path") or table.get("path")
    data = given.get(f"{key}_data") or table.get("data")
    if path and data:
        raise ValueError(f"tls has both {key}_path and {key}_data: give one")
    return Path(path) if path else data


def _content(source: DataSource | None) -> bytes | None:
    if source is None:
        return None
    if isinstance(source, Path):
        try:
            return source.expanduser().read_bytes()
        except OSError as error:
            raise ValueError(f"{source} cannot be read: {error.strerror or error}") from error
    return source.encode() if isinstance(source, str) else source
