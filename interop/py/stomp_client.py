"""stomp.py over TCP against a broker that knows guest with the password guest.

    /usr/bin/python3 stomp_client.py 127.0.0.1:61613 1.2 weft|rabbitmq
"""

import asyncio
import itertools
import os
import queue
import sys

import stomp

import report

HOST, PORT = sys.argv[1].split(":")
VERSION, BROKER = sys.argv[2:4]
WEFT = BROKER == "weft"
PATIENCE = 10  # seconds

cases = []
numbers = itertools.count(1)


def case(*versions):
    """Makes a case of a function, in the versions named or in all."""

    def add(f):
        async def run():
            clients.clear()
            try:
                await asyncio.to_thread(f)
            finally:
                for c in clients:
                    c.close()

        run.__doc__ = f.__doc__
        if not versions or VERSION in versions:
            cases.append(run)
        return f

    return add


def fresh(kind):
    """A destination that no other case and no other run uses."""
    return f"/{kind}/py-{os.getpid()}-{next(numbers)}"


clients = []


class Client(stomp.ConnectionListener):
    """One connection; what comes in waits in a queue of its kind."""

    def __init__(self, passcode="guest", heartbeats=(0, 0)):
        self.queues = {k: queue.Queue() for k in ("connected", "message", "receipt", "error", "heartbeat", "disconnected")}
        make = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}[VERSION]
        options = {"reconnect_attempts_max": 1, "auto_decode": False}
        headers = {}
        if VERSION == "1.0":
            headers["host"] = "/"
        else:
            # By itself it bears 1.5 times the interval, which is little on a busy machine.
            options.update(heartbeats=heartbeats, heart_beat_receive_scale=10, vhost="/")
        self.conn = make([(HOST, int(PORT))], **options)
        self.conn.set_listener("case", self)
        clients.append(self)
        self.conn.connect("guest", passcode, headers=headers)

    def on_connected(self, frame):
        self.queues["connected"].put(frame)

    def on_message(self, frame):
        self.queues["message"].put(frame)

    def on_receipt(self, frame):
        self.queues["receipt"].put(frame)

    def on_error(self, frame):
        self.queues["error"].put(frame)

    def on_heartbeat(self):
        self.queues["heartbeat"].put(None)

    def on_disconnected(self):
        self.queues["disconnected"].put(None)

    def next(self, kind):
        try:
            return self.queues[kind].get(timeout=PATIENCE)
        except queue.Empty:
            errors = [(e.headers, e.body) for e in self.queues["error"].queue]
            raise AssertionError(f"no {kind} came; errors: {errors}") from None

    def none(self, kind):
        assert self.queues[kind].empty(), f"{kind}: {self.queues[kind].get().__dict__}"

    def done(self, method, *args, **headers):
        """Calls a method of stomp.py's and waits until the server has done it."""
        receipt = f"r{next(numbers)}"
        getattr(self.conn, method)(*args, receipt=receipt, **headers)
        got = self.next("receipt").headers["receipt-id"]
        assert got == receipt, f"receipt {got} for {receipt}"

    def subscribe(self, destination, ack="auto", **headers):
        sid = f"s{next(numbers)}"
        self.done("subscribe", destination, sid, ack, **headers)
        return sid

    def send(self, destination, body, **headers):
        self.done("send", destination, body, **headers)

    def settle(self, method, message, **headers):
        if VERSION == "1.2":
            self.done(method, message.headers["ack"], **headers)
        elif VERSION == "1.1":
            self.done(method, message.headers["message-id"], message.headers["subscription"], **headers)
        else:
            self.done(method, message.headers["message-id"], **headers)

    def bodies(self, n):
        return [self.next("message").body for _ in range(n)]

    def quiet(self):
        """Nothing more is on the way: a message that is sent now comes next."""
        marker = fresh("topic")
        sid = self.subscribe(marker)
        self.send(marker, "marker")
        assert self.next("message").headers["destination"] == marker
        self.none("message")
        self.unsubscribe(marker, sid)

    def over(self):
        """The connection ends after an ERROR; RabbitMQ leaves that to the client."""
        if WEFT:
            self.next("disconnected")

    def unsubscribe(self, destination, sid):
        self.done("unsubscribe", id=sid)

    def disconnect(self):
        receipt = f"r{next(numbers)}"
        self.conn.disconnect(receipt)
        assert self.next("receipt").headers["receipt-id"] == receipt
        self.next("disconnected")

    def close(self):
        self.conn.transport.disconnect_socket()
        self.conn.transport.stop()


def connect(**options):
    c = Client(**options)
    c.hello = c.next("connected").headers
    return c


@case()
def connecting():
    """CONNECTED names the version, a session and the server"""
    c = connect()
    if VERSION != "1.0":
        assert c.hello["version"] == VERSION, c.hello
    assert c.hello["session"], c.hello
    assert c.hello["server"], c.hello
    c.disconnect()


@case()
def wrong_password():
    """a wrong password is an ERROR that says so and does not repeat it"""
    c = Client(passcode="mistaken")
    error = c.next("error")
    said = error.headers["message"] + " " + error.body.decode()
    assert "mistaken" not in said, said
    if WEFT:
        assert "login" in said or "password" in said or "credentials" in said, said
    c.over()
    c.none("connected")


@case()
def topic():
    """a topic reaches each subscriber once, with content type and headers"""
    a, b, destination = connect(), connect(), fresh("topic")
    ids = {c: c.subscribe(destination) for c in (a, b)}
    a.send(destination, '{"grüße": "世界"}', content_type="application/json", colour="blue")
    for c in (a, b):
        m = c.next("message")
        assert m.body == '{"grüße": "世界"}'.encode(), m.body
        assert m.headers["destination"] == destination, m.headers
        assert m.headers["subscription"] == ids[c], m.headers
        assert m.headers["content-type"] == "application/json", m.headers
        assert m.headers["colour"] == "blue", m.headers
        assert m.headers["message-id"], m.headers
        c.quiet()


@case("1.0")
def no_id():
    """a subscription without id brings messages without one, and ends by its destination"""
    c, destination = connect(), fresh("topic")
    c.done("subscribe", destination)
    c.send(destination, "one")
    m = c.next("message")
    assert m.body == b"one" and m.headers["destination"] == destination, m.__dict__
    if WEFT:
        assert "subscription" not in m.headers, m.headers
    c.done("unsubscribe", destination)
    c.send(destination, "two")
    c.quiet()


@case()
def competing():
    """a queue keeps what nobody has consumed, and each message has one consumer"""
    a, b, destination = connect(), connect(), fresh("queue")
    for i in range(10):
        a.send(destination, f"{i}")
    a.subscribe(destination)
    assert a.bodies(10) == [b"%d" % i for i in range(10)]
    b.subscribe(destination)
    for i in range(10):
        a.send(destination, f"{i}")
    got = []
    while len(got) < 10:
        got += [c.next("message").body for c in (a, b) if not c.queues["message"].empty()]
    assert sorted(got) == [b"%d" % i for i in range(10)], got
    a.quiet()
    b.quiet()


@case()
def order():
    """a thousand messages come in order"""
    c, destination = connect(), fresh("queue")
    c.subscribe(destination)
    for i in range(999):
        c.conn.send(destination, f"{i}")
    c.send(destination, "999")
    assert c.bodies(1000) == [b"%d" % i for i in range(1000)]


@case()
def cumulative():
    """ack:client acknowledges a message and all before it"""
    a, destination = connect(), fresh("queue")
    for i in range(4):
        a.send(destination, f"{i}")
    a.subscribe(destination, ack="client")
    messages = [a.next("message") for _ in range(4)]
    assert all(m.headers.get("redelivered") != "true" for m in messages)
    a.settle("ack", messages[1])
    a.disconnect()
    b = connect()
    b.subscribe(destination, ack="client")
    rest = [b.next("message") for _ in range(2)]
    assert [m.body for m in rest] == [b"2", b"3"], rest
    assert [m.headers.get("redelivered") for m in rest] == ["true", "true"], [m.headers for m in rest]
    b.quiet()


@case("1.1", "1.2")
def individual():
    """ack:client-individual acknowledges one message"""
    a, destination = connect(), fresh("queue")
    for i in range(3):
        a.send(destination, f"{i}")
    a.subscribe(destination, ack="client-individual")
    messages = [a.next("message") for _ in range(3)]
    a.settle("ack", messages[1])
    a.disconnect()
    b = connect()
    b.subscribe(destination, ack="client-individual")
    assert b.bodies(2) == [b"0", b"2"]
    b.quiet()


@case("1.1", "1.2")
def nack():
    """what was refused is delivered again, and marked"""
    a, destination = connect(), fresh("queue")
    a.send(destination, "work")
    sid = a.subscribe(destination, ack="client-individual")
    first = a.next("message")
    b = connect()
    b.subscribe(destination, ack="client-individual")
    a.settle("nack", first)
    if WEFT:  # another consumer first
        again, owner = b.next("message"), b
        assert again.headers["delivery-count"] == "2", again.headers
        a.none("message")
    else:
        again = None
        while again is None:  # RabbitMQ may give it to the same one
            for owner in (a, b):
                if not owner.queues["message"].empty():
                    again = owner.next("message")
                    break
    assert again.body == b"work" and again.headers["redelivered"] == "true", again.__dict__
    owner.settle("ack", again)
    a.unsubscribe(destination, sid)
    a.quiet()
    b.quiet()


@case()
def prefetch():
    """prefetch-count bounds what is on the way unacknowledged"""
    c, destination = connect(), fresh("queue")
    for i in range(4):
        c.send(destination, f"{i}")
    c.subscribe(destination, ack="client", **{"prefetch-count": "2"})
    for i in range(2):
        first, second = c.next("message"), c.next("message")
        assert [first.body, second.body] == [b"%d" % (2 * i), b"%d" % (2 * i + 1)]
        c.none("message")
        c.quiet()
        c.settle("ack", second)
    c.quiet()


@case()
def commit():
    """a transaction takes effect at COMMIT, and in order"""
    a, b, destination = connect(), connect(), fresh("queue")
    b.subscribe(destination)
    tx = a.conn.begin()
    a.conn.send(destination, "one", transaction=tx)
    a.conn.send(destination, "two", transaction=tx)
    a.send(fresh("queue"), "the server has seen what came before")
    b.quiet()
    a.done("commit", tx)
    assert b.bodies(2) == [b"one", b"two"]
    b.quiet()


@case()
def abort():
    """a transaction that is aborted has no effect on SEND and ACK"""
    a, destination = connect(), fresh("queue")
    a.send(destination, "work")
    a.subscribe(destination, ack="client")
    message = a.next("message")
    tx = a.conn.begin()
    a.conn.send(destination, "never", transaction=tx)
    if VERSION == "1.1":
        a.conn.ack(message.headers["message-id"], message.headers["subscription"], tx)
    else:
        a.conn.ack(message.headers["ack" if VERSION == "1.2" else "message-id"], tx)
    a.done("abort", tx)
    a.disconnect()
    b = connect()
    b.subscribe(destination)
    assert b.bodies(1) == [b"work"]
    b.quiet()


@case()
def acknowledged_in_transaction():
    """an ACK in a transaction counts from COMMIT on"""
    a, destination = connect(), fresh("queue")
    for i in range(2):
        a.send(destination, f"{i}")
    a.subscribe(destination, ack="client")
    messages = [a.next("message") for _ in range(2)]
    tx = a.conn.begin()
    if VERSION == "1.1":
        a.conn.ack(messages[0].headers["message-id"], messages[0].headers["subscription"], tx)
    else:
        a.conn.ack(messages[0].headers["ack" if VERSION == "1.2" else "message-id"], tx)
    a.done("commit", tx)
    a.disconnect()
    b = connect()
    b.subscribe(destination)
    assert b.bodies(1) == [b"1"]
    b.quiet()


@case()
def binary():
    """all bytes, with NULs, and none"""
    c, destination = connect(), fresh("queue")
    c.subscribe(destination)
    for body in (bytes(range(256)) * 3, b"\0", b"\0\n\0", os.urandom(50000)):
        c.send(destination, body, content_type="application/octet-stream")
        got = c.next("message")
        assert got.body == body, f"{len(body)} bytes sent, {len(got.body)} other ones came"
        assert got.headers["content-length"] == str(len(body)), got.headers


@case("1.1", "1.2")
def escaped():
    """headers and destinations with every escape of the version"""
    c, destination = connect(), fresh("topic") + ":a\\b"
    c.subscribe(destination)
    value = "colon : backslash \\ newline \n not a newline \\n grüße"
    if VERSION == "1.2":
        value += " return \r"
    c.send(destination, "x", headers={"key:with\ncolon": "v", "value": value, "spaces": "  two  "})
    m = c.next("message")
    assert m.headers["destination"] == destination, m.headers
    assert m.headers["value"] == value, m.headers
    assert m.headers["spaces"] == "  two  ", m.headers


@case("1.1", "1.2")
def heartbeats():
    """both sides beat, and silence within the agreed time ends nothing"""
    c = connect(heartbeats=(200, 200))
    assert c.hello["heart-beat"] != "0,0", c.hello
    for _ in range(8):
        c.next("heartbeat")
    c.none("disconnected")
    c.quiet()
    c.disconnect()


@case()
def unsubscribing():
    """nothing comes after the receipt of UNSUBSCRIBE, and a queue keeps it"""
    c, destination = connect(), fresh("queue")
    sid = c.subscribe(destination)
    c.send(destination, "one")
    assert c.bodies(1) == [b"one"]
    c.unsubscribe(destination, sid)
    c.send(destination, "two")
    c.quiet()
    c.subscribe(destination)
    assert c.bodies(1) == [b"two"]


@case()
def bad_destination():
    """a destination that there is not is an ERROR that names it and the request"""
    c = connect()
    c.conn.send("/elsewhere/x", "lost", receipt="wanted")
    error = c.next("error")
    said = error.headers["message"] + " " + error.body.decode()
    assert "elsewhere" in said, said
    assert "Unknown destination" in said or error.headers.get("receipt-id") == "wanted", error.headers
    c.over()
    c.none("receipt")


@case()
def unknown_ack():
    """an ACK of what was never delivered is an ERROR"""
    c = connect()
    sid = c.subscribe(fresh("queue"), ack="client")
    args = ("nonsense", sid) if VERSION == "1.1" else ("nonsense",)
    c.conn.ack(*args, receipt="wanted")
    assert c.next("error").headers["message"]
    c.over()


@case()
def disconnecting():
    """the receipt of DISCONNECT comes after all that was sent before"""
    a, b, destination = connect(), connect(), fresh("topic")
    b.subscribe(destination)
    for i in range(100):
        a.conn.send(destination, f"{i}")
    a.disconnect()
    assert b.bodies(100) == [b"%d" % i for i in range(100)]


asyncio.run(report.run(cases))
