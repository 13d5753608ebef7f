import { CheckpointError, type Outcome } from '../errors.js'

/** Durable was asked of a region whose pool cannot keep it. */
export function notDurableError(region: string, outcome: Outcome = 'none'): CheckpointError {
  return new CheckpointError(
    'NOT_DURABLE',
    `Durable was asked of region ${JSON.stringify(region)}, and its pool promises visible at most.`,
    { outcome, help: "Use durability 'visible', or a unit whose pool is a file or persistent memory." },
  )
}
