/** The life of a region as the unit tells it: one stream of the control plane, made again where it broke. */
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted } from '../call/call.js'
import { loggable } from '../call/printed.js'
import { eventTypeOf } from '../control/region-message.js'
import { isPassing, needsPerson } from '../error-traits.js'
import type { CheckpointError } from '../errors.js'
import { fromNative } from '../native-error.js'
import type { RegionEvent } from '../types.js'
import { Backoff } from './backoff.js'
import type { ConnectionAccount } from './connection-account.js'
import type { UnitSession } from './unit-session.js'

const firstBackoffMs = 20
/** A stream that goes on for so long stands, though nothing may happen to the region. */
const goodMs = 1_000
/** @param ended aborts when the watch shall end, quietly */
export async function* watchRegion(
  session: UnitSession,
  account: ConnectionAccount,
  name: string,
  sinceRevision: bigint | undefined,
  ended: AbortSignal,
): AsyncGenerator<RegionEvent, void, undefined> {
  const stream = { kind: 'control', region: name } as const
  const backoff = new Backoff(firstBackoffMs)
  let since = sinceRevision
  let answered = false
  let attempts = 0
  const stands = () => {
    attempts = 0
    account.stands(stream)
  }
  try {
    while (!ended.aborted) {
      let id: bigint | undefined
      let failure: CheckpointError | undefined
      const attempt = new AbortController()
      // A stream alone would not notice that the unit's machine is gone; the session's heartbeats do.
      const offDisconnect = session.onDisconnect(() => attempt.abort())
      const signal = AbortSignal.any([attempt.signal, ended])
      let timer: NodeJS.Timeout | undefined
      try {
        id = await unlessAborted(ended, session.ready())
        timer = setTimeout(stands, goodMs)
        timer.unref()
        const request = { session: id, name, ...(since === undefined ? {} : { sinceRevision: since }) }
        for await (const message of session.control.watchRegion(request, signal)) {
          backoff.reset()
          answered = true
          stands()
          since = message.revision
          const type = eventTypeOf(message.type)
          if (type === undefined) continue
          const event = { type, revision: since, epoch: message.epoch, at: new Date(Number(message.atMs)) }
          yield loggable(message.snapshot ? { ...event, snapshot: true } : event)
          if (ended.aborted) return
        }
      } catch (thrown) {
        if (ended.aborted) return
        failure = fromNative(thrown)
        if (failure.code === 'SESSION_EXPIRED' && id !== undefined) session.expire(id)
        if (failure.code === 'CLOSED' || (!answered && needsPerson(failure.code))) throw failure
      } finally {
        clearTimeout(timer)
        offDisconnect()
        attempt.abort()
      }
      const delayMs = backoff.next()
      // A stream that ended with its connection or its session is told of by them.
      if (failure !== undefined && failure.code !== 'ABORTED' && !isPassing(failure.code)) {
        account.lost(stream, failure)
        account.waits(stream, ++attempts, delayMs, failure)
      }
      await sleep(delayMs, undefined, { signal: ended }).catch(() => undefined)
    }
  } finally {
    account.gone(stream)
  }
}
