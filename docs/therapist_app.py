#!/usr/bin/env python3
"""A therapist's app in one file: the offline buffer, the stream and the acks of docs/therapist-app.md.

    pip install websockets
    python3 docs/therapist_app.py ws://127.0.0.1:8080 'TOKEN' [BUFFER_FILE]

It walks around Makati, takes every offer, and may be killed and started again at any time: no fix is lost.
"""

import asyncio
import datetime
import json
import math
import random
import sqlite3
import sys

import websockets

FRAME = 500                         # fixes a frame; the server takes 1,000
EVERY_S = 3                         # a fix every so many seconds
STAY_AWAY = {4401, 4403, 4409}      # token not good, not allowed, replaced by a newer session: do not reconnect


class Buffer:
    """Fixes that the server has not answered for, on disk: they survive the app."""

    def __init__(self, path):
        self.db = sqlite3.connect(path)
        self.db.execute("CREATE TABLE IF NOT EXISTS fixes (id INTEGER PRIMARY KEY AUTOINCREMENT, fix TEXT NOT NULL)")

    def add(self, fix):
        with self.db:
            self.db.execute("INSERT INTO fixes (fix) VALUES (?)", (json.dumps(fix),))

    def after(self, last):
        """The next ones, oldest first: (id, fix)."""
        rows = self.db.execute("SELECT id, fix FROM fixes WHERE id > ? ORDER BY id LIMIT ?", (last, FRAME))
        return [(row[0], json.loads(row[1])) for row in rows]

    def forget(self, ids):
        with self.db:
            self.db.executemany("DELETE FROM fixes WHERE id = ?", [(i,) for i in ids])


def measure(step):
    """What a phone's GPS would say. `recorded_at` is when it was measured, not when it is sent."""
    angle = step / 40
    return {
        "recorded_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "latitude": 14.5547 + 0.003 * math.sin(angle),
        "longitude": 121.0244 + 0.003 * math.cos(angle),
        "accuracy": 8.5, "heading": math.degrees(-angle) % 360, "speed": 9.0, "is_moving": True, "battery_level": 80,
    }


async def walk(buffer, measured):
    step = 0
    while True:
        buffer.add(measure(step))
        measured.set()
        step += 1
        await asyncio.sleep(EVERY_S)


async def send(socket, buffer, measured, in_flight):
    """Everything in the buffer, then what comes. `seq` starts anew with each connection."""
    last, seq = 0, 0
    while True:
        measured.clear()
        rows = buffer.after(last)
        if not rows:
            await measured.wait()
            continue
        fixes = []
        for last, fix in rows:
            seq += 1
            in_flight[seq] = last
            fixes.append({"seq": seq, **fix})
        await socket.send(json.dumps({"type": "location", "fixes": fixes}))


async def receive(socket, buffer, in_flight):
    answered = set()
    async for text in socket:
        message = json.loads(text)
        kind = message["type"]
        if kind == "ack":           # cumulative: all up to here are committed, or were rejected
            done = [seq for seq in in_flight if seq <= message["seq"]]
            buffer.forget([in_flight.pop(seq) for seq in done])
            print(f"acked {message['seq']}")
        elif kind == "rejected":    # sending it again would not help; the ack that covers it comes
            print(f"not taken: {message['code']}: {message['message']}")
        elif kind in ("welcome", "offer"):
            for offer in message["offers"] if kind == "welcome" else [message]:
                if offer["offer_id"] in answered:       # it comes again, with a new expires_at, after offer.received
                    continue
                answered.add(offer["offer_id"])
                print(f"offer {offer['offer_id']}: {offer['booking']['earnings']} for {offer['distance_km']} km")
                # Received: its clock starts. Accepted: the answer is offer.closed, or error offer_gone.
                for answer in ("offer.received", "offer.accept"):
                    await socket.send(json.dumps({"type": answer, "offer_id": offer["offer_id"]}))
        else:                       # unknown messages are skipped: the server may add some
            print(text)


async def talk(url, token, buffer, measured):
    headers = {"Authorization": f"Bearer {token}"}
    async with websockets.connect(url + "/v1/stream", additional_headers=headers,
                                  subprotocols=["spacall.v1.json"]) as socket:
        in_flight = {}
        await socket.send(json.dumps({"type": "availability", "available": True}))
        sending = asyncio.create_task(send(socket, buffer, measured, in_flight))
        try:
            await receive(socket, buffer, in_flight)
        finally:
            sending.cancel()
        return socket.close_code


async def main(url, token, path="therapist_app.db"):
    buffer, measured, wait = Buffer(path), asyncio.Event(), 1
    walking = asyncio.create_task(walk(buffer, measured))
    while True:
        try:
            code = await talk(url, token, buffer, measured)
            wait = 1
        except websockets.InvalidStatus as refused:
            code = 4401 if refused.response.status_code == 401 else refused.response.status_code
        except (OSError, websockets.WebSocketException) as problem:
            code = getattr(getattr(problem, "rcvd", None), "code", None)
        if code in STAY_AWAY:
            walking.cancel()
            sys.exit(f"closed with {code}: not coming back")
        await asyncio.sleep(wait * random.uniform(0.5, 1.5))    # not all phones at once
        wait = min(wait * 2, 60)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:4]))
