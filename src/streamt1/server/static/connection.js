// A session on a socket: a new video, or one that is viewed again. After an outage it comes again by itself, and goes
// on behind the last message that it knows.

const FIRST = 500, MOST = 10000; // milliseconds before it comes again

export class Connection {
  // `heard` takes events, `piece` takes bytes, `lost` and `back` hear of an outage, and `gone` that there is no more.
  constructor(told) {
    Object.assign(this, told, { socket: null, name: null, known: null, over: true });
    addEventListener("online", () => this.again());
  }

  order(fields) {
    this.begin(null);
    this.open(fields);
  }

  attach(name) {
    this.begin(name);
    this.open({ attach: name });
  }

  begin(name) {
    this.leave();
    Object.assign(this, { name, known: null, announced: null, over: false, wait: FIRST, away: false });
  }

  // Nothing more is heard; the video goes on.
  leave() {
    this.over = true;
    clearTimeout(this.timer);
    this.socket?.close();
    this.socket = null;
  }

  // Whether a message could be sent.
  say(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  open(first) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/stream?ahead=inf`);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => socket.send(JSON.stringify(first)));
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.socket) return;
      if (typeof data === "string") this.event(JSON.parse(data));
      else this.bytes(data);
    });
    socket.addEventListener("close", () => {
      if (socket === this.socket && !this.over) this.closed();
    });
  }

  event(event) {
    if (["queued", "attached"].includes(event.event)) {
      this.name = event.video.id;
      this.wait = FIRST;
      if (this.away) this.back();
      this.away = false;
    }
    if (["completed", "failed", "cancelled", "refused"].includes(event.event)) this.over = true;
    if (["media", "fragment"].includes(event.event)) this.announced = event.id;
    else this.known = event.id ?? this.known;
    this.heard(event);
  }

  bytes(data) {
    this.known = this.announced;
    this.piece(data);
  }

  closed() {
    this.socket = null;
    if (!this.name) {
      this.over = true;
      return this.gone();
    }
    this.lost(this.away);
    this.away = true;
    this.timer = setTimeout(() => this.again(), this.wait);
    this.wait = Math.min(MOST, 2 * this.wait);
  }

  again() {
    if (this.over || this.socket) return;
    clearTimeout(this.timer);
    this.open(this.known ? { attach: this.name, after: this.known } : { attach: this.name });
  }
}
