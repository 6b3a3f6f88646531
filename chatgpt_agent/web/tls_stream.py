"""A client's connection with TLS. The limits of time and number hold for its handshake, too, which never waits in the
event loop."""

import asyncio
import contextlib
import logging
import socket
import ssl

from tornado.iostream import SSLIOStream

from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.web.client_stream import ClientStream

log = logging.getLogger(__name__)

PLAIN_HTTP = "This port speaks TLS: send the request to https://, not to http://."


class TlsStream(ClientStream, SSLIOStream):
    """As ClientStream, over TLS. A client that speaks HTTP without TLS is answered with 400."""

    _is_plain = False  # the client speaks HTTP without TLS
    _is_cut_off = False

    def _do_ssl_handshake(self) -> None:
        """As Tornado's, which would log the address of each client that does not go through with it."""
        self._handshake_reading = self._handshake_writing = False
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._handshake_reading = True
        except ssl.SSLWantWriteError:
            self._handshake_writing = True
        except (OSError, ValueError, AttributeError) as error:  # the last two where the client has left before
            self._fail_handshake(getattr(error, "reason", None) or type(error).__name__)
        else:
            self._ssl_accepting = False

    def _fail_handshake(self, reason: str) -> None:
        log.debug("a TLS handshake has failed: %s", reason)
        if reason == "HTTP_REQUEST" and self._read_future is not None:
            self._is_plain = True
            self._fail_read(InvalidRequest(PLAIN_HTTP))
        else:
            self.close()

    def write(self, data: bytes | memoryview) -> "asyncio.Future[None]":
        if not self._is_plain:
            return super().write(data)
        with contextlib.suppress(OSError):
            socket.socket.send(self.socket, data)  # past TLS
        return self._written

    def _is_connreset(self, error: BaseException) -> bool:
        # What is not TLS in the middle of a connection ends it as a reset does, without a warning for each.
        return isinstance(error, ssl.SSLError) or super()._is_connreset(error)

    def cut_off(self) -> None:
        self._is_cut_off = True
        super().cut_off()

    def close_fd(self) -> None:
        # The client can tell this end from one that an attacker has made (RFC 8446 §6.1). The client's own notice is
        # not waited for. An answer that is cut off ends without it.
        if not (self._ssl_accepting or self._is_cut_off):
            with contextlib.suppress(OSError, ValueError):
                self.socket.unwrap()
        super().close_fd()

    def _detach(self) -> socket.socket:
        """What comes now is dropped as it is, without decrypting it."""
        plain = socket.socket(fileno=self.socket.detach())
        plain.setblocking(False)
        return plain
