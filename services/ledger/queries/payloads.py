"""Inputs and outputs of actions."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, select

from services.ledger.tables import ACTION_INPUT, ACTION_OUTPUT

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PayloadRecord:
    """Inputs or outputs: the document itself, or where it is."""

    inline: bytes | None
    """The canonical JSON document; None when it is in the blob store."""
    blob_key: str
    size: int
    digest: str


def get_inputs(connection: Connection, action_id: int) -> PayloadRecord | None:
    """Return the inputs of an action, None when there is no such action."""
    return inputs_of(connection, [action_id]).get(action_id)


def get_outputs(connection: Connection, action_id: int) -> PayloadRecord | None:
    """Return the outputs of an action, None until it succeeded."""
    return outputs_of(connection, [action_id]).get(action_id)


def inputs_of(connection: Connection, action_ids: Sequence[int]) -> dict[int, PayloadRecord]:
    """Return the inputs of several actions by their ids."""
    return _payloads(connection, ACTION_INPUT, action_ids)


def outputs_of(connection: Connection, action_ids: Sequence[int]) -> dict[int, PayloadRecord]:
    """Return the outputs of several actions by their ids; those that did not succeed are missing."""
    return _payloads(connection, ACTION_OUTPUT, action_ids)


def _payloads(connection: Connection, table: Table, action_ids: Sequence[int]) -> dict[int, PayloadRecord]:
    c = table.c
    query = select(c.action_id, c.inline, c.blob_key, c.size, c.digest)
    found: dict[int, PayloadRecord] = {}
    for start in range(0, len(action_ids), _PAGE):
        page = action_ids[start : start + _PAGE]
        for action_id, *document in connection.execute(query.where(c.action_id.in_(page))):
            found[action_id] = PayloadRecord(*document)
    return found
