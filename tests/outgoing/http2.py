"""A server that speaks HTTP/2, for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

if TYPE_CHECKING:
    from tests.outgoing.servers import Handler, Visit


def answers_in_http2(body: bytes, every: float | None = None) -> Handler:
    """Gives each request the same body; a byte `every` so many seconds, for ever, if that is given."""

    def handler(visit: Visit) -> None:
        speaker = H2Connection(H2Configuration(client_side=False))
        speaker.initiate_connection()
        visit.send(speaker.data_to_send())
        while came := visit.socket.recv(65_536):
            for event in speaker.receive_data(came):
                if isinstance(event, RequestReceived):
                    visit.server.requests.append(dict(event.headers)[b":authority"])
                elif isinstance(event, DataReceived):
                    speaker.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    _answer(visit, speaker, event.stream_id, body, every)
            visit.send(speaker.data_to_send())

    return handler


def _answer(visit: Visit, speaker: H2Connection, stream: int, body: bytes, every: float | None) -> None:
    speaker.send_headers(stream, [(":status", "200")])
    while every is not None:
        speaker.send_data(stream, body[:1])
        visit.send(speaker.data_to_send())
        time.sleep(every)
    room = min(speaker.local_flow_control_window(stream), len(body))
    for start in range(0, room, 16_384):
        speaker.send_data(stream, body[start : min(start + 16_384, room)])
    if room == len(body):
        speaker.end_stream(stream)
