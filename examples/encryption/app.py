"""What is secret leaves no process in clear (python -m examples.encryption.app).

The keys come from the environment of the processes, never from the log. A second key is made the
one that encrypts while a workflow of the first one is still running; both can be read.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from perdure import activity, workflow
from perdure.client import Client
from perdure.contrib.codecs import CodecChain
from perdure.contrib.compression import ZstdCodec
from perdure.contrib.encryption import EncryptionCodec, generate_key
from perdure.converter import DataConverter
from perdure.worker import Worker

QUEUE = "patients"
# In earnest: from a secret store, the same in all clients and workers.
KEYS = {"2026": generate_key(), "2027": generate_key()}


def converter(key_id: str) -> DataConverter:
    """Compress what is long, then encrypt all."""
    return DataConverter(
        payload_codec=CodecChain(ZstdCodec(), EncryptionCodec(KEYS, key_id=key_id))
    )


@activity.defn
async def file_finding(patient: str) -> str:
    return f"filed the finding of {patient}"


@workflow.defn
class Finding:
    def __init__(self) -> None:
        self.is_signed = False

    @workflow.run
    async def run(self, patient: str) -> str:
        await workflow.wait_condition(lambda: self.is_signed)
        return await workflow.execute_activity(
            file_finding, patient, start_to_close_timeout=timedelta(seconds=10)
        )

    @workflow.signal
    def sign(self, doctor: str) -> None:
        self.is_signed = bool(doctor)


async def run_with(target: str, key_id: str) -> tuple[Client, Worker]:
    client = await Client.connect(target, data_converter=converter(key_id))
    worker = Worker(client, task_queue=QUEUE, workflows=[Finding], activities=[file_finding])
    return client, worker


async def main(target: str) -> str:
    client, worker = await run_with(target, "2026")
    async with worker:
        await client.start_workflow(Finding.run, "Ada L.", id="finding-1", task_queue=QUEUE)
    await client.close()

    client, worker = await run_with(target, "2027")
    async with worker:
        handle = client.get_workflow_handle_for(Finding.run, "finding-1")
        await handle.signal(Finding.sign, "Dr. Grey")
        result = await handle.result()
        keys = {
            payload.metadata["encryption-key-id"].decode()
            async for event in handle.fetch_history_events()
            for payload in getattr(event.event, "input", [])
        }
    await client.close()
    print(f"{result}; in the log are payloads of the keys {', '.join(sorted(keys))}")
    return result


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"file:{Path(directory)}"))
