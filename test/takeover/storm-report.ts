/** What a storm of takeovers came to. */
export interface StormReport {
  takeovers: number
  /** Takeovers that no fault of the storm brought about: of an owner that the machine kept from running, or whose successor died. */
  others: number
  byFault: Record<string, number>
  unitKills: number
  /** Of the deaths, those after its medium had failed. */
  mediaFailures: number
  /** Flows of owners and standbys that were dropped in silence. */
  flowsDropped: number
  /** Orderly ones, between which and the next start it was away for a while. */
  unitStops: number
  appends: number
  acknowledged: number
  /** Acknowledgements of what had landed that reached a stopped owner after the takeover. */
  late: number
  bytes: number
  followed: number
  laps: number
  readings: number
  /** What cannot have been; empty when all is well. */
  wrong: string[]
  /** Where the history of what went wrong is. */
  kept?: string
}
