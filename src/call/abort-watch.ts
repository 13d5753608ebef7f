/**
 * Calls that wait on AbortSignals. Thousands may share one signal, and Node warns of an eleventh listener; so a signal has
 * one listener here, for as long as a call is under way.
 */
export interface Abortable {
  onAbort(): void
}

class SignalCalls {
  readonly calls = new Set<Abortable>()

  handleEvent(): void {
    for (const call of [...this.calls]) call.onAbort()
  }
}

const bySignal = new WeakMap<AbortSignal, SignalCalls>()

export function watchAbort(signal: AbortSignal, call: Abortable): void {
  let group = bySignal.get(signal)
  if (group === undefined) {
    group = new SignalCalls()
    bySignal.set(signal, group)
  }
  if (group.calls.size === 0) signal.addEventListener('abort', group)
  group.calls.add(call)
}

export function unwatchAbort(signal: AbortSignal, call: Abortable): void {
  const group = bySignal.get(signal)
  if (group === undefined || !group.calls.delete(call)) return
  if (group.calls.size === 0) signal.removeEventListener('abort', group)
}
