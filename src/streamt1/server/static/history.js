// Runs that the server knows, the newest first, each with its video and its report.

import { ask, find, make } from "/page/dom.js";

const PAGE = 8, AGAIN = 2000;
const POLICIES = {
  stream_t1: "Stream-T1", beam: "beam search", best_of_n: "best of n", best_of_n_per_scene: "best of n per scene",
  greedy: "one plain sample",
};

export class History {
  constructor(problem) {
    this.problem = problem;
    this.wanted = PAGE;
    find("older").addEventListener("click", () => {
      this.wanted += PAGE;
      this.show();
    });
  }

  // Asks for the list, and again as long as something is on its way.
  async show() {
    clearTimeout(this.timer);
    try {
      const page = await ask(`/v1/videos?limit=${Math.min(100, this.wanted)}`);
      this.draw(page);
      if (page.data.some((job) => ["queued", "in_progress"].includes(job.status))) this.timer = setTimeout(() => this.show(), AGAIN);
    } catch (error) {
      this.problem(error.message);
    }
  }

  draw(page) {
    const focused = document.activeElement?.dataset?.place;
    find("runs").replaceChildren(...page.data.map((job) => this.row(job)));
    find("none").hidden = page.data.length > 0;
    find("older").hidden = !page.has_more || this.wanted >= 100;
    if (focused) [...find("runs").querySelectorAll("[data-place]")].find((one) => one.dataset.place === focused)?.focus();
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
    const links = make("nav");
    links.setAttribute("aria-label", "This run");
    if (job.status === "completed") links.append(link("Report", `/v1/videos/${job.id}/report`, job), link("Video", `/v1/videos/${job.id}/content`, job));
    const drop = make("button", "drop", ["queued", "in_progress"].includes(job.status) ? "Cancel" : "Delete");
    drop.type = "button";
    drop.dataset.place = `${job.id} drop`;
    drop.addEventListener("click", async () => {
      try {
        await ask(`/v1/videos/${job.id}`, { method: "DELETE" });
      } catch (error) {
        if (error.status !== 404) this.problem(error.message);
      }
      this.show();
    });
    links.append(drop);
    return links;
  }
}

const link = (word, address, job) => {
  const element = make("a", "", word);
  element.href = address;
  element.target = "_blank";
  element.dataset.place = `${job.id} ${word}`;
  return element;
};

const describe = (job) => {
  const running = job.endless ? "live" : `${job.progress} %`;
  const states = { queued: "waits", in_progress: running, completed: "done", failed: `failed: ${job.error?.message}` };
  const width = job.beam_size && job.top_k ? `${job.beam_size} \u00d7 ${job.top_k}` : null;
  const policy = POLICIES[job.policy] ?? null;
  const lag = job.lag === null ? null : `lag ${job.lag}`;
  const when = new Date(job.created_at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const scenes = job.timeline ? `${job.timeline.length} scenes` : null;
  const length = job.endless ? null : `${job.seconds} s`;
  return [states[job.status], length, scenes, job.preset, policy, width, lag, `seed ${job.seed}`, when].filter(Boolean).join(" \u00b7 ");
};
