"use strict";
const $ = id => document.getElementById(id);
const make = (tag, text, more) => Object.assign(document.createElement(tag), {textContent: text ?? ""}, more);
const short = value => value === null ? "none" : String(Number(value.toPrecision(6)));
let token = sessionStorage.getItem("token");
const authorization = () => token ? ` -H 'authorization: Bearer ${token}' ` : "";
async function ask(path, options = {}) {
  const response = await fetch(path, {...options, headers: {...options.headers, ...token && {authorization: `Bearer ${token}`}}});
  if (response.status !== 401 || !(token = prompt("Token of this server"))) return response;
  sessionStorage.setItem("token", token);
  return ask(path, options);
}
const send = (path, content, options = {}) => ask(path, {...options, method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(content)});
const as_curl = (path, content) => `curl ${new URL(path, location.href).href} \\\n ${authorization()} -H 'content-type: application/json' \\\n  -d '${JSON.stringify(content).replaceAll("'", "'\\''")}'`;
// The events of an answer, as the server sends them.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = "";;) {
    const {done, value} = await reader.read();
    if (done) return;
    const parts = (text += value).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.slice(part.indexOf("data: ") + 6);
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}
const problem = error => error instanceof TypeError ? "The server does not answer." : error.message;
function settings(list, defaults) {
  for (const [name, caption] of list) {
    const box = make("div"), kind = typeof defaults[name] === "string" ? "text" : "number";
    box.append(make("label", caption, {htmlFor: name}), make("input", "", {id: name, type: kind, step: "any", value: defaults[name] ?? ""}));
    $("settings").append(box);
  }
}
function chosen(list) {
  const inputs = list.map(([name]) => $(name)).filter(input => input.value !== "");
  return Object.fromEntries(inputs.map(input => [input.id, input.type === "number" ? Number(input.value) : input.value]));
}
function metrics(model) {
  const rows = Object.entries(model.metrics).map(([name, value]) => { const row = make("tr"); row.append(make("td", name), make("td", value === null ? "none" : short(value))); return row; });
  $("metrics").replaceChildren(...rows);
  $("figures").hidden = !rows.length;
}
$("copy").addEventListener("click", () => navigator.clipboard?.writeText($("curl").textContent).then(() => { $("copy").textContent = "Copied"; setTimeout(() => { $("copy").textContent = "Copy"; }, 1500); }));
