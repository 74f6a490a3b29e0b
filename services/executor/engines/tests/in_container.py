"""What an executor in a container does with the engine of its host: a program for such a container.

Launches a worker, has it run code, kills and forgets it, and prints what happened as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from services.executor.engines.base import ImageDefinition
from services.executor.engines.tests.docker_host import make_engine
from services.executor.engines.tests.process_host import WorkerPeer, spec_of, write_code


async def _run(state: Path, image: str) -> dict[str, object]:
    write_code(state)
    engine = make_engine(state, "unix:///var/run/docker.sock", image)
    await engine.start()
    peers: list[WorkerPeer] = []
    try:
        prepared = await engine.ensure_image(ImageDefinition("", ""), lambda _: None)
        spec, peer = await spec_of(state, 1, peers, image=prepared, code_dir=str(state / "code"))
        await engine.launch(spec)
        await peer.connected()
        answer = await peer.call("evaluate", expression="os.getcwd()")
        ended = await engine.kill(1, "enough")
        await engine.forget(1)
        return {"answer": answer, "killed": ended.killed, "left": spec.directory.exists()}
    finally:
        for peer in peers:
            await peer.close()
        for worker_id in engine.worker_ids:
            await engine.kill(worker_id, "failed")
            await engine.forget(worker_id)
        await engine.close()


def main() -> None:
    """Runs with a state directory and an image."""
    sys.stdout.write(json.dumps(asyncio.run(_run(Path(sys.argv[1]), sys.argv[2]))) + "\n")


if __name__ == "__main__":
    main()
