"""RFC 6455 by hand: frames out as the caller wants them, frames in checked for what a server must do."""
import asyncio
import base64
import hashlib
import json
import random
import socket
import ssl
import struct
import zlib

from harness import seconds

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
dice = random.Random(6455)


class Failure(Exception):
    """The server did something that it must not."""


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def masked(payload, key):
    size = len(payload)
    if key == b"\0\0\0\0" or not size:
        return payload
    pattern = key * (size // 4 + 1)
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern[:size], "big")).to_bytes(size, "big")


def frame(opcode, payload=b"", fin=True, rsv=0, key=None, mask=True, says=None, wide=None):
    """A client's frame. `says`: the length in the header, where it lies; `wide`: the bytes that length
    takes (0, 2 or 8) where they are not the fewest."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload) if says is None else says
    wide = wide if wide is not None else 0 if size < 126 else 2 if size < 65536 else 8
    short = size if wide == 0 else 126 if wide == 2 else 127
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if mask else 0) | short])
    head += size.to_bytes(wide, "big") if wide else b""
    if not mask:
        return head + payload
    key = key if key is not None else struct.pack(">I", dice.randrange(1, 1 << 32))
    return head + key + masked(payload, key)


def fragments(opcode, payload, size, rsv=0):
    """The message in frames of at most `size` bytes, as one string."""
    payload = payload.encode() if isinstance(payload, str) else payload
    pieces = [payload[i:i + size] for i in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return b"".join(frame(opcode if i == 0 else 0, piece, fin=i == last, rsv=rsv if i == 0 else 0)
                    for i, piece in enumerate(pieces))


def close(code=None, reason=b""):
    reason = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, (b"" if code is None else struct.pack(">H", code)) + reason)


class Deflate:
    """One end of permessage-deflate (RFC 7692) with the parameters that were agreed."""

    def __init__(self, agreed):
        self.out_bits = int(agreed.get("client_max_window_bits") or 15)
        self.in_bits = int(agreed.get("server_max_window_bits") or 15)
        self.out_keeps = "client_no_context_takeover" not in agreed
        self.in_keeps = "server_no_context_takeover" not in agreed
        self.packer = self.unpacker = None
        self.unpacked = 0

    def pack(self, data, level=6):
        if not self.packer or not self.out_keeps:
            self.packer = zlib.compressobj(level, zlib.DEFLATED, -max(self.out_bits, 9))
        return (self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def unpack(self, data):
        if not self.unpacker or not self.in_keeps:
            self.unpacker = zlib.decompressobj(-self.in_bits)
        self.unpacked += 1
        return self.unpacker.decompress(data + b"\0\0\xff\xff")


def read_extensions(value):
    """{parameter: value or ""} of a permessage-deflate answer; None without one."""
    if value is None:
        return None
    name, *parameters = [part.strip() for part in value.split(";")]
    if name != "permessage-deflate" or "," in value:
        raise Failure(f"the extension agreed to is {value!r}")
    agreed = {}
    for parameter in parameters:
        word, _, setting = parameter.partition("=")
        if word in agreed:
            raise Failure(f"the answer names {word} twice")
        agreed[word] = setting.strip('"')
    return agreed


class Head:
    def __init__(self, text):
        start, *lines = text.decode("latin-1").split("\r\n")
        version, status, *_ = start.split(" ") + ["", ""]
        if version != "HTTP/1.1" or not status.isdigit():
            raise Failure(f"not a status line: {start!r}")
        self.status = int(status)
        self.headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise Failure(f"not a header: {line!r}")
            if name.lower() in self.headers:
                raise Failure(f"the header {name} comes twice")
            self.headers[name.lower()] = value.strip()


class Tls:
    """TLS over a socket of asyncio's, with the socket's two calls."""

    def __init__(self, loop, sock, context, host):
        self.loop, self.sock = loop, sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)

    async def flush(self):
        if self.outgoing.pending:
            await self.loop.sock_sendall(self.sock, self.outgoing.read())

    async def more(self):
        data = await self.loop.sock_recv(self.sock, 1 << 18)
        self.incoming.write(data) if data else self.incoming.write_eof()

    async def call(self, function, *arguments):
        while True:
            try:
                result = function(*arguments)
                await self.flush()
                return result
            except ssl.SSLWantReadError:
                await self.flush()
                await self.more()

    async def sendall(self, data):
        for i in range(0, len(data), 1 << 18):
            await self.call(self.object.write, data[i:i + (1 << 18)])

    async def recv(self, size):
        try:
            return await self.call(self.object.read, size)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""


class Peer:
    """A TCP client on asyncio that says exactly what it is told to."""

    def __init__(self, server, receive_buffer=None):
        self.receive_buffer = receive_buffer
        self.host = f"{server.host}:{server.port}"
        self.server = server
        self.deflate = None
        self.tls = None
        self.buffer = b""
        self.at_end = False

    async def connect(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.loop = asyncio.get_running_loop()
        await self.loop.sock_connect(self.socket, (self.server.host, self.server.port))
        if self.server.tls:
            self.tls = Tls(self.loop, self.socket, self.server.tls, self.server.host)
            await self.tls.call(self.tls.object.do_handshake)
        return self

    def sendall(self, data):
        return self.tls.sendall(data) if self.tls else self.loop.sock_sendall(self.socket, data)

    def recv(self, size):
        return self.tls.recv(size) if self.tls else self.loop.sock_recv(self.socket, size)

    def end(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    async def send(self, data, chop=None):
        for i in range(0, len(data), chop or max(len(data), 1)):
            await asyncio.wait_for(self.sendall(data[i:i + chop] if chop else data), seconds(60))

    async def fill(self, timeout):
        """More bytes; False at the end of the stream. Raises TimeoutError, and Failure on a reset."""
        if self.at_end:
            return False
        try:
            data = await asyncio.wait_for(self.recv(1 << 18), timeout)
        except ConnectionResetError:
            raise Failure("the connection was reset") from None
        self.at_end = not data
        self.buffer += data
        return bool(data)

    async def take(self, size, timeout):
        while len(self.buffer) < size:
            if not await self.fill(timeout):
                raise Failure("the TCP connection ended" + (" within a frame" if self.buffer else " without a Close frame"))
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def head(self, timeout=20):
        """The next response head, or None when the connection ended without one."""
        while b"\r\n\r\n" not in self.buffer:
            if not await self.fill(seconds(timeout)):
                if self.buffer:
                    raise Failure(f"half an answer: {self.buffer[:80]!r}")
                return None
        text, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return Head(text)

    async def frame(self, timeout=20):
        """(opcode, payload) of the next frame; Failure for anything a server must not send."""
        timeout = seconds(timeout)
        first, second = await self.take(2, timeout)
        opcode, rsv, size = first & 15, first >> 4 & 7, second & 127
        if not first & 0x80:
            raise Failure("a fragmented frame")  # allowed, but rowtap has no reason to
        if second & 0x80:
            raise Failure("a masked frame")
        if opcode not in (TEXT, CLOSE, PING, PONG):
            raise Failure(f"a frame with opcode {opcode}")
        if rsv and (rsv != 4 or opcode != TEXT or not self.deflate):
            raise Failure(f"reserved bits {rsv} on opcode {opcode}")
        if size >= 126:
            if opcode >= 8:
                raise Failure("a control frame longer than 125 bytes")
            wide, least = (2, 126) if size == 126 else (8, 65536)
            size = int.from_bytes(await self.take(wide, timeout), "big")
            if size < least:
                raise Failure("a length that is not encoded in the fewest bytes")
        payload = await self.take(size, timeout)
        return opcode, self.deflate.unpack(payload) if rsv else payload

    async def ended(self, timeout=10):
        """Nothing more comes, and the server is the one that ends the connection."""
        try:
            if not self.buffer and not await self.fill(seconds(timeout)):
                return
        except asyncio.TimeoutError:
            raise Failure("the server does not end the TCP connection") from None
        raise Failure(f"bytes after the Close frame: {self.buffer[:40]!r}")

    async def upgrade(self, extensions=None, behind=b""):
        """The handshake, up to and with the first message."""
        offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        await self.send(f"GET /ws HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offer}\r\n".encode() + behind)
        await self.welcomed(await self.head())

    async def welcomed(self, head, key=KEY):
        """Judges the head of the answer to a good handshake and takes the first message."""
        if not head or head.status != 101:
            raise Failure(f"the handshake was answered with {head and head.status}")
        for name, wanted in (("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", accept_of(key))):
            got = head.headers.get(name, "")
            if (got if "accept" in name else got.lower()) != wanted:
                raise Failure(f"{name} is {got!r} in the 101")
        if "sec-websocket-protocol" in head.headers:
            raise Failure("a subprotocol that was not asked for")
        agreed = read_extensions(head.headers.get("sec-websocket-extensions"))
        self.agreed = agreed
        self.deflate = Deflate(agreed) if agreed is not None else None
        opcode, payload = await self.frame()
        if opcode != TEXT or json.loads(payload).get("type") != "connection:ack":
            raise Failure(f"the first message is {payload[:80]!r}")
