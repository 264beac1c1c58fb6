// Calls to the API, by the JavaScript client.

import { Client } from "../readalong.js";

/** Base address, retries and errors are the client's. */
export const client = new Client({ baseUrl: "./" });

/** Whether a text has the form of an id: nothing else becomes part of a line for a shell. */
export const isJobId = (text) => /^[A-Za-z0-9_-]{16,64}$/.test(text);

/** The address of a job's page here. */
export const hrefOf = (id) => `#/jobs/${encodeURIComponent(id)}`;

export const read = (path) => client.request("GET", path);
export const getStats = () => read("v1/stats?minutes=60");
export const retryJob = (id) => client.request("POST", `v1/jobs/${encodeURIComponent(id)}/retry`);

/** Whether a job does not exist, or no longer. */
export const isGone = (problem) => problem.status === 404 || problem.status === 410;
