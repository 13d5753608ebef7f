// The client's side of Redis in the benchmark.
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { makePayload, placesOf } from '../payloads.js'

/** @param {{ module: string, visible: number, durable: number }} setUp @param {number} span @returns {Promise<import('./index.js').Driver>} */
export async function open(setUp, span) {
  const { Redis } = createRequire(import.meta.url)(setUp.module)
  const connect = (/** @type {number} */ port, /** @type {boolean} */ enableAutoPipelining) =>
    new Redis({ host: '127.0.0.1', port, enableAutoPipelining, maxRetriesPerRequest: 0 })
  // One at a time there is nothing to put in a pipeline, and waiting for more would only cost time.
  const clients = {
    visible: { one: connect(setUp.visible, false), many: connect(setUp.visible, true) },
    durable: { one: connect(setUp.durable, false), many: connect(setUp.durable, true) },
  }
  const all = Object.values(clients).flatMap(({ one, many }) => [one, many])
  await Promise.all(all.map((client) => client.ping()))
  /** Sizes of which every key has a value. */
  const filled = new Set()
  return {
    async operation({ work, bytes, depth }) {
      const client = clients[work === 'durable' ? 'durable' : 'visible'][depth === 1 ? 'one' : 'many']
      const places = placesOf(bytes, span)
      const payload = makePayload(bytes)
      const keys = Array.from({ length: places }, (_, place) => `${bytes}:${place}`)
      if (work !== 'read') return (number) => client.set(keys[number % places], payload)
      if (!filled.has(bytes)) await Promise.all(keys.map((key) => clients.visible.many.set(key, payload)))
      filled.add(bytes)
      return (number) => client.getBuffer(keys[number % places])
    },
    /** Its file grows with each write: rewritten while nothing is measured. */
    async tidy({ work, bytes }) {
      if (work !== 'durable' || bytes < 65536) return
      const client = clients.durable.one
      await client.flushall()
      await client.bgrewriteaof().catch(() => undefined)
      const underWay = /aof_rewrite_(in_progress|scheduled):1/
      while (underWay.test(await client.info('persistence'))) await sleep(20)
    },
    async close() {
      for (const client of all) client.disconnect()
    },
  }
}
