/** Calls the user's callbacks. What a callback throws must not disturb the caller. */

/** Calls a user's callback for its effect only. What it throws or rejects with goes to `failed`. */
export function callUser(call: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = call()
    if (isThenable(result)) result.then(undefined, failed)
  } catch (error) {
    failed(error)
  }
}

/** A process warning with the stack of what was thrown. */
export function warn(message: string, code: string, error?: unknown): void {
  const detail =
    error instanceof Error ? (error.stack ?? error.message) : error === undefined ? undefined : String(error)
  process.emitWarning(message, { type: 'RdmaCheckpointWarning', code, ...(detail === undefined ? {} : { detail }) })
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    (typeof value === 'object' || typeof value === 'function') &&
    value !== null &&
    typeof (value as { then?: unknown }).then === 'function'
  )
}
