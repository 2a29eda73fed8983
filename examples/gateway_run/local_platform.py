"""A chat platform without a network: what the gateway sends is handed to a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.config import Platform, PlatformConfig
from gateway.platforms.base import BasePlatformAdapter, MessageEvent, MessageType, SendResult
from gateway.session import SessionSource

NAME = Platform.LOCAL.value


class LocalAdapter(BasePlatformAdapter):
    """The gateway's side of the platform; all chats are with one person each."""

    def __init__(self, config: PlatformConfig, sent: Callable[[str, str], None]) -> None:
        super().__init__(config, Platform.LOCAL)
        self._sent = sent

    async def connect(self, *, is_reconnect: bool = False) -> bool:
        """Be there; later gateways also say whether this is the first time."""
        self._mark_connected()
        return True

    async def disconnect(self) -> None:
        """Be gone."""
        self._mark_disconnected()

    async def send(
        self,
        chat_id: str,
        content: str,
        reply_to: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SendResult:
        """Show a message in a chat."""
        self._sent(chat_id, content)
        return SendResult(success=True, message_id="1")

    async def send_typing(self, chat_id: str, metadata: dict[str, Any] | None = None) -> None:
        """Show nothing."""

    async def get_chat_info(self, chat_id: str) -> dict[str, Any]:
        """Describe a chat."""
        return {"name": chat_id, "type": "dm"}

    async def receive(self, chat_id: str, text: str) -> None:
        """Take a message that the person in a chat has written."""
        event = MessageEvent(text=text, message_type=MessageType.TEXT, source=source(chat_id))
        await self.handle_message(event)


def source(chat_id: str) -> SessionSource:
    """The origin of what is written in a chat."""
    return SessionSource(
        platform=Platform.LOCAL,
        chat_id=chat_id,
        chat_type="dm",
        user_id=chat_id,
        user_name=chat_id,
    )


def session_key(chat_id: str) -> str:
    """The gateway's name of a chat."""
    return f"agent:main:{NAME}:dm:{chat_id}"
