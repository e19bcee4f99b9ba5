"""Values as a client converts them: in the context of the workflow or activity they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.replay.contexts import for_workflow
from perdure_schemas.converters import PayloadConverter

if TYPE_CHECKING:
    from perdure.client._connection import Connection


class ConvertsValues:
    """The part of a client that has a data converter."""

    _connection: Connection
    _values: PayloadConverter

    @property
    def values(self) -> PayloadConverter:
        """The data converter as the rooms below know one, in no context."""
        return self._values

    def values_for(self, workflow_id: str) -> PayloadConverter:
        """The same for what a workflow is told, or tells."""
        return for_workflow(self._values, self._connection.namespace, workflow_id)
