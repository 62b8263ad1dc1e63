"""An MCAP file whose end is missing, as a recorder leaves it that lost power: read up to the cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader


def read_cut_mcap(file: Path, start: int | None = None) -> Iterator[tuple[str, str, int, bytes]]:
    """Yield topic, message type, log time (ns) and serialised bytes, in file order, up to the cut.

    Args:
        file: the .mcap file.
        start: leave out messages logged before this time.
    """
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with file.open("rb") as opened:
        records = iter(StreamReader(opened, record_size_limit=file.stat().st_size).records)
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except Exception:  # each parser and decompressor has its own for a torn record
                return
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message) and (start is None or record.log_time >= start):
                channel = channels.get(record.channel_id)
                schema = schemas.get(channel.schema_id) if channel else None
                if channel and schema and channel.message_encoding == "cdr":
                    yield channel.topic, schema.name, record.log_time, record.data
