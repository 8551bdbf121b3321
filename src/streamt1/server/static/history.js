// Runs that the server knows, the newest first, each with its video and its report.

import { ask, find, make } from "/page/dom.js";

const PAGE = 8, SOON = 2000, LATER = 5000; // runs; milliseconds to the next look, where something is on its way or not
const POLICIES = {
  stream_t1: "Stream-T1", beam: "beam search", best_of_n: "best of n", best_of_n_per_scene: "best of n per scene",
  greedy: "one plain sample",
};

export class History {
  constructor(problem) {
    this.problem = problem;
    this.wanted = PAGE;
    this.told = new Map(); // what each row says, by its run
    find("older").addEventListener("click", () => {
      this.wanted += PAGE;
      this.show();
    });
    find("sure-no").addEventListener("click", () => find("sure").close());
    document.addEventListener("visibilitychange", () => document.hidden || this.show());
  }

  // Asks for the list, and again after a while: others order videos, too.
  async show() {
    clearTimeout(this.timer);
    let wait = LATER;
    try {
      const page = await ask(`/v1/videos?limit=${Math.min(100, this.wanted)}`);
      this.draw(page);
      if (page.data.some((job) => isMade(job))) wait = SOON;
    } catch (error) {
      if (error.status) this.problem(error.message); // without an answer, it is asked again
    }
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.show(), wait);
  }

  // Rows that say what they said stay as they are.
  draw(page) {
    const list = find("runs"), focused = document.activeElement?.dataset?.place;
    const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
    const place = [...rows.keys()].indexOf(focused?.split(" ")[0]);
    const now = page.data.map((job) => {
      const told = JSON.stringify(job), same = this.told.get(job.id) === told;
      this.told.set(job.id, told);
      return same && rows.has(job.id) ? rows.get(job.id) : this.row(job);
    });
    if (now.length !== list.children.length || now.some((row, at) => row !== list.children[at])) list.replaceChildren(...now);
    find("none").hidden = page.data.length > 0;
    find("older").hidden = !page.has_more || this.wanted >= 100;
    if (focused && document.activeElement?.dataset?.place !== focused) this.focus(focused, place);
  }

  // Back to where focus was; where that is gone, to the run that took its place.
  focus(wanted, place) {
    const places = [...find("runs").querySelectorAll("[data-place]")];
    const row = find("runs").children[Math.min(place, find("runs").children.length - 1)];
    const next = places.find((one) => one.dataset.place === wanted) ?? row?.querySelector(".drop") ?? find("past-title");
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
    } catch (error) {
      if (![404, 409].includes(error.status)) this.problem(error.message);
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
  const length = job.endless && isMade(job) ? null : `${job.seconds} s`;
  return [states[job.status], length, scenes, job.preset, policy, width, lag, `seed ${job.seed}`, when].filter(Boolean).join(" \u00b7 ");
};
