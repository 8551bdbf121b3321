// The strip: what the best beam's memory holds, a cell for each chunk of the video, or for the last of a long one.

import { count, find, listed, make } from "/page/dom.js";

const MOST = 96; // cells for all chunks of a video
const LAST = 24; // cells of a longer one, after its old sinks
const FATES = {
  discard: () => "was dropped",
  ema: (slot) => `was blended into sink ${slot + 1}`,
  append: () => "stays as a sink of its own",
};

const READ_ON = "is read on, since its scene is back";

export class Memory {
  constructor() {
    this.strip = find("strip");
    this.reset(0);
  }

  // `chunks` of the video, null where it has no end.
  reset(chunks) {
    this.chunks = chunks;
    this.best = null;
    this.appended = new Set();
    this.blended = new Set();
    this.switch = "";
    this.draw({ sinks: [], window: [] }, -1);
    find("memory-said").textContent = "Memory is empty.";
  }

  committed(event) {
    if (event.beam === 0) this.best = event.candidate;
  }

  changed(event) {
    if (event.candidate !== this.best) return;
    if (event.outcome === "append") this.appended.add(event.left);
    if (event.outcome === "ema") this.blended.add(event.sinks[event.slot]);
    this.draw(event, event.chunk);
    const fate = () => FATES[event.outcome](event.sinks[event.slot]);
    const back = event.left !== null && event.left === (event.recalled ?? null);
    const gone = () => [...(back && event.outcome === "discard" ? [] : [fate()]), ...(back ? [READ_ON] : [])].join(" and ");
    const left = event.left === null ? "" : ` Chunk ${event.left + 1} has left the window and ${gone()}.`;
    this.say(event, event.chunk + 1, left);
  }

  // A new prompt; what it did to memory is said as long as its scene lasts.
  switched(event) {
    if (event.candidate !== this.best) return;
    this.switch = ` Since chunk ${event.chunk + 1} there is another prompt: ${done(event)}.`;
    this.draw(event, event.chunk - 1);
    this.say(event, event.chunk, "");
  }

  say(held, reader, left) {
    const sinks = held.sinks.length ? `sink${held.sinks.length > 1 ? "s" : ""} ${listed(held.sinks.map((at) => at + 1))}` : "no sink";
    const window = held.window.length ? `${count(held.window.length, "chunk")} of window` : "an empty window";
    const reads = this.chunks === null || reader + 1 < this.chunks ? `Chunk ${reader + 1} reads` : "The last chunk reads";
    find("memory-said").textContent = `${reads} ${sinks} and ${window}.${left}${this.switch}`;
  }

  draw({ sinks, window }, newest) {
    for (const kept of [this.appended, this.blended]) kept.forEach((at) => sinks.includes(at) || kept.delete(at));
    const cells = this.shown(sinks, newest);
    this.strip.style.setProperty("--n", Math.max(1, cells.length));
    this.strip.replaceChildren(...cells.map((at, place) => {
      const name = cells.length <= LAST || at % 5 === 4 || (place === 0 && at < newest) ? String(at + 1) : "";
      return make("li", "", make("i", `cell ${this.kind(at, sinks, window, newest)}`), name);
    }));
  }

  // Chunks that have a cell.
  shown(sinks, newest) {
    const all = this.chunks !== null && this.chunks <= MOST;
    const from = all ? 0 : Math.max(0, newest + 1 - LAST), until = all ? this.chunks : newest + 1;
    const last = Array.from({ length: until - from }, (_, at) => from + at);
    return [...new Set(sinks.filter((at) => at < from).sort((one, other) => one - other)), ...last];
  }

  kind(at, sinks, window, newest) {
    const has = this.blended.has(at) ? " has" : "";
    if (sinks.includes(at)) return `${this.appended.has(at) ? "appended" : "sink"}${has}`;
    if (window.includes(at)) return "window";
    return at <= newest ? "gone" : "";
  }
}

// What a new prompt did to memory.
const done = (event) => {
  const again = event.recalled ?? null;
  const recalled = again === null ? "" : `, and chunk ${again + 1} is read again, for its scene has returned`;
  if (event.rewritten.length) return `memory was written again under it${recalled}`;
  if (!event.sinks.length && !event.window.length) return "memory was emptied for it";
  return `memory was kept as it was${recalled}`;
};
