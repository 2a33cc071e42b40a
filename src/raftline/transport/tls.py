"""TLS between a socket and a protocol that knows nothing of it, for peers and for clients; and who holds which file.

`TlsLayer` is the protocol of the socket and gives the inner protocol a transport that encrypts. It does its own
handshake over memory, and not asyncio's, so that every refusal has words for both sides and for the log, half-closed
connections work, and plain text on a TLS port is answered and not left waiting.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from raftline.errors import ConfigError

__all__ = [
    "TLS_FIRST_BYTE",
    "TlsFiles",
    "TlsLayer",
    "TlsRole",
    "certified_names",
    "check_client_files",
    "is_certified_as",
    "words_of",
]

TLS_FIRST_BYTE: Final = 0x16
"""With this every TLS connection begins, and neither a frame of ours nor a Redis command."""
_READ_BYTES: Final = 256 << 10
_LINGER_S: Final = 1.0
_WORDS: Final = {
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS here",
    "RECORD_LAYER_FAILURE": "the other side does not speak TLS here",
    "HTTP_REQUEST": "the other side does not speak TLS here",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate, and one is required",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other side requires a certificate, and none was shown",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the other side says that the certificate shown to it has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the other side does not accept the certificate shown to it",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the other side does not accept the certificate shown to it",
    "TLSV1_ALERT_UNKNOWN_CA": "the other side does not know the authority of the certificate shown to it",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the other side speaks other versions of TLS",
    "UNSUPPORTED_PROTOCOL": "the other side speaks only versions of TLS that are too old",
    "NO_SHARED_CIPHER": "no cipher is known to both sides",
}


class TlsRole(msgspec.Struct, frozen=True):
    """What a context is for."""

    is_server: bool
    needs_certificate: bool
    """Whether the other side has to show a certificate of our authority."""


class TlsFiles:
    """Certificate, key and authority of a node, read once and again on `reload`.

    Invariants: what `context` returns was made of files that fitted together; a failed reload changes nothing.
    """

    def __init__(self, cert_file: str, key_file: str, ca_file: str = "") -> None:
        """Read the files; raises ConfigError naming the one that cannot be used."""
        self._cert_file = cert_file
        self._key_file = key_file
        self._ca_file = ca_file
        self._contexts: dict[TlsRole, ssl.SSLContext] = {}
        self.reload()

    def reload(self) -> None:
        """Read the files again, for connections made from now on; raises ConfigError, and then nothing changes."""
        roles = set(self._contexts) | {TlsRole(is_server=True, needs_certificate=False)}
        self._contexts = {role: self._make(role) for role in roles}

    def context(self, role: TlsRole) -> ssl.SSLContext:
        """Return the context for a new connection; raises ConfigError if the files do not suffice for it."""
        if role not in self._contexts:
            self._contexts[role] = self._make(role)
        return self._contexts[role]

    def _make(self, role: TlsRole) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role.is_server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # No resumption: every connection is verified anew, so a reload counts for all of them.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        if role.is_server:
            context.num_tickets = 0
        _load_certificate(context, self._cert_file, self._key_file)
        if role.needs_certificate:
            if not self._ca_file:
                raise ConfigError("certificates are to be verified, but tls_ca names no authority's certificate")
            _load_authority(context, self._ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def check_client_files(ca_file: str, cert_file: str, key_file: str) -> None:
    """Raise ConfigError naming the file with which a client could not connect; an empty name: not given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        _load_authority(context, ca_file)
    if cert_file:
        _load_certificate(context, cert_file, key_file)


def _load_certificate(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(f"certificate {cert_file} with key {key_file}: {_file_trouble(error)}") from error


def _load_authority(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"authority {ca_file}: {_file_trouble(error)}") from error


class TlsLayer(asyncio.Protocol):
    """The socket's protocol; `inner` sees only what was decrypted, from `connection_made` after the handshake on.

    Invariants: exactly one of `inner.connection_made` and `on_failed` is called, unless `abort` comes first; `inner`
    hears of the end of the stream once, and `on_gone` of that of a connection which was never secured.
    """

    def __init__(
        self,
        inner: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        handshake_s_max: float,
        on_failed: Callable[["TlsLayer", str], None],
        on_gone: Callable[[], None] | None = None,
        pending: "set[TlsLayer] | None" = None,
        pending_max: int = 1,
        peer_name: str | None = None,
        refusal_of_plain: bytes = b"",
    ) -> None:
        """Prepare; `peer_name`, given on the side that dialled, must stand in the other side's certificate.

        `refusal_of_plain` is sent, as it is, to whoever does not begin with a TLS handshake. In `pending` the layer is
        from its beginning until it is secured or gone; one that finds `pending_max` there fails at once.
        """
        self._inner = inner
        self._handshake_s_max = handshake_s_max
        self._on_failed = on_failed
        self._on_gone = on_gone
        self._pending = set() if pending is None else pending
        self._pending_max = pending_max
        self._is_server = peer_name is None
        self._refusal_of_plain = refusal_of_plain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=self._is_server, server_hostname=peer_name
        )
        self._raw: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._is_secured = False
        self._is_over = False
        """The handshake failed, or the connection was given up."""
        self._saw_end = False
        self._sent_end = False
        self._trouble = ""
        self.remote = ""
        """The other end as `host:port`, for logs."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, whose time is limited."""
        self._raw = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        if name:
            self.remote = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        if self._is_over:
            self._raw.abort()
            return
        if len(self._pending) >= self._pending_max:
            self._fail("too many TLS handshakes are under way")
            self._raw.abort()
            return
        self._pending.add(self)
        self._timer = asyncio.get_running_loop().call_later(self._handshake_s_max, self._on_too_slow)
        if not self._is_server:
            self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Decrypt what came."""
        if self._is_over:
            return
        if not self._has_begun:
            self._has_begun = True
            if self._is_server and data[0] != TLS_FIRST_BYTE:
                self._raw.write(self._refusal_of_plain)
                self._fail("it sent plain text where TLS is spoken")
                return
        self._incoming.write(data)
        if self._is_secured or self._shake_hands():
            self._read()

    def eof_received(self) -> bool | None:
        """Handle the end of the stream, with or without a farewell: RESP and frames know their own lengths."""
        if self._is_over:
            return False
        if not self._is_secured:
            self._fail("it closed the connection during the handshake")
            return False
        return self._hear_end()

    def pause_writing(self) -> None:
        """Pass it on: the buffer that counts is the socket's."""
        if self._is_secured:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._is_secured:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for this connection."""
        self._stop_timer()
        self._pending.discard(self)
        if self._is_secured:
            self._inner.connection_lost(ConnectionError(self._trouble) if self._trouble else exc)
            return
        if not self._is_over:
            self._is_over = True
            self._on_failed(self, str(exc) if exc else "the connection broke during the handshake")
        if self._on_gone is not None:
            self._on_gone()

    # What the inner protocol's transport calls.

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; dropped once the end was sent or the connection is closing."""
        if self._sent_end or self._raw.is_closing():
            return
        view = memoryview(data)
        while view:
            view = view[self.ssl_object.write(view) :]
        self._flush()

    def send_end(self) -> None:
        """Say that nothing more will be sent."""
        self._say_farewell()
        if not self._raw.is_closing():
            self._raw.write_eof()

    def close(self) -> None:
        """Say farewell, and close once what was written has left."""
        self._say_farewell()
        self._raw.close()

    def abort(self) -> None:
        """Close at once; a handshake that runs is given up without a word."""
        self._is_over = self._is_over or not self._is_secured
        if self._raw is not None:
            self._raw.abort()

    # Inside.

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is complete."""
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()
            self._fail(words_of(error))
            return False
        self._flush()
        self._stop_timer()
        self._pending.discard(self)
        self._is_secured = True
        self._inner.connection_made(_TlsTransport(self, self._raw))
        return True

    def _read(self) -> None:
        """Hand on everything that can be decrypted."""
        pieces = []
        is_at_end = False
        try:
            while piece := self.ssl_object.read(_READ_BYTES):
                pieces.append(piece)
            is_at_end = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            is_at_end = True
        except ssl.SSLError as error:
            self._trouble = words_of(error)
        self._flush()
        if pieces:
            self._inner.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._trouble:
            self._raw.abort()
        elif is_at_end and not self._hear_end():
            self.close()

    def _hear_end(self) -> bool:
        """Tell the inner protocol once that no more comes; return whether the connection is to stay open for now."""
        if self._saw_end:
            return not self._sent_end
        self._saw_end = True
        return bool(self._inner.eof_received())

    def _say_farewell(self) -> None:
        if self._sent_end or not self._is_secured:
            return
        with contextlib.suppress(ssl.SSLError):  # the other side's farewell has not come, and nobody waits for it
            self.ssl_object.unwrap()
        self._flush()
        self._sent_end = True

    def _flush(self) -> None:
        if self._outgoing.pending and not self._sent_end and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def _on_too_slow(self) -> None:
        self._fail(f"no complete TLS handshake within {self._handshake_s_max:g} s")

    def _fail(self, reason: str) -> None:
        """End a connection that was never secured, and say why.

        What still comes is taken and dropped for a moment: to close over it would reset the connection, and the last
        word would be lost.
        """
        if self._is_over:
            return
        self._is_over = True
        self._stop_timer()
        if not self._raw.is_closing():
            self._raw.write_eof()
            self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._raw.abort)
        self._on_failed(self, reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _TlsTransport(asyncio.Transport):
    """What the inner protocol writes to."""

    def __init__(self, layer: TlsLayer, raw: asyncio.Transport) -> None:
        super().__init__()
        self._layer = layer
        self._raw = raw
        # The socket's own methods, without a step between.
        self.pause_reading = raw.pause_reading  # type: ignore[method-assign]
        self.resume_reading = raw.resume_reading  # type: ignore[method-assign]
        self.is_closing = raw.is_closing  # type: ignore[method-assign]
        self.get_write_buffer_size = raw.get_write_buffer_size  # type: ignore[method-assign]
        self.set_write_buffer_limits = raw.set_write_buffer_limits  # type: ignore[method-assign]
        self.write = layer.send  # type: ignore[method-assign]
        self.write_eof = layer.send_end  # type: ignore[method-assign]
        self.close = layer.close  # type: ignore[method-assign]
        self.abort = layer.abort  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the socket, and the `ssl_object`."""
        return self._layer.ssl_object if name == "ssl_object" else self._raw.get_extra_info(name, default)


def certified_names(ssl_object: ssl.SSLObject | None) -> frozenset[str] | None:
    """Return the names and addresses in the other side's verified certificate, in lower case; None without TLS."""
    if ssl_object is None:
        return None
    certificate: Any = ssl_object.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    return frozenset(value.lower() for kind, value in names if kind in {"DNS", "IP Address"})


def is_certified_as(names: frozenset[str], node_id: str) -> bool:
    """Say whether a certificate with these names is that of the node `node_id`."""
    return node_id.lower() in names


def words_of(error: ssl.SSLError) -> str:
    """Say in words what is wrong with the other side, or what it says is wrong with this one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
    reason = error.reason or ""
    return _WORDS.get(reason) or f"TLS failed: {reason.lower().replace('_', ' ') or error}"


def _file_trouble(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return f"cannot be used: {reason or 'it is not PEM'}"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _no_password() -> str:
    """Refuse an encrypted key, instead of asking a terminal for its password."""
    raise ValueError("the key is encrypted; give one without a password, readable by this user alone")
