// Talking to a live video: a new prompt, which begins at a coming chunk, and its end.

import { capital, count, find, tell } from "/page/dom.js";

const NOBODY = "There is no connection to the server. Try again in a moment.";
const SHOWN = 120; // characters of a prompt in a sentence

export class Talk {
  // `send` takes a message for the server.
  constructor(send) {
    this.send = send;
    this.box = find("next");
    find("talk").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.ask();
    });
    this.box.addEventListener("input", () => this.refuse(""));
    find("end").addEventListener("click", () => this.end());
    this.reset();
  }

  reset() {
    this.waiting = []; // prompts that have not begun, in the order in which they will
    this.unanswered = []; // what was sent, in the order in which the server answers
    this.chunk = 0;
    this.ended = false;
    this.start = () => null;
    this.close();
    find("end").setAttribute("aria-disabled", "false");
    this.box.value = "";
    this.refuse("");
    tell("talk-said", "");
    this.show();
  }

  // The server listens.
  open() {
    find("talk").hidden = find("end").hidden = false;
  }

  // The video has been made, or has come to nothing.
  close() {
    find("talk").hidden = find("end").hidden = true;
  }

  // The run: when a chunk will begin, in seconds, what its first prompt is, and its lag.
  began(start, prompt, lag) {
    Object.assign(this, { start, prompt, lag });
  }

  ask() {
    const prompt = this.box.value.trim();
    if (!prompt || this.ended) return;
    const one = { prompt };
    if (!this.send({ prompt })) return this.refuse(NOBODY);
    this.waiting.push(one);
    this.unanswered.push(one);
  }

  end() {
    if (this.ended) return;
    if (!this.send({ end: true })) return this.refuse(NOBODY);
    this.ended = true;
    find("end").setAttribute("aria-disabled", "true");
    this.unanswered.push({});
  }

  // The connection is gone, and with it the answers: what was taken shows when it begins.
  lost() {
    if (this.unanswered.length) this.refuse("The connection was lost before the server answered.");
    this.waiting = this.waiting.filter(({ taken }) => taken);
    this.unanswered = [];
    this.ended = false;
    find("end").setAttribute("aria-disabled", "false");
    this.show();
  }

  taken() {
    const one = this.unanswered.shift();
    one.taken = true;
    if (this.box.value.trim() === one.prompt) this.box.value = "";
    this.refuse("");
    tell("talk-said", "");
    this.show();
  }

  // The server cannot use what was sent: the video goes on, and the words stay where they can be changed.
  notUnderstood(event) {
    const one = this.unanswered.shift();
    this.waiting = this.waiting.filter((other) => other !== one);
    this.refuse(event.error.message);
    this.show();
  }

  ending() {
    this.unanswered.shift();
    this.waiting = [];
    tell("talk-said", "Ending: what is decided is the video.");
    this.show();
  }

  // Prompts before one that begins have been passed over, for they changed nothing.
  scene(event) {
    const at = this.waiting.findIndex(({ prompt }) => prompt === event.prompt);
    this.waiting.splice(0, at + 1);
    this.prompt = event.prompt;
    const seen = `It is seen at most ${count(this.lag + 1, "chunk")} later.`;
    tell("talk-said", `Since chunk ${event.chunk + 1}: ${quoted(event.prompt)}. ${seen}`);
  }

  chunkStarted(event) {
    this.chunk = event.chunk;
    while (this.waiting[0]?.taken && this.waiting[0].prompt === this.prompt) this.waiting.shift();
    this.show();
  }

  show() {
    const [next, ...more] = this.waiting.filter(({ taken }) => taken);
    const chunk = this.chunk + 1, start = this.start(chunk);
    const when = `chunk ${chunk + 1}${start === null ? "" : `, at ${start.toFixed(1)} s`}`;
    const waits = `${capital(count(more.length, "prompt"))} more ${more.length > 1 ? "wait" : "waits"}.`;
    tell("pending", next ? `From ${when}: ${quoted(next.prompt)}.${more.length ? ` ${waits}` : ""}` : "");
  }

  refuse(text) {
    tell("talk-problem", text);
    if (text) this.box.setAttribute("aria-invalid", "true");
    else this.box.removeAttribute("aria-invalid");
  }
}

const quoted = (prompt) => `\u201c${prompt.length > SHOWN ? `${prompt.slice(0, SHOWN)}\u2026` : prompt}\u201d`;
