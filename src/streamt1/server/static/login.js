// The key, where the server wants one: asked for, and kept by the server in a cookie.

import { ask, find } from "/page/dom.js";

const shown = (login) => {
  find("login").hidden = !login;
  find("order").hidden = find("past").hidden = login;
};

export const enter = () => {
  shown(true);
  find("key").focus();
};

// Opens the page, once the server lets this browser in.
export const admitted = async (open) => {
  find("login").onsubmit = async (event) => {
    event.preventDefault();
    const headers = { "Content-Type": "application/json" };
    try {
      await ask("/page/login", { method: "POST", headers, body: JSON.stringify({ key: find("key").value }) });
      shown(false);
      await open();
    } catch (error) {
      find("login-problem").textContent = error.message;
    }
  };
  const { key_needed: needed } = await ask("/page/login/state");
  await (needed ? enter() : open());
};
