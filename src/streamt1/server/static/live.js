// The page: sends an order on a socket, and hands what comes back to the player, the board and the memory strip.

import { Board } from "/page/board.js";
import { Caption } from "/page/caption.js";
import { ask, find } from "/page/dom.js";
import { History } from "/page/history.js";
import { admitted, enter } from "/page/login.js";
import { Memory } from "/page/memory.js";
import { blame, forgive, isLive, offer, order } from "/page/order.js";
import { Player } from "/page/player.js";
import { Talk } from "/page/talk.js";

const player = new Player(find("video"), () => find("follow").checked), caption = new Caption(find("video"));
const board = new Board(), memory = new Memory();
const history = new History((text) => complain(text));
const talk = new Talk((message) => socket.send(JSON.stringify(message)));
let socket = null, run = {};

const say = (text) => { find("state").textContent = text; };
const complain = (text) => { find("problem").textContent = text; };

// What goes away must not take focus along, and a button that rests keeps it.
const busy = (yes) => {
  const leaving = !yes && [find("stop"), find("end"), find("talk")].some((one) => one.contains(document.activeElement));
  find("start").setAttribute("aria-disabled", yes);
  find("stop").hidden = !yes;
  if (!yes) talk.close();
  if (leaving) find("start").focus({ preventScroll: true });
};

const begin = () => {
  complain("");
  forgive();
  player.reset();
  board.reset();
  memory.reset(0);
  run = { live: isLive(), done: false };
  talk.reset();
  caption.reset("", 1);
  find("run").hidden = false;
  find("waiting").hidden = false;
  find("waiting").textContent = "The first chunk has not left yet.";
  progress(0);
  find("decided-bar").parentElement.hidden = run.live;
  find("decided").textContent = "nothing decided yet";
};

const progress = (share) => { find("decided-bar").style.width = `${100 * share}%`; };

const decided = (event) => {
  find("waiting").hidden = true;
  const whole = run.length ? ` of ${run.length.toFixed(1)} s` : " s";
  find("decided").textContent = `${event.end.toFixed(1)}${whole} decided`;
  progress(run.length ? event.end / run.length : 0);
};

// When a chunk begins, in seconds of the video; null where that is not known.
const start = (event, chunk) => {
  if (!event.time_stride || chunk === null) return null;
  return (1 + event.time_stride * (chunk * event.frames_per_chunk - 1)) / event.fps;
};

const making = (chunk) => {
  if (run.chunks === null) return `Making chunk ${chunk}.`;
  const last = run.chunks - 1;
  return chunk < last ? `Making chunk ${chunk}; the last is ${last}.` : `Making the last chunk, ${chunk}.`;
};

const HEARD = {
  queued: (event) => {
    say(event.ahead ? `Waiting: ${event.ahead} before this one.` : "Starting.");
    if (run.live) talk.open();
    history.show();
  },
  run_started: (event) => {
    run.length = start(event, event.chunks);
    run.chunks = event.chunks;
    memory.reset(event.chunks);
    caption.reset(event.prompt, run.live ? null : event.scenes?.length ?? 1);
    board.scene(run.live || event.scenes ? event.prompt : null);
    talk.began((chunk) => start(event, chunk), event.prompt, event.config.lag);
    history.show();
  },
  scene_started: (event) => {
    caption.begun(event);
    board.scene(event.prompt);
    talk.scene(event);
  },
  memory_switched: (event) => memory.switched(event),
  chunk_started: (event) => {
    say(making(event.chunk));
    board.chunk(event);
    talk.chunkStarted(event);
  },
  prompt_taken: () => talk.taken(),
  not_understood: (event) => talk.notUnderstood(event),
  ending: () => talk.ending(),
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
    player.open(event.type, run.length, run.live);
  },
  fragment: (event) => {
    decided(event);
    player.awaits(caption.piece(event));
  },
  run_finished: (event) => {
    board.ends(event.lineage.length);
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
    blame(event.error);
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
  if (find("start").getAttribute("aria-disabled") === "true") return;
  begin();
  busy(true);
  say("Connecting.");
  listen(order());
});

find("stop").addEventListener("click", () => {
  run.stopped = true;
  say("Stopping.");
  talk.close();
  socket.close();
  find("start").focus();
});

admitted(async () => {
  offer(await ask("/v1/models"));
  await history.show();
}).catch((error) => complain(error.message));
