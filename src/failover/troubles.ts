/** What fails and is tried again: which of it is worth telling, and how long to leave it alone. */
import { CheckpointError } from '../errors.js'

/** The same reason is told again when it has lasted for so long. */
const remindMs = 30_000

/** Tells each reason once, until something has gone well. */
export class Troubles {
  readonly #tell: (error: unknown) => void
  /** When each was told, on performance.now()'s clock. */
  readonly #told = new Map<string, number>()

  constructor(tell: (error: unknown) => void) {
    this.#tell = tell
  }

  tell(error: unknown): void {
    const reason = reasonOf(error)
    const now = performance.now()
    const told = this.#told.get(reason)
    if (told !== undefined && now - told < remindMs) return
    this.#told.set(reason, now)
    this.#tell(error)
  }

  /** It has gone well: what fails from now on is news. */
  clear(): void {
    this.#told.clear()
  }
}

/** Messages have times and counts in them, codes have not. */
function reasonOf(error: unknown): string {
  if (error instanceof CheckpointError) return error.code
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}
