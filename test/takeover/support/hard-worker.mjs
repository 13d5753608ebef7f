// A healthy primary that works as hard as it can: node hard-worker.mjs {unit, region, work, ms, mapBytes}. Messages to its parent:
// { working }, then { turns, bytes, longestBlockMs }, and why it { failed }, if it did.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import v8 from 'node:v8'
import { connect, v8Codec } from 'rdma-checkpoint'

const { unit, region: name, work, ms, mapBytes } = JSON.parse(process.argv[2] ?? '{}')
const MiB = 1024 * 1024
const client = await connect(unit)

/** Serialized, it has about that many bytes. @param {number} bytes */
function mapOf(bytes) {
  const entry = (/** @type {number} */ key) => {
    const text = 'x'.repeat(400 + (key % 200))
    return /** @type {const} */ ([`key ${key}`, { key, name: `entry ${key}`, text }])
  }
  const sample = v8.serialize(new Map(Array.from({ length: 1000 }, (_, key) => entry(key)))).length / 1000
  return new Map(Array.from({ length: Math.ceil(bytes / sample) }, (_, key) => entry(key)))
}

/** Each returns the bytes that it has saved. */
const works = {
  /** 1 MiB durable writes, four under way at a time. */
  async writes() {
    const region = await client.createRegion(name, { bytes: 16 * MiB, mode: 'raw' })
    const bytes = new Uint8Array(MiB).fill(1)
    let number = 0
    return async () => {
      const calls = Array.from({ length: 4 }, () =>
        region.write((number++ % 16) * MiB, bytes, { durability: 'durable' }),
      )
      await Promise.all(calls)
      return 4 * MiB
    }
  },
  /** A map of that many bytes is saved, and restored from what was saved. */
  async serializes() {
    let map = mapOf(mapBytes)
    const region = await client.createRegion(name, { bytes: 5 * mapBytes })
    const log = region.log({ codec: v8Codec })
    return async () => {
      await log.append(map)
      const restored = await log.latest()
      if (!(restored?.value instanceof Map) || restored.value.size !== map.size) throw new Error('not what was saved')
      map = restored.value
      return restored.bytes
    }
  },
}

let [turns, bytes] = [0, 0]
let failed
/** What the unit sees of it: how long its event loop did not turn. */
const blocks = monitorEventLoopDelay({ resolution: 10 })
try {
  const once = await works[/** @type {keyof works} */ (work)]()
  process.send?.({ working: true })
  blocks.enable()
  for (const end = performance.now() + ms; performance.now() < end; turns++) {
    bytes += await once()
    await turn()
  }
} catch (error) {
  failed = String(error)
}
await turn()
process.send?.({ turns, bytes, longestBlockMs: Math.round(blocks.max / 1e6), failed })
await client.close()
process.disconnect?.()
