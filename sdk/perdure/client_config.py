"""What a client is made with, as a dictionary. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from perdure.common import HeaderCodecBehavior
from perdure.connection import Connection
from perdure.converter import DataConverter
from perdure.handles import Interceptor


class ClientConfig(TypedDict, total=False):
    """The arguments of a client."""

    connection: Connection
    data_converter: DataConverter
    interceptors: Sequence[Interceptor]
    header_codec_behavior: HeaderCodecBehavior
