/** Calling what the user gave to be told of something: what it throws must not end what it is told of. */

/** Calls what the user gave, for its effect only: what it throws or rejects with goes to `failed`. */
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
