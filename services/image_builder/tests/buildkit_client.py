"""What BuildKit does with a session: a client of gRPC that receives files and asks for secrets."""

from __future__ import annotations

from typing import Any

import grpc

from hangar.buildkit.v1.buildkit_pb2 import FilePacket, FileStat, SecretRequest, SecretResponse

_STAT, _REQUEST, _DATA, _END = range(4)
_NO_FILE = 1 << 31 | 1 << 27


async def told(call: Any) -> list[FileStat]:
    """The files that a transfer tells of."""
    found = []
    while (packet := await call.read()).HasField("stat"):
        assert packet.type == _STAT
        found.append(packet.stat)
    return found


async def receive(channel: grpc.aio.Channel, name: str, *more: tuple[str, str]) -> dict[str, bytes]:
    """The contents of all files of a directory; further metadata goes with the call."""
    call = transfer(channel, name, *more)
    files = {}
    for number, stat in enumerate(await told(call)):
        if not stat.mode & _NO_FILE:
            await call.write(FilePacket(type=_REQUEST, id=number))
            content = b""
            while (packet := await call.read()).data:
                assert (packet.type, packet.id) == (_DATA, number)
                content += packet.data
            files[stat.path] = content
    await call.write(FilePacket(type=_END))
    assert (await call.read()).type == _END
    await call.done_writing()
    return files


def transfer(channel: grpc.aio.Channel, name: str, *more: tuple[str, str]) -> Any:
    """Begins to receive a directory."""
    method = channel.stream_stream(
        "/moby.filesync.v1.FileSync/DiffCopy", FilePacket.SerializeToString, FilePacket.FromString
    )
    return method(metadata=[("dir-name", name), *more])


async def secret(channel: grpc.aio.Channel, identifier: str) -> bytes | None:
    """A build secret, None when there is none of that name."""
    method = channel.unary_unary(
        "/moby.buildkit.secrets.v1.Secrets/GetSecret",
        SecretRequest.SerializeToString,
        SecretResponse.FromString,
    )
    try:
        response: SecretResponse = await method(SecretRequest(id=identifier))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return None
    return response.data
