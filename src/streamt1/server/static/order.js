// The form: what is asked for, as the server takes it.

import { find } from "/page/dom.js";
import { Scenes } from "/page/scenes.js";

const scenes = new Scenes(() => arrange());

const number = (id) => (find(id).value === "" ? null : Number(find(id).value));

// Whether the video goes on until it is told to end: a choice for a single prompt.
export const isLive = () => find("live").checked && !scenes.many;

// A prompt and its length, a prompt that goes on, or scenes.
const what = () => {
  const timeline = scenes.timeline(), prompt = find("prompt").value;
  if (timeline) return { timeline };
  return isLive() ? { prompt } : { prompt, seconds: number("seconds") };
};

export const order = () => {
  const fields = {
    ...what(), preset: find("preset").value, policy: find("policy").value,
    beam_size: number("beam"), top_k: number("top"), lag: number("lag"), seed: find("seed").value.trim() || null, // a text: numbers here have 53 bits
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
};

// The order as a form, where it begins with a picture; null otherwise.
export const withPicture = () => {
  const [picture] = find("picture").files;
  if (!picture || isLive()) return null;
  const form = new FormData();
  for (const [key, value] of Object.entries(order())) {
    form.append(key, typeof value === "object" ? JSON.stringify(value) : value);
  }
  form.append("input_reference", picture);
  return form;
};

const pictured = () => {
  const [picture] = find("picture").files;
  URL.revokeObjectURL(find("picture-shown").src);
  find("picture-shown").hidden = find("no-picture").hidden = !picture;
  if (picture) find("picture-shown").src = URL.createObjectURL(picture);
};

find("picture").addEventListener("change", pictured);
find("no-picture").addEventListener("click", () => {
  find("picture").value = "";
  pictured();
  forgive([find("picture")]);
  find("picture").focus();
});

// Marks what the server's refusal is about, until it is changed or asked for again.
export const blame = (error) => {
  const wrong = { input_reference: "picture", seed: "seed", seconds: "seconds" }[error.param];
  if (!wrong || (wrong === "seconds" && scenes.many)) return scenes.blame(error);
  find(wrong).setAttribute("aria-invalid", "true");
  find(wrong).setAttribute("aria-describedby", "problem");
  find(wrong).focus();
};

export const forgive = (fields = find("order").querySelectorAll("[aria-invalid]")) => {
  for (const one of fields) one.removeAttribute("aria-invalid");
};

find("order").addEventListener("input", ({ target }) => forgive([target]));

// Shows the fields that belong to what is asked for.
const arrange = () => {
  find("prompt").hidden = scenes.many;
  find("live").parentElement.hidden = scenes.many;
  find("seconds").parentElement.hidden = scenes.many || isLive();
  find("add").hidden = find("start-picture").hidden = isLive();
};

find("live").addEventListener("change", arrange);

// Enter starts, as in a field of one line.
find("order").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.tagName !== "TEXTAREA") return;
  event.preventDefault();
  find("order").requestSubmit();
});

find("policy").addEventListener("change", () => {
  const alone = find("policy").value === "greedy";
  for (const id of ["beam", "top"]) find(id).disabled = alone;
});

// The presets that the server has, and what it allows.
export const offer = ({ data, limits }) => {
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
  find("prompt").maxLength = find("next").maxLength = limits.prompt;
  scenes.limit(limits);
};
