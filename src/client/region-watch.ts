/** The life of a region as the unit tells it: one stream of the control plane, made again where it broke. */
import { setTimeout as sleep } from 'node:timers/promises'
import { loggable } from '../call/printed.js'
import { eventTypeOf } from '../control/region-message.js'
import { CheckpointError } from '../errors.js'
import { fromNative } from '../native-error.js'
import type { RegionEvent } from '../types.js'
import { Backoff } from './backoff.js'
import { passing } from './passing-errors.js'
import type { UnitSession } from './unit-session.js'

const firstBackoffMs = 20

/** @param ended aborts when the watch shall end, quietly */
export async function* watchRegion(
  session: UnitSession,
  name: string,
  sinceRevision: bigint | undefined,
  ended: AbortSignal,
): AsyncGenerator<RegionEvent, void, undefined> {
  let since = sinceRevision
  const backoff = new Backoff(firstBackoffMs)
  while (!ended.aborted) {
    let id: bigint | undefined
    const attempt = new AbortController()
    // A stream alone would not notice that the unit's machine is gone; the session's heartbeats do.
    const offDisconnect = session.onDisconnect(() => attempt.abort())
    const signal = AbortSignal.any([attempt.signal, ended])
    try {
      id = await unlessAborted(session.ready(), ended)
      const request = { session: id, name, ...(since === undefined ? {} : { sinceRevision: since }) }
      for await (const message of session.control.watchRegion(request, signal)) {
        backoff.reset()
        since = message.revision
        const type = eventTypeOf(message.type)
        if (type === undefined) continue
        const event = { type, revision: since, epoch: message.epoch, at: new Date(Number(message.atMs)) }
        yield loggable(message.snapshot ? { ...event, snapshot: true } : event)
        if (ended.aborted) return
      }
    } catch (thrown) {
      const error = fromNative(thrown)
      if (ended.aborted) return
      if (error.code === 'SESSION_EXPIRED' && id !== undefined) session.expire(id)
      // Aborted is an attempt whose session broke. For as long as it takes.
      if (error.code !== 'ABORTED' && !passing.has(error.code)) throw error
    } finally {
      offDisconnect()
      attempt.abort()
    }
    await sleep(backoff.next(), undefined, { signal: ended }).catch(() => undefined)
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new CheckpointError('ABORTED', 'The watch has ended.'))
    signal.addEventListener('abort', abort)
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
