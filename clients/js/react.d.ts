import type { Client, Job, JobError, Part, Transcript } from "./readalong.js";

export interface JobState extends Pick<Transcript, "status" | "ended" | "text" | "reasoning" | "refusal" | "restarts" | "waiting" | "progress"> {
  toolCalls: Part[];
  /** Why the job failed. */
  error: JobError | null;
  /** Why the job cannot be watched. */
  failure: Error | null;
  connected: boolean;
  transcript: Transcript;
  cancel: () => Promise<Job>;
}
export function useJob(jobId: string | null | undefined, options?: { client?: Client }): JobState;
