"""Authentication and identification on a new connection. Pure: the commands to send, and what their
replies mean."""
from __future__ import annotations

from typing import Any, List, Optional, Tuple

from .._exceptions import AuthenticationError, BusyError, ConnectionError, DecodeError, NdringError, NoPermissionError, error_reply
from .error_hints import is_tls_port, tls_port_error
from .exchange import Steps, root_cause
from .resp import Buffer, Reading, ReplyReader, pack
from .settings import Settings

#: Optional commands: other servers and future nodes may not know them, and nothing depends on them.
_MAY_FAIL = (b"SETINFO", b"SETNAME")


class Login:
    """``commands``: all that a new connection sends, together. Each has one reply."""

    def __init__(self, settings: Settings) -> None:
        self.commands: List[List[bytes]] = []
        user, password = _credentials(settings)
        if settings.protocol == 3:
            auth = [b"AUTH", user or b"default", password] if password is not None else []
            self.commands.append([b"HELLO", b"3", *auth])
        elif password is not None:
            self.commands.append([b"AUTH", *([user] if user else []), password])
        if settings.client_name:
            self.commands.append([b"CLIENT", b"SETNAME", _encoded(settings.client_name)])
        for name, value in ((b"LIB-NAME", settings.lib_name), (b"LIB-VER", settings.lib_version)):
            if value:
                self.commands.append([b"CLIENT", b"SETINFO", name, _encoded(value)])
        if settings.readonly:
            self.commands.append([b"READONLY"])

    def steps(self, reader: ReplyReader) -> Steps:
        """Logs in, as an Exchange does. Raises NdringError if the node refuses it."""
        buffers: List[Buffer] = [buffer for commands in self.commands for buffer in pack(*commands)]
        broken: Optional[ConnectionError] = (yield buffers) if buffers else None
        try:
            for commands in self.commands:
                yield from _check_reply(commands, reader)
        except ConnectionError as exc:
            raise root_cause(broken, exc)
        if reader.pending:
            raise DecodeError("the node sent more than the expected replies")


def _check_reply(commands: List[bytes], reader: ReplyReader) -> Reading[None]:
    try:
        reply = yield from reader.reply()
    except NdringError as exc:
        if not exc.is_reply:
            raise
        refusal = _refusal(commands, exc)
        if refusal is exc:
            raise
        if refusal is not None:
            raise refusal from exc
        return
    if not (reply == "OK" or commands[0] == b"HELLO" and isinstance(reply, (dict, list))):
        raise DecodeError(f"unexpected reply to {commands[0].decode()}: {str(reply)[:40]!r}")


def _refusal(commands: List[bytes], exc: NdringError) -> Any:
    text = str(exc)
    if "max number of clients" in text:
        return BusyError(text)
    if is_tls_port(text):
        return tls_port_error(text)
    # Without READONLY the node redirects reads, and the client asks the primary.
    optional = commands[0] == b"READONLY" or commands[0] == b"CLIENT" and commands[1] in _MAY_FAIL
    if optional and isinstance(exc, NoPermissionError):
        return None
    if isinstance(exc, (AuthenticationError, BusyError)) or text.startswith("DENIED"):
        if text.startswith("NOAUTH"):
            return AuthenticationError(f"{text} Pass a password: NumPyRedis(..., password=...)")
        return exc
    if optional:
        return None
    return AuthenticationError(text) if b"AUTH" in commands else error_reply(text)


def _credentials(settings: Settings) -> Tuple[bytes, Any]:
    """Returns user and password; the password is None if there is none."""
    user, password = settings.username, settings.password
    if settings.credential_provider is not None:
        given = settings.credential_provider.get_credentials()
        user, password = given if len(given) == 2 else (None, given[0])
    if not user and not password:
        return b"", None
    return _encoded(user or ""), _encoded(password or "")


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
