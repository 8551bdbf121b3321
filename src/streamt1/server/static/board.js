// The search as it happens: the current chunk's candidates as cards, and every chunk so far as a column.

import { capital, count, find, make, signed, spelled } from "/page/dom.js";

export class Board {
  constructor() {
    this.cards = find("cards");
    this.columns = find("columns");
    this.reset();
  }

  reset() {
    this.candidates = new Map();
    this.column = null;
    this.cards.replaceChildren();
    this.columns.replaceChildren();
    find("now-title").textContent = "Candidates";
    find("now-said").textContent = "They appear here as they are tried.";
  }

  chunk(event) {
    this.cards.replaceChildren();
    this.column = make("li", "column", make("span", "", String(event.chunk)));
    this.column.dataset.chunk = event.chunk;
    this.columns.append(this.column);
    find("scroll").scrollLeft = find("scroll").scrollWidth;
    find("now-title").textContent = `Chunk ${event.chunk}`;
    find("now-said").textContent = `${capital(count(event.candidates, "candidate"))}, trying\u2026`;
    this.kept = this.tried = 0;
  }

  proposed(event) {
    const card = make("li", "card", make("span", "blank"), make("p", "score", make("b", "", "\u2026")), make("small", "", "\u00a0"));
    const tile = make("span", "blank");
    this.cards.append(card);
    this.column.append(tile);
    this.candidates.set(event.candidate, { card, tile, parent: event.parent });
    this.tried += 1;
  }

  picture(event) {
    const one = this.candidates.get(event.candidate);
    const address = `data:image/webp;base64,${event.webp}`;
    for (const part of ["card", "tile"]) {
      const picture = make("img");
      picture.src = address;
      picture.alt = "";
      const old = part === "card" ? one.card.firstElementChild : one.tile;
      picture.className = part === "card" ? "" : old.className.replace("blank", "");
      old.replaceWith(picture);
      if (part === "tile") one.tile = picture;
    }
  }

  scored(event) {
    const { card } = this.candidates.get(event.candidate);
    card.querySelector("b").textContent = signed(event.fused);
    const parts = [`short ${signed(event.short)}`, `long ${signed(event.long)}`];
    card.querySelector("small").replaceChildren(...parts.map((part) => make("span", "", part)));
  }

  pruned(event) {
    const { card, tile } = this.candidates.get(event.candidate);
    card.classList.add("pruned");
    tile.classList.add("pruned");
    this.mark(card, "pruned");
  }

  committed(event) {
    const { card, tile } = this.candidates.get(event.candidate);
    card.classList.add("survived");
    card.classList.toggle("best", event.beam === 0);
    tile.classList.add("survived");
    this.mark(card, event.beam === 0 ? "best" : "kept");
    this.kept += 1;
    find("now-said").textContent = `${capital(count(this.tried, "candidate"))} tried, ${spelled(this.kept)} kept.`;
  }

  mark(card, word) {
    const score = card.querySelector(".score");
    if (score.firstElementChild.textContent === "\u2026") score.firstElementChild.textContent = "not scored";
    score.append(make("span", "", word));
  }

  settled(event) {
    const { tile } = this.candidates.get(event.candidate);
    tile.classList.remove("pruned");
    tile.classList.add("chosen");
    tile.parentElement.classList.add("out");
  }
}
