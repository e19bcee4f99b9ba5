"""Converters, codecs and interceptors that the type checker accepts, and wrong ones it refuses."""

from __future__ import annotations

from typing import Any, assert_type

from perdure import activity, client, worker
from perdure.api.common.v1 import Payload
from perdure.client import Client
from perdure.contrib.encryption import EncryptionCodec
from perdure.contrib.storage import LocalStorageDriver
from perdure.converter import DataConverter, ExternalStorage
from perdure.envconfig import ClientConfig


class Good(worker.Interceptor, client.Interceptor):
    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        return Link(next)


class Link(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        input.headers = {"a": Payload()}
        return await super().execute_activity(input)


class Out(worker.ActivityOutboundInterceptor):
    def info(self) -> activity.Info:
        return super().info()


class Wrong(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: str) -> Any:  # type: ignore[override]
        return input


async def right(next: worker.ActivityOutboundInterceptor) -> None:
    storage = ExternalStorage([LocalStorageDriver("claims")])
    converter = DataConverter(
        payload_codec=EncryptionCodec({"a": b"k" * 32}), external_storage=storage
    )
    made = await Client.connect("x", data_converter=converter, interceptors=[Good()])
    assert_type(made, Client)
    assert_type(await Client.connect(**ClientConfig.load_client_connect_config()), Client)
    assert_type(Out(next).info(), activity.Info)


async def wrong() -> None:
    DataConverter(payload_codec="aes")  # type: ignore[arg-type]
    EncryptionCodec({"a": "text"})  # type: ignore[dict-item]
    ExternalStorage(LocalStorageDriver("claims"))  # type: ignore[arg-type]
    await Client.connect("x", interceptors=[Link])  # type: ignore[list-item]
