// The API's description (openapi.json) for people. Paths are relative.

import { element } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const QUESTION = { messages: [{ role: "user", content: "What is a log?" }] };
const main = document.getElementById("description");

/** Returns an element with the text; `parts` between backquotes become code. */
function prose(name, text) {
  const made = element(name);
  for (const [at, part] of (text ?? "").split("`").entries()) made.append(at % 2 ? element("code", "", part) : part);
  return made;
}

function linked(address, ...parts) {
  const made = element("a");
  made.href = address;
  made.append(...parts);
  return made;
}

/** Returns what a schema allows, in words and links. */
function kind(schema) {
  if (!schema || !Object.keys(schema).length) return ["any JSON"];
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return name === "JsonValue" ? ["any JSON"] : [linked(`#${name}`, name)];
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.flatMap((choice, at) => (at ? [" or ", ...kind(choice)] : kind(choice)));
  if (schema.enum) return [schema.enum.join(", ")];
  if ("const" in schema) return [String(schema.const)];
  if (schema.type === "array") return ["list of ", ...kind(schema.items)];
  const range = [schema.minimum, schema.maximum].includes(undefined) ? "" : `, ${schema.minimum} to ${schema.maximum}`;
  return [(schema.type ?? "any JSON") + range];
}

/** Returns the same for a parameter, which is never null. */
function kindOf({ in: place, schema }) {
  const choices = (schema.anyOf ?? [schema]).filter((choice) => choice.type !== "null");
  const usual = schema.default === undefined ? "" : `, else ${schema.default}`;
  return [...kind(choices.length > 1 ? { anyOf: choices } : choices[0]), `, in the ${place}${usual}`];
}

/** Returns a table. A cell is a text, an element, or a list of both. */
function table(rows) {
  const made = element("table");
  for (const cells of rows) {
    const row = element("tr");
    for (const cell of cells) {
      const box = element("td");
      box.append(...[cell].flat());
      row.append(box);
    }
    made.append(row);
  }
  return made;
}

const named = (name, required) => (required ? [name, " ", element("small", "", "required")] : [name]);

/** Returns a table of fields. `isRequest`: required fields are marked. */
function fields(schema, isRequest) {
  const required = new Set(isRequest ? schema.required : []);
  return table(Object.entries(schema.properties ?? {}).map(([name, field]) => {
    return [named(name, required.has(name)), kind(field), prose("span", field.description)];
  }));
}

/** Returns a table of responses; all problems share one row. */
function responsesTable(responses) {
  const rows = new Map();
  for (const [status, { description, content = {} }] of Object.entries(responses)) {
    const [type, { schema } = {}] = Object.entries(content)[0] ?? [""];
    const failed = type === "application/problem+json";
    const key = failed ? type : status;
    if (!rows.has(key)) rows.set(key, { statuses: [], what: schema?.type === "string" ? [type] : schema ? kind(schema) : [], said: failed ? "" : description });
    rows.get(key).statuses.push(status);
  }
  return table([...rows.values()].map(({ statuses, what, said }) => [statuses.join(", "), what, prose("span", said)]));
}

function curl(method, path, operation) {
  const base = new URL(".", location.href).href.replaceAll("'", "%27");
  const words = ["curl"];
  if (JSON.stringify(operation.responses).includes("text/event-stream")) words.push("-N");
  if (method !== "get" && !operation.requestBody) words.push(`-X ${method.toUpperCase()}`);
  words.push(`'${base}${path.slice(1).replace(/\{\w+\}/g, "ID")}'`);
  if (operation.requestBody) words.push(`-H 'Content-Type: application/json' -d '${JSON.stringify(QUESTION)}'`);
  return words.join(" ");
}

const title = (method, path) => [element("b", "", method.toUpperCase()), " ", element("code", "", path)];

function section(id, head, text) {
  const made = element("section");
  const line = element("h2");
  line.append(...head);
  made.id = id;
  made.append(line, prose("p", text));
  return made;
}

function operationOf(method, path, operation) {
  const made = section(operation.operationId, title(method, path), operation.description);
  const command = element("pre", "", curl(method, path, operation));
  command.tabIndex = 0; // the keyboard can scroll it
  made.append(command);
  if (operation.parameters?.length) {
    made.append(element("h3", "", "Parameters"), table(operation.parameters.map((parameter) => [
      named(parameter.name, parameter.required), kindOf(parameter), prose("span", parameter.description),
    ])));
  }
  const body = Object.values(operation.requestBody?.content ?? {})[0]?.schema;
  if (body) made.append(element("h3", "", "Body"), prose("p", body.description), fields(body, true));
  made.append(element("h3", "", "Responses"), responsesTable(operation.responses));
  return made;
}

function show({ info, paths, components }) {
  const operations = Object.entries(paths).flatMap(([path, item]) => {
    return METHODS.filter((method) => item[method]).map((method) => [method, path, item[method]]);
  });
  const list = element("ul");
  for (const [method, path, operation] of operations) {
    const line = element("li");
    line.append(linked(`#${operation.operationId}`, ...title(method, path)));
    list.append(line);
  }
  const nav = element("nav");
  nav.append(list);
  main.append(prose("p", `${info.summary} Version ${info.version}.`), nav);
  main.append(...operations.map((each) => operationOf(...each)));
  for (const [name, schema] of Object.entries(components.schemas)) {
    if (name === "JsonValue") continue;
    const made = section(name, [element("code", "", name)], schema.description);
    made.append(schema.properties ? fields(schema, false) : table([["", kind(schema), ""]]));
    main.append(made);
  }
  // The browser looked for the part in the address before it existed.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

main.classList.add("docs");
try {
  const reply = await fetch("openapi.json");
  if (!reply.ok) throw new Error(`The server answered ${reply.status}.`);
  show(await reply.json());
} catch (error) {
  main.append(element("p", "bad", `The description could not be loaded. ${error.message}`));
}
