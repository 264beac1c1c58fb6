// The API's description (openapi.json) for people. Paths are relative.

import { element } from "./dom.js";

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const main = document.getElementById("description");
/** The components, by their names. */
let components = {};

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

const nameOf = ({ $ref }) => $ref.split("/").at(-1);
/** Returns a schema, or the component that it refers to. */
const resolved = (schema) => (schema?.$ref ? components[nameOf(schema)] : schema);
const exampleOf = (schema) => resolved(schema)?.examples?.[0];

/** Returns what a schema allows, in words and links. */
function kind(schema) {
  if (!schema || !Object.keys(schema).length) return ["any JSON"];
  if (schema.$ref) {
    const name = nameOf(schema);
    return [linked(`#${name}`, name)];
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

/** Returns what a body is: the component, or inside a stream that of each `data`. */
function bodyKind([type, { schema }]) {
  const inside = schema.contentSchema;
  if (inside) return [element("code", "", type), " of ", ...kind(inside)];
  return schema.type === "string" ? [element("code", "", type)] : kind(schema);
}

/** Returns a table of responses with their headers; all that only fail share one row. */
function responsesTable(responses) {
  const rows = new Map();
  for (const [status, { description, content = {}, headers = {} }] of Object.entries(responses)) {
    const failed = Number(status) >= 400;
    const bodies = Object.entries(content).map(bodyKind);
    const key = failed ? bodies.flat().map((part) => part.textContent ?? part).join() : status;
    const row = rows.get(key) ?? { statuses: [], bodies, headers: {}, said: failed ? "" : description };
    row.statuses.push(status);
    Object.assign(row.headers, headers);
    rows.set(key, row);
  }
  return table([...rows.values()].map(({ statuses, bodies, headers, said }) => {
    const what = bodies.flatMap((body, at) => (at ? [element("br"), ...body] : body));
    const told = said ? [prose("span", said)] : [];
    for (const [name, { description }] of Object.entries(headers)) {
      const line = prose("small", `\`${name}\`: ${description}`);
      if (told.length) told.push(element("br"));
      told.push(line);
    }
    return [statuses.join(", "), what, told];
  }));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Returns a line that tries the operation, with its body's example. */
function curl(method, path, operation) {
  const base = new URL(".", location.href).href.replaceAll("'", "%27");
  const words = ["curl"];
  if (JSON.stringify(operation.responses).includes("text/event-stream")) words.push("-N");
  if (method === "head") words.push("-I");
  else if (method !== "get" && !operation.requestBody) words.push(`-X ${method.toUpperCase()}`);
  words.push(quoted(base + path.slice(1).replace(/\{\w+\}/g, "ID")));
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) words.push(`-H 'Content-Type: application/json' -d ${quoted(JSON.stringify(exampleOf(body)))}`);
  return words.join(" ");
}

/** Returns a block of code that the keyboard can scroll. */
function code(text) {
  const made = element("pre", "", text);
  made.tabIndex = 0;
  return made;
}

const json = (value) => code(JSON.stringify(value, null, 2));

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
  made.append(code(curl(method, path, operation)));
  if (operation.parameters?.length) {
    made.append(element("h3", "", "Parameters"), table(operation.parameters.map((parameter) => [
      named(parameter.name, parameter.required), kindOf(parameter), prose("span", parameter.description),
    ])));
  }
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) {
    const line = prose("p", "");
    line.append(...kind(body), ". ", ...prose("span", resolved(body).description).childNodes);
    made.append(element("h3", "", "Body"), line, fields(resolved(body), true));
  }
  made.append(element("h3", "", "Responses"), responsesTable(operation.responses));
  return made;
}

/** Returns a component: its fields, what it may be, or its values, and an example. */
function componentOf(name, schema) {
  const made = section(name, [element("code", "", name)], schema.description);
  if (schema.properties) made.append(fields(schema, false));
  else if (schema.discriminator) {
    const kinds = Object.entries(schema.discriminator.mapping);
    made.append(table(kinds.map(([type, $ref]) => [type, kind({ $ref }), prose("span", resolved({ $ref }).description)])));
  } else made.append(table([["", kind(schema), ""]]));
  const example = exampleOf(schema);
  if (example !== undefined) made.append(json(example));
  return made;
}

/** Returns a list of links below a heading. */
function contents(head, links) {
  const list = element("ul");
  for (const link of links) {
    const line = element("li");
    line.append(link);
    list.append(line);
  }
  return [head, list];
}

function show({ info, paths, tags, components: found }) {
  components = found.schemas;
  const operations = Object.entries(paths).flatMap(([path, item]) => {
    return METHODS.filter((method) => item[method]).map((method) => [method, path, item[method]]);
  });
  const nav = element("nav");
  const made = [];
  for (const { name, description, externalDocs } of tags) {
    const some = operations.filter(([, , operation]) => operation.tags.includes(name));
    const head = element("h2", "", name);
    const line = prose("p", description);
    if (externalDocs) line.append(" ", linked(externalDocs.url, "Its own description"), ".");
    made.push(head, line, ...some.map((each) => operationOf(...each)));
    const links = some.map(([method, path, { operationId }]) => linked(`#${operationId}`, ...title(method, path)));
    nav.append(...contents(element("h3", "", name), links));
  }
  main.append(prose("p", `${info.summary} Version ${info.version}.`), nav, ...made);
  main.append(element("h2", "", "Components"));
  main.append(...Object.entries(components).map(([name, schema]) => componentOf(name, schema)));
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
