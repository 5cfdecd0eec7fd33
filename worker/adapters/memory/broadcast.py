from worker.ports import Broadcasted


class MemoryBroadcast:
    """`worker.ports.Broadcast` that keeps what was sent, in order."""

    def __init__(self) -> None:
        self.sent: list[Broadcasted] = []

    async def send(self, message: Broadcasted) -> None:
        self.sent.append(message)

    async def flush(self) -> None:
        """Nothing waits here."""

    def text(self, topic: str) -> str:
        """What a client has that heard every delta: it truncates to the offset, and appends."""
        units = b""
        for message in self.sent:
            if message.topic == topic and message.event == "delta":
                units = units[: 2 * message.payload["offset"]] + message.payload["text"].encode(
                    "utf-16-le", "surrogatepass"
                )
        return units.decode("utf-16-le", "surrogatepass")
