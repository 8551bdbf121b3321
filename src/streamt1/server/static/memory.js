// The strip: what the best beam's memory holds, a cell for each chunk of the video.

import { count, find, listed, make } from "/page/dom.js";

const FATES = {
  discard: () => "was dropped",
  ema: (slot) => `was blended into sink ${slot}`,
  append: () => "stays as a sink of its own",
};

export class Memory {
  constructor() {
    this.strip = find("strip");
    this.reset(0);
  }

  reset(chunks) {
    this.best = null;
    this.appended = new Set();
    this.blended = new Set();
    this.strip.style.setProperty("--n", Math.max(1, chunks));
    this.cells = Array.from({ length: chunks }, (_, at) => make("li", "", make("i", "cell"), chunks > 24 && at % 5 ? "" : String(at)));
    this.strip.replaceChildren(...this.cells);
    find("memory-said").textContent = "Memory is empty.";
  }

  committed(event) {
    if (event.beam === 0) this.best = event.candidate;
  }

  changed(event) {
    if (event.candidate !== this.best) return;
    if (event.outcome === "append") this.appended.add(event.left);
    if (event.outcome === "ema") this.blended.add(event.sinks[event.slot]);
    const held = [...event.sinks, ...event.window];
    this.cells.forEach((item, at) => {
      const kind = event.sinks.includes(at) ? (this.appended.has(at) ? "appended" : "sink") : event.window.includes(at) ? "window" : "";
      const more = this.blended.has(at) && kind && kind !== "window" ? " has" : "";
      item.firstElementChild.className = `cell ${kind}${more}${!kind && at < Math.max(...held) ? "gone" : ""}`;
    });
    find("memory-said").textContent = this.said(event);
  }

  said(event) {
    const sinks = event.sinks.length ? `sink${event.sinks.length > 1 ? "s" : ""} ${listed(event.sinks)}` : "no sink";
    const window = event.window.length ? `${count(event.window.length, "chunk")} of window` : "an empty window";
    const left = event.left === null ? "" : ` Chunk ${event.left} has left the window and ${FATES[event.outcome](event.sinks[event.slot])}.`;
    const reader = event.chunk + 2 < this.cells.length ? `Chunk ${event.chunk + 1} reads` : "The last chunk reads";
    return `${reader} ${sinks} and ${window}.${left}`;
  }
}
