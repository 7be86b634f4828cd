"""A first sender of webhooks: reads the feed, and signs and posts one event after another.

    python -m bench.bases.webhook_loop CRM_URL RECEIVER_URL SECRET NUMBER

It keeps one httpx client. It writes nothing down, so it survives no crash, and it gives up at the
first failure. It prints its processor seconds.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import uuid
from typing import Any

import httpx

READER = {"Authorization": "Bearer integration123"}


def send(client: httpx.Client, receiver: str, key: bytes, event: dict[str, Any]) -> None:
    body = json.dumps(event, separators=(",", ":")).encode()
    webhook_id = str(uuid.uuid5(uuid.NAMESPACE_URL, event["id"]))
    timestamp = str(int(time.time()))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    headers = {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }
    client.post(receiver, content=body, headers=headers).raise_for_status()


def main(crm: str, receiver: str, secret: str, number: int) -> None:
    began_at = time.process_time()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    client = httpx.Client()
    after = ""
    while number > 0:
        query = f"types=customer.created&limit={min(500, number)}{after}"
        page = client.get(f"{crm}/api/events?{query}", headers=READER).json()
        for event in page["events"]:
            send(client, receiver, key, event)
        number -= len(page["events"])
        after = f"&after={page['next_cursor']}"
    print(time.process_time() - began_at)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
