// Renders /openapi.json with DOM calls only: nothing is ever parsed as markup.
"use strict";
const el = (name, text, ...kids) => {
  const e = document.createElement(name);
  if (text) e.textContent = text;
  e.append(...kids);
  return e;
};
const resolve = (doc, s, depth = 0) => {
  if (!s || depth > 6) return s;
  if (s.$ref) return resolve(doc, s.$ref.slice(2).split("/").reduce((o, k) => o && o[k], doc), depth + 1);
  const out = { ...s };
  if (s.properties) out.properties = Object.fromEntries(Object.entries(s.properties).map(([k, v]) => [k, resolve(doc, v, depth + 1)]));
  if (s.items) out.items = resolve(doc, s.items, depth + 1);
  return out;
};
const shape = (s) => {
  if (!s) return null;
  const type = Array.isArray(s.type) ? s.type[0] : s.type;
  if (type === "object" || s.properties) return Object.fromEntries(Object.entries(s.properties || {}).map(([k, v]) => [k, shape(v)]));
  if (type === "array") return [shape(s.items)];
  return (s.enum ? s.enum.join(" | ") : type || "any") + (s.format ? " (" + s.format + ")" : "");
};
const operation = (doc, method, path, op) => {
  const d = el("details", "", el("summary", "", el("b", method.toUpperCase()), el("code", path), el("span", op.summary || "")));
  const body = el("div");
  const facts = el("dl");
  const fact = (k, v) => v && facts.append(el("dt", k), el("dd", v));
  fact("action", op["x-openclaw-action"]);
  fact("limit class", op["x-openclaw-limit"]);
  fact("credential", op.security ? "bearer token" : "none");
  for (const p of op.parameters || []) fact(p.in + " " + p.name, [(shape(resolve(doc, p.schema)) || ""), p.description || ""].join(" "));
  body.append(facts);
  const content = op.requestBody && op.requestBody.content && op.requestBody.content["application/json"];
  if (content) body.append(el("div", "Request body"), el("pre", JSON.stringify(shape(resolve(doc, content.schema)), null, 2)));
  for (const [code, r] of Object.entries(op.responses || {})) {
    const j = r.content && r.content["application/json"];
    if (code[0] === "2") body.append(el("div", "Answer " + code), j ? el("pre", JSON.stringify(shape(resolve(doc, j.schema)), null, 2)) : el("p", r.description || ""));
  }
  d.append(body);
  return d;
};
fetch("/openapi.json").then((r) => r.json()).then((doc) => {
  document.getElementById("about").textContent = doc.info.title + " " + doc.info.version + " — " + (doc.info.description || "");
  const groups = new Map();
  for (const [path, item] of Object.entries(doc.paths))
    for (const method of ["get", "post", "put", "patch", "delete"])
      if (item[method]) {
        const tag = (item[method].tags || ["service"])[0];
        if (!groups.has(tag)) groups.set(tag, []);
        groups.get(tag).push([method, path, item[method]]);
      }
  for (const [tag, ops] of [...groups].sort()) {
    const h = el("h2", tag);
    h.id = tag;
    const a = el("a", tag);
    a.href = "#" + tag;
    document.getElementById("nav").append(a);
    document.getElementById("main").append(h, ...ops.map(([m, p, o]) => operation(doc, m, p, o)));
  }
}).catch((e) => { document.getElementById("about").textContent = "The description could not be read: " + e; });
