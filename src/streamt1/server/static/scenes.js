// The scenes of a video: written, put in order, removed. A video of one scene has the form's own prompt and seconds.

import { capital, count, find, make, spelled } from "/page/dom.js";

const USUAL = 5; // seconds of a scene that says none, as the server has it
const MEMORY = { "": "as the model does", keep: "kept as it is", recache: "written again", cut: "emptied" };
const EDGE = 60, NUDGE = 12; // pixels: near the window's edge, a drag scrolls

export class Scenes {
  // `changed` is called when there are more or fewer scenes.
  constructor(changed) {
    this.list = find("scenes");
    this.changed = changed;
    this.most = { seconds: Infinity };
    find("add").addEventListener("click", () => this.add());
    this.list.addEventListener("input", () => this.sum());
  }

  get items() {
    return [...this.list.children];
  }

  get many() {
    return this.list.children.length > 1;
  }

  // What the server may be asked for: `seconds` of a video, characters of a `prompt`.
  limit(most) {
    this.most = most;
  }

  // The scenes as the server takes them; null where there is one.
  timeline() {
    return this.many ? this.items.map((item, at) => told(item, at)) : null;
  }

  add() {
    if (!this.many) this.list.append(this.scene(find("prompt").value, find("seconds").value));
    const item = this.scene("", field(this.items.at(-1), "seconds").value);
    this.list.append(item);
    this.renumber(`Scene ${this.items.length} is added.`);
    field(item, "prompt").focus();
  }

  remove(item) {
    const at = this.items.indexOf(item);
    item.remove();
    const left = this.items;
    const next = left.length > 1 ? field(left[Math.min(at, left.length - 1)], "prompt") : this.alone(left[0]);
    this.renumber(`Scene ${at + 1} is removed, ${spelled(left.length)} ${left.length > 1 ? "are" : "is"} left.`);
    next.focus();
  }

  // The last scene goes back to the form's own fields.
  alone(item) {
    find("prompt").value = field(item, "prompt").value;
    find("seconds").value = field(item, "seconds").value || USUAL;
    this.list.replaceChildren();
    return find("prompt");
  }

  // Others move around the scene, and not the scene itself: what moves in the document loses focus and pointer.
  move(item, by) {
    const at = this.items.indexOf(item), other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
    if (!other) return;
    if (by < 0) item.after(other);
    else item.before(other);
    this.renumber(moved(at, at + by, this.items.length));
  }

  renumber(said) {
    const { items } = this;
    items.forEach((item, at) => {
      const name = `scene ${at + 1}`;
      item.querySelector("b").textContent = capital(name);
      field(item, "prompt").setAttribute("aria-label", `Prompt of ${name}`);
      field(item, "prompt").placeholder = `What should ${name} show?`;
      const whats = { up: `Move ${name} up`, down: `Move ${name} down`, remove: `Remove ${name}` };
      for (const [key, what] of Object.entries(whats)) field(item, key).setAttribute("aria-label", what);
      field(item, "up").setAttribute("aria-disabled", at === 0);
      field(item, "down").setAttribute("aria-disabled", at === items.length - 1);
      field(item, "memory").parentElement.hidden = at === 0;
    });
    find("scenes-said").textContent = said;
    this.sum();
    this.changed();
  }

  sum() {
    const whole = this.items.reduce((sum, item) => sum + length(item), 0);
    const over = whole > this.most.seconds ? `; this server makes at most ${this.most.seconds} s` : "";
    const said = `${capital(count(this.items.length, "scene"))}, ${whole.toFixed(1)} s${over}`;
    find("total").textContent = this.many ? said : "";
  }

  // Marks the field that the server's sentence is about, and goes there.
  blame({ message, param }) {
    const number = /\bscene (\d+)\b/.exec(message)?.[1], item = this.items[number - 1];
    const wrong = item ? field(item, param === "prompt" ? "prompt" : "seconds") : param === "prompt" && find("prompt");
    if (!wrong || wrong.hidden) return;
    wrong.setAttribute("aria-invalid", "true");
    wrong.setAttribute("aria-describedby", "problem");
    wrong.focus();
  }

  scene(prompt, seconds) {
    const item = make("li", "scene"), handle = make("span", "handle", "\u283f");
    handle.setAttribute("aria-hidden", "true");
    handle.addEventListener("pointerdown", (event) => this.drag(event, item));
    const button = (key, word, act) => {
      const one = named(make("button", "drop", word), key);
      one.type = "button";
      one.addEventListener("click", act);
      return one;
    };
    const buttons = make(
      "span", "buttons",
      button("up", "\u2191", () => this.move(item, -1)), button("down", "\u2193", () => this.move(item, 1)),
      button("remove", "Remove", () => this.remove(item)),
    );
    item.append(make("div", "head", handle, make("b"), buttons), this.words(prompt), this.settings(seconds));
    return item;
  }

  words(prompt) {
    const words = named(make("textarea"), "prompt");
    Object.assign(words, { value: prompt, rows: 2, spellcheck: false });
    if (this.most.prompt) words.maxLength = this.most.prompt;
    return words;
  }

  settings(value) {
    const seconds = named(make("input"), "seconds"), memory = named(make("select"), "memory");
    const { min, step } = find("seconds");
    Object.assign(seconds, { type: "number", inputMode: "decimal", placeholder: USUAL, min, step, value });
    memory.append(...Object.entries(MEMORY).map(([key, words]) => new Option(words, key)));
    const labels = [make("label", "", "Seconds ", seconds), make("label", "", "Memory at its start ", memory)];
    return make("div", "settings", ...labels);
  }

  drag(event, item) {
    if (event.button) return;
    const { currentTarget: handle, clientY } = event, hold = clientY - item.getBoundingClientRect().top;
    const from = this.items.indexOf(item), focused = document.activeElement;
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    item.classList.add("dragged");
    const follow = ({ clientY: y }) => {
      window.scrollBy(0, y < EDGE ? -NUDGE : y > window.innerHeight - EDGE ? NUDGE : 0);
      reorder(item, y - hold);
      item.style.transform = "";
      item.style.transform = `translateY(${y - hold - item.getBoundingClientRect().top}px)`;
    };
    const drop = () => {
      handle.removeEventListener("pointermove", follow);
      item.classList.remove("dragged");
      item.style.transform = "";
      if (document.activeElement !== focused) focused.focus({ preventScroll: true });
      const to = this.items.indexOf(item);
      this.renumber(to === from ? "" : moved(from, to, this.items.length));
    };
    handle.addEventListener("pointermove", follow);
    handle.addEventListener("lostpointercapture", drop, { once: true });
  }
}

const named = (element, key) => {
  element.dataset.field = key;
  return element;
};

const field = (item, key) => item.querySelector(`[data-field=${key}]`);

const length = (item) => (field(item, "seconds").value === "" ? USUAL : Number(field(item, "seconds").value));

const moved = (from, to, all) => `Scene ${from + 1} is now scene ${to + 1} of ${all}.`;

const told = (item, at) => {
  const fields = { prompt: field(item, "prompt").value };
  if (field(item, "seconds").value !== "") fields.seconds = Number(field(item, "seconds").value);
  if (at > 0 && field(item, "memory").value) fields.memory = field(item, "memory").value;
  return fields;
};

// Neighbours pass a dragged scene, whose upper edge is at `top`, once it covers half of them.
const reorder = (item, top) => {
  const middle = (other) => other.getBoundingClientRect().top + other.offsetHeight / 2;
  const before = () => item.previousElementSibling, after = () => item.nextElementSibling;
  while (before() && top < middle(before())) item.after(before());
  while (after() && top + item.offsetHeight > middle(after())) item.before(after());
};
