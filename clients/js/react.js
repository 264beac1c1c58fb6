// A hook for React 18 and later: a job as it is now.

import { useCallback, useEffect, useState } from "react";
import { Client, Transcript } from "./readalong.js";

let shared = null;
const EMPTY = { transcript: new Transcript(), connected: false, failure: null };

/**
 * Returns the job's state, and renders anew when it changes. Without an id it is empty. `client`: one that was made
 * outside of the component; without it, that of the page's own site.
 */
export function useJob(jobId, { client = (shared ??= new Client()) } = {}) {
  const [{ transcript, connected, failure }, setState] = useState(EMPTY);
  useEffect(() => {
    const leaving = new AbortController();
    const set = (change) => leaving.signal.aborted || setState((state) => ({ ...state, ...change }));
    const read = async () => {
      const onLink = (up) => set({ connected: up });
      const stream = client.watch(jobId, { signal: leaving.signal, onLink, retryFor: Infinity });
      for await (const _ of stream) set({ transcript: stream.transcript });
      set({ connected: false });
    };
    setState(EMPTY);
    if (jobId) read().catch((failure) => set({ failure, connected: false }));
    return () => leaving.abort();
  }, [jobId, client]);
  const cancel = useCallback(() => client.cancel(jobId), [jobId, client]);
  const { status, ended, text, reasoning, refusal, toolCalls, restarts, waiting, progress, error } = transcript;
  // `error`: the job failed. `failure`: the job cannot be watched.
  return { status, ended, text, reasoning, refusal, toolCalls, restarts, waiting, progress, error, failure, connected, transcript, cancel };
}
