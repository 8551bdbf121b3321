// The page: sends an order on a socket, and hands what comes back to the player, the board and the memory strip.

import { Board } from "/page/board.js";
import { Caption } from "/page/caption.js";
import { Connection } from "/page/connection.js";
import { ask, capital, find, inSeconds, tell } from "/page/dom.js";
import { History } from "/page/history.js";
import { admitted, enter } from "/page/login.js";
import { Memory } from "/page/memory.js";
import { blame, forgive, isLive, offer, order, withPicture } from "/page/order.js";
import { Player } from "/page/player.js";
import { Talk } from "/page/talk.js";

const player = new Player(find("video"), () => find("follow").checked), caption = new Caption(find("video"));
const board = new Board(), memory = new Memory();
const history = new History((error) => trouble(error), () => find("problem").textContent, () => complain(""));
const talk = new Talk((message) => connection.say(message));
const connection = new Connection({
  heard: (event) => HEARD[event.event]?.(event),
  piece: (bytes) => player.append(bytes),
  lost: (again) => {
    if (!again) talk.lost();
    say("No connection to the server. Trying again\u2026");
  },
  back: () => say("Here again."),
});
let run = {};

const say = (text) => { find("state").textContent = text; };
const AGAIN = 5000; // milliseconds before a server is asked again that did not answer
const complain = (text) => tell("problem", text);

// What a request met. A key that does not count any more is asked for, and nothing else is said.
const trouble = (error) => (error.code === "invalid_api_key" ? enter() : complain(error.message));

// What goes away must not take focus along, and a button that rests keeps it.
const busy = (yes) => {
  const going = [find("stop"), find("leave"), find("end"), find("talk")];
  const leaving = !yes && going.some((one) => one.contains(document.activeElement));
  find("start").setAttribute("aria-disabled", yes);
  find("stop").hidden = find("leave").hidden = !yes;
  if (!yes) talk.close();
  if (leaving) find("start").focus({ preventScroll: true });
};

// Shows a video from its start; `live` is one without an end, `stopped` one that is not wanted any more.
const begin = (live, stopped = false) => {
  complain("");
  forgive();
  player.reset();
  board.reset();
  memory.reset(0);
  run = { live, stopped };
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
const second = (event, chunk) => {
  if (!event.time_stride || chunk === null) return null;
  return (1 + event.time_stride * (chunk * event.frames_per_chunk - 1)) / event.fps;
};

const making = (chunk) => {
  const number = chunk + 1;
  if (run.chunks === null) return `Making chunk ${number}.`;
  return number < run.chunks ? `Making chunk ${number} of ${run.chunks}.` : `Making the last chunk, ${number}.`;
};

const HEARD = {
  attached: (event) => {
    if (event.video.endless !== run.live) begin(event.video.endless, run.stopped);
    HEARD.queued(event);
  },
  queued: (event) => {
    place(event.video.id);
    if (run.stopped) return cancel();
    say(event.ahead ? `Waiting: ${event.ahead} before this one.` : "Starting.");
    if (run.live) talk.open();
    history.show();
  },
  run_started: (event) => {
    if (run.chunks !== undefined) begin(run.live, run.stopped); // its server had to begin it anew
    if (run.live && !run.stopped) talk.open();
    run.length = second(event, event.chunks);
    run.chunks = event.chunks;
    memory.reset(event.chunks);
    caption.reset(event.prompt, run.live ? null : event.scenes?.length ?? 1);
    board.scene(run.live || event.scenes ? event.prompt : null);
    talk.began((chunk) => second(event, chunk), event.prompt, event.config.lag);
    history.show();
  },
  scene_started: (event) => {
    caption.begun(event);
    board.scene(event.prompt);
    talk.scene(event);
  },
  memory_switched: (event) => memory.switched(event),
  chunk_started: (event) => {
    if (!run.stopped) say(making(event.chunk));
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
    if (!run.stopped) say("Writing the video and its report.");
  },
  completed: (event) => {
    ended(event.video);
    finish(run.cost ? `Done in ${run.cost.seconds.total.toFixed(1)} s, ${run.cost.model_passes} model passes.` : "Done.");
  },
  cancelled: (event) => {
    if (event.video.error.code !== "deleted") ended(event.video);
    if (!run.stopped) complain(capital(`${event.video.error.message}.`));
    finish("Stopped.");
  },
  failed: (event) => {
    player.end();
    complain(event.video.error.message);
    finish("Failed.");
  },
  refused: ({ error }) => {
    find("run").hidden = true;
    const locked = error.code === "invalid_api_key";
    if (!locked) place(null); // otherwise it is viewed again, with a key
    connection.leave();
    finish("");
    trouble(error);
    if (!locked) blame(error);
  },
};

// The video is whole; where its pieces are not kept any more, it is shown as a file, if there is one.
const ended = (video) => {
  player.end();
  if (player.address) return;
  find("waiting").hidden = true;
  if (video.chunks === 0) return; // nothing of it was decided
  caption.reset(video.prompt, 1);
  find("decided").textContent = inSeconds(video.seconds);
  find("decided-bar").parentElement.hidden = true;
  player.file(`/v1/videos/${video.id}/content`);
};

const finish = (text) => {
  say(text);
  busy(false);
  history.show();
};

// The address says which video is viewed, so that the page can be left and come back to.
const place = (name) => window.history.replaceState(null, "", name ? `#${name}` : location.pathname);

const view = (name) => {
  begin(false);
  busy(true);
  say("Connecting.");
  connection.attach(name);
};

const named = () => location.hash.slice(1);

addEventListener("hashchange", () => {
  if (!named()) return;
  view(named());
  find("run").scrollIntoView({ block: "start" });
});

find("order").addEventListener("submit", (event) => {
  event.preventDefault();
  if (find("start").disabled || find("start").getAttribute("aria-disabled") === "true") return;
  begin(isLive());
  busy(true);
  say("Connecting.");
  const form = withPicture();
  if (form) start(form);
  else connection.order(order());
});

// A video that begins with a picture is asked for in a form, and then viewed.
const start = async (body) => {
  const mine = run;
  connection.leave();
  run.sending = true;
  try {
    const { id } = await ask("/v1/videos", { method: "POST", body });
    if (run === mine) connection.attach(id);
  } catch (error) {
    if (run === mine) HEARD.refused({ error });
  }
};

const cancel = async () => {
  try {
    await ask(`/v1/videos/${connection.name}/cancel`, { method: "POST" });
  } catch (error) {
    if (error.status !== 409) trouble(error);
  }
};

// An order that is on its way is stopped when the server's answer has named its video.
find("stop").addEventListener("click", () => {
  run.stopped = true;
  say("Stopping.");
  talk.close();
  find("start").focus();
  if (connection.name) return cancel();
  if (run.sending || connection.asking) return;
  connection.leave();
  finish("Stopped.");
});

find("leave").addEventListener("click", () => {
  connection.leave();
  run = { live: run.live };
  player.end();
  place(null);
  finish(run.live ? "It goes on while somebody views it." : "It goes on without you.");
});

const enterPage = () => admitted(async () => {
  offer(await ask("/v1/models"));
  find("start").disabled = false; // nothing can be asked for before it is known what there is
  complain("");
  await history.show();
  if (named().startsWith("video_") && !connection.name) view(named());
}, enterPage).catch((error) => {
  trouble(error);
  if (!(error.status < 500)) setTimeout(enterPage, AGAIN);
});
enterPage();
