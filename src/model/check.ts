/** One thing that the service needs, and how it is. */
export interface Check {
  readonly name: string;
  /** `degraded`: it still works, with less margin. */
  readonly status: "ok" | "degraded" | "unavailable";
  readonly reason?: string | undefined;
}
