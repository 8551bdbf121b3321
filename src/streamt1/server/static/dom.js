// Small helpers that every part of the page uses.

export const find = (id) => document.getElementById(id);

// Writes a text where it is another than what stands there: what is announced is announced once.
export const tell = (id, text) => {
  if (find(id).textContent !== text) find(id).textContent = text;
};

export const make = (tag, name, ...children) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
};

export const signed = (value) =>
  value === null || value === undefined ? "\u2014" : (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(2);

const SMALL = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
export const spelled = (number) => SMALL[number] ?? String(number);
export const count = (number, noun) => `${spelled(number)} ${noun}${number === 1 ? "" : "s"}`;

// 4.312 is "4.3 s", 5 is "5 s".
export const inSeconds = (length) => `${+Number(length).toFixed(1)} s`;

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const listed = (words) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

// Fetches JSON, seeds as texts: numbers here have 53 bits. No success becomes an error with the server's own sentence.
export const ask = async (path, options) => {
  const answer = await fetch(path, options);
  const body = read(await answer.text());
  if (answer.ok) return body;
  const { message, param, code } = body.error ?? { message: `the server's answer was ${answer.status} ${answer.statusText}` };
  throw Object.assign(new Error(message), { param, code, status: answer.status });
};

const read = (text) => {
  try {
    return JSON.parse(text.replace(/(?<!\\)"seed":\s*(\d+)/g, '"seed":"$1"'));
  } catch {
    return {};
  }
};
