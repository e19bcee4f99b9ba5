"""What a client is made with, as a dictionary. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from perdure.client._handle import Interceptor
from perdure.client._service_client import ServiceClient
from perdure.common import HeaderCodecBehavior, QueryRejectCondition
from perdure.converter import DataConverter


class ClientConfig(TypedDict, total=False):
    """The arguments of a client."""

    service_client: ServiceClient
    namespace: str
    data_converter: DataConverter
    interceptors: Sequence[Interceptor]
    default_workflow_query_reject_condition: QueryRejectCondition | None
    header_codec_behavior: HeaderCodecBehavior
