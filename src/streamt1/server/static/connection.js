// A session on a socket: a new video, or one that is viewed again. After an outage it comes again by itself, and goes
// on behind the last message that it knows.

const FIRST = 500, MOST = 10000; // milliseconds before it comes again
const SILENT = 45000; // milliseconds without a word, after which the socket is given up: the server says something every 15 s

export class Connection {
  // `heard` takes events, `piece` takes bytes, `lost` and `back` hear of an outage.
  constructor(told) {
    Object.assign(this, told, { socket: null, name: null, known: null, over: true });
    addEventListener("online", () => (this.socket ? this.drop() : this.again()));
  }

  // It may be sent again where the socket is lost before an answer: by its key it is one video.
  order(fields) {
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0"));
    this.begin(null);
    this.asked = { ...fields, idempotency_key: key.join("") };
    this.open(this.asked);
  }

  attach(name) {
    this.begin(name);
    this.open({ attach: name });
  }

  begin(name) {
    this.leave();
    Object.assign(this, { name, known: null, announced: null, over: false, wait: FIRST, away: false, sent: false });
  }

  // Nothing more is heard; the video goes on.
  leave() {
    this.over = true;
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.socket?.close();
    this.socket = this.name = null;
  }

  // Whether an order has been sent that nobody has answered: it may be a video.
  get asking() {
    return this.sent && !this.over && !this.name;
  }

  // A socket that says nothing any more is not waited for, nor for the end of its closing.
  drop() {
    const { socket } = this;
    if (this.over || !socket) return;
    this.closed();
    socket.close();
    if (!this.over) this.again();
  }

  awaken() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.drop(), SILENT);
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
    this.awaken();
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      socket.send(JSON.stringify(first));
      this.sent ||= socket === this.socket;
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.socket) return;
      this.awaken();
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
    clearTimeout(this.silence);
    this.socket = null;
    this.lost(this.away);
    this.away = true;
    this.timer = setTimeout(() => this.again(), this.wait);
    this.wait = Math.min(MOST, 2 * this.wait);
  }

  again() {
    if (this.over || this.socket) return;
    clearTimeout(this.timer);
    if (!this.name) this.open(this.asked);
    else this.open(this.known ? { attach: this.name, after: this.known } : { attach: this.name });
  }
}
