// Durable Streams' own conformance suite against the server that DURABLE_URL names; `longPollTimeoutMs` is its long poll's.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({ baseUrl: process.env.DURABLE_URL, longPollTimeoutMs: 3000 });
