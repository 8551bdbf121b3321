// The page: sends an order on a socket, and hands what comes back to the player, the board and the memory strip.

import { Board } from "/page/board.js";
import { ask, find } from "/page/dom.js";
import { History } from "/page/history.js";
import { Memory } from "/page/memory.js";
import { Player } from "/page/player.js";

const player = new Player(find("video")), board = new Board(), memory = new Memory();
const history = new History((text) => complain(text));
let socket = null, run = {};

const say = (text) => { find("state").textContent = text; };
const complain = (text) => { find("problem").textContent = text; };
const busy = (yes) => {
  find("start").disabled = yes;
  find("stop").hidden = !yes;
};

const number = (id) => (find(id).value === "" ? null : Number(find(id).value));
const order = () => {
  const fields = {
    prompt: find("prompt").value, preset: find("preset").value, policy: find("policy").value, seconds: number("seconds"),
    beam_size: number("beam"), top_k: number("top"), lag: number("lag"), seed: number("seed"),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
};

const begin = () => {
  complain("");
  player.reset();
  board.reset();
  memory.reset(0);
  run = { frames: 0, done: false };
  find("run").hidden = false;
  find("waiting").hidden = false;
  find("waiting").textContent = "The first chunk has not left yet.";
  progress(0);
  find("decided").textContent = "nothing decided yet";
};

const progress = (share) => { find("decided-bar").style.width = `${100 * share}%`; };

const decided = (event) => {
  find("waiting").hidden = true;
  const whole = run.length ? ` of ${run.length.toFixed(1)} s` : " s";
  find("decided").textContent = `${event.end.toFixed(1)}${whole} decided`;
  progress(run.length ? event.end / run.length : 0);
};

const length = (event) => {
  if (!event.time_stride) return null;
  return (1 + event.time_stride * (event.chunks * event.frames_per_chunk - 1)) / event.fps;
};

const HEARD = {
  queued: (event) => {
    say(event.ahead ? `Waiting: ${event.ahead} before this one.` : "Starting.");
    history.show();
  },
  run_started: (event) => {
    run.length = length(event);
    run.chunks = event.chunks;
    memory.reset(event.chunks);
    history.show();
  },
  chunk_started: (event) => {
    say(event.chunk + 1 < run.chunks ? `Making chunk ${event.chunk}; the last is ${run.chunks - 1}.` : `Making the last chunk, ${event.chunk}.`);
    board.chunk(event);
  },
  candidate_proposed: (event) => board.proposed(event),
  picture: (event) => board.picture(event),
  candidate_scored: (event) => board.scored(event),
  candidate_pruned: (event) => board.pruned(event),
  chunk_committed: (event) => {
    board.committed(event);
    memory.committed(event);
  },
  memory_changed: (event) => memory.changed(event),
  chunk_settled: (event) => board.settled(event),
  warned: (event) => complain(event.message),
  media: (event) => {
    document.documentElement.style.setProperty("--shape", `${event.width} / ${event.height}`);
    player.open(event.type, run.length);
  },
  fragment: (event) => decided(event),
  run_finished: (event) => {
    run.cost = event.cost;
    say("Writing the video and its report.");
  },
  completed: (event) => {
    player.end();
    finish(`Done in ${run.cost?.seconds?.total?.toFixed(1) ?? event.seconds.toFixed(1)} s, ${run.cost?.model_passes ?? "some"} model passes.`);
  },
  failed: (event) => {
    complain(event.video.error.message);
    finish("Failed.");
  },
  refused: (event) => {
    complain(event.error.message);
    find("run").hidden = true;
    finish("");
    if (event.error.code === "invalid_api_key") enter();
  },
};

const finish = (text) => {
  run.done = true;
  say(text);
  busy(false);
  history.show();
};

const listen = (fields) => {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`);
  socket.binaryType = "arraybuffer";
  const mine = socket;
  socket.addEventListener("open", () => mine.send(JSON.stringify(fields)));
  socket.addEventListener("message", ({ data }) => {
    if (mine !== socket) return;
    if (typeof data !== "string") return player.append(data);
    const event = JSON.parse(data);
    HEARD[event.event]?.(event);
  });
  socket.addEventListener("close", () => {
    if (mine !== socket || run.done) return;
    if (!run.stopped) complain("The connection to the server is gone.");
    finish(run.stopped ? "Stopped." : "");
  });
};

find("order").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
  busy(true);
  say("Connecting.");
  listen(order());
});

find("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    if (!find("start").disabled) find("order").requestSubmit();
  }
});

find("stop").addEventListener("click", () => {
  run.stopped = true;
  say("Stopping.");
  socket.close();
  find("start").focus();
});

find("policy").addEventListener("change", () => {
  const alone = find("policy").value === "greedy";
  for (const id of ["beam", "top"]) find(id).disabled = alone;
});

// The key, where the server wants one; after that the presets and the history.
const enter = () => {
  find("login").hidden = false;
  find("order").hidden = find("past").hidden = true;
  find("key").focus();
};

find("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const headers = { "Content-Type": "application/json" };
  try {
    await ask("/page/login", { method: "POST", headers, body: JSON.stringify({ key: find("key").value }) });
    find("login").hidden = true;
    find("order").hidden = find("past").hidden = false;
    await open();
  } catch (error) {
    find("login-problem").textContent = error.message;
  }
});

const open = async () => {
  const { data, limits } = await ask("/v1/models");
  find("preset").replaceChildren(...data.map((one) => new Option(one.id, one.id)));
  const choose = () => {
    const one = data.find((preset) => preset.id === find("preset").value);
    find("preset").title = one.about;
    find("beam").value = one.beam_size;
    find("top").value = one.top_k;
    find("seconds").min = Math.max(0.5, one.shortest).toFixed(1);
  };
  find("preset").addEventListener("change", choose);
  choose();
  find("seconds").max = limits.seconds;
  find("prompt").maxLength = limits.prompt;
  await history.show();
};

ask("/page/login/state").then(({ key_needed: needed }) => (needed ? enter() : open())).catch((error) => complain(error.message));
