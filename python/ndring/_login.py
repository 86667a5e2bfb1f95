"""What is said to a node first: who we are. Pure: commands, and what their replies mean."""
from __future__ import annotations

from typing import Any, Callable, List, Tuple

from ._exceptions import AuthenticationError, BusyError, DecodeError, NdringError, error_reply
from ._settings import Settings
from ._wire import Buffer, pack

#: Replies to commands that later nodes, or others than ours, may not know; nothing is lost without them.
_MAY_FAIL = (b"SETINFO", b"SETNAME")


class Login:
    """``buffers``: all that is said, in one go. ``words``: the commands, each of which has one reply for ``check``."""

    def __init__(self, settings: Settings) -> None:
        self.words: List[List[bytes]] = []
        user, password = _credentials(settings)
        if settings.protocol == 3:
            auth = [b"AUTH", user or b"default", password] if password is not None else []
            self.words.append([b"HELLO", b"3", *auth])
        elif password is not None:
            self.words.append([b"AUTH", *([user] if user else []), password])
        if settings.client_name:
            self.words.append([b"CLIENT", b"SETNAME", _encoded(settings.client_name)])
        for name, value in ((b"LIB-NAME", settings.lib_name), (b"LIB-VER", settings.lib_version)):
            if value:
                self.words.append([b"CLIENT", b"SETINFO", name, _encoded(value)])
        self.buffers: List[Buffer] = [buffer for words in self.words for buffer in pack(*words)]

    def check(self, number: int, read: Callable[[], Any]) -> None:
        """Reads the reply to a command. Raises NdringError where the node does not let us in."""
        words = self.words[number]
        try:
            reply = read()
        except NdringError as exc:
            if not exc.is_reply:
                raise
            refusal = _refusal(words, exc)
            if refusal is exc:
                raise
            if refusal is not None:
                raise refusal from exc
            return
        if not (reply == "OK" or words[0] == b"HELLO" and isinstance(reply, (dict, list))):
            raise DecodeError(f"the node answers {str(reply)[:40]!r} to {words[0].decode()}")


def _refusal(words: List[bytes], exc: NdringError) -> Any:
    text = str(exc)
    if "max number of clients" in text:
        return BusyError(text)
    if isinstance(exc, (AuthenticationError, BusyError)) or text.startswith("DENIED"):
        if text.startswith("NOAUTH"):
            return AuthenticationError(f"{text} Give the client a password: NumPyRedis(..., password=...)")
        return exc
    if words[1] in _MAY_FAIL:
        return None
    return AuthenticationError(text) if b"AUTH" in words else error_reply(text)


def _credentials(settings: Settings) -> Tuple[bytes, Any]:
    """Returns user and password; None for no password."""
    user, password = settings.username, settings.password
    if settings.credential_provider is not None:
        given = settings.credential_provider.get_credentials()
        user, password = given if len(given) == 2 else (None, given[0])
    if not user and not password:
        return b"", None
    return _encoded(user or ""), _encoded(password or "")


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
