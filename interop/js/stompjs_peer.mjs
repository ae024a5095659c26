// A client made of @stomp/stompjs that says in promises what stompjs says in callbacks. It
// runs in node and in browsers.

const check = (ok, why) => { if (!ok) throw new Error(why); };

/** What comes, in order; each is taken once, by one taker at a time. */
export class Inbox {
  #items = [];
  #failure;
  #wake = () => {};

  put(item) {
    this.#items.push(item);
    this.#wake();
  }

  /** Whoever finds nothing from now on waits in vain. */
  fail(why) {
    this.#failure = why;
    this.#wake();
  }

  get size() { return this.#items.length; }

  async take() {
    while (this.#items.length === 0) {
      if (this.#failure) throw new Error(this.#failure);
      await new Promise((resolve) => { this.#wake = resolve; });
    }
    return this.#items.shift();
  }

  async takeAll(n) {
    const items = [];
    while (items.length < n) items.push(await this.take());
    return items;
  }
}

export class Peer {
  errors = new Inbox(); // ERROR frames
  closes = new Inbox(); // CloseEvents
  beats = 0; // heartbeats that came
  #inboxes = [];
  #receipts = 0;
  #reported = ""; // what the last ERROR said

  /** conf is stompjs' own, over defaults that suit the tests. */
  constructor(Client, conf) {
    this.connects = this.#inbox();
    this.unhandled = this.#inbox(); // MESSAGE frames that belong to no subscription
    this.client = new Client({
      connectHeaders: { login: "guest", passcode: "guest" },
      heartbeatIncoming: 0,
      heartbeatOutgoing: 0,
      reconnectDelay: 0,
      onConnect: (frame) => this.connects.put(frame),
      onStompError: (frame) => {
        this.#reported = frame.body;
        this.errors.put(frame);
      },
      onUnhandledMessage: (message) => this.unhandled.put(message),
      onHeartbeatReceived: () => { this.beats++; },
      onWebSocketClose: (e) => {
        this.closes.put(e);
        if (this.client.reconnectDelay) return;
        for (const i of this.#inboxes) i.fail(`closed with ${e.code} "${e.reason}" after an ERROR of "${this.#reported}"`);
      },
      ...conf,
    });
  }

  #inbox() {
    const inbox = new Inbox();
    this.#inboxes.push(inbox);
    return inbox;
  }

  async connect() {
    this.client.activate();
    this.connected = await this.connects.take();
    return this;
  }

  /** Has f send a frame with the header receipt, and returns its RECEIPT. */
  done(f) {
    const receipt = `receipt ${++this.#receipts}`;
    const inbox = this.#inbox();
    this.client.watchForReceipt(receipt, (frame) => inbox.put(frame));
    f({ receipt });
    return inbox.take();
  }

  /** Returns the inbox of a subscription that the server has confirmed. */
  async subscribe(destination, headers) {
    const inbox = this.#inbox();
    await this.done((h) => {
      const put = (message) => inbox.put(message);
      inbox.subscription = this.client.subscribe(destination, put, { ...headers, ...h });
    });
    return inbox;
  }

  /** Sends a string or bytes. */
  send(destination, body, headers) {
    this.client.publish({ destination, headers, ...(typeof body === "string" ? { body } : { binaryBody: body }) });
  }

  /** send, until the server has confirmed it. */
  sent(destination, body, headers) {
    return this.done((h) => this.send(destination, body, { ...headers, ...h }));
  }

  /** Sends what stompjs' own methods can't say: a receipt for BEGIN, a frame without what it needs. */
  frame(command, headers, body) {
    this.client._stompHandler._transmit({ command, headers, body });
  }

  /** Wants an ERROR with that code, and then the close. */
  async fatal(code, ...statuses) {
    const e = await this.errors.take();
    check(e.body.includes(code), `an ERROR of ${code} was wanted, not "${e.headers.message}", "${e.body}"`);
    check(e.headers.message, "an ERROR without a message");
    const close = await this.closes.take();
    check(statuses.includes(close.code), `closed with ${close.code}, not ${statuses}, after "${e.body}"`);
    return e;
  }

  /** Has f send a frame with the header receipt that is refused. */
  async refused(code, f) {
    const receipt = `receipt ${++this.#receipts}`;
    f({ receipt });
    const e = await this.fatal(code, 1002, 1008);
    check(e.headers["receipt-id"] === receipt, `the ERROR is for ${e.headers["receipt-id"]}, not ${receipt}`);
    return e;
  }

  async alive() {
    await this.sent("/topic/alive", "");
  }

  /** Says DISCONNECT and wants its RECEIPT and a close. */
  async end() {
    let parted = false;
    this.client.onDisconnect = () => { parted = true; };
    await this.client.deactivate();
    check(parted, "no RECEIPT for DISCONNECT");
    const close = await this.closes.take();
    // 1005 if stompjs' close frame, which has no status, was first.
    check(close.wasClean && [1000, 1005].includes(close.code), `closed with ${close.code}`);
  }
}
