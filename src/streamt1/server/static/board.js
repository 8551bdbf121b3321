// The search as it happens: the current chunk's candidates as cards, and the last chunks as columns, scene by scene.

import { capital, count, find, make, signed, spelled } from "/page/dom.js";

const MOST = 200; // columns

export class Board {
  constructor() {
    this.cards = find("cards");
    this.scenes = find("columns");
    this.scroll = find("scroll");
    this.reset();
  }

  reset() {
    this.candidates = new Map(); // cards of the current chunk
    this.tiles = new Map(); // of all columns
    this.columns = [];
    this.cards.replaceChildren();
    this.scenes.replaceChildren();
    find("dropped").hidden = true;
    find("now-title").textContent = "Candidates";
    find("now-said").textContent = "They appear here as they are tried.";
  }

  // The columns from here on belong to another prompt; null for a video that has one alone, which needs no words here.
  scene(prompt) {
    const scene = make("li", "act", make("ol"));
    if (prompt !== null) {
      scene.prepend(make("p", "", prompt));
      scene.title = prompt;
    }
    if (this.scenes.lastElementChild?.lastElementChild.children.length === 0) this.scenes.lastElementChild.remove();
    this.scenes.append(scene);
  }

  chunk(event) {
    this.again(event.chunk);
    const atEnd = this.scroll.scrollLeft + this.scroll.clientWidth >= this.scroll.scrollWidth - 80;
    this.candidates.clear();
    this.blank(event.candidates);
    const element = make("li", "column", make("span", "", String(event.chunk + 1)));
    element.append(...Array.from({ length: event.candidates }, () => make("span", "blank")));
    element.dataset.chunk = event.chunk;
    this.columns.push({ element, chunk: event.chunk, candidates: [] });
    this.scenes.lastElementChild.lastElementChild.append(element);
    if (this.columns.length > MOST) this.drop(this.columns.shift());
    if (atEnd) this.scroll.scrollLeft = this.scroll.scrollWidth;
    find("now-title").textContent = `Chunk ${event.chunk + 1}`;
    find("now-said").textContent = `${capital(count(event.candidates, "candidate"))}, trying\u2026`;
    this.kept = this.tried = 0;
  }

  // As many empty cards as there will be candidates: what stands below them does not move.
  blank(count) {
    this.cards.replaceChildren(...Array.from({ length: count }, () => {
      const score = make("p", "score", make("b", "", "\u2026"));
      return make("li", "card", make("span", "blank"), score, make("small", "", "\u00a0"));
    }));
  }

  drop(column) {
    const scene = column.element.parentElement;
    column.element.remove();
    if (!scene.children.length) scene.parentElement.remove();
    for (const candidate of column.candidates) this.tiles.delete(candidate);
    find("dropped").hidden = false;
    find("dropped").textContent = `The last ${this.columns.length} chunks; the report shows them all.`;
  }

  // A chunk that was open when its server went down is begun again by the next; its scene stays.
  again(chunk) {
    while (this.columns.at(-1)?.chunk >= chunk) this.columns.pop().element.remove();
  }

  // A video that was told to end has so many chunks: what was begun after them is not of it.
  ends(chunks) {
    while (this.columns.at(-1)?.chunk >= chunks) {
      const { element } = this.columns.pop(), scene = element.parentElement;
      element.remove();
      if (!scene.children.length) scene.parentElement.remove();
    }
  }

  proposed(event) {
    const column = this.columns.at(-1), place = column.candidates.length;
    if (place >= this.cards.children.length) return; // more than were announced
    column.candidates.push(event.candidate);
    this.candidates.set(event.candidate, this.cards.children[place]);
    this.tiles.set(event.candidate, column.element.children[place + 1]);
    this.tried += 1;
  }

  picture(event) {
    const card = this.candidates.get(event.candidate), tile = this.tiles.get(event.candidate);
    card.firstElementChild.replaceWith(picture(event, ""));
    this.tiles.set(event.candidate, picture(event, tile.className.replace("blank", "")));
    tile.replaceWith(this.tiles.get(event.candidate));
  }

  scored(event) {
    const card = this.candidates.get(event.candidate);
    card.querySelector("b").textContent = signed(event.fused);
    const parts = [`short ${signed(event.short)}`, `long ${signed(event.long)}`];
    card.querySelector("small").replaceChildren(...parts.map((part) => make("span", "", part)));
  }

  pruned(event) {
    const card = this.candidates.get(event.candidate);
    card.classList.add("pruned");
    this.tiles.get(event.candidate).classList.add("pruned");
    this.mark(card, "pruned");
  }

  committed(event) {
    const card = this.candidates.get(event.candidate);
    card.classList.add("survived");
    card.classList.toggle("best", event.beam === 0);
    this.tiles.get(event.candidate).classList.add("survived");
    this.mark(card, event.beam === 0 ? "best" : "kept");
    this.kept += 1;
    find("now-said").textContent = `${capital(count(this.tried, "candidate"))} tried, ${spelled(this.kept)} kept.`;
  }

  mark(card, word) {
    const score = card.querySelector(".score");
    if (score.firstElementChild.textContent === "\u2026") score.firstElementChild.textContent = "not scored";
    score.append(make("span", "", word));
  }

  // A chunk may settle after its column has gone.
  settled(event) {
    const tile = this.tiles.get(event.candidate);
    if (!tile) return;
    tile.classList.remove("pruned");
    tile.classList.add("chosen");
    tile.parentElement.classList.add("out");
  }
}

const picture = (event, name) => {
  const element = make("img", name);
  element.src = `data:image/webp;base64,${event.webp}`;
  element.alt = "";
  return element;
};
