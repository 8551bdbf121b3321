// Runs that the server knows, the newest first, each with its video and its report.

import { ask, find, inSeconds, make } from "/page/dom.js";

const FIRST = 8, PAGE = 100; // runs: as many as are shown at first, and as the server tells at once
const SOON = 2000, LATER = 5000, LONG = 10000; // milliseconds to the next look: something is on its way; or not; the most
const SILENT = [502, 503, 504]; // a proxy's, where the server does not answer: it is asked again
const POLICIES = {
  stream_t1: "Stream-T1", beam: "beam search", best_of_n: "best of n", best_of_n_per_scene: "best of n per scene",
  greedy: "one plain sample",
};

export class History {
  // `problem` takes what a request met; `said` is what the page says is wrong, and `unsay` takes it back.
  constructor(problem, said, unsay) {
    Object.assign(this, { problem, said, unsay });
    this.wanted = FIRST;
    this.turn = 0; // the last look's number
    this.told = new Map(); // what each row says, by its run
    this.failed = this.refused = null; // what a look, and what somebody wanted here, have said is wrong
    find("older").addEventListener("click", () => {
      this.wanted *= 2;
      this.show();
    });
    find("sure-no").addEventListener("click", () => find("sure").close());
    document.addEventListener("visibilitychange", () => document.hidden || this.show());
  }

  // Asks for the list, and again after a while: others order videos, too. A long one is asked for less often.
  async show() {
    clearTimeout(this.timer);
    const turn = (this.turn += 1);
    let wait = LATER, locked = false;
    try {
      const page = await this.page();
      if (turn !== this.turn) return; // a later look tells more
      this.draw(page);
      if (page.data.some((job) => isMade(job))) wait = SOON;
      this.takeBack(this.failed);
      this.failed = null;
    } catch (error) {
      if (turn !== this.turn) return;
      locked = error.code === "invalid_api_key";
      if (error.status && !SILENT.includes(error.status)) { // without an answer, it is asked again
        this.problem(error);
        this.failed = locked ? null : error.message;
      }
    }
    clearTimeout(this.timer);
    wait = Math.min(LONG, wait * Math.ceil(this.wanted / PAGE));
    if (!document.hidden && !locked) this.timer = setTimeout(() => this.show(), wait);
  }

  takeBack(text) {
    if (text !== null && this.said() === text) this.unsay();
  }

  // As many runs as are wanted, and whether there are more.
  async page() {
    const data = [];
    for (let after = "", more = true; ; ) {
      const limit = Math.min(PAGE, this.wanted - data.length);
      if (!more || limit <= 0) return { data, has_more: more };
      const page = await ask(`/v1/videos?limit=${limit}${after}`);
      data.push(...page.data);
      after = `&after=${page.last_id}`;
      more = page.has_more;
    }
  }

  // Rows that say what they said stay as they are.
  draw(page) {
    const list = find("runs"), focused = document.activeElement?.dataset?.place;
    const older = document.activeElement === find("older"), before = list.children.length;
    const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
    const place = [...rows.keys()].indexOf(focused?.split(" ")[0]);
    const now = page.data.map((job) => {
      const told = JSON.stringify(job), same = this.told.get(job.id) === told;
      this.told.set(job.id, told);
      return same && rows.has(job.id) ? rows.get(job.id) : this.row(job);
    });
    if (now.length !== list.children.length || now.some((row, at) => row !== list.children[at])) list.replaceChildren(...now);
    find("none").hidden = page.data.length > 0;
    this.told = new Map(page.data.map((job) => [job.id, this.told.get(job.id)]));
    find("older").hidden = !page.has_more;
    if (older && !page.has_more) this.focus(null, before); // the button has gone: on to the first run that it brought
    if (focused && document.activeElement?.dataset?.place !== focused) this.focus(focused, place);
  }

  // Back to where focus was; where that is gone, to the run that took its place: to what shows it, not to what ends it.
  focus(wanted, place) {
    const places = [...find("runs").querySelectorAll("[data-place]")];
    const row = find("runs").children[Math.min(place, find("runs").children.length - 1)];
    const next = places.find((one) => one.dataset.place === wanted) ?? row?.querySelector("a") ?? find("past-title");
    next.focus({ preventScroll: true });
  }

  row(job) {
    const words = make("div", "", make("p", "", job.prompt), make("small", "", describe(job)));
    const row = make("li", job.status, this.picture(job), words, this.links(job));
    row.dataset.id = job.id;
    return row;
  }

  picture(job) {
    if (job.status !== "completed") return make("span", "blank");
    const picture = make("img");
    picture.src = `/v1/videos/${job.id}/content?variant=thumbnail`;
    picture.alt = "";
    picture.loading = "lazy";
    return picture;
  }

  links(job) {
    const links = make("div", "links");
    if (isMade(job)) links.append(link("Watch", `#${job.id}`, job, ""));
    if (job.status === "completed") links.append(link("Report", `/v1/videos/${job.id}/report`, job));
    const shown = job.status === "completed" || (job.status === "cancelled" && job.chunks > 0);
    if (shown) links.append(link("Video", `/v1/videos/${job.id}/content`, job));
    const drop = make("button", "drop", isMade(job) ? "Cancel" : "Delete");
    drop.type = "button";
    drop.dataset.place = `${job.id} drop`;
    drop.addEventListener("click", () => (isMade(job) ? this.cancel(job) : this.sure(job)));
    links.append(drop);
    return links;
  }

  cancel(job) {
    return this.act(`/v1/videos/${job.id}/cancel`, "POST");
  }

  sure(job) {
    find("sure-said").textContent = job.prompt;
    find("sure-yes").onclick = () => {
      find("sure").close();
      this.act(`/v1/videos/${job.id}`, "DELETE");
    };
    find("sure").showModal();
  }

  async act(path, method) {
    try {
      await ask(path, { method });
      this.takeBack(this.refused);
    } catch (error) {
      if ([404, 409].includes(error.status)) return this.show();
      this.problem(error);
      this.refused = error.message;
    }
    await this.show();
  }
}

const isMade = (job) => ["queued", "in_progress"].includes(job.status);

const link = (word, address, job, target = "_blank") => {
  const element = make("a", "", word);
  element.href = address;
  if (target) element.target = target;
  element.dataset.place = `${job.id} ${word}`;
  return element;
};

const describe = (job) => {
  const running = job.endless ? "live" : `${job.progress} %`, why = job.error?.message;
  const states = { queued: "waits", in_progress: running, completed: "done", failed: `failed: ${why}`, cancelled: `stopped: ${why}` };
  const width = job.beam_size && job.top_k ? `${job.beam_size} \u00d7 ${job.top_k}` : null;
  const policy = POLICIES[job.policy] ?? null;
  const lag = job.lag === null ? null : `lag ${job.lag}`;
  const when = new Date(job.created_at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const scenes = job.timeline ? `${job.timeline.length} scenes` : null;
  const length = (job.endless && isMade(job)) || job.chunks === 0 ? null : inSeconds(job.seconds);
  return [states[job.status], length, scenes, job.preset, policy, width, lag, `seed ${job.seed}`, when].filter(Boolean).join(" \u00b7 ");
};
