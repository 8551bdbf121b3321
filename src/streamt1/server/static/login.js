// The key, where the server wants one: asked for, and kept by the server in a cookie.

import { ask, find } from "/page/dom.js";

const shown = (login) => {
  find("login").hidden = !login;
  find("order").hidden = find("past").hidden = login;
};

let before = null; // what had focus

// Asks for the key; whoever is typing it already is left alone.
export const enter = () => {
  if (!find("login").hidden) return;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close(); // nothing beside one takes focus
  before = document.activeElement;
  find("login-problem").textContent = find("key").value = "";
  shown(true);
  find("key").focus();
};

// Opens the page, once the server lets this browser in; `again` begins anew, with a key.
export const admitted = async (open, again) => {
  find("login").onsubmit = async (event) => {
    event.preventDefault();
    const headers = { "Content-Type": "application/json" };
    try {
      await ask("/page/login", { method: "POST", headers, body: JSON.stringify({ key: find("key").value }) });
      shown(false);
      before?.focus({ preventScroll: true });
      again();
    } catch (error) {
      find("login-problem").textContent = error.message;
    }
  };
  const { key_needed: needed } = await ask("/page/login/state");
  await (needed ? enter() : open());
};
